"""Raw rows in canonical form: typed, renamed, sentinel codes as NULL, times as UTC, keys as text, the label 1 or 0."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb

from configs.settings import Settings
from configs.use_case import UseCase
from features.contracts import event_id_column
from features.intake.loads import opened
from features.sources import Source, accrued_paths, quote, source
from features.values import label_sql, possible_sql, text_sql, time_sql, value_sql

ID, KNOWN, LABEL = '"id:"', '"known:"', '"label:"'
"""Columns of the canonical relation beside `event_time` and the request fields, whose names never hold a colon."""


def entity_column(entity: str) -> str:
    """Name of an entity's key in the canonical relation; the colon keeps it apart from every field."""
    return f"entity:{entity}"


def protected_column(name: str) -> str:
    """Name of a protected attribute in the canonical relation."""
    return f"protected:{name}"


def outcome_column(name: str) -> str:
    """Name of an outcome's column in the canonical relation."""
    return f"outcome:{name}"


def events_sql(use_case: UseCase, connection: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """Query for the event table united with accrued events, one row an event id: accrued rows win, later ones first.

    Columns: ID (VARCHAR), event_time and KNOWN (TIMESTAMP, UTC), LABEL (DOUBLE: 1, 0, NULL unknown), every request
    field by name, `entity:<name>`, `protected:<name>` and `outcome:<name>`.
    """
    raw = opened(connection, use_case, use_case.event.table, settings)
    accrued = [source(connection, path) for path in accrued_paths(use_case, settings)]
    if not accrued:
        return canonical_sql(use_case, raw)
    parts = [
        f'SELECT *, {age} AS "age:" FROM ({canonical_sql(use_case, each)})' for age, each in enumerate([raw, *accrued])
    ]
    united = f'SELECT * EXCLUDE ("age:"){_beside(use_case)} FROM ({" UNION ALL ".join(parts)})'
    return f'{united} QUALIFY "age:" = max("age:") OVER (PARTITION BY {ID})'


def _beside(use_case: UseCase) -> str:
    """What is never sent with a request, nor turned in: an accrued row takes it over from the raw one."""
    columns = [quote(protected_column(name)) for name in use_case.protected]
    columns += [quote(outcome_column(name)) for name in use_case.outcomes]
    filled = ", ".join(f"any_value({column}) OVER (PARTITION BY {ID}) AS {column}" for column in columns)
    return f" REPLACE ({filled})" if filled else ""


def canonical_sql(use_case: UseCase, raw: Source) -> str:
    """Canonical query over one file of events. A column that the file lacks is NULL."""
    chosen = ",\n  ".join(f"{sql} AS {quote(name)}" for name, sql in _canonical(use_case, raw))
    return f"SELECT {chosen}\nFROM {raw.scan}"


def _canonical(use_case: UseCase, raw: Source) -> Iterator[tuple[str, str]]:
    event, label = use_case.event, use_case.label
    time = time_sql(raw, event.time)
    yield ID.strip('"'), _text(raw, event_id_column(use_case))
    yield "event_time", time
    maturity = f"{time} + INTERVAL {int(label.maturity.total_seconds())} SECONDS"
    yield KNOWN.strip('"'), f"coalesce({time_sql(raw, label.known)}, {maturity})"
    yield LABEL.strip('"'), label_sql(raw.columns, label)
    for entity, key in use_case.entities.items():
        yield entity_column(entity), _text(raw, key)
    for name, column in use_case.request.items():
        yield name, value_sql(raw.columns, name, column)
    for name, column in use_case.protected.items():
        yield protected_column(name), possible_sql(raw.columns, name, column)
    for name, column in use_case.outcomes.items():
        yield outcome_column(name), possible_sql(raw.columns, name, column)


def _text(raw: Source, column: str) -> str:
    return text_sql(column, raw.columns[column]) if column in raw.columns else "CAST(NULL AS VARCHAR)"
