"""Windowed aggregates as SQL: frames over integer microseconds, exact sums, as known at each event's time.

Boundaries. A window d with a delay w at time t covers (t - w - d, t - w]: what happened at t - w is in, what happened
at t - w - d is out, to the microsecond. If `current` is false the right end is out, too. Times are UTC; days are of
86,400 seconds.

Ties. Events of one key with the same time are peers: each is in the window of the others, whatever their order in the
file. With `current: false` and no delay neither the event nor its peers count. `since_last` and `first_seen` look at
what is strictly earlier, with any setting. The exact sums make the order of events, batches and engines irrelevant.

Late events. An event of the scored table counts at its own time, even if its row was written later: a back-fill sees it
where it happened, and the online state puts it there when it arrives. A row of another table counts from when it became
known, the later of its time and its created time, and its window is measured from that moment. A repeated event id is
one event.

Outcomes. With a delay, an event of the label's column counts as positive only if its outcome was known when the delay
was over; one that wasn't, or has no label, counts as negative. With `enters: outcome` an event stands in the window at
the time its outcome became known: the recorded time, or the event's time and the maturity, but never before the
microsecond after the event, so that no event sees its own outcome. An outcome known at t - w is in, one known at
t - w - d is out. An event without a label is in no such window; one that turned out negative is. An event id has one
outcome, the last one told.

Undefined. An event without a key has no value. Of an empty window `count`, `distinct` and `sum` are 0, `first_seen` is
1, and everything else is missing; so is a deviation of fewer than two values, a ratio to a mean of 0 and a number of
deviations where there is no spread.

Decimals. In `sum`, `mean`, `std`, and in what `ratio` and `deviation` compare with, values count in units of
10**-decimals, halves rounded away from zero: `decimals` below those of the values rounds each of them. `min`, `max`,
`distinct` and the value that an event has itself in `ratio` and `deviation` are as they stand in the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from configs.errors import FeatureError
from configs.inputs import Aggregate
from configs.use_case import UseCase
from features.asof import AT, ROW
from features.events import KNOWN, LABEL, entity_column
from features.exact import NUMERIC
from features.expressions import compile_expression
from features.sources import Source, quote
from features.values import number_sql, time_sql
from features.vector import aggregate_features, carried_names, check_aggregate, request_field
from features.windows import windowed

LINE, SEEN = '"line:"', '"seen:"'


def horizon(use_case: UseCase) -> timedelta:
    """How much history an event's aggregates reach back for: the largest window and its delay."""
    return max((max(part.windows) + part.delay for part in use_case.aggregates), default=timedelta(0))


def aggregate_query(use_case: UseCase, index: int, stream: Source | None) -> str:
    """Query for the features of `use_case.aggregates[index]`, a row for each of `probes`: ROW and the features.

    Reads the relations `events` and `probes` (canonical columns, ROW and AT); `probes` is the part of `events` whose
    features are wanted. `stream` is the table of the aggregated events if they are not the scored ones. A probe with
    a missing key is left out.
    """
    part = use_case.aggregates[index]
    features = [feature for feature in aggregate_features(use_case) if feature.aggregate is part]
    check_aggregate(use_case, part)
    if stream is not None:
        return f"{windowed(features, _other_rows(use_case, part, stream))}\nWHERE {ROW} IS NOT NULL"
    if part.enters == "outcome":
        return f"{windowed(features, _outcome_rows(use_case, part))}\nWHERE {ROW} IS NOT NULL"
    return f"{windowed(features, _own_rows(use_case, part))}\nWHERE {ROW} IN (SELECT {ROW} FROM probes)"


def _own_rows(use_case: UseCase, part: Aggregate) -> str:
    """The scored events themselves: rows, keys, times, whether they count (`hit`), and the value."""
    keys = [quote(entity_column(entity)) for entity in part.entities]
    condition = _condition(part, carried_names(use_case))
    value = f"CASE WHEN {condition} THEN {_own_value(use_case, part)} END"
    field = request_field(use_case, part)
    own = f", {quote(field)} AS own" if field is not None else ""
    return (
        f"SELECT {ROW}, {AT} AS t, {_key(keys)} AS key, 1 AS event, CASE WHEN {condition} THEN 1 END AS hit, "
        f"{value} AS value{own}\nFROM ({_named(use_case)}) WHERE {_present(keys)}"
    )


def _outcome_rows(use_case: UseCase, part: Aggregate) -> str:
    """Probes, which count nothing, beside the events whose outcome is known, at the time it became known."""
    keys = [quote(entity_column(entity)) for entity in part.entities]
    condition = _condition(part, carried_names(use_case))
    value = f"CASE WHEN {condition} THEN CASE WHEN {LABEL} = 1 THEN 1e0 ELSE 0e0 END END"
    return (
        f"{_asking(part, 'DOUBLE')}\nUNION ALL\n"
        f"SELECT NULL, greatest(epoch_us({KNOWN}), {AT} + 1), {_key(keys)}, 1, CASE WHEN {condition} THEN 1 END, "
        f"{value}\nFROM ({_named(use_case)}) WHERE {_present(keys)} AND {LABEL} IS NOT NULL"
    )


def _asking(part: Aggregate, kind: str) -> str:
    """Probes as rows that are in no window themselves; `kind` is the type of the value they lack."""
    keys = [quote(entity_column(entity)) for entity in part.entities]
    return (
        f"SELECT {ROW}, {AT} AS t, {_key(keys)} AS key, CAST(NULL AS INTEGER) AS event, CAST(NULL AS INTEGER) AS hit, "
        f"CAST(NULL AS {kind}) AS value\nFROM probes WHERE {_present(keys)}"
    )


