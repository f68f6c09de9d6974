"""The online vector: views with their TTL, aggregates with the current event, derived columns; light to import."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.online import OnlineFeatures
from features.request import Outcome, ScoringRequest, parse_time, rfc3339
from features.state.activity import Activity
from features.stores.packed import open_packed
from features.stores.segments import PackedRow, shapes_of
from features.vector import features_of

SATURDAY = datetime(2025, 3, 1, 12, 30, tzinfo=UTC)
TTL = timedelta(days=400)


@pytest.fixture(params=["sqlite", "redis"])
def online(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return settings.model_copy(update={"redis_url": request.getfixturevalue("redis_url")})


@pytest.fixture
def use_case(online: Settings) -> Iterator[UseCase]:
    fraud = load_use_case("fraud", online).model_copy(update={"name": f"test_{uuid.uuid4().hex[:12]}"})
    yield fraud
    with closing(open_packed(path=online.online_db, redis_url=online.redis_url)) as store:
        store.drop(fraud.name, "profile")
    with closing(Activity(fraud, online)) as state:
        state.clear()


@pytest.fixture
def features(use_case: UseCase, online: Settings) -> Iterator[OnlineFeatures]:
    with closing(OnlineFeatures(use_case, online)) as opened:
        yield opened


def write_profile(use_case: UseCase, settings: Settings, time: datetime, created: datetime | None = None) -> None:
    values = {"tenure_days": 12.0, "segment": "premium", "credit_limit": None}
    with closing(open_packed(path=settings.online_db, redis_url=settings.redis_url)) as store:
        store.write(use_case.name, shapes_of(use_case)["profile"], [("K1", PackedRow(time, created, values))])


def request(event_id: str = "E1", **fields: Any) -> ScoringRequest:
    known = {"amount": 20.0, "channel": "chip", "merchant_category": None, "cross_border": True}
    entities = {"customer": "K1", "card": "C1", "terminal": "T1", "device": "D1"}
    return ScoringRequest(event_id, SATURDAY, entities, known | fields)


def test_every_feature_has_a_value_or_none(features: OnlineFeatures, use_case: UseCase) -> None:
    vector = features.read(request())
    assert list(vector.values) == [feature.name for feature in features_of(use_case)]
    assert (vector.values["cross_border"], vector.values["merchant_category"]) == (1.0, None)
    assert (vector.values["amount"], vector.values["channel"]) == (20.0, "chip")


def test_a_view_is_read_with_its_time(features: OnlineFeatures, use_case: UseCase, online: Settings) -> None:
    time = SATURDAY - timedelta(days=3)
    write_profile(use_case, online, time)
    vector = features.read(request())
    names = ("tenure_days", "segment", "credit_limit")
    assert [vector.values[f"profile__{name}"] for name in names] == [12.0, "premium", None]
    assert (vector.missing, vector.stale, vector.times) == ((), (), {"profile": time})


def test_a_view_as_old_as_its_ttl_is_fresh(features: OnlineFeatures, use_case: UseCase, online: Settings) -> None:
    write_profile(use_case, online, SATURDAY - TTL)
    assert features.read(request()).values["profile__tenure_days"] == 12.0


def test_a_view_older_than_its_ttl_is_stale(features: OnlineFeatures, use_case: UseCase, online: Settings) -> None:
    write_profile(use_case, online, SATURDAY - TTL - timedelta(microseconds=1))
    vector = features.read(request())
    assert (vector.values["profile__tenure_days"], vector.stale, vector.missing) == (None, ("profile",), ())


@pytest.mark.parametrize("created", [None, SATURDAY])
def test_a_view_known_exactly_at_the_event_is_used(
    features: OnlineFeatures, use_case: UseCase, online: Settings, created: datetime | None
) -> None:
    write_profile(use_case, online, SATURDAY, created)
    assert features.read(request()).missing == ()


@pytest.mark.parametrize(("age", "created"), [(-1, None), (1, SATURDAY + timedelta(microseconds=1))])
def test_a_view_from_after_the_event_is_missing(
    features: OnlineFeatures, use_case: UseCase, online: Settings, age: int, created: datetime | None
) -> None:
    write_profile(use_case, online, SATURDAY - timedelta(microseconds=age), created)
    vector = features.read(request())
    assert (vector.missing, vector.times, vector.values["profile__segment"]) == (("profile",), {}, None)


def test_a_view_without_a_row_or_a_key_is_missing(features: OnlineFeatures) -> None:
    nobody = replace(request(), entities={"customer": None, "card": None})
    assert features.read(request()).missing == features.read(nobody).missing == ("profile",)


def test_derived_columns_see_the_aggregates_with_the_current_event(features: OnlineFeatures) -> None:
    features.record(replace(request("E0", amount=10.0), event_time=SATURDAY - timedelta(hours=2)))
    values = features.read(request()).values
    assert (values["card_amount_mean_30d"], values["amount_to_mean"]) == (15.0, 20.0 / 15.0)
    assert (values["during_weekend"], values["hour_of_day"], values["new_device"]) == (1.0, 12.0, 0.0)
    assert values["card_since_last_30d"] == 7200.0


def test_a_fraud_at_the_terminal_shows_after_its_delay(features: OnlineFeatures) -> None:
    features.record(replace(request("E0"), event_time=SATURDAY - timedelta(days=14, hours=1)))
    features.outcome("E0", 1, SATURDAY - timedelta(days=10))
    assert features.read(request()).values["terminal_fraud_mean_1d"] == 1.0


def test_history_that_was_seeded_is_read(features: OnlineFeatures) -> None:
    past = [replace(request(f"H{n}"), event_time=SATURDAY - timedelta(hours=n)) for n in range(1, 11)]
    assert features.activity.seed((each, Outcome(None, None)) for each in past) == 10
    assert features.read(request()).values["card_amount_count_1d"] == 11.0


def test_a_use_case_without_a_time_or_entities_online_needs_no_state(settings: Settings) -> None:
    taiwan = load_use_case("taiwan_default", settings)
    fields = dict.fromkeys(taiwan.request, 1.0)
    with closing(OnlineFeatures(taiwan, settings)) as features:
        features.record(ScoringRequest("1", SATURDAY, {"client": "1"}, fields))
        vector = features.read(ScoringRequest("1", SATURDAY, {"client": "1"}, fields))
    assert (vector.values["utilisation"], vector.missing) == (1.0, ())


def test_sentinel_codes_of_a_view_are_missing(online: Settings, use_case: UseCase) -> None:
    profile = use_case.views["profile"]
    column = profile.columns["tenure_days"].model_copy(update={"missing": (12.0,)})
    view = profile.model_copy(update={"columns": {**profile.columns, "tenure_days": column}})
    write_profile(use_case, online, SATURDAY)
    with closing(OnlineFeatures(use_case.model_copy(update={"views": {"profile": view}}), online)) as features:
        assert features.read(request()).values["profile__tenure_days"] is None


def test_a_request_survives_the_wire() -> None:
    sent = request(amount=0.1 + 0.2, opened=SATURDAY + timedelta(microseconds=5))
    assert ScoringRequest.from_wire(sent.wire(), times={"opened"}) == sent
    assert sent.wire()["event_time"] == rfc3339(SATURDAY) == "2025-03-01T12:30:00Z"
    assert parse_time("2025-03-01T13:30:00+01:00") == SATURDAY


def test_importing_it_loads_nothing_heavy() -> None:
    heavy = ["feast", "duckdb", "pandas", "numpy", "pyarrow", "redis", "sqlalchemy"]
    program = f"import sys, features.online; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
