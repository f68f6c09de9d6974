"""The packed online store: newest wins in any order, values come back to the last bit, several writers never fail."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import FeatureError
from configs.settings import Settings
from features.stores.packed import PackedStore, RedisPacked, SqlitePacked, open_packed, read_rows
from features.stores.segments import PackedRow, ViewShape, packed, segments
from features.stores.vectors import VectorReader

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
USE_CASE = f"test_{uuid.uuid4().hex[:12]}"
PROFILE = ViewShape("profile", "card", (("a", "number"),))
LIMITS = ViewShape("limits", "card", (("b", "number"), ("c", "number")))
RICH = ViewShape(
    "rich",
    "card",
    (("g", "time"), ("a", "number"), ("h", "text"), ("b", "number"), ("e", "integer"), ("f", "flag"), ("i", "text")),
)
NUMBERS = [0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, -math.inf]


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, settings: Settings) -> Iterator[PackedStore]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    opened = open_packed(path=settings.online_db, redis_url=url)
    yield opened
    for shape in (PROFILE, LIMITS, RICH):
        opened.drop(USE_CASE, shape.view)
    opened.close()


def row(hours: float, created: float | None = None, **values: Any) -> PackedRow:
    known = None if created is None else NOON + timedelta(hours=created)
    return PackedRow(NOON + timedelta(hours=hours), known, values)


def read(store: PackedStore, key: str, shape: ViewShape = PROFILE) -> PackedRow | None:
    return read_rows(store, USE_CASE, [(shape, key)])[0]


@pytest.mark.parametrize("number", NUMBERS)
def test_values_come_back_to_the_last_bit(store: PackedStore, number: float) -> None:
    values = {"g": NOON, "a": number, "h": "Zoë 😀 'x'", "b": 0.1, "e": 2**62, "f": True, "i": None}
    stored = PackedRow(NOON + timedelta(microseconds=1), NOON + timedelta(microseconds=999_999), values)
    store.write(USE_CASE, RICH, [("K1", stored)])
    found = read(store, "K1", RICH)
    assert found == stored
    assert list(map(repr, found.values.items())) == list(map(repr, values.items()))


def test_what_is_not_there_is_missing_in_every_kind(store: PackedStore) -> None:
    store.write(USE_CASE, RICH, [("K1", row(0, a=math.nan, h=math.nan))])
    found = read(store, "K1", RICH)
    assert found is not None
    assert found.values == dict.fromkeys("gahbefi")


@pytest.mark.parametrize("values", [{"a": "text"}, {"g": 1.5}, {"e": 0.5}, {"e": 2**70}])
def test_a_value_of_another_kind_is_refused(store: PackedStore, values: dict[str, Any]) -> None:
    with pytest.raises(FeatureError, match="the view rich with a value of the wrong kind"):
        store.write(USE_CASE, RICH, [("K1", row(0, **values))])
    assert read(store, "K1", RICH) is None


def test_a_key_without_a_row_gives_none(store: PackedStore) -> None:
    assert read(store, "nobody") is None


def test_the_newest_row_wins_in_every_order_of_writing(store: PackedStore) -> None:
    rows = [row(0, 5, a=1), row(1, None, a=2), row(1, 1, a=3), row(1, 2, a=4)]
    for index, order in enumerate(itertools.permutations(rows)):
        for each in order:
            store.write(USE_CASE, PROFILE, [(f"K{index}", each)])
        assert read(store, f"K{index}") == rows[3]


def test_the_newest_row_wins_within_one_batch(store: PackedStore) -> None:
    store.write(USE_CASE, PROFILE, [("K1", row(2, a=2)), ("K1", row(1, a=1))])
    assert read(store, "K1") == row(2, a=2)


def test_a_repeated_write_of_the_same_times_replaces_the_values(store: PackedStore) -> None:
    store.write(USE_CASE, PROFILE, [("K1", row(1, 1, a=1))])
    store.write(USE_CASE, PROFILE, [("K1", row(1, 1, a=2))])
    assert read(store, "K1") == row(1, 1, a=2)


def test_an_older_row_of_one_view_beside_a_newer_one_of_another_is_written(store: PackedStore) -> None:
    store.write(USE_CASE, PROFILE, [("K1", row(5, a=1))])
    store.write(USE_CASE, LIMITS, [("K1", row(0, b=2, c=3))])
    assert (read(store, "K1"), read(store, "K1", LIMITS)) == (row(5, a=1), row(0, b=2, c=3))


def test_many_keys_are_read_in_their_order(store: PackedStore) -> None:
    store.write(USE_CASE, PROFILE, [(f"K{n}", row(n, a=float(n))) for n in range(2500)])
    store.write(USE_CASE, LIMITS, [("K7", row(0, b=1, c=None))])
    found = read_rows(store, USE_CASE, [(PROFILE, "K2400"), (LIMITS, "K7"), (LIMITS, "K8"), (PROFILE, "K1")])
    assert found == [row(2400, a=2400.0), row(0, b=1, c=None), None, row(1, a=1.0)]
    every = read_rows(store, USE_CASE, [(PROFILE, f"K{n}") for n in range(2500)])
    assert [each.values["a"] for each in every if each] == [float(n) for n in range(2500)]


def test_entities_with_the_same_key_have_values_of_their_own(store: PackedStore) -> None:
    device = ViewShape("profile", "device", PROFILE.columns)
    store.write(USE_CASE, PROFILE, [("K1", row(0, a=1))])
    store.write(USE_CASE, device, [("K1", row(0, a=2))])
    assert (read(store, "K1"), read(store, "K1", device)) == (row(0, a=1), row(0, a=2))


def test_dropping_a_view_leaves_the_others(store: PackedStore) -> None:
    store.write(USE_CASE, PROFILE, [("K1", row(0, a=1)), ("K2", row(0, a=1))])
    store.write(USE_CASE, LIMITS, [("K1", row(0, b=1))])
    store.drop(USE_CASE, "profile")
    assert read(store, "K1") is None
    assert read(store, "K1", LIMITS) is not None
    assert store.values(USE_CASE, [("card", "K2")]) == [None]


@pytest.mark.parametrize("columns", [(("a", "text"),), (("b", "number"),), (("a", "number"), ("b", "number"))])
def test_rows_of_another_shape_read_as_absent(store: PackedStore, columns: Any) -> None:
    store.write(USE_CASE, PROFILE, [("K1", row(0, a=1))])
    assert read(store, "K1", ViewShape("profile", "card", columns)) is None


def test_a_mark_is_what_was_set_last(store: PackedStore) -> None:
    use_case = f"{USE_CASE}_{uuid.uuid4().hex[:6]}"
    assert store.mark(use_case, "view:profile") is None
    for value in ("first", "Zoë"):
        store.set_mark(use_case, "view:profile", value)
    assert store.mark(use_case, "view:profile") == "Zoë"
    assert store.mark(use_case, "view:limits") is None


def test_a_damaged_value_is_named() -> None:
    whole = packed(PROFILE, row(0, a=1))
    for length in (1, 20, len(whole) - 1):
        with pytest.raises(FeatureError, match="damaged"):
            list(segments(whole[:length]))


def damage(store: PackedStore, key: str, value: bytes) -> None:
    if isinstance(store, SqlitePacked):
        with store._file.writing() as connection:
            connection.execute("UPDATE vectors_1 SET value = ? WHERE use_case = ? AND key = ?", (value, USE_CASE, key))
    elif isinstance(store, RedisPacked):
        store._server.client.set(f"risk:{USE_CASE}:vectors1:4:card:{key}", value)


@pytest.mark.parametrize("cut", [1, 20, 43])
def test_what_is_written_anew_takes_the_place_of_damaged_bytes(store: PackedStore, cut: int) -> None:
    whole = packed(LIMITS, row(1, b=1))
    store.write(USE_CASE, PROFILE, [("K1", row(0, a=1))])
    damage(store, "K1", whole + packed(PROFILE, row(9, a=1))[:-cut])
    with pytest.raises(FeatureError, match="materialize --full"):
        read(store, "K1")
    store.write(USE_CASE, PROFILE, [("K1", row(0, a=2))])
    assert (read(store, "K1"), read(store, "K1", LIMITS)) == (row(0, a=2), row(1, b=1, c=None))


def test_a_view_is_dropped_from_damaged_values(store: PackedStore) -> None:
    store.write(USE_CASE, PROFILE, [(f"K{n}", row(0, a=1)) for n in range(3)])
    damage(store, "K1", packed(PROFILE, row(0, a=1))[:-1])
    store.drop(USE_CASE, "profile")
    assert store.values(USE_CASE, [("card", f"K{n}") for n in range(3)]) == [None] * 3


def test_dropping_a_view_goes_in_slices_and_leaves_other_rows_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("features.stores.packed.TURN", 4)
    with closing(SqlitePacked(settings.online_db)) as store:
        store.write(USE_CASE, PROFILE, [(f"K{n:02}", row(0, a=1)) for n in range(10)])
        store.write(USE_CASE, LIMITS, [(f"K{n:02}", row(0, b=1)) for n in range(5, 30)])
        with store._file.writing() as connection:
            before = connection.total_changes
        store.drop(USE_CASE, "profile")
        with store._file.writing() as connection:
            assert connection.total_changes - before == 10 + 5
        left = [value is not None for value in store.values(USE_CASE, [("card", f"K{n:02}") for n in range(30)])]
    assert left == [n >= 5 for n in range(30)]


def test_on_redis_a_row_lives_as_long_as_it_is_told(redis_url: str) -> None:
    with closing(RedisPacked(redis_url)) as store:
        for key, lives in (("K1", None), ("K2", 60_000)):
            store.write(USE_CASE, PROFILE, [(key, row(0, a=1))], lives=lives)
        left = [store._server.client.pttl(f"risk:{USE_CASE}:vectors1:4:card:K{n}") for n in (1, 2)]
        store.drop(USE_CASE, "profile")
    assert left[0] == -1
    assert 0 < left[1] <= 60_000


def test_a_vector_has_the_numbers_of_all_views_in_the_order_asked_for() -> None:
    views = [(PROFILE, timedelta(days=3)), (LIMITS, timedelta(days=3)), (RICH, timedelta(days=3))]
    order = [("limits", "c"), ("profile", "a"), ("rich", "a"), ("rich", "b"), ("limits", "b"), ("rich", "gone")]
    reader = VectorReader(views, names=order)
    card = packed(RICH, row(0, a=4, b=5, h="x")) + packed(LIMITS, row(0, b=2, c=3)) + packed(PROFILE, row(0, a=1))
    found = reader.read([card], NOON)
    numbers = np.frombuffer(found.numbers)
    assert reader.names[0] == "limits__c"
    np.testing.assert_array_equal(numbers, [3, 1, 4, 5, 2, np.nan])
    assert found.others == {"rich__g": None, "rich__h": "x", "rich__e": None, "rich__f": None, "rich__i": None}


def test_reading_a_vector_twice_shares_nothing() -> None:
    reader = VectorReader([(PROFILE, timedelta(days=3))])
    full = reader.read([packed(PROFILE, row(0, a=1))], NOON)
    empty = reader.read([None], NOON)
    assert (full.numbers[0], math.isnan(empty.numbers[0])) == (1, True)


@pytest.mark.parametrize(
    ("age", "created", "there", "stale"),
    [
        (timedelta(days=3), None, True, False),
        (timedelta(days=3, microseconds=1), None, False, True),
        (timedelta(0), timedelta(0), True, False),
        (timedelta(microseconds=-1), None, False, False),
        (timedelta(days=1), timedelta(microseconds=1), False, False),
    ],
)
def test_freshness_and_knowledge_are_inclusive(
    age: timedelta, created: timedelta | None, there: bool, stale: bool
) -> None:
    reader = VectorReader([(PROFILE, timedelta(days=3))])
    stored = PackedRow(NOON - age, None if created is None else NOON + created, {"a": 1})
    found = reader.read([packed(PROFILE, stored)], NOON)
    assert (not math.isnan(found.numbers[0]), found.stale) == (there, ("profile",) if stale else ())
    assert found.times == ({"profile": NOON - age} if there or stale else {})


def test_processes_that_write_at_once_never_find_the_file_locked(settings: Settings) -> None:
    program = textwrap.dedent(
        """
        import sys
        from datetime import UTC, datetime, timedelta
        from pathlib import Path
        from features.stores.packed import open_packed, read_rows
        from features.stores.segments import PackedRow, ViewShape
        store = open_packed(path=Path(sys.argv[1]))
        shapes = [ViewShape(f"view{n}", "card", (("n", "number"),)) for n in range(2)]
        for n in range(300):
            time = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=(n * 7) % 300)
            row = PackedRow(time, None, {"n": float((n * 7) % 300)})
            store.write("shared", shapes[n % 2], [(f"K{k}", row) for k in range(10)])
            assert read_rows(store, "shared", [(shapes[0], "K1")])[0] is not None
        store.close()
        """
    )
    command = [sys.executable, "-c", program, str(settings.online_db)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [writer.communicate(timeout=100)[1] for writer in writers] == ["", "", ""]
    shapes = [ViewShape(f"view{n}", "card", (("n", "number"),)) for n in range(2)]
    store = open_packed(path=settings.online_db)
    found = read_rows(store, "shared", [(shape, f"K{k}") for shape in shapes for k in range(10)])
    store.close()
    assert [each.values["n"] if each else None for each in found] == [298.0] * 10 + [299.0] * 10


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(FeatureError, match=r"online\.db"):
        open_packed(path=path)


def test_an_unreachable_redis_is_an_error_with_a_fix() -> None:
    store = open_packed(path=Path("unused"), redis_url="redis://127.0.0.1:1")
    with pytest.raises(FeatureError, match="RISK_REDIS_URL"):
        read(store, "K1")
    store.close()


def test_without_the_redis_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(FeatureError, match=r"risk-platform\[redis\]"):
        open_packed(path=Path("unused"), redis_url="redis://127.0.0.1")
