"""Feast's sources: views and aggregates of all history as Parquet files, written when data or definitions changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from configs.console import Ticker
from configs.references import aggregate_view
from configs.settings import Settings
from configs.use_case import UseCase
from features import asof
from features.aliases import refuse_leaks
from features.events import entity_column
from features.exact import COMPARED
from features.frame import aggregate_relation, build, content_hash, definition_hash, exactly, history_sql
from features.intake.loads import opened
from features.intake.privacy import tokenizer_of
from features.sources import connect, quote, text
from features.vector import AggregateFeature, aggregate_features, view_features

TIME, CREATED = "event_timestamp", "created_timestamp"
_STAMP = "backfill.json"


def repository_folder(use_case: UseCase, settings: Settings) -> Path:
    """Folder of the use case's Feast repository."""
    return settings.home / "features" / use_case.name


def parquet_path(folder: Path, view: str) -> Path:
    """Backfilled file of a Feast view."""
    return folder / "backfill" / f"{view}.parquet"


def aggregate_groups(use_case: UseCase) -> dict[str, tuple[AggregateFeature, ...]]:
    """Aggregates by their entities: name of the Feast view (`card_aggregates`) -> features."""
    groups: dict[str, list[AggregateFeature]] = {}
    for feature in aggregate_features(use_case):
        groups.setdefault(aggregate_view(feature.aggregate.entities), []).append(feature)
    return {name: tuple(features) for name, features in groups.items()}


def backfill(use_case: UseCase, settings: Settings, *, ticker: Ticker | None = None) -> dict[str, Any]:
    """Write every file anew, or nothing if they are there and neither data, definitions nor token keys changed.

    Gives `rows` by view, the two hashes, and whether it was `skipped`. Times are `timestamp[us, UTC]`, keys are text.
    """
    folder = repository_folder(use_case, settings) / "backfill"
    tokenizer = tokenizer_of(use_case, settings)
    stamp: dict[str, Any] = {
        "data_hash": content_hash(use_case, settings),
        "definition_hash": definition_hash(use_case),
        "token_keys": tokenizer.version if tokenizer else None,
    }
    known = _stamped(folder)
    names = [*use_case.views, *aggregate_groups(use_case)]
    complete = all((folder / f"{name}.parquet").exists() for name in names)
    if complete and {key: known.get(key) for key in stamp} == stamp:
        return known | {"skipped": True}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _STAMP).unlink(missing_ok=True)  # files are replaced one by one: an interrupted run is no complete one
    with connect(settings) as connection, exactly():
        rows = dict(_written(use_case, settings, connection, folder, ticker))
    content = stamp | {"rows": rows}
    beside = folder / f".{_STAMP}-{os.getpid()}"
    beside.write_text(json.dumps(content, indent=2), encoding="utf-8")
    beside.replace(folder / _STAMP)
    return content | {"skipped": False}


def _stamped(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _written(
    use_case: UseCase, settings: Settings, connection: duckdb.DuckDBPyConnection, folder: Path, ticker: Ticker | None
) -> Iterator[tuple[str, int]]:
    refuse_leaks(use_case, settings)
    for view, definition in use_case.views.items():
        if ticker:
            ticker.note(f"writing {view}")
        raw = opened(connection, use_case, definition.table, settings)
        yield (
            view,
            _copy(connection, _view_rows(use_case, view, history_sql(use_case, view, raw)), folder / f"{view}.parquet"),
        )
    groups = aggregate_groups(use_case)
    if groups:
        build(use_case, settings, connection, start=None, end=None, views=False, ticker=ticker)
    for name, features in groups.items():
        if ticker:
            ticker.note(f"writing {name}")
        yield name, _copy(connection, _aggregate_rows(use_case, features), folder / f"{name}.parquet")


def _view_rows(use_case: UseCase, view: str, history: str) -> str:
    columns = ", ".join(
        f"{quote(feature)} AS {quote(name)}"
        for (feature, _), name in zip(view_features(use_case, view), use_case.views[view].columns, strict=True)
    )
    key, created = use_case.key(use_case.views[view].entity), f"coalesce({asof.CREATED}, {asof.TIME})"
    return (
        f"SELECT {asof.KEY} AS {quote(key)}, {_time(asof.TIME)} AS {TIME}, {_time(created)} AS {CREATED}, {columns} "
        f"FROM ({history}) WHERE {asof.KEY} IS NOT NULL AND {asof.TIME} IS NOT NULL"
    )


def _aggregate_rows(use_case: UseCase, features: Sequence[AggregateFeature]) -> str:
    """One row for each key and time.

    Events of one key at the same time are peers: each is in the window of the others, so that all have the same values.
    Only what sets an event's own value against the window may differ between them. Feast could serve that of any one:
    it is NULL there, in its files alone.
    """
    names = features[0].aggregate.entities
    keys = ", ".join(f"{quote(entity_column(name))} AS {quote(use_case.key(name))}" for name in names)
    present = " AND ".join(f"{quote(entity_column(name))} IS NOT NULL" for name in names)
    parts = [index for index, part in enumerate(use_case.aggregates) if part.entities == names]
    joins = "".join(f" LEFT JOIN {quote(aggregate_relation(index))} USING ({asof.ROW})" for index in parts)
    columns = ", ".join(f"{_of_all(feature)} AS {quote(feature.name)}" for feature in features)
    by = ", ".join(quote(entity_column(name)) for name in names)
    peers = f"PARTITION BY {by}, {asof.AT}"
    return (
        f"SELECT {keys}, {_time(asof.AT)} AS {TIME}, {columns} FROM probes{joins} WHERE {present} "
        f"WINDOW peers AS ({peers}) QUALIFY row_number() OVER ({peers} ORDER BY {asof.ROW}) = 1 ORDER BY {asof.AT}"
    )


def _of_all(feature: AggregateFeature) -> str:
    """The value that all peers have."""
    name = quote(feature.name)
    if feature.function not in COMPARED:
        return name
    alike = f"count({name}) OVER peers = count(*) OVER peers AND min({name}) OVER peers = max({name}) OVER peers"
    return f"CASE WHEN {alike} THEN {name} END"


def _time(microseconds: str) -> str:
    return f"CAST(make_timestamp({microseconds}) AS TIMESTAMPTZ)"


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Write beside and rename: a reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        rows = connection.execute(f"COPY ({query}) TO {text(str(beside))} (FORMAT parquet)").fetchone() or (0,)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return int(rows[0])