def _named(use_case: UseCase) -> str:
    """Events whose keys also have the names by which conditions call them."""
    aliases = "".join(
        f", {quote(entity_column(entity))} AS {quote(entity)}"
        for entity in use_case.entities
        if entity not in use_case.request
    )
    return f"SELECT *{aliases} FROM events"


def _other_rows(use_case: UseCase, part: Aggregate, stream: Source) -> str:
    """Probes, which count nothing, beside the rows of another table, which enter when they became known."""
    keys = [quote(entity_column(entity)) for entity in part.entities]
    stream.require([part.column] if part.column else [], owner=f"aggregates ({part.stem})")
    condition = _condition(part, {name: _kind(found) for name, found in stream.columns.items()})
    value, kind = _other_value(part, stream)
    events = stream_sql(use_case, part.table or "", stream, entities=part.entities, columns=list(stream.columns))
    return (
        f"{_asking(part, kind)}\nUNION ALL\n"
        f"SELECT NULL, epoch_us({SEEN}), {_key(keys)}, 1, CASE WHEN {condition} THEN 1 END, "
        f"CASE WHEN {condition} THEN {value} END\nFROM ({events}) WHERE {_present(keys)} AND {SEEN} IS NOT NULL"
    )


def stream_sql(
    use_case: UseCase,
    table: str,
    stream: Source,
    *,
    entities: Sequence[str],
    columns: Sequence[str],
    numbered: bool = False,
) -> str:
    """Query for a table that aggregates count: SEEN (when a row became known), `entity:<name>`, typed columns.

    If `numbered`, also LINE, the place of the row in the table, which only DuckDB knows.
    """
    definition, owner = use_case.tables[table], f"tables.{table}"
    if definition.time is None:
        raise FeatureError(f"aggregates count the table {table!r}, which has no time", expected=f"{owner}.time")
    stream.require([definition.time, *([definition.created] if definition.created else [])], owner=owner)
    stream.require([use_case.key(entity) for entity in entities], owner=f"aggregates over {table}")
    stream.require(columns, owner=f"aggregates over {table}")
    time, created = time_sql(stream, definition.time), time_sql(stream, definition.created)
    keys = [f"CAST({quote(use_case.key(entity))} AS VARCHAR) AS {quote(entity_column(entity))}" for entity in entities]
    chosen = ", ".join([*keys, *(f"{_typed(stream, name)} AS {quote(name)}" for name in columns)])
    seen = f"greatest({time}, coalesce({created}, {time}))"
    line = f"row_number() OVER () AS {LINE}, " if numbered else ""
    return f"SELECT {line}{seen} AS {SEEN}, {chosen} FROM {stream.scan}"


def _key(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"ROW({', '.join(parts)})"


def _present(parts: Sequence[str]) -> str:
    return " AND ".join(f"{part} IS NOT NULL" for part in parts)


def _condition(part: Aggregate, names: Mapping[str, str]) -> str:
    if part.where is None:
        return "TRUE"
    try:
        return compile_expression(part.where, allowed=names, gives="condition").sql()
    except FeatureError as error:
        raise FeatureError(f"aggregates ({part.stem}).where: {error.found}", expected=error.expected) from None


def _own_value(use_case: UseCase, part: Aggregate) -> str:
    if part.column is None:
        return "1e0"
    if part.column == use_case.label.column:  # an outcome that came after the delay was not known by then
        known = f"{KNOWN} <= event_time + INTERVAL {int(part.delay.total_seconds())} SECONDS"
        return f"CASE WHEN {LABEL} = 1 AND ({KNOWN} IS NULL OR {known}) THEN 1e0 ELSE 0e0 END"
    for name, column in use_case.request.items():
        if part.column in {name, column.column}:
            _check_numeric(part, number=column.type not in {"category", "time"})
            return f"epoch({quote(name)})" if column.type == "time" else quote(name)
    for entity, key in use_case.entities.items():
        if part.column in {entity, key}:
            _check_numeric(part, number=False)
            return quote(entity_column(entity))
    raise FeatureError(
        f"aggregates ({part.stem}) name the column {part.column!r}, which a request doesn't carry",
        expected="a request field, an entity or the label: "
        + ", ".join([*use_case.request, *use_case.entities, use_case.label.column]),
        fix="declare it under `request` with `feature: false`",
    )


def _other_value(part: Aggregate, stream: Source) -> tuple[str, str]:
    if part.column is None:
        return "1e0", "DOUBLE"
    kind = _kind(stream.columns[part.column])
    _check_numeric(part, number=kind == "number")
    return quote(part.column), "DOUBLE" if kind == "number" else "TIMESTAMP" if kind == "time" else "VARCHAR"


def _check_numeric(part: Aggregate, *, number: bool) -> None:
    wrong = sorted(NUMERIC & set(part.functions))
    if wrong and not number:
        raise FeatureError(
            f"aggregates ({part.stem}) ask for {wrong[0]} of {part.column!r}, which is no number",
            expected="count or distinct",
        )


def _kind(found: str) -> str:
    if found.startswith(("TIMESTAMP", "DATE")):
        return "time"
    return "category" if found in {"VARCHAR", "TIME", "UUID", "BLOB"} or found.startswith("ENUM") else "number"


def _typed(stream: Source, name: str) -> str:
    """A column of another table as expressions take it."""
    column, found = quote(name), stream.columns[name]
    match _kind(found):
        case "time":
            return f"CAST({column} AS TIMESTAMP)"
        case "category":
            return f"CAST({column} AS VARCHAR)"
        case _:
            return number_sql(column, found, "number")
