"""Training frames: every event of a period with its features as they were known at its time, assembled in DuckDB."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb

from configs.console import Ticker
from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.aggregates import aggregate_query, horizon
from features.aliases import refuse_leaks
from features.asof import AT, CREATED, KEY, ROW, TIME, asof_query
from features.contracts import event_id_column
from features.events import ID, KNOWN, LABEL, entity_column, events_sql, outcome_column, protected_column
from features.expressions import compile_derived
from features.intake.loads import opened, passed
from features.language.operators import microseconds
from features.sources import Source, connect, data_hash, quote, used_tables
from features.values import time_sql, value_sql
from features.vector import features_of, view_features

if TYPE_CHECKING:
    import pandas as pd

_EVENT_PARTS = ("tables", "entities", "event", "label", "request", "protected", "outcomes", "personal")
_FEATURE_PARTS = (*_EVENT_PARTS, "derived", "aggregates", "views")


@dataclass(frozen=True)
class Frame:
    """Events with their features, both with the same RangeIndex, sorted by event time and event id.

    `events`: event_id (str), event_time, known (when the outcome is known), label (1.0, 0.0, NaN unknown), one text
    column for each entity, then protected attributes and outcomes. Without a time in the table both times are NaT.
    `features`: one column a feature, in the order of `features_of`; numbers float64 with NaN, categories text or None.
    """

    events: pd.DataFrame
    features: pd.DataFrame
    data_hash: str
    definition_hash: str


def definition_hash(use_case: UseCase) -> str:
    """SHA-256 over the parts of the use case that decide the frame."""
    resolved = use_case.as_json()
    parts = {name: resolved.get(name) for name in _FEATURE_PARTS}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def content_hash(use_case: UseCase, settings: Settings) -> str:
    """SHA-256 over the files that features read and what their loads rejected.

    The same files may give other rows later: a row that lay in the future no longer does.
    """
    loads = [passed(use_case, table, settings) for table in sorted(used_tables(use_case))]
    rejected = [[load.table, load.rows, load.rejected, load.reasons] for load in loads]
    return hashlib.sha256(json.dumps([data_hash(use_case, settings), rejected]).encode()).hexdigest()


def training_frame(
    use_case: UseCase,
    settings: Settings,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    ticker: Ticker | None = None,
) -> Frame:
    """The frame of events from `start` (included) to `end` (excluded); events after `end` are not even read."""
    with connect(settings) as connection, exactly():
        names = build(use_case, settings, connection, start=start, end=end, ticker=ticker)
        table = connection.execute(_assembled(use_case, names)).df()
    return _split(use_case, table, content_hash(use_case, settings))


@contextmanager
def exactly() -> Iterator[None]:
    """Turn an overflow of exact sums into a `FeatureError`. DuckDB's own message quotes the value: no message may."""
    try:
        yield
    except duckdb.ConversionException:
        raise FeatureError(
            "a value is too large to be computed exactly",
            expected="values below 2**63 units of 10**-decimals",
            fix="correct the table, declare a sentinel under `missing`, or lower the aggregate's `decimals`",
        ) from None
    except duckdb.OutOfRangeException:
        raise FeatureError(
            "the squares of a column's values are too large to be summed exactly",
            expected="in each window, events times the sum of the squared values below 2**127 units of 10**-decimals",
            fix="lower the `decimals` of the aggregate with std or deviation, or take these functions out",
        ) from None


def build(
    use_case: UseCase,
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    *,
    start: datetime | None,
    end: datetime | None,
    views: bool = True,
    ticker: Ticker | None = None,
) -> list[str]:
    """Make the relations `events`, `probes`, one a view and one an aggregate; returns the names of the latter kinds.

    To be called within `exactly`.
    """
    refuse_leaks(use_case, settings)
    _note(ticker, "reading events")
    load_events(use_case, settings, connection, start=start, end=end)
    names: list[str] = []
    for view in use_case.views if views else ():
        _note(ticker, f"joining {view}")
        names.append(f"view:{view}")
        connection.execute(
            f"CREATE TEMP TABLE {quote(names[-1])} AS {view_query(use_case, view, settings, connection)}"
        )
    for index, part in enumerate(use_case.aggregates):
        _note(ticker, f"aggregating {part.stem}")
        names.append(aggregate_relation(index))
        stream = aggregate_stream(use_case, index, settings, connection)
        connection.execute(f"CREATE TEMP TABLE {quote(names[-1])} AS {aggregate_query(use_case, index, stream)}")
    return names


def event_values(
    use_case: UseCase, settings: Settings, event_id: str, *, ticker: Ticker | None = None
) -> dict[str, Any]:
    """Every feature of one event of the event table, as known at its time; missing ones are None."""
    with connect(settings) as connection:
        query = f"SELECT event_time FROM ({events_sql(use_case, connection, settings)}) WHERE {ID} = ?"
        row = connection.execute(query, [event_id]).fetchone()
    if row is None:
        raise FeatureError(
            f"no event {event_id!r} in {use_case.event_table.label}",
            expected=f"a value of {event_id_column(use_case)}",
            fix=f"look it up in the table, or among the rejects: risk features validate {use_case.name}",
        )
    time: datetime | None = row[0]
    end = time + timedelta(microseconds=1) if time else None
    frame = training_frame(use_case, settings, start=time, end=end, ticker=ticker)
    position = frame.events.index[frame.events["event_id"] == event_id][0]
    found = frame.features.iloc[position].to_dict()
    return {name: None if value != value else value for name, value in found.items()}  # noqa: PLR0124  # NaN


def aggregate_relation(index: int) -> str:
    """Name of the relation with the features of `use_case.aggregates[index]`."""
    return f"aggregate:{index}"


