"""The point-in-time join against a brute-force oracle."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import duckdb
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from features.asof import AT, CREATED, KEY, ROW, TIME, asof_query

CONNECTION = duckdb.connect()

keys = st.sampled_from(["a", "b", None])
history_rows = st.tuples(
    keys, st.one_of(st.none(), st.integers(0, 9)), st.one_of(st.none(), st.integers(0, 14)), st.integers(0, 99)
)
probe_rows = st.tuples(keys, st.integers(0, 16))


def joined(probes: list[Any], history: list[Any], ttl: int | None) -> list[float | None]:
    rows = pd.DataFrame([(index, *probe) for index, probe in enumerate(probes)], columns=["row:", "key:", "at:"])
    past = pd.DataFrame(history, columns=["key:", "time:", "created:", "value"])
    typed = past.astype({"key:": "string", "time:": "Int64", "created:": "Int64", "value": "Int64"})
    CONNECTION.register("probe_rows", rows.astype({"key:": "string"}))
    CONNECTION.register("past_rows", typed)
    limit = timedelta(microseconds=ttl) if ttl else None
    query = asof_query("probe_rows", "past_rows", columns={"value": "value"}, ttl=limit)
    found = dict(CONNECTION.execute(query).fetchall())
    return [found.get(index) for index in range(len(probes))]


def oracle(probe: Any, history: list[Any], ttl: int | None) -> Any:
    """The latest row by (time, created, place in the table) that had happened and was known, unless it is too old."""
    key, at = probe
    visible = [
        (time, -1 if created is None else created, place, value)
        for place, (other, time, created, value) in enumerate(history)
        if key is not None and other == key and time is not None and time <= at and (created is None or created <= at)
    ]
    if not visible:
        return None
    time, *_, value = max(visible)
    return value if ttl is None or at - time <= ttl else None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    probes=st.lists(probe_rows, min_size=1, max_size=8),
    history=st.lists(history_rows, min_size=1, max_size=12),
    ttl=st.sampled_from([None, 1, 3, 20]),
)
def test_every_probe_gets_the_latest_row_known_at_its_time(probes, history, ttl) -> None:
    assert joined(probes, history, ttl) == [oracle(probe, history, ttl) for probe in probes]


def test_a_late_correction_replaces_the_value_from_when_it_was_known() -> None:
    history = [("a", 1, 1, 10), ("a", 1, 5, 11), ("a", 3, 3, 20), ("a", 2, 9, 99)]
    assert joined([("a", at) for at in (0, 1, 2, 3, 5, 9)], history, None) == [None, 10, 10, 20, 20, 20]


def test_both_ends_are_inclusive() -> None:
    assert joined([("a", 4), ("a", 7), ("a", 8)], [("a", 4, None, 1)], 3) == [1, 1, None]


def test_names_of_a_table_never_collide_with_those_of_the_join() -> None:
    row = f"'a' AS {KEY}, 1 AS {TIME}, 1 AS {CREATED}"
    CONNECTION.execute(f"CREATE OR REPLACE TEMP TABLE odd AS SELECT {row}, 7 AS key, 8 AS time, 9 AS visible")
    CONNECTION.execute(f"CREATE OR REPLACE TEMP TABLE asked AS SELECT 0 AS {ROW}, 'a' AS {KEY}, 2 AS {AT}, 5 AS time")
    query = asof_query("asked", "odd", columns={"key": '"key"', "time": '"time"', "visible": '"visible"'}, ttl=None)
    assert CONNECTION.execute(query).fetchall() == [(0, 7, 8, 9)]


def test_a_missing_number_is_missing_and_not_zero() -> None:
    row = f"'a' AS {KEY}, 1 AS {TIME}, 1 AS {CREATED}"
    CONNECTION.execute(f"CREATE OR REPLACE TEMP TABLE gaps AS SELECT {row}, CAST(NULL AS DOUBLE) AS x")
    CONNECTION.execute(f"CREATE OR REPLACE TEMP TABLE asked AS SELECT 0 AS {ROW}, 'a' AS {KEY}, 2 AS {AT}")
    found = CONNECTION.execute(asof_query("asked", "gaps", columns={"x": "x"}, ttl=None)).df()
    assert math.isnan(found["x"][0])
