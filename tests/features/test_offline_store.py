"""Feast with this platform's offline store beside Feast's own DuckDB store, over randomized tables full of ties."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import feast
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Bool, Float64, Int64, String, UnixTimestamp

from configs.errors import FeatureError
from features.stores.gather import Files, gathered
from features.stores.matching import History, Limits, connected, matched
from features.stores.offline import AsofOfflineStore

START = pd.Timestamp(datetime(2025, 1, 1, tzinfo=UTC))
REFS = [
    *("balances:balance", "balances:segment", "balances:seen", "pairs:count", "pairs:flag"),
    *("payee:balance", "timeless_trust:score"),
]
FIELDS = {
    "balances": [("balance", Float64), ("segment", String), ("seen", UnixTimestamp)],
    "pairs": [("count", Int64), ("flag", Bool)],
    "trust": [("score", Float64)],
}


def hours(random: np.random.Generator, size: int, most: int) -> pd.Series[Any]:
    return pd.Series(START + pd.to_timedelta(random.integers(0, most, size), unit="h")).dt.as_unit("us")


def table(random: np.random.Generator, name: str, rows: int) -> pd.DataFrame:
    """A history in which many rows of a key share their time, and differ in when they were written."""
    found = pd.DataFrame({"customer_id": [f"k{key}" for key in random.integers(0, 25, rows)]})
    found["terminal_id"] = random.integers(0, 3, rows)
    found["event_timestamp"] = hours(random, rows, 300)
    late = np.where(random.random(rows) < 0.5, random.integers(0, 60, rows), 0)
    found["created_timestamp"] = (found["event_timestamp"] + pd.to_timedelta(late, unit="h")).dt.as_unit("us")
    found["balance"] = np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows))
    found["segment"] = random.choice(["gold", "silver", None], rows)
    found["seen"] = hours(random, rows, 300).where(random.random(rows) < 0.9)
    found["n"], found["flag"], found["score"] = (
        random.integers(0, 9, rows),
        random.random(rows) < 0.5,
        random.random(rows),
    )
    told_apart = {
        "balances": ["customer_id", "event_timestamp", "created_timestamp"],
        "pairs": ["customer_id", "terminal_id", "event_timestamp", "created_timestamp"],
        "trust": ["terminal_id", "event_timestamp"],
    }
    return found.drop_duplicates(told_apart[name]).reset_index(drop=True)


class Pair:
    """One repository read by both stores."""

    def __init__(self, folder: Path, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.config = feast.RepoConfig(
            project="asof",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={
                "type": "features.stores.offline.AsofOfflineStore",
                "memory_limit": "200MB",
                "temp_directory": str(folder / "scratch"),
            },
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            entity_key_serialization_version=3,
        )
        for name in FIELDS:
            table(random, name, 3000).to_parquet(folder / f"{name}.parquet", row_group_size=700)
        self.folder, self.store = folder, feast.FeatureStore(config=self.config)
        self.store.apply([*self._objects()])
        rows = 2000
        self.rows = pd.DataFrame({"customer_id": [f"k{key}" for key in random.integers(0, 28, rows)]})
        self.rows["payee_id"] = [f"k{key}" for key in random.integers(0, 28, rows)]
        self.rows["terminal_id"] = random.integers(0, 4, rows)
        self.rows["event_timestamp"] = hours(random, rows, 360)
        self.rows["place"] = np.arange(rows)
        self.rows.loc[random.random(rows) < 0.05, "customer_id"] = None

    def _objects(self) -> Iterator[Any]:
        customer = feast.Entity(name="customer", join_keys=["customer_id"], value_type=feast.ValueType.STRING)
        terminal = feast.Entity(name="terminal", join_keys=["terminal_id"], value_type=feast.ValueType.INT64)
        yield from (customer, terminal)
        yield self._view("balances", [customer], timedelta(hours=48))
        yield self._view("pairs", [customer, terminal], timedelta(days=9), field_mapping={"n": "count"})
        yield self._view("trust", [terminal], timedelta(0), created=False)

    def _view(self, name: str, entities: list[Any], ttl: timedelta, *, created: bool = True, **options: Any) -> Any:
        source = feast.FileSource(
            name=f"{name}_source",
            path=str(self.folder / f"{name}.parquet"),
            timestamp_field="event_timestamp",
            created_timestamp_column="created_timestamp" if created else "",
            **options,
        )
        schema = [feast.Field(name=field, dtype=kind) for field, kind in FIELDS[name]]
        kinds = {"customer_id": String, "terminal_id": Int64}
        keys = [feast.Field(name=entity.join_key, dtype=kinds[entity.join_key]) for entity in entities]
        return feast.FeatureView(name=name, entities=entities, ttl=ttl, schema=[*schema, *keys], source=source)

    def views(self) -> list[Any]:
        found = {name: self.store.get_feature_view(name) for name in FIELDS}
        payee = (
            self.store.get_feature_view("balances").with_name("payee").with_join_key_map({"customer_id": "payee_id"})
        )
        return [found["balances"], found["pairs"], payee, found["trust"].with_name("timeless_trust")]

    def asked(self, store: Any, rows: pd.DataFrame | None = None, *, full_names: bool = True) -> Any:
        return store.get_historical_features(
            config=self.config,
            feature_views=self.views(),
            feature_refs=REFS,
            entity_df=self.rows if rows is None else rows,
            registry=self.store.registry,
            project="asof",
            full_feature_names=full_names,
            filter_by_created_timestamp=True,
        )


@pytest.fixture(scope="module", params=[1, 2, 3])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("feast"), request.param)


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(left, right[list(left.columns)], check_dtype=False, check_exact=True)


@pytest.mark.filterwarnings("ignore:fetch_arrow_table")
def test_both_stores_give_the_same_values(pair: Pair) -> None:
    """Feast's needs `filter_by_created_timestamp` for that, and returns the rows in an order of its own."""
    ours = pair.asked(AsofOfflineStore).to_df()
    theirs = pair.asked(DuckDBOfflineStore).to_df().sort_values("place", ignore_index=True)
    assert set(ours.columns) == set(theirs.columns)
    same(ours, theirs)
    shares = ours.drop(columns=list(pair.rows.columns)).isna().mean()
    assert shares.between(0.005, 0.95).all(), f"hits and misses of every view: {shares.to_dict()}"


