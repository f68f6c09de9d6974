"""Decisions over a rotation of the token keys: the log keeps its old tokens, and all that reads it still joins."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy

from configs.settings import Settings
from features.intake.privacy import Tokenizer, tokenizer_of
from features.intake.rotation import rotate
from features.intake.token_keys import write_keys
from features.online import OnlineFeatures
from features.request import ScoringRequest
from features.store import FeatureStore
from serving.decisions import ConflictError, Decision, DecisionLog
from serving.replay import replay
from serving.scorer import Answer, Scorer
from training.governance.release import Release

from .conftest import Payments

ONE, TWO = b"1" * 32, b"2" * 32


class Bank:
    """Payments with tokenized keys, and a service that is started and stopped."""

    def __init__(self, payments: Payments, settings: Settings) -> None:
        personal = {"card_id": "token", "customer_id": "token"}
        name = f"payments_{uuid.uuid4().hex[:8]}"
        self.use_case = payments.use_case.model_copy(update={"name": name, "personal": personal})
        self.settings = settings
        self.release: Release = dataclasses.replace(payments.release, use_case=self.use_case)
        FeatureStore(self.use_case, settings).materialize()

    def tokenizer(self) -> Tokenizer:
        found = tokenizer_of(self.use_case, self.settings)
        assert found
        return found

    def decide(self, *requests: ScoringRequest, settled: bool = True) -> list[Answer]:
        """A service that starts, decides and stops; the last event may be left to the next start."""
        tokenizer = self.tokenizer()
        with (
            DecisionLog(self.settings) as log,
            closing(OnlineFeatures(self.use_case, self.settings)) as online,
        ):
            scorer = Scorer(self.release, online, log, tokenizer=tokenizer)
            scorer.recover()
            answers = [scorer.decide(tokenizer.request(each)) for each in requests]
            if settled:
                scorer.settle()
        return answers

    def replayed(self, decision: Decision) -> list[Any]:
        with DecisionLog(self.settings, readonly=True) as log:
            logged = log.get(decision.decision_id)
        assert logged
        return list(replay(logged, self.release, tokenizer=self.tokenizer()))


@pytest.fixture(params=["embedded", "servers"])
def bank(request: pytest.FixtureRequest, payments: Payments, tmp_path: Path) -> Iterator[Bank]:
    servers = request.param == "servers"
    redis_url = request.getfixturevalue("redis_url") if servers else None
    database_url = request.getfixturevalue("postgres_url") if servers else None
    keys = tmp_path / "keys" / "token.keys"
    write_keys([ONE], keys, overwrite=False)
    own = {"home": tmp_path / "home", "token_key_file": keys, "redis_url": redis_url, "database_url": database_url}
    bank = Bank(payments, payments.settings.model_copy(update=own))
    yield bank
    if redis_url:
        redis = pytest.importorskip("redis")
        with redis.Redis.from_url(redis_url) as client:
            for key in client.scan_iter(match=f"*{bank.use_case.name}*", count=1000):
                client.delete(key)


def stored(settings: Settings, use_case: str) -> bytes:
    """Everything that is in the home folder, and on the servers of the use case."""
    found = [path.read_bytes() for path in settings.home.rglob("*") if path.is_file()]
    found += [str(pd.read_parquet(path).to_dict()).encode() for path in settings.home.rglob("*.parquet")]
    if settings.redis_url:
        redis = pytest.importorskip("redis")
        with redis.Redis.from_url(settings.redis_url) as client:
            for key in client.scan_iter(match=f"*{use_case}*", count=1000):
                found += [key, repr(_content(client, key)).encode()]
        engine = sqlalchemy.create_engine(settings.database("decisions"), poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            found += [str(row).encode() for row in connection.execute(sqlalchemy.text("SELECT * FROM decisions"))]
    return b"\n".join(found)


def _content(client: Any, key: bytes) -> Any:
    """A key's content: a dump would be compressed."""
    kind = client.type(key)
    if kind == b"zset":
        return client.zrange(key, 0, -1)
    return client.hgetall(key) if kind == b"hash" else client.get(key)


def test_no_store_holds_a_personal_value(bank: Bank, payments: Payments) -> None:
    (made,) = bank.decide(payments.request(card="card-h1"))
    everything = stored(bank.settings, bank.use_case.name)
    assert made.decision.decision_id.encode() in everything
    assert bank.tokenizer().token("card-h1").encode() in everything
    assert b"card-h" not in everything
    assert b"customer-" not in everything


def test_a_retry_after_a_rotation_gets_the_same_decision(bank: Bank, payments: Payments) -> None:
    request = payments.request(card="card-h1")
    (first,) = bank.decide(request)
    assert rotate(bank.settings).version == 2
    (again,) = bank.decide(request)
    assert not again.created
    assert again.decision.decision_id == first.decision.decision_id
    changed = dataclasses.replace(request, fields={**request.fields, "amount": 21.0})
    with pytest.raises(ConflictError):
        bank.decide(changed)


def test_features_are_the_same_after_a_rotation(bank: Bank, payments: Payments) -> None:
    before, after = payments.request(card="card-h1"), payments.request(card="card-h1", customer="customer-1")
    ((first,), _) = bank.decide(before), rotate(bank.settings)
    (second,) = bank.decide(after)
    assert first.decision.features["profile__credit_limit"] == second.decision.features["profile__credit_limit"] == 520
    assert second.decision.features["card_amount_count_7d"] == first.decision.features["card_amount_count_7d"] + 1
    assert second.decision.fallback is None


def test_an_event_that_was_not_yet_counted_is_counted_after_a_rotation(bank: Bank, payments: Payments) -> None:
    (first,) = bank.decide(payments.request(card="card-h2"), settled=False)
    rotate(bank.settings)
    (second,) = bank.decide(payments.request(card="card-h2"))
    assert second.decision.features["card_amount_count_1d"] == first.decision.features["card_amount_count_1d"] + 1


def test_decisions_before_and_after_a_rotation_are_replayed(bank: Bank, payments: Payments) -> None:
    (first,) = bank.decide(payments.request(amount=900.0))
    rotate(bank.settings)
    (second,) = bank.decide(payments.request(amount=900.0))
    assert (bank.replayed(first.decision), bank.replayed(second.decision)) == ([], [])


def test_a_model_knows_the_categories_it_learned_under_their_new_tokens(payments: Payments) -> None:
    old, new = Tokenizer([ONE], {}), Tokenizer([ONE, TWO], {})
    release, values = payments.release, dict.fromkeys(payments.release.model.names, None)
    words = release.model.vocabularies["channel"]
    learned = dataclasses.replace(
        release,
        model=release.model.with_vocabularies({"channel": [old.token(word) for word in words[:-1]] + ["other"]}),
    )
    found = learned.upgraded(new).model.encode_row(values | {"channel": new.token("online")})
    plain = release.model.encode_row(values | {"channel": "online"})
    assert found.tobytes() == plain.tobytes()
