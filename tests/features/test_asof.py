"""The point-in-time join against a brute-force oracle and against Feast's own DuckDB store."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.asof import AT, CREATED, KEY, ROW, TIME, asof_query

CONNECTION = duckdb.connect()
START = datetime(2025, 1, 1, tzinfo=UTC)

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
    return [value for _, value in CONNECTION.execute(f"SELECT {ROW}, value FROM ({query}) ORDER BY {ROW}").fetchall()]


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


def randomized(seed: int, *, rows: int, keys: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """History with late corrections and without ties of (key, time, created), and events over it."""
    random = np.random.default_rng(seed)
    start = pd.Timestamp(START)
    times = start + pd.to_timedelta(random.integers(0, 90 * 24, rows), unit="h")
    late = pd.to_timedelta(np.where(random.random(rows) < 0.3, random.integers(0, 240, rows), 0), unit="h")
    history = pd.DataFrame(
        {
            "customer_id": [f"k{key}" for key in random.integers(0, keys, rows)],
            "event_timestamp": times.as_unit("us"),
            "created_timestamp": (times + late).as_unit("us"),
            "balance": random.normal(size=rows),
        }
    ).drop_duplicates(["customer_id", "event_timestamp", "created_timestamp"])
    events = pd.DataFrame(
        {
            "customer_id": [f"k{key}" for key in random.integers(0, keys + 3, rows)],
            "event_timestamp": (start + pd.to_timedelta(random.integers(0, 100 * 24, rows), unit="h")).as_unit("us"),
            "place": np.arange(rows),
        }
    )
    return history, events


@pytest.mark.parametrize("seed", [1, 2])
def test_feast_with_our_store_gives_what_its_own_duckdb_store_gives(seed: int, tmp_path) -> None:
    """Feast's store needs `filter_by_created_timestamp` for that, and returns rows in an order of its own."""
    import feast
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
    from feast.types import Float64, String

    history, events = randomized(seed, rows=4000, keys=60)
    history.to_parquet(tmp_path / "balances.parquet")
    customer = feast.Entity(name="customer", join_keys=["customer_id"], value_type=feast.ValueType.STRING)
    source = feast.FileSource(
        name="balances_source",
        path=str(tmp_path / "balances.parquet"),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    schema = [feast.Field(name="customer_id", dtype=String), feast.Field(name="balance", dtype=Float64)]
    view = feast.FeatureView(name="balances", entities=[customer], ttl=timedelta(days=3), schema=schema, source=source)
    config = feast.RepoConfig(
        project="asof",
        provider="local",
        registry=str(tmp_path / "registry.db"),
        offline_store={"type": "features.stores.offline.AsofOfflineStore"},
        online_store={"type": "features.stores.online.PackedOnlineStore", "path": str(tmp_path / "online.db")},
        entity_key_serialization_version=3,
    )
    store = feast.FeatureStore(config=config)
    store.apply([customer, view])
    ours = store.get_historical_features(entity_df=events, features=["balances:balance"]).to_df()
    assert list(ours["place"]) == list(range(len(events))), "every row, in its order"
    job = DuckDBOfflineStore.get_historical_features(
        config=config,
        feature_views=[store.get_feature_view("balances")],
        feature_refs=["balances:balance"],
        entity_df=events,
        registry=store.registry,
        project="asof",
        filter_by_created_timestamp=True,
    )
    theirs = job.to_df().sort_values("place").reset_index(drop=True)
    np.testing.assert_array_equal(ours["balance"].to_numpy(), theirs["balance"].to_numpy())
    assert 0.1 < ours["balance"].isna().mean() < 0.9, "both outcomes are exercised"
    store.provider.online_store.shut()


def test_a_missing_number_is_missing_and_not_zero() -> None:
    row = f"'a' AS {KEY}, 1 AS {TIME}, 1 AS {CREATED}"
    CONNECTION.execute(f"CREATE OR REPLACE TEMP TABLE gaps AS SELECT {row}, CAST(NULL AS DOUBLE) AS x")
    CONNECTION.execute(f"CREATE OR REPLACE TEMP TABLE asked AS SELECT 0 AS {ROW}, 'a' AS {KEY}, 2 AS {AT}")
    found = CONNECTION.execute(asof_query("asked", "gaps", columns={"x": "x"}, ttl=None)).df()
    assert math.isnan(found["x"][0])