def test_every_entity_row_is_kept_in_its_order_with_its_columns(pair: Pair) -> None:
    shuffled = pair.rows.sample(frac=1.0, random_state=1)
    found = pair.asked(AsofOfflineStore, shuffled).to_df()
    pd.testing.assert_frame_equal(found[list(shuffled.columns)], shuffled.reset_index(drop=True))
    same(found.sort_values("place", ignore_index=True), pair.asked(AsofOfflineStore).to_df())


def test_arrow_and_pandas_hold_the_same(pair: Pair) -> None:
    job = pair.asked(AsofOfflineStore)
    same(job.to_df(), job.to_arrow().to_pandas())


def test_a_result_may_be_changed_and_leaves_the_entity_rows_alone(pair: Pair) -> None:
    before = pair.rows.copy()
    found = pair.asked(AsofOfflineStore).to_df()
    for name in found.columns:
        found.loc[0, name] = found.loc[1, name]
    pd.testing.assert_frame_equal(pair.rows, before)


@pytest.mark.filterwarnings("ignore:fetch_arrow_table")
@pytest.mark.parametrize("method", ["pull_latest_from_table_or_query", "pull_all_from_table_or_query"])
def test_pulls_give_what_feasts_give_for_times_in_the_past(pair: Pair, method: str) -> None:
    asked = {
        "config": pair.config,
        "data_source": pair.store.get_feature_view("balances").batch_source,
        "join_key_columns": ["customer_id"],
        "feature_name_columns": ["balance", "segment"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "created_timestamp",
        "start_date": (START + timedelta(hours=50)).to_pydatetime(),
        "end_date": (START + timedelta(hours=400)).to_pydatetime(),
    }
    order = ["customer_id", "event_timestamp", "created_timestamp"]
    ours, theirs = (getattr(store, method)(**asked).to_df() for store in (AsofOfflineStore, DuckDBOfflineStore))
    assert len(ours) == len(theirs) > 20
    same(ours.sort_values(order, ignore_index=True), theirs.sort_values(order, ignore_index=True))


def test_a_saved_dataset_holds_the_rows(pair: Pair, tmp_path: Path) -> None:
    job = pair.asked(AsofOfflineStore)
    job.persist(SavedDatasetFileStorage(path=str(tmp_path / "saved.parquet")))
    same(job.to_df(), pq.read_table(tmp_path / "saved.parquet").to_pandas())


def test_a_feature_called_like_an_entity_column_is_refused(pair: Pair) -> None:
    with pytest.raises(FeatureError, match="'flag' is also a column"):
        pair.asked(AsofOfflineStore, pair.rows.assign(flag=1), full_names=False)


def test_a_query_in_place_of_entity_rows_is_refused(pair: Pair) -> None:
    with pytest.raises(FeatureError, match="without a table of entity rows"):
        AsofOfflineStore.get_historical_features(pair.config, [], [], "SELECT 1", pair.store.registry, "asof")


def test_folders_are_read_as_one_table_and_the_later_file_wins_a_tie(tmp_path: Path) -> None:
    for part, value in (("a", [1, 2]), ("b", [3, 4])):
        rows = pd.DataFrame({"id": ["x", "y"], "at": [START, START], "value": value})
        rows.to_parquet(tmp_path / f"{part}.parquet")
    history = History(Files.of(tmp_path), ("id",), "at", None)
    found = matched(history, [pd.Series(["y", "z", "x"])], pd.Series([START] * 3), ttl=None, limits=Limits("1GB", 1))
    assert found.tolist() == [3, -1, 2]


def test_a_file_that_is_replaced_between_matching_and_reading_is_an_error_and_not_a_mixture(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"value": [1, 2, 3]}).to_parquet(path)
    files = Files.of(path)
    pd.DataFrame({"value": [3, 1, 2]}).to_parquet(tmp_path / "new.parquet")
    (tmp_path / "new.parquet").replace(path)
    with pytest.raises(FeatureError, match=r"a\.parquet was written anew"):
        dict(gathered(files, {"value": "value"}, np.array([0, 2])))


