"""History goes online: views into the packed store, events into the activity state, only what is new since last time.

A mark beside the data says how far a view or a table is loaded (`features.stores.marks`), and loading twice changes
nothing, so a load that was killed anywhere is simply run again. A load of events goes on where it was broken off; that
of a view begins anew, since its query takes longer than writing its rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal, TypeVar

from configs.console import Ticker
from configs.settings import Settings
from configs.use_case import UseCase
from features.asof import CREATED, KEY, TIME
from features.frame import history_sql
from features.intake.loads import opened
from features.language.operators import microseconds
from features.request import utc
from features.sources import accrued_paths, connect, quote
from features.state.activity import LATENESS, Activity
from features.stores.connections import BATCH
from features.stores.marks import Mark, drop_view, events_mark, read_mark, view_mark, write_mark
from features.stores.packed import PackedStore, open_packed
from features.stores.segments import PackedRow, shapes_of, time_at
from features.traffic import Event, history, newest, stream
from features.vector import view_features

VISIBLE = '"visible:"'
LINE = '"line:"'

T = TypeVar("T")


@dataclass(frozen=True)
class Load:
    """What loading one part did: `rows` were read, `new` of them were not online before (events only)."""

    part: str
    mode: Literal["full", "incremental"]
    rows: int
    new: int | None
    seconds: float


def materialize(
    use_case: UseCase,
    settings: Settings,
    *,
    until: datetime | None = None,
    full: bool = False,
    ticker: Ticker | None = None,
) -> dict[str, Any]:
    """Bring online what was known by `until` (None: views by now, and every event).

    Read are rows that became known after the mark less the table's `late`; all of them with `full`, without a mark,
    for a changed definition, or if `until` lies before the mark. Gives `views`, `new_events`, `until` and `loads`.
    """
    now = datetime.now(UTC)
    loads: list[Load] = []
    with closing(open_packed(path=settings.online_db, redis_url=settings.redis_url)) as packed:
        views = ViewLoads(use_case, settings, packed, ticker)
        loads += [views.load(view, until=utc(until) if until else now, full=full) for view in use_case.views]
        if use_case.aggregates:
            with closing(Activity(use_case, settings)) as activity:
                events = EventLoads(use_case, settings, packed, activity, ticker)
                tables = sorted({part.table or use_case.event.table for part in use_case.aggregates})
                loads += [events.load(table, until=utc(until) if until else None, full=full) for table in tables]
    return {
        "views": list(use_case.views),
        "new_events": sum(load.new or 0 for load in loads),
        "until": (utc(until) if until else now).isoformat(),
        "loads": [asdict(load) for load in loads],
    }


class _Loads:
    """What both kinds of loads share: marks and progress."""

    def __init__(self, use_case: UseCase, settings: Settings, packed: PackedStore, ticker: Ticker | None) -> None:
        self._use_case, self._settings, self._packed, self._ticker = use_case, settings, packed, ticker

    def _mark(self, name: str, signature: str) -> Mark | None:
        """The mark, if it speaks of the same definition."""
        mark = read_mark(self._packed, self._use_case.name, name)
        return mark if mark and mark.signature == signature else None

    def _set(self, name: str, mark: Mark, *, lives: int | None = None) -> None:
        write_mark(self._packed, self._use_case.name, name, mark, lives=lives)

    def _counted(self, rows: Iterable[T], part: str, count: list[int]) -> Iterator[T]:
        """The rows; their number so far is in `count`, and on the screen with the rate."""
        began = perf_counter()
        for row in rows:
            count[0] += 1
            if self._ticker and count[0] % BATCH == 0:
                rate = count[0] / max(perf_counter() - began, 1e-9)
                self._ticker.note(f"{part}: {count[0]:,} rows, {rate:,.0f} a second")
            yield row


class ViewLoads(_Loads):
    """Loading views into the packed store."""

    def load(self, view: str, *, until: datetime, full: bool) -> Load:
        """Write the latest row of every key with news by `until`."""
        began, name, signature = perf_counter(), view_mark(view), view_signature(self._use_case, view)
        there = self._packed.mark(self._use_case.name, name) is not None
        mark = self._mark(name, signature)
        if there and mark is None:  # rows of another definition would stay where they look newer
            drop_view(self._packed, self._use_case.name, view)
        elif mark is None:  # should this load be killed, its rows are such ones for the next definition
            self._set(name, Mark(""))
        end, since = microseconds(until), None
        if mark and mark.reached is not None and mark.reached <= end and not full:
            since = mark.reached - _micro_late(self._use_case, self._use_case.views[view].table)
        if self._ticker:
            self._ticker.note(f"reading {view}")
        count = [0]
        with connect(self._settings) as connection:
            raw = opened(connection, self._use_case, self._use_case.views[view].table, self._settings)
            visible = visible_sql(self._use_case, view, history_sql(self._use_case, view, raw))
            news = "" if since is None else f" AND {VISIBLE} >= {since}"
            connection.execute(f"CREATE TEMP TABLE known AS {visible} AND {VISIBLE} <= {end}{news}")
            rows = packed_rows(self._use_case, view, fetched(connection.execute(_LATEST)))
            shape = shapes_of(self._use_case)[view]
            self._packed.write(self._use_case.name, shape, self._counted(rows, view, count))
            reached = (connection.execute(f"SELECT max({VISIBLE}) FROM known").fetchone() or (None,))[0]
        before = None if since is None or mark is None else mark.reached
        self._set(name, Mark(signature, reached=_max(reached, before)))
        return Load(f"view {view}", _mode(since), count[0], None, perf_counter() - began)


class EventLoads(_Loads):
    """Loading the events that windows count into the activity state."""

    def __init__(
        self, use_case: UseCase, settings: Settings, packed: PackedStore, activity: Activity, ticker: Ticker | None
    ) -> None:
        super().__init__(use_case, settings, packed, ticker)
        self._activity = activity
        self._newest: datetime | None = None

    def load(self, table: str, *, until: datetime | None, full: bool) -> Load:
        """Seed the events of a table, and the outcomes that became known, as far back as windows reach."""
        began, name = perf_counter(), events_mark(table)
        signature = events_signature(self._use_case, self._settings, self._activity, table)
        mark = None if full else self._mark(name, signature)
        start = (until or self._last()) - self._activity.reach - LATENESS
        late = _micro_late(self._use_case, table)
        if mark and mark.start > microseconds(start):  # older events are wanted than were ever loaded
            mark = None
        base = mark or Mark(signature, microseconds(start))
        if mark is None:  # what is loaded from here on lives at least as long on Redis
            self._set(name, base, lives=self._activity.keep(table) // 1000)
        since = [] if base.reached is None else [base.reached - late]
        resumed = [] if base.place is None else [base.place - late]
        count, newest_row = [0], [base.reached]

        def reached(time: datetime) -> None:
            newest_row[0] = _max(newest_row[0], microseconds(time))
            self._set(name, replace(base, place=_max(base.place, microseconds(time))))

        rows = self._rows(table, start, until, [time_at(time) for time in [*since, *resumed]])
        counted = self._counted(rows, table, count)
        if self._ticker:
            self._ticker.note(f"recent rows of {table}")
        added = self._activity.seed(counted, table=table, now=until or self._last(), reached=reached)
        self._set(name, Mark(signature, microseconds(start), _max(newest_row[0], base.place)))
        return Load(f"events {table}", _mode(since or None), count[0], added, perf_counter() - began)

    def _last(self) -> datetime:
        if self._newest is None:
            self._newest = newest(self._use_case, self._settings)
        return self._newest

    def _rows(self, table: str, start: datetime, until: datetime | None, since: list[datetime]) -> Iterator[Event]:
        if table == self._use_case.event.table:
            return history(self._use_case, self._settings, start=start, end=until, since=since)
        entities, fields = self._activity.inputs(table)
        begin = max([start, *since])
        return stream(self._use_case, self._settings, table, entities=entities, fields=fields, start=begin, end=until)


def view_signature(use_case: UseCase, view: str) -> str:
    """Changes whenever another row could be online for a view, or one with other values."""
    resolved, definition = use_case.as_json(), use_case.views[view]
    key, table = use_case.key(definition.entity), resolved["tables"][definition.table]
    columns = {name: column.shaping for name, column in definition.columns.items()}
    return _digest([definition.entity, columns, table, key, resolved.get("personal")])


def events_signature(use_case: UseCase, settings: Settings, activity: Activity, table: str) -> str:
    """Changes whenever something else is kept of an event, or accrued events came that may lie before the mark."""
    resolved = use_case.as_json()
    accrued = [path.name for path in accrued_paths(use_case, settings)] if table == use_case.event.table else []
    return _digest([activity.signature(table), resolved["tables"][table], resolved.get("personal"), accrued])


def visible_sql(use_case: UseCase, view: str, history: str) -> str:
    """Query for a view's rows with their number and VISIBLE, since when each is known; ends in a WHERE clause."""
    names = ", ".join(quote(feature) for feature, _ in view_features(use_case, view))
    return (
        f"SELECT * FROM (SELECT {KEY}, {TIME}, {CREATED}, {names}, row_number() OVER () AS {LINE}, "
        f"greatest({TIME}, coalesce({CREATED}, {TIME})) AS {VISIBLE} FROM ({history})) "
        f"WHERE {KEY} IS NOT NULL AND {TIME} IS NOT NULL"
    )


