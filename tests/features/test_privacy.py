"""Tokens, their keys, and the rotation of both."""

from __future__ import annotations

import base64
import hmac
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.backfill import parquet_path, repository_folder
from features.diff import live
from features.frame import training_frame
from features.intake import rotation
from features.intake.privacy import MASK, Tokenizer, is_token, tokenizer_of
from features.intake.rotation import rotate
from features.intake.token_keys import token_keys, write_keys
from features.intake.token_mark import keys_held
from features.online import OnlineFeatures
from features.request import ScoringRequest, joined_key
from features.store import FeatureStore
from features.stores.packed import open_packed

from .conftest import RAW, Made

ONE, TWO = b"1" * 32, b"2" * 40
PERSONAL = {"card_id": "token", "device_id": "token", "place": "token", "holder": "mask"}


def in_text(*keys: bytes) -> str:
    return ",".join(f"{version}:{base64.b64encode(key).decode()}" for version, key in enumerate(keys, 1))


@pytest.fixture
def secured(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a key file of their own."""
    write_keys([ONE], tmp_path / "keys" / "token.keys", overwrite=False)
    return settings.model_copy(update={"token_key_file": tmp_path / "keys" / "token.keys"})


def test_a_token_is_the_keyed_hash_of_the_text() -> None:
    digest = hmac.new(ONE, b"c1", "sha256").digest()
    assert Tokenizer([ONE], {}).token("c1") == "t0001_" + base64.b32encode(digest).decode().strip("=").lower()


def test_a_token_upgrades_to_what_the_newest_keys_make_of_the_value() -> None:
    old, new = Tokenizer([ONE], {}), Tokenizer([ONE, TWO], {})
    assert new.upgrade(old.token("c1")) == new.token("c1") != old.token("c1")
    assert new.upgrade(new.token("c1")) == new.token("c1")


@pytest.mark.parametrize("token", ["c1", "t0002_" + "a" * 52, "t0000_" + "a" * 52])
def test_what_no_key_here_made_is_not_upgraded(token: str) -> None:
    with pytest.raises(FeatureError) as caught:
        Tokenizer([ONE], {}).upgrade(token)
    assert token not in str(caught.value)


def test_tokens_in_a_text_are_upgraded_where_they_stand_also_in_pairs() -> None:
    old, new = Tokenizer([ONE] * 9, {}), Tokenizer([ONE] * 10, {})
    text = f'["{joined_key([old.token("c"), "x"])}", "{old.token("d")}"]'
    assert new.upgrade_text(text) == f'["{joined_key([new.token("c"), "x"])}", "{new.token("d")}"]'
    assert len(new.token("d")) == len(old.token("d")), "lengths are stored before texts"


def test_a_text_like_a_token_of_no_version_here_stops_no_rotation() -> None:
    text = "t0007_" + "a" * 52
    assert Tokenizer([ONE, TWO], {}).upgrade_text(text) == text


def test_keys_never_show() -> None:
    shown = f"{Tokenizer([ONE], PERSONAL)!r} {Tokenizer([ONE], PERSONAL)}"
    assert "1" * 8 not in shown
    assert base64.b64encode(ONE).decode()[:8] not in shown


@pytest.mark.parametrize(
    "content",
    ["", "1:QUJD", in_text(ONE).replace("1:", "2:"), in_text(ONE) + "," + in_text(TWO), "1:secret-not-base64"],
)
def test_keys_that_are_short_unreadable_or_lack_a_version_are_refused_without_being_shown(
    content: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RISK_TOKEN_KEYS", content)
    with pytest.raises(FeatureError) as caught:
        token_keys(settings)
    assert not [part for part in content.split(":")[1:] if part in str(caught.value)]


def test_keys_come_from_the_environment_first(secured: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISK_TOKEN_KEYS", in_text(TWO, ONE))
    assert token_keys(secured) == (TWO, ONE)


def test_a_key_file_that_others_can_read_is_refused(secured: Settings) -> None:
    assert secured.token_key_file
    secured.token_key_file.chmod(0o640)
    with pytest.raises(FeatureError, match="open to others"):
        token_keys(secured)


@pytest.mark.parametrize("place", ["home", "data"])
def test_a_key_beside_the_tokens_or_the_data_is_refused(place: str, settings: Settings) -> None:
    inside = settings.model_copy(update={"token_key_file": getattr(settings, place) / "token.keys"})
    with pytest.raises(FeatureError, match="keys beside the tokens protect nothing"):
        token_keys(inside)


def test_production_makes_no_key_and_says_how_to(settings: Settings) -> None:
    with pytest.raises(FeatureError) as caught:
        token_keys(settings.model_copy(update={"profile": "prod"}))
    assert "openssl rand" in caught.value.fix


def test_outside_production_a_key_is_made_once_for_this_user_alone(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = token_keys(settings)
    path = tmp_path / "config" / "risk-platform" / "token.keys"
    assert (path.stat().st_mode & 0o777, len(made[0])) == (0o600, 32)
    write_keys([ONE], path, overwrite=False)  # what a process does that came second
    assert token_keys(settings) == made


def test_a_request_is_shielded_as_loads_shield_columns(made: Made, secured: Settings) -> None:
    request = {"holder": {"type": "category", "feature": False}, "amount": {"min": 0}}
    tokenizer = tokenizer_of(made.use_case(personal=PERSONAL, request=request), secured)
    assert tokenizer
    entities = {"card": "12", "device": None}
    shielded = tokenizer.request(ScoringRequest("e", made.start, entities, {"holder": "Ann", "amount": 1.0}))
    assert shielded.entities == {"card": tokenizer.token("12"), "device": None}
    assert shielded.fields == {"holder": MASK, "amount": 1.0}


def test_nothing_personal_needs_no_key(made: Made) -> None:
    assert tokenizer_of(made.use_case(), made.settings.model_copy(update={"profile": "prod"})) is None


def test_other_keys_than_before_are_an_error_and_not_empty_joins(made: Made, secured: Settings) -> None:
    use_case = made.use_case(personal=PERSONAL)
    assert secured.token_key_file
    tokenizer_of(use_case, secured)
    write_keys([TWO], secured.token_key_file, overwrite=True)
    with pytest.raises(FeatureError, match="not those that the stored tokens were made with"):
        tokenizer_of(use_case, secured)


def test_more_keys_than_the_stored_tokens_have_ask_for_a_rotation(made: Made, secured: Settings) -> None:
    use_case = made.use_case(personal=PERSONAL)
    assert secured.token_key_file
    tokenizer_of(use_case, secured)
    write_keys([ONE, TWO], secured.token_key_file, overwrite=True)
    with pytest.raises(FeatureError) as caught:
        tokenizer_of(use_case, secured)
    assert "risk features keys rotate" in caught.value.fix


def test_no_rotation_while_a_service_uses_the_keys(secured: Settings) -> None:
    with keys_held(secured), pytest.raises(FeatureError, match="is using the token keys"):
        rotate(secured)


def test_keys_of_the_environment_are_rotated_by_hand(
    made: Made, secured: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_case = made.use_case(personal=PERSONAL)
    monkeypatch.setenv("RISK_TOKEN_KEYS", in_text(ONE))
    tokenizer_of(use_case, secured)
    with pytest.raises(FeatureError, match="which no command can change"):
        rotate(secured)
    monkeypatch.setenv("RISK_TOKEN_KEYS", in_text(ONE, TWO))
    assert rotate(secured).resumed
    assert tokenizer_of(use_case, secured) is not None


class World:
    """Personal payments with views and windows, brought online; live events and accrued ones beside them."""

    def __init__(self, made: Made, settings: Settings, *, rows: int = 40, cards: int = 5) -> None:
        self.settings = settings.model_copy(update={"data": made.settings.data})
        self.use_case: UseCase = made.use_case(
            name=f"test_{uuid.uuid4().hex[:12]}",
            personal=PERSONAL,
            aggregates=[
                {"entity": "card", "column": "device", "functions": ["distinct"], "windows": ["30d"]},
                {"entity": ["card", "device"], "functions": ["count"], "windows": ["30d"]},
                {"entity": "card", "table": "logins", "column": "place", "functions": ["distinct"], "windows": ["30d"]},
            ],
            tables=RAW["tables"] | {"logins": {"path": "logins.parquet", "time": "at"}},
            views={"profile": {"table": "profiles", "entity": "card", "ttl": "60d", "columns": {"limit": {}}}},
        )
        step = 360_000 // rows
        made.payments([{"card_id": f"c{n % cards}", "device_id": f"d{n % 3}", "at": n * step} for n in range(rows)])
        profiles = {"card_id": [f"c{n}" for n in range(5)], "limit": [100.0 * n for n in range(5)]}
        times = {"valid_from": made.at(-9000), "created_at": made.at(-9000)}
        made.write(pd.DataFrame(profiles | times), "profiles.parquet")
        logins = {"card_id": [f"c{n % 5}" for n in range(30)], "place": [f"town {n % 4}" for n in range(30)]}
        made.write(pd.DataFrame(logins | {"at": [made.at(n * 10_000) for n in range(30)]}), "logins.parquet")
        self.now = made.at(500_000)
        self._accrue()
        FeatureStore(self.use_case, self.settings).materialize()
        with closing(OnlineFeatures(self.use_case, self.settings)) as online:
            online.record(self.request("live", "c2", "d9"))

    def tokenizer(self) -> Tokenizer:
        found = tokenizer_of(self.use_case, self.settings)
        assert found
        return found

    def request(self, event_id: str, card: str, device: str) -> ScoringRequest:
        raw = ScoringRequest(event_id, self.now, {"card": card, "device": device}, {"amount": 1.0, "channel": "chip"})
        return self.tokenizer().request(raw)

    def vectors(self) -> list[dict[str, Any]]:
        asked = [("c0", "d0"), ("c2", "d2"), ("c2", "d9"), ("c3", "d1"), ("unknown", "d1")]
        with closing(OnlineFeatures(self.use_case, self.settings)) as online:
            return [vars(online.read(self.request("asked", *pair)))["values"] for pair in asked]

    def frame(self) -> pd.DataFrame:
        return training_frame(self.use_case, self.settings).features

    def _accrue(self) -> None:
        token = self.tokenizer().token
        row = {"payment_id": ["a1"], "paid_at": [self.now], "card_id": [token("c3")], "device_id": [token("d1")]}
        folder = self.settings.home / "accrued" / self.use_case.name
        folder.mkdir(parents=True)
        pd.DataFrame(row | {"amount": [5.0], "channel": ["chip"], "is_fraud": [1]}).to_parquet(folder / "a.parquet")

    def accrued(self) -> pd.DataFrame:
        return pd.read_parquet(self.settings.home / "accrued" / self.use_case.name / "a.parquet")


@pytest.fixture(params=["sqlite", "redis"])
def stores(request: pytest.FixtureRequest, secured: Settings) -> Settings:
    """Settings with one online store or the other."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    return secured.model_copy(update={"redis_url": url})


@contextmanager
def cleared(world: World) -> Iterator[World]:
    try:
        yield world
    finally:
        with closing(OnlineFeatures(world.use_case, world.settings)) as online:
            online.activity.clear()
        with closing(open_packed(path=world.settings.online_db, redis_url=world.settings.redis_url)) as store:
            store.drop(world.use_case.name, "profile")


@pytest.fixture
def world(made: Made, stores: Settings) -> Iterator[World]:
    with cleared(World(made, stores)) as world:
        yield world


def test_a_hot_key_keeps_its_windows_over_a_rotation(made: Made, stores: Settings) -> None:
    with cleared(World(made, stores, rows=2_400, cards=1)) as world:
        vectors = world.vectors()
        rotate(world.settings)
        assert world.vectors() == vectors
        assert vectors[0]["card_device_count_30d"] == 801
        assert vectors[0]["card_device_distinct_30d"] == 3


def test_joins_are_the_same_before_and_after_a_rotation(world: World) -> None:
    vectors, frame = world.vectors(), world.frame()
    assert rotate(world.settings).version == 2
    assert world.vectors() == vectors
    assert vectors[2]["card_device_count_30d"] == 2, "the live event counts"
    assert vectors[3]["profile__limit"] == 300
    pd.testing.assert_frame_equal(world.frame(), frame)
    assert world.accrued()["card_id"].tolist() == [world.tokenizer().token("c3")]


def test_after_a_rotation_online_and_offline_agree_and_no_event_enters_twice(world: World) -> None:
    rotate(world.settings)
    assert FeatureStore(world.use_case, world.settings).materialize()["new_events"] == 0
    found = live(world.use_case, world.settings, events=40)
    assert (found.compared > 0, found.differences) == (True, ())


def test_backfills_are_written_anew_after_a_rotation(made: Made, secured: Settings) -> None:
    world = World(made, secured)
    rows = FeatureStore(world.use_case, world.settings).backfill()["rows"]
    rotate(world.settings)
    again = FeatureStore(world.use_case, world.settings).backfill()
    assert (again["rows"], again["skipped"]) == (rows, False)
    keys = pd.read_parquet(parquet_path(repository_folder(world.use_case, world.settings), "profile"))["card_id"]
    assert set(keys) == {world.tokenizer().token(f"c{n}") for n in range(5)}


def test_a_rotation_that_was_killed_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = world.vectors()
    real: Callable[..., bytes] = Tokenizer.upgrade_all
    left = iter(range(25))

    def dying(self: Tokenizer, content: bytes) -> bytes:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return real(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(rotation.Tokenizer, "upgrade_all", dying)
        with pytest.raises(KeyboardInterrupt):
            rotate(world.settings)
    with pytest.raises(FeatureError, match="the token keys are of version 2"):
        world.tokenizer()
    again = rotate(world.settings)
    assert (again.version, again.resumed) == (2, True)
    assert world.vectors() == vectors


def test_after_a_rotation_no_old_token_is_online(world: World) -> None:
    old = world.tokenizer().token("c3")
    rotate(world.settings)
    files = [path for path in world.settings.home.rglob("online.db*") if path.is_file()]
    with closing(open_packed(path=world.settings.online_db, redis_url=world.settings.redis_url)) as store:
        places = [("card", old), ("card", world.tokenizer().token("c3"))]
        assert [value is None for value in store.values(world.use_case.name, places)] == [True, False]
    assert is_token(old)
    assert files or world.settings.redis_url