def test_text_keys_match_numbers_that_read_the_same(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["7", "8"], "at": [START, START]}).to_parquet(tmp_path / "a.parquet")
    history = History(Files.of(tmp_path / "a.parquet"), ("id",), "at", None)
    found = matched(history, [pd.Series([8, 9])], pd.Series([START] * 2), ttl=None, limits=Limits("1GB", 1))
    assert found.tolist() == [1, -1]


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        (["7", "8"], [8, np.nan]),
        ([7.0, 8.0], ["8", None]),
        ([Decimal("7.00"), Decimal("8.00")], ["8", None]),
        (["7", "8"], [Decimal("8.00"), None]),
    ],
)
def test_keys_that_became_fractions_match_as_whole_numbers(tmp_path: Path, stored: list[Any], asked: list[Any]) -> None:
    pd.DataFrame({"id": stored, "at": [START, START]}).to_parquet(tmp_path / "a.parquet")
    history = History(Files.of(tmp_path / "a.parquet"), ("id",), "at", None)
    found = matched(history, [pd.Series(asked)], pd.Series([START] * 2), ttl=None, limits=Limits("1GB", 1))
    assert found.tolist() == [1, -1]


def test_keys_of_several_types_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["7"], "at": [START]}).to_parquet(tmp_path / "a.parquet")
    history = History(Files.of(tmp_path / "a.parquet"), ("id",), "at", None)
    asked = pd.Series(["8", 7], name="card_id")
    with pytest.raises(FeatureError, match="'card_id' of the entity rows holds int and str"):
        matched(history, [asked], pd.Series([START] * 2), ttl=None, limits=Limits("1GB", 1))


def drifted(folder: Path, **parts: pd.DataFrame) -> Files:
    for name, rows in parts.items():
        rows.assign(at=START).to_parquet(folder / f"{name}.parquet")
    return Files.of(folder)