_LATEST = (
    f"SELECT * EXCLUDE ({LINE}, {VISIBLE}) FROM known QUALIFY row_number() OVER (PARTITION BY {KEY} "
    f"ORDER BY {TIME} DESC, {CREATED} DESC NULLS LAST, {LINE} DESC) = 1 ORDER BY {KEY}"
)
"""Keys in order: neighbours lie on the same pages of the store."""


def packed_rows(use_case: UseCase, view: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, PackedRow]]:
    """(key, time, created, values ...) -> what the packed store takes."""
    names = list(use_case.views[view].columns)
    for key, time, created, *values in rows:
        kept = [utc(value) if isinstance(value, datetime) else value for value in values]
        known = None if created is None else time_at(created)
        yield key, PackedRow(time_at(time), known, dict(zip(names, kept, strict=True)))


def fetched(cursor: Any) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, some at a time."""
    while rows := cursor.fetchmany(BATCH):
        yield from rows


def _micro_late(use_case: UseCase, table: str) -> int:
    return int(use_case.tables[table].late.total_seconds()) * 1_000_000


def _mode(since: object) -> Literal["full", "incremental"]:
    return "full" if since is None else "incremental"


def _max(first: int | None, second: int | None) -> int | None:
    return max((time for time in (first, second) if time is not None), default=None)


def _digest(parts: list[Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]
