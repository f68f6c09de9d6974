"""Loading history online: only what is new, late rows too, nothing older over anything newer, killed or not."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

import pandas as pd
import pytest

from configs.settings import Settings
from configs.use_case import UseCase
from features.diff import live
from features.materialize import materialize
from features.online import OnlineFeatures
from features.request import ScoringRequest
from features.state.activity import Activity
from features.stores import connections
from features.stores.connections import RedisServer, SqliteFile
from features.stores.marks import drop_view
from features.stores.packed import open_packed

DAY = 86_400
VIEWS = {"profile": {"table": "profiles", "entity": "card", "ttl": "60d", "columns": {"points": {}}}}
AGGREGATES = [
    {"entity": "card", "column": "amount", "functions": ["count", "sum"], "windows": ["1d", "7d"]},
    {"entity": "card", "column": "is_fraud", "functions": ["sum"], "windows": ["7d"], "delay": "3d"},
    {"entity": "card", "table": "logins", "functions": ["count"], "windows": ["7d"], "name": "logins"},
]


class World:
    """Payments, profiles and logins by day, and what scoring reads of them."""

    def __init__(self, made: Any, settings: Settings) -> None:
        self._made = made
        self.settings = made.settings.model_copy(update={"redis_url": settings.redis_url})
        self.use_case = self.defined()
        self.payments([(f"p{day}", "c1", day) for day in range(1, 9)])
        self.profiles([("c1", 1, 1, 10.0), ("c2", 2, 2, 20.0), ("c1", 5, 6, 11.0)])
        self.logins([("c1", day / 2) for day in range(2, 16)])

    def defined(self, **changes: Any) -> UseCase:
        defaults: dict[str, Any] = {"views": VIEWS, "aggregates": AGGREGATES}
        self.name = getattr(self, "name", f"test_{uuid.uuid4().hex[:12]}")
        tables = {
            "payments": {"path": "payments.parquet", "time": "paid_at", "late": "2d"},
            "profiles": {"path": "profiles.parquet", "time": "valid_from", "created": "created_at", "late": "2d"},
            "logins": {"path": "logins.parquet", "time": "at", "late": "2d"},
        }
        found: UseCase = self._made.use_case(name=self.name, **{"tables": tables} | defaults | changes)
        return found

    def at(self, days: float) -> datetime:
        found: datetime = self._made.at(days * DAY)
        return found

    def payments(self, rows: list[tuple[str, str, float]]) -> None:
        """(id, card, day)"""
        self._made.payments([{"payment_id": each, "card_id": card, "at": day * DAY} for each, card, day in rows])
        self.paid = rows

    def profiles(self, rows: list[tuple[str, float, float, float]]) -> None:
        """(card, day from which it is valid, day on which it came, points)"""
        table = pd.DataFrame(rows, columns=["card_id", "valid_from", "created_at", "points"])
        for column in ("valid_from", "created_at"):
            table[column] = [self.at(day) for day in table[column]]
        self._made.write(table, "profiles.parquet")

    def logins(self, rows: list[tuple[str, float]]) -> None:
        self._made.write(
            pd.DataFrame({"card_id": [c for c, _ in rows], "at": [self.at(d) for _, d in rows]}), "logins.parquet"
        )

    def load(self, days: float | None = None, **options: Any) -> dict[str, dict[str, Any]]:
        """Loads by part."""
        until = None if days is None else self.at(days)
        found = materialize(self.use_case, self.settings, until=until, **options)
        return {load["part"]: load for load in found["loads"]}

    def read(self, days: float = 9, card: str = "c1") -> dict[str, Any]:
        request = ScoringRequest(
            "asked", self.at(days), {"card": card, "device": "d"}, {"amount": 1.0, "channel": "chip"}
        )
        with closing(OnlineFeatures(self.use_case, self.settings)) as online:
            vector = online.read(request)
        return vector.values  # noqa: PD011

    def points(self, days: float = 9, card: str = "c1") -> Any:
        return self.read(days, card)["profile__points"]


@pytest.fixture(params=["sqlite", "redis"])
def world(request: pytest.FixtureRequest, made: Any, settings: Settings) -> Iterator[World]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    opened = World(made, settings.model_copy(update={"redis_url": url}))
    yield opened
    if url:
        with closing(RedisServer(url)) as server:
            server.forget(f"risk:{opened.name}:*")


def test_a_first_load_is_full_and_brings_all_of_history(world: World) -> None:
    loads = world.load()
    assert {part: load["mode"] for part, load in loads.items()} == dict.fromkeys(loads, "full")
    assert [load["rows"] for load in loads.values()] == [2, 14, 8]
    values = world.read()
    assert [values[name] for name in ("profile__points", "card_amount_count_7d", "logins_count_7d")] == [
        11.0,
        7.0,
        11.0,
    ]
    assert world.points(card="c2") == 20.0


def test_a_second_load_reads_only_the_overlap_and_changes_nothing(world: World) -> None:
    world.load()
    before = world.read()
    loads = world.load()
    assert {part: (load["mode"], load["rows"], load["new"]) for part, load in loads.items()} == {
        "view profile": ("incremental", 1, None),
        "events logins": ("incremental", 5, 0),
        "events payments": ("incremental", 4, 0),
    }
    assert world.read() == before


def test_rows_that_came_since_are_loaded(world: World) -> None:
    world.load()
    world.payments([*world.paid, ("p9", "c1", 8.5)])
    world.profiles([("c1", 5, 6, 11.0), ("c3", 8, 8, 30.0)])
    loads = world.load()
    assert (loads["events payments"]["new"], world.points(card="c3")) == (1, 30.0)
    assert world.read()["card_amount_count_1d"] == 2.0


def test_a_late_row_within_the_overlap_is_loaded(world: World) -> None:
    world.load()
    world.payments([*world.paid, ("late", "c1", 6.5)])
    world.profiles([("c1", 1, 1, 10.0), ("c2", 2, 4.5, 21.0), ("c1", 5, 6, 11.0)])
    loads = world.load()
    assert (loads["events payments"]["mode"], loads["events payments"]["new"]) == ("incremental", 1)
    assert (world.read()["card_amount_count_7d"], world.points(card="c2")) == (8.0, 21.0)


def test_a_row_later_than_the_overlap_waits_for_a_full_load(world: World) -> None:
    world.load()
    world.payments([*world.paid, ("very late", "c1", 2.5)])
    assert world.load()["events payments"]["new"] == 0
    assert world.load(full=True)["events payments"]["new"] == 1


def test_an_outcome_that_became_known_is_loaded_with_its_old_event(world: World) -> None:
    world.load(3)  # the outcome of p2 matures two days after it, on day four
    assert world.read(5.5)["card_is_fraud_sum_7d"] == 0.0
    world.load(5)
    assert world.read(5.5)["card_is_fraud_sum_7d"] == 1.0


@pytest.mark.parametrize(("days", "points"), [(4, 10.0), (5.5, 10.0), (6, 11.0)])
def test_until_brings_what_was_known_then(world: World, days: float, points: float) -> None:
    loads = world.load(days)
    assert world.points() == points
    assert loads["events payments"]["new"] == len([day for _, _, day in world.paid if day < days])


def test_an_earlier_until_leaves_newer_rows_in_place(world: World) -> None:
    world.load()
    loads = world.load(4)
    assert loads["view profile"]["mode"] == "full"
    assert (world.points(), world.read()["card_amount_count_7d"]) == (11.0, 7.0)
    world.profiles([("c1", 1, 1, 10.0), ("c2", 2, 2, 20.0), ("c1", 5, 6, 11.0), ("c2", 4, 5, 22.0)])
    world.load()
    assert world.points(card="c2") == 22.0


def test_an_event_that_was_recorded_live_is_not_loaded_again(world: World) -> None:
    request = ScoringRequest("p8", world.at(8), {"card": "c1", "device": "d1"}, {"amount": 10.0, "channel": "chip"})
    with closing(OnlineFeatures(world.use_case, world.settings)) as online:
        online.record(request)
    assert world.load()["events payments"]["new"] == 7
    assert world.read()["card_amount_count_7d"] == 7.0


@pytest.mark.parametrize("columns", [{"points": {"missing": [11]}}, {"points": {"type": "category"}}])
def test_a_changed_view_is_loaded_anew(world: World, columns: dict[str, Any]) -> None:
    world.load()
    world.use_case = world.defined(views={"profile": VIEWS["profile"] | {"columns": columns}})
    loads = world.load()
    assert (loads["view profile"]["mode"], loads["events payments"]["mode"]) == ("full", "incremental")
    assert world.points() == (None if "missing" in columns["points"] else "11")


def test_rows_of_a_former_definition_do_not_survive_where_they_look_newer(world: World) -> None:
    world.load()
    world.use_case = world.defined(
        views={"profile": VIEWS["profile"] | {"table": "logins", "columns": {"card_id": {"type": "category"}}}}
    )
    world.logins([("c1", 0.5)])
    world.load()
    values = world.read(2)
    assert "profile__points" not in values
    with closing(OnlineFeatures(world.use_case, world.settings)) as online:
        request = ScoringRequest("asked", world.at(2), {"card": "c1", "device": None}, {"amount": 1.0, "channel": None})
        assert online.read(request).times == {"profile": world.at(0.5)}


def test_a_changed_aggregate_is_loaded_anew(world: World) -> None:
    world.load()
    changed = [AGGREGATES[0] | {"column": "amount", "functions": ["max"], "windows": ["7d"]}, *AGGREGATES[1:]]
    world.use_case = world.defined(aggregates=changed)
    loads = world.load()
    assert (loads["events payments"]["mode"], loads["events payments"]["new"]) == ("full", 8)
    assert loads["view profile"]["mode"] == "incremental"
    assert world.read()["card_amount_max_7d"] == 10.0


def test_a_changed_request_field_is_counted_anew(world: World) -> None:
    world.load()
    assert world.read()["card_amount_sum_7d"] == 61.0  # six of 10, and 1 itself
    world.use_case = world.defined(request={"amount": {"missing": [10]}})
    loads = world.load()
    assert (loads["events payments"]["mode"], loads["events payments"]["new"]) == ("full", 8)
    assert world.read()["card_amount_sum_7d"] == 1.0


def test_a_new_description_or_lifetime_leaves_the_rows_in_place(world: World) -> None:
    world.load()
    columns = {"points": {"description": "Points of the programme."}}
    world.use_case = world.defined(views={"profile": VIEWS["profile"] | {"ttl": "50d", "columns": columns}})
    assert world.load()["view profile"]["mode"] == "incremental"


def test_a_view_that_was_dropped_is_loaded_in_full(world: World) -> None:
    world.load()
    with closing(open_packed(path=world.settings.online_db, redis_url=world.settings.redis_url)) as packed:
        drop_view(packed, world.name, "profile")
    assert (world.points(card="c2"), world.load()["view profile"]["mode"]) == (None, "full")
    assert world.points(card="c2") == 20.0


def test_an_outcome_known_long_after_its_event_is_loaded(world: World) -> None:
    label = {"column": "is_fraud", "maturity": "2d", "known": "known_at"}
    entering = [
        {"entity": "card", "column": "is_fraud", "functions": ["count"], "windows": ["7d"], "enters": "outcome"}
    ]
    world.payments([("old", "c1", -20), *world.paid])
    table = pd.read_parquet(world.settings.data / "payments.parquet")
    table["known_at"] = [world.at(6), *(world.at(day + 0.5) for _, _, day in world.paid[1:])]
    table.to_parquet(world.settings.data / "payments.parquet")
    world.use_case = world.defined(aggregates=entering, label=label)
    world.load()
    assert world.read()["card_is_fraud_count_7d"] == 8.0  # p2 to p8, and the one of three weeks before


def entering(world: World, *, old: float) -> None:
    """Windows over outcomes, where that of an event of three weeks before became known on a day of its own."""
    counted = {"entity": "card", "column": "is_fraud", "functions": ["count"], "windows": ["7d"], "enters": "outcome"}
    rows = [row for row in world.paid if row[0] != "old"]
    world.payments([("old", "c1", -20), *rows])
    table = pd.read_parquet(world.settings.data / "payments.parquet")
    table["known_at"] = [world.at(old), *(world.at(day + 0.5) for _, _, day in rows)]
    table.to_parquet(world.settings.data / "payments.parquet")
    world.use_case = world.defined(
        aggregates=[counted], label={"column": "is_fraud", "maturity": "2d", "known": "known_at"}
    )


def test_an_event_whose_outcome_came_late_is_counted_once(world: World) -> None:
    entering(world, old=6)
    world.load()
    assert [world.load(full=full)["events payments"]["new"] for full in (False, True)] == [0, 0]
    entering(world, old=7)  # corrected
    world.load()
    assert world.read()["card_is_fraud_count_7d"] == 8.0


def test_state_that_was_cleared_is_loaded_in_full(world: World) -> None:
    world.load()
    with closing(Activity(world.use_case, world.settings)) as activity:
        activity.clear()
    assert world.load()["events payments"]["mode"] == "full"
    assert world.read()["card_amount_count_7d"] == 7.0


def test_state_of_a_former_definition_goes_when_nothing_came_to_it_for_long(world: World) -> None:
    world.load()
    for function in ("max", "min"):
        world.use_case = world.defined(aggregates=[AGGREGATES[0] | {"functions": [function]}, *AGGREGATES[1:]])
        world.load()
    if not world.settings.redis_url:  # where it expires
        with closing(sqlite3.connect(world.settings.online_db)) as database:
            spaces = {space for (space,) in database.execute("SELECT DISTINCT space FROM activity_event")}
            streams = {stream for (stream,) in database.execute("SELECT DISTINCT stream FROM activity_member")}
        assert len(spaces) == 2  # payments and logins
        assert {stream.rpartition(":")[0] for stream in streams} == spaces


def test_a_load_without_news_drops_what_no_window_needs_any_more(world: World) -> None:
    world.load()
    loads = world.load(60)
    assert (loads["events payments"]["new"], world.read(9)["card_amount_count_7d"]) == (0, 1.0)


def test_a_key_that_became_personal_is_counted_by_its_token(world: World) -> None:
    counted = [{"entity": "device", "column": "amount", "functions": ["count"], "windows": ["7d"]}]
    world.use_case = world.defined(aggregates=counted)
    world.load()
    world.use_case = world.defined(aggregates=counted, personal={"device_id": "token"})
    world.load()
    assert live(world.use_case, world.settings).differences == ()


def test_rows_that_a_changed_contract_accepts_or_refuses_are_counted_anew(world: World) -> None:
    table = pd.read_parquet(world.settings.data / "payments.parquet")
    table["speed"] = [5.0 if each == "p4" else 1.0 for each in table["payment_id"]]
    table.to_parquet(world.settings.data / "payments.parquet")
    tables = {name: found.model_dump(mode="json") for name, found in world.use_case.tables.items()}
    tables["payments"]["rejects"] = 0.5
    fields = world.use_case.model_dump(mode="json")["request"]
    for most, count in ((9, 7.0), (2, 6.0), (9, 7.0)):
        world.use_case = world.defined(tables=tables, request=fields | {"speed": {"max": most}})
        world.load()
        assert world.read()["card_amount_count_7d"] == count


@pytest.mark.parametrize("world", ["redis"], indirect=True)
def test_a_full_load_renews_what_is_there_already(world: World) -> None:
    assert world.settings.redis_url
    world.load()
    with closing(RedisServer(world.settings.redis_url)) as server:
        keys = list(server.client.scan_iter(f"risk:{world.name}:activity:*"))
        for key in keys:
            server.client.pexpire(key, 60_000)
        world.load(full=True)
        assert min(map(server.client.pttl, keys)) > 86_400_000


@pytest.mark.parametrize("world", ["redis"], indirect=True)
def test_on_redis_a_mark_goes_no_later_than_what_it_speaks_of(world: World) -> None:
    assert world.settings.redis_url
    world.load()
    with closing(RedisServer(world.settings.redis_url)) as server:
        for table in ("logins", "payments"):
            lives = server.client.pttl(f"risk:{world.name}:mark:events:{table}")
            kept = server.client.scan_iter(f"risk:{world.name}:activity:{table}:*")
            assert 0 < lives <= min(map(server.client.pttl, kept))


def test_a_longer_window_reads_further_back(world: World) -> None:
    world.payments([("old", "c1", -20), *world.paid])
    world.load()
    longer = [AGGREGATES[0] | {"windows": ["1d", "7d", "60d"]}, *AGGREGATES[1:]]
    world.use_case = world.defined(aggregates=longer)
    world.load()
    assert world.read()["card_amount_count_60d"] == 10.0


def test_progress_is_shown(world: World) -> None:
    notes: list[str] = []

    class Listening:
        def note(self, text: str) -> None:
            notes.append(text)

    world.load(ticker=Listening())
    assert notes == ["reading profile", "recent rows of logins", "recent rows of payments"]


class Killed(BaseException):
    """Nothing catches this, as nothing catches a kill."""


def mortal(monkeypatch: pytest.MonkeyPatch, *, after: int = 1_000) -> list[int]:
    """Let the process die after so many transactions; the number that are left may be set anew."""
    real, left = SqliteFile.writing, [after]

    @contextmanager
    def writing(self: SqliteFile) -> Iterator[sqlite3.Connection]:
        left[0] -= 1
        if left[0] < 0:
            left[0] = 1_000
            raise Killed
        with real(self) as connection:
            yield connection

    monkeypatch.setattr(SqliteFile, "writing", writing)
    return left


def content(settings: Settings) -> dict[str, list[Any]]:
    """All rows of all tables of the online store."""
    with closing(sqlite3.connect(settings.online_db)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(database.execute(f"SELECT * FROM {name}")) for name in names}


@pytest.mark.parametrize("changed", [False, True])
def test_killed_before_any_transaction_and_run_again_the_state_is_the_same(
    made: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    monkeypatch.setattr(connections, "TURN", 4)
    left = mortal(monkeypatch)
    world = World(made, settings)

    def done(*, steps: int) -> tuple[dict[str, list[Any]], bool]:
        """The state after a load that dies after so many transactions is run again."""
        for file in world.settings.home.glob("online.db*"):
            file.unlink()
        left[0] = 1_000
        if changed:  # the load that dies has rows of another definition to drop
            world.use_case = world.defined(views={"profile": VIEWS["profile"] | {"columns": {"points": {"min": 5}}}})
            world.load(7)
            world.use_case = world.defined()
        left[0], killed = steps, False
        try:
            world.load()
        except Killed:
            killed = True
        if killed:
            world.load()
        return content(world.settings), killed

    expected, _ = done(steps=1_000)
    kills = 0
    for steps in range(100):
        found, killed = done(steps=steps)
        assert found == expected, f"killed after {steps} transactions"
        if not killed:
            break
        kills += 1
    assert kills > 8


def test_rows_of_a_first_load_that_was_killed_do_not_outlive_its_definition(
    made: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TURN", 1)
    world = World(made, settings)
    left = mortal(monkeypatch)
    world.read()  # makes the tables
    left[0] = 3
    with pytest.raises(Killed):
        world.load()
    world.use_case = world.defined(views={"profile": VIEWS["profile"] | {"columns": {"points": {"type": "category"}}}})
    world.profiles([("c1", 1, 1, 10.0)])
    world.load()
    assert world.points() == "10"


def test_a_load_of_events_goes_on_where_it_was_broken_off(
    made: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "TURN", 2)
    world = World(made, settings)
    world.payments([(f"p{day}", "c1", day) for day in range(1, 21)])
    mortal(monkeypatch, after=15)
    with pytest.raises(Killed):
        world.load()
    again = world.load()["events payments"]
    assert 0 < again["new"] < again["rows"] < 12
    assert world.read(21)["card_amount_count_7d"] == 7.0
