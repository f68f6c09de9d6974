"""The plugin that lets Feast read features as this platform does: one ASOF join a view, always as known at the time.

Differences from Feast's own DuckDB store: every entity row is kept and in its order, memory stays flat because
nothing is joined and then ranked, and a row counts only from its created time on (`filter_by_created_timestamp`, in
Feast an option).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import duckdb
import ibis
import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores import offline_utils
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig, _write_data_source
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.ibis import IbisRetrievalJob
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import RepoConfig

from configs.errors import FeatureError
from features.asof import AT, CREATED, KEY, ROW, TIME, asof_query
from features.language.operators import microseconds
from features.sources import quote, text


class AsofOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """Options of the store in `feature_store.yaml`."""

    type: Literal["features.stores.offline.AsofOfflineStore"] = "features.stores.offline.AsofOfflineStore"
    memory_limit: str = "3GB"
    threads: int = 2


class AsofOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store with our point-in-time join. Sources are Parquet files."""

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
        with _connected(config) as connection:
            connection.register("entity_rows", pa.Table.from_pandas(entity_df, preserve_index=False))
            at = _at(time)
            connection.execute(
                f"CREATE TEMP TABLE rows AS SELECT row_number() OVER () AS {ROW}, {at} AS {AT}, * FROM entity_rows"
            )
            joins, names = [], list(entity_df.columns)
            for index, view in enumerate(feature_views):
                wanted = _wanted(view, feature_refs, full_names=full_feature_names)
                connection.execute(f"CREATE TEMP TABLE view_{index} AS {_join(view, wanted)}")
                joins.append(f"LEFT JOIN view_{index} USING ({ROW})")
                names += wanted.values()
            chosen = ", ".join(quote(str(name)) for name in names)
            table = connection.execute(f"SELECT {chosen} FROM rows {' '.join(joins)} ORDER BY {ROW}").to_arrow_table()
        keys = [str(name) for name in entity_df.columns if name != time]
        span = RetrievalMetadata(feature_refs, keys, entity_df[time].min(), entity_df[time].max())
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        return _job(config, table, on_demand, full_names=full_feature_names, metadata=span)

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
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        keys = ", ".join(map(quote, join_key_columns)) or "TRUE"
        order = ", ".join(
            f"{quote(name)} DESC NULLS LAST" for name in (timestamp_field, created_timestamp_column) if name
        )
        rows = _known(data_source, timestamp_field, created_timestamp_column, start_date, end_date)
        latest = f'QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {order}, "line:" DESC) = 1'
        return _pulled(
            config, f'SELECT {columns} FROM (SELECT *, row_number() OVER () AS "line:" FROM {rows}) {latest}'
        )

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
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        rows = _known(data_source, timestamp_field, created_timestamp_column, start_date, end_date)
        return _pulled(config, f"SELECT {columns} FROM {rows}")


def _connected(config: RepoConfig) -> duckdb.DuckDBPyConnection:
    options = config.offline_store
    connection = duckdb.connect(
        config={"memory_limit": options.memory_limit, "threads": options.threads, "autoinstall_known_extensions": False}
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _wanted(view: FeatureView, feature_refs: Sequence[str], *, full_names: bool) -> dict[str, str]:
    """Feature of the view -> its name in the result."""
    projection: Any = view.projection
    prefix = projection.name_to_use()
    found = [ref.split(":", 1)[1] for ref in feature_refs if ref.split(":", 1)[0] == prefix]
    return {name: f"{view.projection.name_alias or view.name}__{name}" if full_names else name for name in found}


def _join(view: FeatureView, wanted: Mapping[str, str]) -> str:
    source: Any = view.batch_source
    in_file = {new: old for old, new in source.field_mapping.items()}
    join_keys = view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}
    created = _at(source.created_timestamp_column) if source.created_timestamp_column else "CAST(NULL AS BIGINT)"
    key = _key([in_file.get(name, name) for name in join_keys])
    times = f"{_at(source.timestamp_field)} AS {TIME}, {created} AS {CREATED}"
    history = f"(SELECT *, {key} AS {KEY}, {times} FROM {_scan(source)})"
    probes = f"(SELECT {ROW}, {AT}, {_key(list(join_keys.values()))} AS {KEY} FROM rows)"
    columns = {quote(in_file.get(name, name)): quote(shown) for name, shown in wanted.items()}
    return asof_query(probes, history, columns=columns, ttl=view.ttl or None)


def _at(column: str) -> str:
    return f"epoch_us(CAST({quote(column)} AS TIMESTAMP))"


def _key(columns: Sequence[str]) -> str:
    """One text for all parts, NULL if any is missing; parts carry their length, so that no two keys share a text."""
    if not columns:
        return "''"
    parts = [f"CAST({quote(column)} AS VARCHAR)" for column in columns]
    return parts[0] if len(parts) == 1 else " || ".join(f"length({part}) || ':' || {part}" for part in parts)


def _scan(source: DataSource) -> str:
    if not isinstance(source, FileSource):
        raise FeatureError(
            f"the source {source.name!r} is a {type(source).__name__}", expected="a FileSource of Parquet"
        )
    return f"read_parquet({text(source.path)})"


def _columns(*names: Sequence[str] | str | None) -> str:
    flat = [name for group in names if group for name in ([group] if isinstance(group, str) else group)]
    return ", ".join(quote(name) for name in dict.fromkeys(flat))


def _known(source: DataSource, time: str, created: str | None, start: datetime | None, end: datetime | None) -> str:
    tests = [f"{quote(time)} IS NOT NULL"]
    if start:
        tests.append(f"{_at(time)} >= {microseconds(start)}")
    if end:
        tests += [f"coalesce({_at(column)} <= {microseconds(end)}, TRUE)" for column in (time, created) if column]
    return f"(SELECT * FROM {_scan(source)} WHERE {' AND '.join(tests)})"


def _pulled(config: RepoConfig, query: str) -> RetrievalJob:
    with _connected(config) as connection:
        return _job(config, connection.execute(query).to_arrow_table(), [], full_names=False, metadata=None)


def _job(
    config: RepoConfig,
    table: pa.Table,
    on_demand: list[OnDemandFeatureView],
    *,
    full_names: bool,
    metadata: RetrievalMetadata | None,
) -> RetrievalJob:
    writer: Callable[..., None] = _write_data_source
    return IbisRetrievalJob(
        ibis.memtable(table), on_demand, full_names, metadata, writer, None, None, str(config.repo_path)
    )
