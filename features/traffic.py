"""Events as scoring sees them: raw rows of a table become requests with the outcome that followed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import duckdb

from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import Period, UseCase
from features.aggregates import LINE, SEEN, stream_sql
from features.events import ID, KNOWN, LABEL, canonical_sql, entity_column, events_sql
from features.intake.loads import accepted, opened
from features.language.operators import microseconds
from features.request import Outcome, ScoringRequest, utc
from features.sources import connect, live_path, quote, source

_BATCH = 5_000
_SEED = 7

Event = tuple[ScoringRequest, Outcome]


def requests(
    use_case: UseCase,
    settings: Settings,
    *,
    period: Period | None,
    limit: int | None = None,
    now: datetime | None = None,
) -> Iterator[Event]:
    """Live traffic, in order of time: the event table's rows of a period, or without one the simulator's live events.

    A table without a time gives its rows in an order drawn with a fixed seed, a second apart, the last one at `now`.
    `limit` takes the first so many.
    """
    if use_case.event.time is None:
        return islice(_timeless(use_case, settings, utc(now or datetime.now(UTC))), limit)
    if period is None and not use_case.simulator:
        raise FeatureError(
            f"{use_case.name} has no simulator, so no live events", expected="a period of the event table"
        )

    def query(connection: duckdb.DuckDBPyConnection) -> str:
        if period is None:
            return canonical_sql(use_case, source(connection, live_path(use_case, settings)))
        table = canonical_sql(use_case, accepted(connection, use_case, settings))
        return f"SELECT * FROM ({table}) WHERE {_between(period.start, period.end)}"

    return islice(_events(use_case, settings, query), limit)


def history(
    use_case: UseCase,
    settings: Settings,
    *,
    start: datetime | None,
    end: datetime | None,
    since: Sequence[datetime] = (),
) -> Iterator[Event]:
    """Rows of the event table, accrued ones too, from `start` to before `end`; labels not known by `end` unknown.

    Where events enter windows with their outcome, older ones whose outcome became known since `start` are there, too.
    Of each moment in `since`, only rows that happened then or later, or whose outcome became known then or later.
    """

    def query(connection: duckdb.DuckDBPyConnection) -> str:
        entering = start is not None and any(part.enters == "outcome" for part in use_case.aggregates)
        first = [_news(use_case, start), _between(None, end)] if start and entering else [_between(start, end)]
        tests = [*first, *(_news(use_case, moment) for moment in since)]
        return f"SELECT * FROM ({events_sql(use_case, connection, settings)}) WHERE {' AND '.join(tests)}"

    for request, outcome in _events(use_case, settings, query):
        early = end is not None and outcome.known is not None and outcome.known > utc(end)
        yield request, Outcome(None, None, request.event_id) if early else outcome


def newest(use_case: UseCase, settings: Settings) -> datetime:
    """Time of the last event in the event table, accrued ones included."""
    with connect(settings) as connection:
        row = connection.execute(
            f"SELECT max(event_time) FROM ({events_sql(use_case, connection, settings)})"
        ).fetchone()
    if not row or row[0] is None:
        raise FeatureError(f"{use_case.event_table.path} has no events", expected="rows with an event time")
    return utc(row[0])


def stream(
    use_case: UseCase,
    settings: Settings,
    table: str,
    *,
    entities: Sequence[str],
    fields: Sequence[str],
    start: datetime | None,
    end: datetime | None,
) -> Iterator[Event]:
    """Rows of another table that aggregates count, at the time they became known; `fields` are its columns to keep.

    The table names no id of its rows: theirs is what they hold, and the number among equals. So a row keeps its id
    when the table is written anew in another order, or read in part, as long as the part is cut by time.
    """
    with connect(settings) as connection:
        raw = opened(connection, use_case, table, settings)
        query = stream_sql(use_case, table, raw, entities=entities, columns=fields, numbered=True)
        between = _between(start, end).replace("event_time", SEEN)
        names = [SEEN, *(quote(entity_column(entity)) for entity in entities), *map(quote, fields)]
        chosen = ", ".join(names)
        content = _content(names, _tokens(use_case, entities, fields))
        equals = f"row_number() OVER (PARTITION BY {chosen} ORDER BY {LINE})"
        cursor = connection.execute(
            f"SELECT {content} || ':' || {equals} AS id, {chosen} FROM ({query}) WHERE {between} ORDER BY {SEEN}, id"
        )
        for event_id, seen, *values in _fetched(cursor):
            keys, kept = values[: len(entities)], [_aware(value) for value in values[len(entities) :]]
            request = ScoringRequest(
                event_id, seen, dict(zip(entities, keys, strict=True)), dict(zip(fields, kept, strict=True))
            )
            yield request, Outcome(None, None, event_id)


def _tokens(use_case: UseCase, entities: Sequence[str], fields: Sequence[str]) -> set[str]:
    """The columns of a stream that hold tokens."""
    raw = {entity_column(entity): use_case.key(entity) for entity in entities} | {name: name for name in fields}
    return {quote(name) for name, column in raw.items() if use_case.personal.get(column) == "token"}


def _content(names: Sequence[str], tokens: Collection[str]) -> str:
    """One text for what a row holds: each value with its length, so that no two different rows share it.

    Tokens stand in it as they are, where a rotation of their keys finds them.
    """
    texts = [f"CAST({name} AS VARCHAR)" for name in names if name not in tokens]
    hashed = f"md5({' || '.join(f'''coalesce(length({each}) || ':' || {each}, '-')''' for each in texts)})"
    return " || '|' || ".join([hashed, *(f"coalesce({name}, '-')" for name in names if name in tokens)])


def _news(use_case: UseCase, moment: datetime) -> str:
    """Windows over the label count positive outcomes; those that events enter with their outcome wait for any."""
    at = microseconds(moment)
    told = f"{LABEL} IS NOT NULL" if any(part.enters == "outcome" for part in use_case.aggregates) else f"{LABEL} = 1"
    return f"(epoch_us(event_time) >= {at} OR ({told} AND epoch_us({KNOWN}) >= {at}))"


def _between(start: datetime | None, end: datetime | None) -> str:
    tests = ["event_time IS NOT NULL"]
    if start:
        tests.append(f"epoch_us(event_time) >= {microseconds(start)}")
    if end:
        tests.append(f"epoch_us(event_time) < {microseconds(end)}")
    return " AND ".join(tests)


def _events(
    use_case: UseCase, settings: Settings, query: Callable[[duckdb.DuckDBPyConnection], str]
) -> Iterator[Event]:
    """The events of a canonical query, by time and id."""
    keys = [quote(entity_column(entity)) for entity in use_case.entities]
    columns = ", ".join([ID, "event_time", KNOWN, LABEL, *keys, *map(quote, use_case.request)])
    with connect(settings) as connection:
        cursor = connection.execute(f"SELECT {columns} FROM ({query(connection)}) ORDER BY event_time, {ID}")
        for row in _fetched(cursor):
            yield _event(use_case, row)


def _timeless(use_case: UseCase, settings: Settings, now: datetime) -> Iterator[Event]:
    """Rows of a table without a time, in a drawn order, a second apart."""
    keys = [quote(entity_column(entity)) for entity in use_case.entities]
    columns = ", ".join([ID, LABEL, *keys, *map(quote, use_case.request)])
    with connect(settings) as connection:
        table = canonical_sql(use_case, accepted(connection, use_case, settings))
        rows = connection.execute(f"SELECT {columns} FROM ({table}) ORDER BY md5({ID} || '{_SEED}'), {ID}").fetchall()
    for index, (event_id, label, *values) in enumerate(rows):
        time = now - timedelta(seconds=len(rows) - 1 - index)
        yield _event(use_case, (event_id, time, time + use_case.label.maturity, label, *values))


def _event(use_case: UseCase, row: Sequence[Any]) -> Event:
    event_id, time, known, label, *values = row
    count = len(use_case.entities)
    fields = {
        name: bool(value) if column.type == "boolean" and value is not None else _aware(value)
        for (name, column), value in zip(use_case.request.items(), values[count:], strict=True)
    }
    request = ScoringRequest(event_id, time, dict(zip(use_case.entities, values[:count], strict=True)), fields)
    return request, Outcome(None, None, event_id) if label is None else Outcome(int(label), utc(known), event_id)


def _fetched(cursor: duckdb.DuckDBPyConnection) -> Iterator[Sequence[Any]]:
    while rows := cursor.fetchmany(_BATCH):
        yield from rows


def _aware(value: Any) -> Any:
    return utc(value) if isinstance(value, datetime) else value