def test_files_with_other_columns_and_types_are_one_table(tmp_path: Path) -> None:
    files = drifted(
        tmp_path,
        a=pd.DataFrame({"id": ["x"], "value": [1]}),
        b=pd.DataFrame({"id": ["y"], "value": [2.5], "tier": pd.Categorical(["gold"])}),
        c=pd.DataFrame({"id": ["z"]}),
    )
    history = History(files, ("id",), "at", None)
    found = matched(history, [pd.Series(["z", "y", "x"])], pd.Series([START] * 3), ttl=None, limits=Limits("1GB", 1))
    assert found.tolist() == [2, 1, 0]
    columns = {name: column.to_pylist() for name, column in gathered(files, {"v": "value", "t": "tier"}, found)}
    assert columns == {"v": [None, 2.5, 1.0], "t": [None, "gold", None]}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"value": ["text"]}, r"b\.parquet doesn't fit the files before it: .*value"),
        ({"value": [1.0], "Value": [2.0]}, r"b\.parquet has a column 'Value' that reads like 'value'"),
        ({"VALUE": [1.0]}, r"b\.parquet has a column 'VALUE' that reads like 'value'"),
        ({"file_row_number": [1.0]}, r"b\.parquet has a column 'file_row_number'"),
    ],
)
def test_a_file_that_does_not_fit_is_named(tmp_path: Path, second: dict[str, list[Any]], message: str) -> None:
    files = drifted(tmp_path, a=pd.DataFrame({"value": [1]}), b=pd.DataFrame(second))
    with pytest.raises(FeatureError, match=message):
        _ = files.scan
    with pytest.raises(FeatureError, match=message):
        dict(gathered(files, {"value": "value"}, np.array([0, 1])))


def test_a_number_that_a_double_does_not_hold_is_refused(tmp_path: Path) -> None:
    files = drifted(tmp_path, a=pd.DataFrame({"value": [2**60 + 1]}), b=pd.DataFrame({"value": [0.5]}))
    with pytest.raises(FeatureError, match=r"a\.parquet holds int64 in 'value'"):
        dict(gathered(files, {"value": "value"}, np.array([0, 1])))


def test_times_count_to_the_microsecond(tmp_path: Path) -> None:
    pd.DataFrame({"id": ["x"], "at": [START + pd.Timedelta(999, "ns")]}).to_parquet(tmp_path / "a.parquet")
    history = History(Files.of(tmp_path / "a.parquet"), ("id",), "at", None)
    found = matched(history, [pd.Series(["x"])], pd.Series([START]), ttl=None, limits=Limits("1GB", 1))
    assert found.tolist() == [0]


def test_what_exceeds_the_memory_limit_is_spilled_and_the_answers_stay(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    past = pd.DataFrame({"id": random.integers(0, 5000, 600_000)})
    past["at"] = START + pd.to_timedelta(random.integers(0, 10**9, len(past)), unit="s")
    past.to_parquet(tmp_path / "past.parquet")
    history = History(Files.of(tmp_path / "past.parquet"), ("id",), "at", None)
    asked = past.sample(300_000, random_state=1)
    tight, wide = (
        matched(history, [asked["id"]], asked["at"], ttl=None, limits=Limits(memory, 1, str(tmp_path / "scratch")))
        for memory in ("48MB", "2GB")
    )
    assert (tight == wide).all()
    assert (wide >= 0).all(), "a row is known at its own time"
    assert list((tmp_path / "scratch").iterdir()) == [], "nothing is left behind"


def test_the_limits_are_those_of_the_connection(tmp_path: Path) -> None:
    with connected(Limits("77MiB", 1, str(tmp_path))) as connection:
        settings = [f"current_setting('{name}')" for name in ("memory_limit", "threads", "temp_directory")]
        memory, threads, folder = connection.execute(f"SELECT {', '.join(settings)}").fetchone() or ()
    assert (memory, threads, Path(folder).parent) == ("77.0 MiB", 1, tmp_path)
