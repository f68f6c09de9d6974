"""Offline against online: nothing differs where the stores are told what history tells, and what differs is found."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.diff import Diff, live, replay
from features.materialize import materialize
from features.online import OnlineFeatures
from features.replay import Replay, replaying
from features.store import FeatureStore
from features.stores.connections import RedisServer
from features.stores.packed import open_packed
from features.stores.segments import PackedRow, shapes_of
from features.traffic import history

TTL = 3 * 3600
HOUR = 3600
TABLES = {
    "payments": {"path": "payments.parquet", "time": "paid_at"},
    "profiles": {"path": "profiles.parquet", "time": "valid_from", "created": "created_at"},
    "logins": {"path": "logins.parquet", "time": "at"},
}
VIEWS = {
    "profile": {
        "table": "profiles",
        "entity": "card",
        "ttl": "3h",
        "columns": {
            "points": {"missing": [-1]},
            "tier": {"type": "category"},
            "opened": {"type": "time"},
        },
    }
}
AGGREGATES = [
    {"entity": "card", "column": "amount", "functions": ["count", "mean", "std", "max"], "windows": ["1h", "1d"]},
    {"entity": "device", "column": "is_fraud", "functions": ["mean"], "windows": ["1d"], "delay": "2h", "name": "bad"},
    {"entity": "card", "column": "is_fraud", "functions": ["count", "mean"], "windows": ["3h"], "name": "told"}
    | {"enters": "outcome"},
    {"entity": ["card", "device"], "functions": ["since_last", "first_seen"], "windows": ["1d"], "name": "pair"},
    {"entity": "card", "table": "logins", "functions": ["count"], "windows": ["1h"], "name": "logins"},
]
DERIVED = {
    "age": {"sql": "(epoch(event_time) - epoch(profile__opened)) / 3600"},
    "over": {"sql": "amount / nullif(card_amount_mean_1d, 0)"},
    "older": {"sql": "CASE WHEN age > 2 THEN 'old' ELSE profile__tier END", "type": "category"},
}


class World:
    """Payments, profiles and logins, on one online store."""

    def __init__(self, made: Any, redis_url: str | None = None) -> None:
        self._made = made
        self.settings: Settings = made.settings.model_copy(update={"redis_url": redis_url})
        self.use_case: UseCase = made.use_case(
            name=f"test_{uuid.uuid4().hex[:12]}",
            tables=TABLES,
            label={"column": "is_fraud", "maturity": "2h"},
            views=VIEWS,
            aggregates=AGGREGATES,
            derived=DERIVED,
        )

    def at(self, seconds: float) -> datetime:
        found: datetime = self._made.at(seconds)
        return found

    def payments(self, rows: list[dict[str, Any]]) -> None:
        self._made.payments(rows)

    def profiles(self, rows: list[tuple[str, float, float | None, float, str | None]]) -> None:
        """(card, seconds from which it is valid, seconds at which it came, points, tier)"""
        table = pd.DataFrame(rows, columns=["card_id", "valid_from", "created_at", "points", "tier"])
        table["opened"] = [self.at(seconds - HOUR) for seconds in table["valid_from"]]
        table["valid_from"] = [self.at(seconds) for seconds in table["valid_from"]]
        created = [None if pd.isna(seconds) else self.at(seconds) for seconds in table["created_at"]]
        table["created_at"] = pd.Series(created, dtype="datetime64[us, UTC]")
        table["tier"] = table["tier"].astype(object)
        self._made.write(table, "profiles.parquet")

    def logins(self, rows: list[tuple[str, float]]) -> None:
        table = pd.DataFrame({"card_id": pd.Series([card for card, _ in rows], dtype=object)})
        table["at"] = pd.Series([self.at(seconds) for _, seconds in rows], dtype="datetime64[us, UTC]")
        self._made.write(table, "logins.parquet")

    def typical(self) -> World:
        """Forty payments of three cards over two days, some at the same moment; profiles that are corrected."""
        self.payments([
            {"at": n // 2 * 8000, "card_id": f"c{n % 3}", "device_id": f"d{n % 2}", "amount": 5.0 + n / 3}
            | {"is_fraud": n % 4 // 3}
            for n in range(40)
        ])  # fmt: skip
        self.profiles(
            [(f"c{n % 3}", n * 5000, n * 5000 + n % 4 * 3000, float(n), None if n % 5 else "gold") for n in range(30)]
        )
        self.logins([(f"c{n % 3}", n * 1500) for n in range(100)])
        return self


@pytest.fixture(params=["sqlite", "redis"])
def world(request: pytest.FixtureRequest, made: Any) -> Iterator[World]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    opened = World(made, url)
    yield opened
    if url:
        with closing(RedisServer(url)) as server:
            server.forget(f"risk:{opened.use_case.name}:*")


def test_a_replay_of_honest_history_differs_nowhere(world: World) -> None:
    found = replay(world.typical().use_case, world.settings)
    assert (found.store, found.events, found.left_out, found.differences) == ("replay", 40, 0, ())
    assert found.compared == 40 * len(features(world))
    assert found.by_feature() == {}


def test_an_outcome_that_came_after_the_state_forgot_its_event_differs_nowhere(world: World) -> None:
    told = world.use_case.label.model_copy(update={"known": "known_at"})
    world.use_case = world.use_case.model_copy(update={"label": told})
    world.profiles([("c1", 0, None, 1.0, None)])
    world.logins([("c1", 0)])
    days = 24 * HOUR
    world.payments([{"at": at, "card_id": "c1", "is_fraud": int(not at)} for at in (0, 5 * days + HOUR)])
    table = pd.read_parquet(world.settings.data / "payments.parquet")
    table["known_at"] = [world.at(5 * days), world.at(20 * days)]
    table.to_parquet(world.settings.data / "payments.parquet")
    frame = FeatureStore(world.use_case, world.settings).training_frame()
    assert list(frame.features["told_count_3h"]) == [0.0, 1.0]
    assert replay(world.use_case, world.settings).differences == ()
    materialize(world.use_case, world.settings)
    with closing(OnlineFeatures(world.use_case, world.settings)) as online:
        request, _ = list(history(world.use_case, world.settings, start=world.at(days), end=None))[-1]
        vector = online.read(request)
    assert vector.values["told_count_3h"] == 1.0  # noqa: PD011


def features(world: World) -> list[str]:
    from features.vector import features_of

    return [feature.name for feature in features_of(world.use_case)]


def test_a_replay_leaves_nothing_behind(world: World) -> None:
    replay(world.typical().use_case, world.settings)
    assert not world.settings.online_db.exists()
    if world.settings.redis_url:
        with closing(RedisServer(world.settings.redis_url)) as server:
            assert not list(server.client.scan_iter(match="risk:replay-*"))


def test_what_a_killed_replay_leaves_on_redis_expires(made: Any, redis_url: str) -> None:
    world = World(made, redis_url).typical()
    with replaying(world.use_case, world.settings) as told, closing(RedisServer(redis_url)) as server:
        told.advance(2**51)
        told.record(list(history(world.use_case, world.settings, start=world.at(0), end=None)))
        pattern = f"risk:{told._alias.name}:*"
        left = {key: server.client.pttl(key) for key in server.client.scan_iter(match=pattern, count=1000)}
    assert any(b":vectors" in key for key in left)
    assert any(b":event:" in key for key in left)
    assert min(left.values()) > 0


def test_a_sample_is_drawn_by_its_seed(world: World) -> None:
    world.typical()
    assert [replay(world.use_case, world.settings, events=n, seed=3).events for n in (1, 7, 400)] == [1, 7, 40]


def test_an_event_that_never_reached_the_store_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Replay.record

    def losing(self: Replay, events: Any) -> None:
        record(self, [event for event in events if event[0].event_id != "p020"])

    monkeypatch.setattr(Replay, "record", losing)
    found = replay(world.typical().use_case, world.settings)
    names = found.by_feature()
    assert found.found == sum(names.values()) > 0
    assert set(names) <= {name for name in features(world) if name.startswith(("card_", "bad_", "told_", "pair_"))} | {
        "over"
    }
    assert list(names.values()) == sorted(names.values(), reverse=True)
    assert min(each.event_time for each in found.differences) >= world.at(20 // 2 * 8000)


def test_a_store_that_ignores_the_ttl_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    import features.online as module

    real = module.VectorReader
    monkeypatch.setattr(
        module, "VectorReader", lambda views: real([(shape, timedelta(days=900)) for shape, _ in views])
    )
    found = replay(world.typical().use_case, world.settings)
    assert {"profile__points", "profile__tier", "age", "older"} >= set(found.by_feature()) > {"profile__points"}
    assert {each.offline for each in found.differences if each.feature == "profile__points"} == {None}


def test_the_live_store_differs_nowhere_after_loading(world: World) -> None:
    materialize(world.typical().use_case, world.settings)
    found = live(world.use_case, world.settings)
    assert (found.store, found.found) == ("live", 0)
    assert found.events == len([n for n in range(40) if n // 2 * 8000 >= 19 * 8000 - 86_400])
    assert found.compared + found.left_out == found.events * len(features(world))
    assert 0 < found.left_out < found.compared


def test_a_view_that_was_overwritten_later_is_left_out_with_what_comes_from_it(world: World) -> None:
    world.typical().profiles([(f"c{n}", 0, None, 1.0, "gold") for n in range(3)])
    materialize(world.use_case, world.settings)
    assert live(world.use_case, world.settings).left_out == 0
    world.profiles([(f"c{n}", 19 * 8000 + 1, None, 1.0, "gold") for n in range(3)])
    materialize(world.use_case, world.settings)
    found = live(world.use_case, world.settings)
    assert (found.left_out, found.found) == (found.events * 4, 0)  # two features of the view, two derived ones


def test_a_value_planted_in_the_live_store_is_found(world: World) -> None:
    world.typical().profiles([(f"c{n}", 19 * 8000 - HOUR, None, 1.0, "gold") for n in range(3)])
    materialize(world.use_case, world.settings)
    planted = PackedRow(world.at(19 * 8000 - HOUR), None, {"points": 2.0, "tier": "gold", "opened": world.at(0)})
    with closing(open_packed(path=world.settings.online_db, redis_url=world.settings.redis_url)) as store:
        store.write(world.use_case.name, shapes_of(world.use_case)["profile"], [("c0", planted)])
    found = live(world.use_case, world.settings)
    points = [each for each in found.differences if each.feature == "profile__points"]
    assert [(each.event_id, each.offline, each.online) for each in points] == [("p039", 1.0, 2.0)]
    assert set(found.by_feature()) == {"profile__points", "age", "older"}


def test_an_event_planted_in_the_live_store_is_found(world: World) -> None:
    materialize(world.typical().use_case, world.settings)
    last = list(history(world.use_case, world.settings, start=None, end=None))[-1][0]
    with closing(OnlineFeatures(world.use_case, world.settings)) as online:
        online.record(replace(last, event_id="planted"))
    found = live(world.use_case, world.settings)
    assert {each.event_id for each in found.differences} == {"p039"}
    assert found.by_feature()["card_amount_count_1h"] == 1


def test_minus_zero_is_not_zero(world: World) -> None:
    world.typical().profiles([("c0", 19 * 8000 - HOUR, None, 0.0, "gold")])
    materialize(world.use_case, world.settings)
    planted = PackedRow(
        world.at(19 * 8000 - HOUR), None, {"points": -0.0, "tier": "gold", "opened": world.at(19 * 8000 - 2 * HOUR)}
    )
    with closing(open_packed(path=world.settings.online_db, redis_url=world.settings.redis_url)) as store:
        store.write(world.use_case.name, shapes_of(world.use_case)["profile"], [("c0", planted)])
    assert live(world.use_case, world.settings).by_feature() == {"profile__points": 1}


def test_a_live_store_with_nothing_in_it_is_an_error(world: World) -> None:
    with pytest.raises(FeatureError, match=r"nothing of .* is online"):
        live(world.typical().use_case, world.settings)


@pytest.mark.parametrize("compare", [replay, live])
def test_events_without_a_time_are_an_error(made: Any, compare: Callable[..., Diff]) -> None:
    made.payments([{}, {}])
    with pytest.raises(FeatureError, match=r"event\.time"):
        compare(made.timeless(), made.settings)


# Times at which something lies on an edge: the same moment, one TTL apart, one window apart, midnight of another zone
_EDGES = [0, 1, HOUR, HOUR + 1, 2 * HOUR, TTL, TTL + 1, 22 * HOUR, 24 * HOUR, 24 * HOUR + 1]
_TIMES = st.sampled_from(_EDGES) | st.integers(0, 26 * HOUR)
_CARDS = st.sampled_from(["c1", "c2"])
_PROFILES = st.lists(
    st.tuples(
        _CARDS,
        _TIMES,
        st.none() | st.sampled_from([0, 0, 1, HOUR, TTL]),  # how much later than it is valid it came
        st.sampled_from([-1.0, 0.0, 0.1, 7.0]),
        st.sampled_from([None, "gold", "tin"]),
    ),
    min_size=1,
    max_size=30,
)
_PAYMENTS = st.lists(
    st.fixed_dictionaries(
        {
            "at": _TIMES,
            "card_id": _CARDS,
            "device_id": st.sampled_from(["d1", "d2", None]),
            "amount": st.sampled_from([0.1, 0.2, 10.0, 999.99]),
            "is_fraud": st.sampled_from([0, 1]),
        }
    ),
    min_size=1,
    max_size=40,
)
_LOGINS = st.lists(st.tuples(_CARDS, _TIMES), min_size=1, max_size=25)
_GENERATED: dict[str, Any] = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def generated(made: Any, url: str | None, payments: list[Any], profiles: list[Any], logins: list[Any]) -> Diff:
    world = World(made, url)
    world.payments(payments)
    world.profiles(
        [(card, at, None if lag is None else at + lag, points, tier) for card, at, lag, points, tier in profiles]
    )
    world.logins(logins)
    return replay(world.use_case, world.settings)


@pytest.fixture
def worlds(tmp_path: Path, made_in: Callable[[Path], Any], settings: Settings) -> Callable[[], Any]:
    """A new empty world each time."""
    del settings  # which clears the environment

    def new() -> Any:
        folder = tmp_path / uuid.uuid4().hex
        folder.mkdir()
        return made_in(folder)

    return new


@given(payments=_PAYMENTS, profiles=_PROFILES, logins=_LOGINS)
@hypothesis_settings(max_examples=12, **_GENERATED)
def test_generated_history_differs_nowhere(
    worlds: Callable[[], Any], payments: list[Any], profiles: list[Any], logins: list[Any]
) -> None:
    assert generated(worlds(), None, payments, profiles, logins).differences == ()


@given(payments=_PAYMENTS, profiles=_PROFILES, logins=_LOGINS)
@hypothesis_settings(max_examples=5, **_GENERATED)
def test_generated_history_differs_nowhere_on_redis(
    worlds: Callable[[], Any], redis_url: str, payments: list[Any], profiles: list[Any], logins: list[Any]
) -> None:
    assert generated(worlds(), redis_url, payments, profiles, logins).differences == ()


@pytest.mark.parametrize("form", ["naive", "text with offsets", "another zone"])
def test_times_are_the_same_instants_in_every_form(worlds: Callable[[], Any], form: str) -> None:
    made = worlds()
    world = World(made).typical()
    table = pd.read_parquet(world.settings.data / "profiles.parquet")
    for column in ("valid_from", "created_at"):
        if form == "naive":
            table[column] = table[column].dt.tz_localize(None)
        elif form == "another zone":
            table[column] = table[column].dt.tz_convert("America/St_Johns")
        else:
            zones = [UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-3, minutes=-30))]
            table[column] = [
                time.to_pydatetime().astimezone(zones[n % 3]).isoformat() for n, time in enumerate(table[column])
            ]
    table.to_parquet(world.settings.data / "profiles.parquet")
    found = replay(world.use_case, world.settings)
    assert (found.events, found.differences) == (40, ())
    materialize(world.use_case, world.settings)
    assert live(world.use_case, world.settings).differences == ()
