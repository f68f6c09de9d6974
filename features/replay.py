"""An online store that is told what happened in the order in which it became known, as it would have been live."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from heapq import heappop, heappush
from pathlib import Path
from typing import Generic, TypeVar

from configs.settings import Settings
from configs.use_case import UseCase
from features.asof import CREATED, TIME
from features.frame import history_sql
from features.intake.loads import opened
from features.language.operators import microseconds
from features.materialize import LINE, VISIBLE, fetched, packed_rows, visible_sql
from features.online import OnlineFeatures, OnlineVector
from features.request import Outcome, ScoringRequest
from features.sources import connect
from features.stores.connections import RedisServer, literal
from features.stores.packed import open_packed
from features.stores.segments import PackedRow, shapes_of, time_at
from features.traffic import Event, stream

_AHEAD = timedelta(hours=12) // timedelta(microseconds=1)  # well below the lateness that the state allows
_LIFE = timedelta(days=7) // timedelta(milliseconds=1)  # on Redis, of what a replay that was killed leaves behind
_BULK = 2_000  # events: from here on one batch is faster than one after the other

T = TypeVar("T")


class Replay:
    """An empty store, and all that history can tell it beside the scored events, which come by `record`.

    `alias` is the use case under another name, so that nothing of a live store is touched; `scratch` are settings whose
    home is a folder of its own.
    """

    def __init__(self, use_case: UseCase, settings: Settings, *, alias: UseCase, scratch: Settings) -> None:
        self._use_case, self._settings, self._alias = use_case, settings, alias
        self._online = OnlineFeatures(alias, scratch)
        self._packed = open_packed(path=scratch.online_db, redis_url=scratch.redis_url)
        self._views = [(shape, Timed(self._history(view))) for view, shape in shapes_of(use_case).items()]
        parts, label = use_case.aggregates, use_case.label.column
        tables = {part.table for part in parts if part.table and part.table != use_case.event.table}
        self._others = {table: Timed(self._stream(table)) for table in sorted(tables)}
        self._positive = any(part.column == label for part in parts)
        self._every = any(part.enters == "outcome" for part in parts)
        self._outcomes: list[tuple[int, str, int, ScoringRequest]] = []
        self._fed = -(2**63)

    def advance(self, time: int) -> None:
        """Tell what became known by a time (microseconds): rows of views and of other tables, and outcomes."""
        for shape, rows in self._views:
            self._packed.write(self._alias.name, shape, rows.until(time), lives=_LIFE)
        if time > self._fed:
            self._fed = time + _AHEAD  # windows are blind to what comes after the time that they are asked for
            for table, events in self._others.items():
                self._online.activity.seed(events.until(self._fed), table=table)
        forgotten: list[Event] = []
        while self._outcomes and self._outcomes[0][0] <= time:
            known, event_id, label, request = heappop(self._outcomes)
            if not self._online.activity.outcome(event_id, label, time_at(known)):
                forgotten.append((request, Outcome(label, time_at(known))))
        if forgotten:  # the next load brings them
            self._online.activity.seed(forgotten)

    def record(self, events: Sequence[Event]) -> None:
        """Let scored events enter; each outcome follows when it becomes known."""
        for request, outcome in events:
            if outcome.known and (self._every or (self._positive and outcome.label == 1)):
                known, label = microseconds(outcome.known), int(outcome.label or 0)
                heappush(self._outcomes, (known, request.event_id, label, request))
        if len(events) < _BULK:
            for request, _ in events:
                self._online.record(request)
        else:
            self._online.activity.seed((request, Outcome(None, None)) for request, _ in events)

    def read(self, request: ScoringRequest) -> OnlineVector:
        """What scoring would read now."""
        return self._online.read(request)

    def close(self) -> None:
        """Close the store."""
        self._packed.close()
        self._online.close()

    def _history(self, view: str) -> Iterator[tuple[int, tuple[str, PackedRow]]]:
        """The rows of a view, each with the time from which it is visible, in that order."""
        with connect(self._settings) as connection:
            raw = opened(connection, self._use_case, self._use_case.views[view].table, self._settings)
            visible = visible_sql(self._use_case, view, history_sql(self._use_case, view, raw))
            order = f"{VISIBLE}, {TIME}, {CREATED} NULLS FIRST, {LINE}"
            query = f"SELECT {VISIBLE}, * EXCLUDE ({LINE}, {VISIBLE}) FROM ({visible}) ORDER BY {order}"
            for time, *row in fetched(connection.execute(query)):
                yield time, next(packed_rows(self._use_case, view, [tuple(row)]))

    def _stream(self, table: str) -> Iterator[tuple[int, Event]]:
        entities, fields = self._online.activity.inputs(table)
        rows = stream(self._use_case, self._settings, table, entities=entities, fields=fields, start=None, end=None)
        for event in rows:
            yield microseconds(event[0].event_time), event


class Timed(Generic[T]):
    """Items in the order of their times, taken up to a time."""

    def __init__(self, items: Iterator[tuple[int, T]]) -> None:
        self._items = items
        self._next = next(items, None)

    def until(self, time: int) -> Iterator[T]:
        """The next items whose time is at most this one."""
        while self._next is not None and self._next[0] <= time:
            yield self._next[1]
            self._next = next(self._items, None)


@contextmanager
def replaying(use_case: UseCase, settings: Settings) -> Iterator[Replay]:
    """A replay in a SQLite file of its own, or with `settings.redis_url` under keys of its own; gone at the end."""
    alias = use_case.model_copy(update={"name": f"replay-{uuid.uuid4().hex[:12]}"})
    with tempfile.TemporaryDirectory(prefix="risk-replay-") as folder:
        scratch = settings.model_copy(update={"home": Path(folder)})
        try:
            with closing(Replay(use_case, settings, alias=alias, scratch=scratch)) as replay:
                yield replay
        finally:
            if settings.redis_url:
                with closing(RedisServer(settings.redis_url)) as server:
                    server.forget(literal(f"risk:{alias.name}:") + "*")