def load_events(
    use_case: UseCase,
    settings: Settings,
    connection: duckdb.DuckDBPyConnection,
    *,
    start: datetime | None,
    end: datetime | None,
) -> None:
    """Make the relations `events`, as far back as aggregates reach, and `probes`, the period itself.

    Both have the canonical columns, ROW (by time and id) and AT (microseconds since 1970).
    """
    conditions = []
    if start:
        first = microseconds(start) - horizon(use_case) // timedelta(microseconds=1)
        late = any(part.enters == "outcome" for part in use_case.aggregates)  # an old event with a new outcome counts
        conditions.append(f"({AT} >= {first}{f' OR epoch_us({KNOWN}) >= {first}' if late else ''})")
    if end:
        conditions.append(f"{AT} < {microseconds(end)}")
    timed = f"SELECT *, epoch_us(event_time) AS {AT} FROM ({events_sql(use_case, connection, settings)})"
    if use_case.event.time:
        conditions.append(f"{AT} IS NOT NULL")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    connection.execute(
        f"CREATE TEMP TABLE events AS SELECT row_number() OVER (ORDER BY {AT}, {ID}) AS {ROW}, * "
        f"FROM ({timed}){where} ORDER BY {AT}, {ID}"
    )
    since = f" WHERE {AT} >= {microseconds(start)}" if start else ""
    connection.execute(f"CREATE TEMP VIEW probes AS SELECT * FROM events{since}")


def view_query(use_case: UseCase, view: str, settings: Settings, connection: duckdb.DuckDBPyConnection) -> str:
    """Query for one view's features of every probe."""
    definition = use_case.views[view]
    raw = opened(connection, use_case, definition.table, settings)
    history = history_sql(use_case, view, raw)
    probes = f"(SELECT {ROW}, {AT}, {quote(entity_column(definition.entity))} AS {KEY} FROM probes)"
    names = {quote(name): quote(name) for name, _ in view_features(use_case, view)}
    return asof_query(probes, f"({history})", columns=names, ttl=definition.ttl)


def history_sql(use_case: UseCase, view: str, raw: Source) -> str:
    """The rows behind a view: KEY, TIME and CREATED (microseconds), and its columns under their feature names."""
    definition = use_case.views[view]
    table, key = use_case.tables[definition.table], use_case.key(definition.entity)
    if table.time is None:
        raise FeatureError(
            f"views.{view} joins the table {definition.table!r}, which has no time",
            expected=f"tables.{definition.table}.time",
        )
    raw.require([key, table.time, *([table.created] if table.created else [])], owner=f"views.{view}")
    for name, column in definition.columns.items():
        raw.require([column.column or name], owner=f"views.{view}.columns")
    columns = "".join(
        f", {value_sql(raw.columns, name, column)} AS {quote(feature)}"
        for (feature, _), (name, column) in zip(view_features(use_case, view), definition.columns.items(), strict=True)
    )
    times = f"epoch_us({time_sql(raw, table.time)}) AS {TIME}, epoch_us({time_sql(raw, table.created)}) AS {CREATED}"
    return f"SELECT CAST({quote(key)} AS VARCHAR) AS {KEY}, {times}{columns} FROM {raw.scan}"


def aggregate_stream(
    use_case: UseCase, index: int, settings: Settings, connection: duckdb.DuckDBPyConnection
) -> Source | None:
    """The table whose rows an aggregate counts, if they are not the scored events."""
    table = use_case.aggregates[index].table
    if table is None or table == use_case.event.table:
        if use_case.event.time is None:
            raise FeatureError(
                "aggregates need times, and the event table has none", expected="event.time", fix="name the time column"
            )
        return None
    return opened(connection, use_case, table, settings)


def _assembled(use_case: UseCase, names: list[str]) -> str:
    joins = "".join(f" LEFT JOIN (SELECT * FROM {quote(name)}) AS {quote(name)} USING ({ROW})" for name in names)
    query = f"SELECT * FROM probes{joins}"
    for name, expression in compile_derived(use_case).items():
        sql_type = "DOUBLE" if use_case.derived[name].type == "number" else "VARCHAR"
        query = f"SELECT *, CAST({expression.sql()} AS {sql_type}) AS {quote(name)} FROM ({query})"
    chosen = ", ".join([*_event_columns(use_case), *(quote(feature.name) for feature in features_of(use_case))])
    return f"SELECT {chosen} FROM ({query}) ORDER BY {ROW}"


def _event_columns(use_case: UseCase) -> dict[str, str]:
    """Column of the assembled relation -> its name in `Frame.events`."""
    return (
        {ID: "event_id", "event_time": "event_time", KNOWN: "known", LABEL: "label"}
        | {quote(entity_column(entity)): entity for entity in use_case.entities}
        | {quote(protected_column(name)): name for name in use_case.protected}
        | {quote(outcome_column(name)): name for name in use_case.outcomes}
    )


def _split(use_case: UseCase, table: pd.DataFrame, digest: str) -> Frame:
    """By position, since a feature may be called like one of the events' columns."""
    names = list(_event_columns(use_case).values())
    events = table.iloc[:, : len(names)].set_axis(names, axis="columns")
    features = table.iloc[:, len(names) :].set_axis([feature.name for feature in features_of(use_case)], axis="columns")
    beside = use_case.protected | use_case.outcomes
    for column in ("event_time", "known", *(name for name, part in beside.items() if part.type == "time")):
        events[column] = events[column].astype("datetime64[us]").dt.tz_localize("UTC")
    return Frame(events, features, digest, definition_hash(use_case))


def _note(ticker: Ticker | None, text: str) -> None:
    if ticker:
        ticker.note(text)
