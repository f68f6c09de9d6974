"""The packed online store: newest wins in any order, values come back to the last bit, several writers never fail."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from configs.errors import FeatureError
from configs.settings import Settings
from features.stores.packed import PackedRow, PackedStore, open_packed

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
USE_CASE = f"test_{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, settings: Settings) -> Iterator[PackedStore]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    opened = open_packed(path=settings.online_db, redis_url=url)
    yield opened
    for view in ("profile", "limits"):
        opened.drop(USE_CASE, view)
    opened.close()


def row(hours: float, created: float | None = None, **values: float | str | bool | datetime | None) -> PackedRow:
    known = None if created is None else NOON + timedelta(hours=created)
    return PackedRow(NOON + timedelta(hours=hours), known, values)


def test_values_come_back_to_the_last_bit(store: PackedStore) -> None:
    numbers = {"a": 0.1 + 0.2, "b": -0.0, "c": 5e-324, "d": 1e308, "e": 2**62, "f": True}
    values = numbers | {"g": NOON, "h": "Zoë 😀 'x'", "i": None}
    stored = PackedRow(NOON + timedelta(microseconds=1), NOON + timedelta(microseconds=999_999), values)
    store.write(USE_CASE, "profile", [("K1", stored)])
    found = store.read(USE_CASE, "profile", "K1")
    assert found == stored
    assert found is not None
    assert list(map(repr, found.values.values())) == list(map(repr, values.values()))


def test_a_value_that_is_not_a_number_is_missing(store: PackedStore) -> None:
    store.write(USE_CASE, "profile", [("K1", row(0, a=float("nan")))])
    found = store.read(USE_CASE, "profile", "K1")
    assert found is not None
    assert found.values == {"a": None}


def test_a_key_without_a_row_gives_none(store: PackedStore) -> None:
    assert store.read(USE_CASE, "profile", "nobody") is None


def test_the_newest_row_wins_in_every_order_of_writing(store: PackedStore) -> None:
    rows = [row(0, 5, a=1), row(1, None, a=2), row(1, 1, a=3), row(1, 2, a=4)]
    for index, order in enumerate(itertools.permutations(rows)):
        for each in order:
            store.write(USE_CASE, "profile", [(f"K{index}", each)])
        assert store.read(USE_CASE, "profile", f"K{index}") == rows[3]


def test_the_newest_row_wins_within_one_batch(store: PackedStore) -> None:
    store.write(USE_CASE, "profile", [("K1", row(2, a=2)), ("K1", row(1, a=1))])
    assert store.read(USE_CASE, "profile", "K1") == row(2, a=2)


def test_a_repeated_write_of_the_same_times_replaces_the_values(store: PackedStore) -> None:
    store.write(USE_CASE, "profile", [("K1", row(1, 1, a=1))])
    store.write(USE_CASE, "profile", [("K1", row(1, 1, a=2))])
    assert store.read(USE_CASE, "profile", "K1") == row(1, 1, a=2)


def test_many_keys_are_read_in_their_order(store: PackedStore) -> None:
    store.write(USE_CASE, "profile", [(f"K{n}", row(n, a=float(n))) for n in range(2500)])
    store.write(USE_CASE, "limits", [("K7", row(0, b=1))])
    found = store.read_many(USE_CASE, [("profile", "K2400"), ("limits", "K7"), ("limits", "K8"), ("profile", "K1")])
    assert found == [row(2400, a=2400.0), row(0, b=1), None, row(1, a=1.0)]


def test_dropping_a_view_leaves_the_others(store: PackedStore) -> None:
    for view in ("profile", "limits"):
        store.write(USE_CASE, view, [("K1", row(0, a=1))])
    store.drop(USE_CASE, "profile")
    assert store.read(USE_CASE, "profile", "K1") is None
    assert store.read(USE_CASE, "limits", "K1") is not None


def test_processes_that_write_at_once_never_find_the_file_locked(settings: Settings) -> None:
    program = textwrap.dedent(
        """
        import sys
        from datetime import UTC, datetime, timedelta
        from pathlib import Path
        from features.stores.packed import PackedRow, open_packed
        store = open_packed(path=Path(sys.argv[1]))
        for n in range(300):
            time = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=(n * 7) % 300)
            row = PackedRow(time, None, {"n": float((n * 7) % 300)})
            store.write("shared", "view", [(f"K{k}", row) for k in range(10)])
            assert store.read("shared", "view", "K1") is not None
        store.close()
        """
    )
    command = [sys.executable, "-c", program, str(settings.online_db)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [writer.communicate(timeout=100)[1] for writer in writers] == ["", "", ""]
    store = open_packed(path=settings.online_db)
    found = store.read_many("shared", [("view", f"K{k}") for k in range(10)])
    store.close()
    assert {each.values["n"] for each in found if each} == {299.0}


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(FeatureError, match=r"online\.db"):
        open_packed(path=path)


def test_an_unreachable_redis_is_an_error_with_a_fix() -> None:
    store = open_packed(path=Path("unused"), redis_url="redis://127.0.0.1:1")
    with pytest.raises(FeatureError, match="RISK_REDIS_URL"):
        store.read(USE_CASE, "profile", "K1")
    store.close()


def test_without_the_redis_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(FeatureError, match=r"risk-platform\[redis\]"):
        open_packed(path=Path("unused"), redis_url="redis://127.0.0.1")
