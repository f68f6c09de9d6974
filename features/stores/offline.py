"""The plugin that lets Feast read features as this platform does: one ASOF join a view, always as known at the time.

Differences from Feast's own DuckDB store: every entity row is kept and in its order; a row counts only from its created
time on (`filter_by_created_timestamp`, in Feast an option), or from its own time if it has none; and memory stays flat.
DuckDB matches keys and times alone and spills to disk; the features of the matched rows are then read a column at a
time, straight into the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import ibis
import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import DUMMY_ENTITY_ID, FeatureView
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig, _write_data_source
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig
from feast.saved_dataset import SavedDatasetStorage

from configs.errors import FeatureError
from features.asof import LINE
from features.language.operators import microseconds
from features.sources import quote
from features.stores.gather import Columns, Files, gathered
from features.stores.matching import History, Limits, Places, at, matched, selected


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """Options of the store in `feature_store.yaml`. Without a `temp_directory` DuckDB spills to the system's."""

    type: Literal["features.stores.offline.AsofOfflineStore"] = "features.stores.offline.AsofOfflineStore"
    memory_limit: str = "3GB"
    threads: int = 2
    temp_directory: str | None = None


class AsofOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store with our point-in-time join. Sources are Parquet files or folders of them."""

    @staticmethod
    def get_historical_features(  # noqa: PLR0917  # Feast's signature
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = True,  # noqa: ARG004  # always on here
        **_: Any,
    ) -> RetrievalJob:
        """Features of every row of `entity_df` as known at its time, which is a column of timestamps."""
        if not isinstance(entity_df, pd.DataFrame):
            raise FeatureError(
                "Feast asked for features without a table of entity rows", expected="entity_df as a pandas DataFrame"
            )
        time = offline_utils.infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        wanted = [(view, _wanted(view, feature_refs, full_names=full_feature_names)) for view in feature_views]
        _refuse_collisions(entity_df, [name for _, names in wanted for name in names.values()])

        def features() -> Columns:
            for view, names in wanted:
                files = _files(view.batch_source, config)
                places = _matched(view, files, entity_df, time, config)
                columns = {shown: _in_file(view.batch_source, name) for name, shown in names.items()}
                yield from gathered(files, columns, places, threads=config.offline_store.threads)

        keys = [str(name) for name in entity_df.columns if name != time]
        metadata = RetrievalMetadata(feature_refs, keys, entity_df[time].min(), entity_df[time].max())
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return GatheringJob(config, features, entity_df, on_demand, full_names=full_feature_names, metadata=metadata)

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0917
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The latest row of every key between two times, as known at the second."""
        times = [name for name in (timestamp_field, created_timestamp_column) if name]
        keys = ", ".join(map(quote, join_key_columns)) or "TRUE"
        order = ", ".join(f"{quote(name)} DESC NULLS LAST" for name in times)
        latest = f" QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}, {LINE} DESC) = 1"
        files = _files(data_source, config)
        query = _known(files, timestamp_field, created_timestamp_column, start_date, end_date) + latest
        return _pulled(config, files, [*join_key_columns, *feature_name_columns, *times], query)

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: PLR0917
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Every row between two times, as known at the second."""
        times = [name for name in (timestamp_field, created_timestamp_column) if name]
        files = _files(data_source, config)
        query = _known(files, timestamp_field, created_timestamp_column, start_date, end_date)
        return _pulled(config, files, [*join_key_columns, *feature_name_columns, *times], query)


class GatheringJob(RetrievalJob):
    """A retrieval that computes its columns one after another, each time it is asked."""

    def __init__(
        self,
        config: RepoConfig,
        features: Callable[[], Columns],
        entity_rows: pd.DataFrame | None = None,
        on_demand: Sequence[OnDemandFeatureView] = (),
        *,
        full_names: bool = False,
        metadata: RetrievalMetadata | None = None,
    ) -> None:
        self._repo_path, self._features, self._entity_rows = str(config.repo_path), features, entity_rows
        self._on_demand, self._full_names, self._metadata = list(on_demand), full_names, metadata

    def to_df(self, validation_reference: Any = None, timeout: int | None = None) -> pd.DataFrame:
        """The rows as pandas holds them; no second copy of them exists on the way."""
        if self._on_demand or validation_reference:
            return super().to_df(validation_reference, timeout)
        return self._to_df_internal(timeout)

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        series: dict[Any, pd.Series[Any]] = {}
        if self._entity_rows is not None:
            series |= {name: column.reset_index(drop=True).copy() for name, column in self._entity_rows.items()}
        for name, column in self._features():
            found = column.to_pandas()
            series[name] = found if getattr(found.array, "_ndarray", found.to_numpy()).flags.writeable else found.copy()
        return pd.DataFrame(series, copy=False)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        columns: dict[str, Any] = {}
        if self._entity_rows is not None:
            rows = pa.Table.from_pandas(self._entity_rows, preserve_index=False)
            columns |= dict(zip(rows.column_names, rows.columns, strict=True))
        return pa.table(columns | dict(self._features()))

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the rows, on-demand columns included, to where `storage` says."""
        table = ibis.memtable(self.to_arrow(timeout=timeout))
        writer: Callable[..., None] = _write_data_source
        writer(table, storage.to_data_source(), self._repo_path, "overwrite", allow_overwrite)

    @property
    def full_feature_names(self) -> bool:
        """Whether features are named after their view, too."""
        return self._full_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """Views that Feast computes from the result."""
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What was asked for."""
        return self._metadata


def _wanted(view: FeatureView, feature_refs: Sequence[str], *, full_names: bool) -> dict[str, str]:
    """Feature of the view -> its name in the result."""
    projection: Any = view.projection
    prefix = projection.name_to_use()
    found = [ref.split(":", 1)[1] for ref in feature_refs if ref.split(":", 1)[0] == prefix]
    return {name: f"{view.projection.name_alias or view.name}__{name}" if full_names else name for name in found}


def _refuse_collisions(entity_df: pd.DataFrame, features: Sequence[str]) -> None:
    both = sorted(set(features) & set(map(str, entity_df.columns)))
    if both:
        raise FeatureError(
            f"the feature {both[0]!r} is also a column of the entity rows",
            expected="names that tell them apart",
            fix="ask with full_feature_names=True, or rename the column",
        )


def _files(source: DataSource | None, config: RepoConfig) -> Files:
    if not isinstance(source, FileSource):
        kind, name = type(source).__name__, source.name if source else "none"
        raise FeatureError(f"the source {name!r} is a {kind}", expected="a FileSource of Parquet")
    return Files.of(Path(FileSource.get_uri_for_file_path(config.repo_path, source.path)))


def _in_file(source: DataSource | None, name: str) -> str:
    mapping = source.field_mapping if source else {}
    return next((old for old, new in mapping.items() if new == name), name)


def _matched(view: FeatureView, files: Files, entity_df: pd.DataFrame, time: str, config: RepoConfig) -> Places:
    """For each entity row the place of the view's row that was known at its time; -1 where there is none."""
    source: Any = view.batch_source
    names = view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}
    keys = {_in_file(source, name): entity_df[asked] for name, asked in names.items() if name != DUMMY_ENTITY_ID}
    history = History(files, tuple(keys), source.timestamp_field, source.created_timestamp_column or None)
    return matched(history, list(keys.values()), entity_df[time], ttl=view.ttl or None, limits=_limits(config))


def _limits(config: RepoConfig) -> Limits:
    options = config.offline_store
    return Limits(options.memory_limit, options.threads, options.temp_directory)


def _known(files: Files, time: str, created: str | None, start: datetime | None, end: datetime | None) -> str:
    """Query for all rows of a time span with LINE, as known at its end."""
    tests = [f"{quote(time)} IS NOT NULL"]
    if start:
        tests.append(f"{at(time)} >= {microseconds(start)}")
    if end:
        tests += [f"coalesce({at(column)} <= {microseconds(end)}, TRUE)" for column in (time, created) if column]
    return f"SELECT {LINE} FROM ({files.scan}) WHERE {' AND '.join(tests)}"


def _pulled(config: RepoConfig, files: Files, columns: Sequence[str], query: str) -> RetrievalJob:
    def features() -> Columns:
        places = selected(query, limits=_limits(config))
        return gathered(files, {name: name for name in columns}, places, threads=config.offline_store.threads)

    return GatheringJob(config, features)
