"""Raw rows in canonical form: typed, renamed, sentinel codes as NULL, times as UTC, keys as text, the label 1 or 0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb

from configs.errors import FeatureError
from configs.inputs import Column
from configs.settings import Settings
from configs.use_case import UseCase
from features.intake.loads import opened
from features.sources import Source, accrued_paths, quote, source, text

ROW_NUMBER = "row_number:"
"""Column of a loaded table with the row's number in its source, for events without an id of their own."""

ID, KNOWN, LABEL = '"id:"', '"known:"', '"label:"'
"""Columns of the canonical relation beside `event_time` and the request fields, whose names never hold a colon."""


def event_id_column(use_case: UseCase) -> str:
    """The column of a loaded event table that identifies the event."""
    return use_case.event.id or ROW_NUMBER


def entity_column(entity: str) -> str:
    """Name of an entity's key in the canonical relation; the colon keeps it apart from every field."""
    return f"entity:{entity}"


def protected_column(name: str) -> str:
    """Name of a protected attribute in the canonical relation."""
    return f"protected:{name}"


def events_sql(use_case: UseCase, connection: duckdb.DuckDBPyConnection, settings: Settings) -> str:
    """Query for the event table united with accrued events, one row an event id: accrued rows win, later ones first.

    Columns: ID (VARCHAR), event_time and KNOWN (TIMESTAMP, UTC), LABEL (DOUBLE: 1, 0, NULL unknown), every request
    field by name, `entity:<name>` and `protected:<name>`.
    """
    raw = opened(connection, use_case, use_case.event.table, settings)
    check_columns(use_case, raw)
    accrued = [source(connection, path) for path in accrued_paths(use_case, settings)]
    if not accrued:
        return canonical_sql(use_case, raw)
    parts = [
        f'SELECT *, {age} AS "age:" FROM ({canonical_sql(use_case, each)})' for age, each in enumerate([raw, *accrued])
    ]
    united = f'SELECT * EXCLUDE ("age:"){_protected(use_case)} FROM ({" UNION ALL ".join(parts)})'
    return f'{united} QUALIFY "age:" = max("age:") OVER (PARTITION BY {ID})'


def _protected(use_case: UseCase) -> str:
    """Protected attributes are never sent with a request: an accrued row takes over those of the raw one."""
    columns = [quote(protected_column(name)) for name in use_case.protected]
    filled = ", ".join(f"any_value({column}) OVER (PARTITION BY {ID}) AS {column}" for column in columns)
    return f" REPLACE ({filled})" if filled else ""


def check_columns(use_case: UseCase, raw: Source) -> None:
    """Raise `FeatureError` for the first column that the use case names and the event table lacks."""
    event, label = use_case.event, use_case.label
    raw.require([event_id_column(use_case), *([event.time] if event.time else [])], owner="event")
    raw.require([label.column, *([label.known] if label.known else [])], owner="label")
    for entity, key in use_case.entities.items():
        raw.require([key], owner=f"entities.{entity}")
    for name, column in use_case.request.items():
        raw.require([column.column or name], owner=f"request.{name}")
    for name, column in use_case.protected.items():
        raw.require([column.column or name], owner=f"protected.{name}")


def canonical_sql(use_case: UseCase, raw: Source, *, beside: bool = False) -> str:
    """Canonical query over one file of events. A column that the file lacks is NULL.

    With `beside` the file's own columns follow as `raw:<column>`.
    """
    columns = dict(_canonical(use_case, raw))
    if beside:
        columns |= {f"raw:{name}": quote(name) for name in raw.columns}
    chosen = ",\n  ".join(f"{sql} AS {quote(name)}" for name, sql in columns.items())
    return f"SELECT {chosen}\nFROM {raw.scan}"


def _canonical(use_case: UseCase, raw: Source) -> Iterator[tuple[str, str]]:
    event, label = use_case.event, use_case.label
    time = time_sql(raw, event.time)
    yield ID.strip('"'), f"CAST({quote(event_id_column(use_case))} AS VARCHAR)"
    yield "event_time", time
    maturity = f"{time} + INTERVAL {int(label.maturity.total_seconds())} SECONDS"
    yield KNOWN.strip('"'), f"coalesce({time_sql(raw, label.known)}, {maturity})"
    yield LABEL.strip('"'), _label(use_case, raw)
    for entity, key in use_case.entities.items():
        yield entity_column(entity), f"CAST({quote(key)} AS VARCHAR)" if key in raw.columns else "CAST(NULL AS VARCHAR)"
    for name, column in use_case.request.items():
        yield name, value_sql(raw.columns, name, column)
    for name, column in use_case.protected.items():
        yield protected_column(name), value_sql(raw.columns, name, column)


def _label(use_case: UseCase, raw: Source) -> str:
    label = use_case.label
    if label.column not in raw.columns:
        return "CAST(NULL AS DOUBLE)"
    column = quote(label.column)
    if isinstance(label.positive, str):
        return f"CAST(CAST({column} AS VARCHAR) = {text(label.positive)} AS DOUBLE)"
    kind = "boolean" if isinstance(label.positive, bool) else "number"
    number = number_sql(column, raw.columns[label.column], kind)
    return f"CAST({number} = {float(label.positive)} AS DOUBLE)"


def time_sql(raw: Source, column: str | None) -> str:
    """A time column as a TIMESTAMP in UTC; NULL where there is none."""
    if column is None or column not in raw.columns:
        return "CAST(NULL AS TIMESTAMP)"
    return _instant(column, raw.columns[column])


def _instant(column: str, found: str) -> str:
    """A column as a TIMESTAMP in UTC. Text may have an offset; text that is no time is NULL."""
    if found == "INTEGER":  # the type of a column without any value
        return f"TRY_CAST({quote(column)} AS TIMESTAMP)"
    if found == "VARCHAR":  # cast to a TIMESTAMP at once, DuckDB would drop the offset
        return f"CAST(TRY_CAST({quote(column)} AS TIMESTAMPTZ) AS TIMESTAMP)"
    if not found.startswith(("TIMESTAMP", "DATE")):
        raise FeatureError(
            f"the column {column!r} holds {found}, which is no time",
            expected="a TIMESTAMP, a DATE, or text such as 2025-07-01T10:00:00Z",
            fix="convert the column in the table, or name another one",
        )
    return f"CAST({quote(column)} AS TIMESTAMP)"


def value_sql(columns: Mapping[str, str], name: str, contract: Column) -> str:
    """A contracted value: DOUBLE, VARCHAR or TIMESTAMP; sentinel codes and what isn't of the type are NULL."""
    raw = contract.column or name
    sql_type = {"category": "VARCHAR", "time": "TIMESTAMP"}.get(contract.type, "DOUBLE")
    if raw not in columns:
        return f"CAST(NULL AS {sql_type})"
    column, found = quote(raw), columns[raw]
    if contract.type == "category":
        value = f"CAST({column} AS VARCHAR)"
    elif contract.type == "time":
        value = _instant(raw, found)
    else:
        value = number_sql(column, found, contract.type)
    if not contract.missing:
        return value
    codes = [code for code in contract.missing if not isinstance(code, str)]
    words = [code for code in contract.missing if isinstance(code, str)]
    tests = [f"CAST({column} AS VARCHAR) IN ({', '.join(map(text, words))})"] if words else []
    tests += [f"{number_sql(column, found, 'number')} IN ({', '.join(map(repr, codes))})"] if codes else []
    return f"CASE WHEN {' OR '.join(f'coalesce({test}, FALSE)' for test in tests)} THEN NULL ELSE {value} END"


def number_sql(column: str, found: str, kind: str) -> str:
    """A column as a finite DOUBLE; NULL where it is none. `found` is the column's type in the table."""
    if found == "BOOLEAN":
        return f"CAST({column} AS DOUBLE)"
    if found == "VARCHAR" and kind == "boolean":
        return f"CAST(TRY_CAST({column} AS BOOLEAN) AS DOUBLE)"
    if found in {"DATE", "TIME"} or found.startswith("TIMESTAMP"):
        raise FeatureError(
            f"the column {column} holds {found}", expected=f"a {kind}", fix="declare it with `type: time`"
        )
    value = f"TRY_CAST({column} AS DOUBLE)"
    whole = found in {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
    return value if whole else f"CASE WHEN isfinite({value}) THEN {value} END"
