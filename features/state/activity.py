"""Windowed aggregates online: the events of each key are kept as long as a window needs them, and added up when asked.

Windows, ties and boundaries are those of `features.aggregates`. An event id enters once, with what it said first, in
any order and from any number of processes. A late event is in every window that is asked for from then on, and so is an
outcome that came late or was corrected. What is older than all windows of the key's newest event (or of now, if that
is of the future) by more than `LATENESS` is dropped; an event that comes in later than that counts for nobody.

A key with more than `Limits.hot` events in its windows is answered from buckets (`features.state.buckets`), by the same
exact sums. The first request after a large load sums these up, which takes some microseconds an event.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.language.operators import microseconds
from features.request import Outcome, ScoringRequest, joined_key
from features.state.buckets import Buckets, Limits, Summaries
from features.state.committing import GroupCommit
from features.state.functions import statistics
from features.state.recent import Rows, Spans, WithCurrent
from features.state.streams import KNOWN, LABEL, TIME, Stream, TableStreams, streams_of
from features.stores.activity import Ask, Entry, EventStore, Found, Member, Row
from features.stores.connections import batches
from features.stores.marks import events_mark
from features.stores.packed import as_json, from_json, open_packed
from features.stores.redis_activity import RedisEvents
from features.stores.segments import time_at
from features.stores.sqlite_activity import SqliteEvents
from features.stores.tree import Place

LATENESS = timedelta(days=1)
"""How much later than its event time a request may be scored and still see its whole windows."""

_MICROSECOND = timedelta(microseconds=1)
_UNKNOWN = Outcome(None, None)
_LIMITS = Limits()


class Activity:
    """The activity state of one use case, in SQLite (`settings.online_db`) or Redis (`settings.redis_url`)."""

    def __init__(self, use_case: UseCase, settings: Settings, *, limits: Limits = _LIMITS) -> None:
        self._use_case, self._settings, self._limits = use_case, settings, limits
        self._feeds = {streams.table: _Feed(use_case, streams) for streams in streams_of(use_case)}
        if self._feeds and use_case.event.time is None:
            raise FeatureError(
                "aggregates need times, and the event table has none", expected="event.time", fix="name the time column"
            )
        self._own = self._feeds.get(use_case.event.table)
        self._missing = dict.fromkeys(name for feed in self._feeds.values() for name in feed.names)
        url = settings.redis_url
        self._store: EventStore = RedisEvents(url) if url else SqliteEvents(settings.online_db)
        self._enter = GroupCommit(self._add)
        self._summaries = Summaries(self._store, limits)

    @property
    def reach(self) -> timedelta:
        """How much history the state needs: the largest window with its delay."""
        return max((feed.streams.reach for feed in self._feeds.values()), default=timedelta(0))

    def inputs(self, table: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What `seed` reads of a table's events (None: the event table): names of entities and of fields."""
        feed = self._feeds.get(table or self._use_case.event.table)
        return (feed.streams.entities, feed.streams.fields) if feed else ((), ())

    def values(self, request: ScoringRequest) -> dict[str, float | None]:
        """Every aggregate feature at the event's time, the event itself included; None for all of a missing key.

        The event counts whether or not it was recorded before.
        """
        values: dict[str, float | None] = dict(self._missing)
        time = microseconds(request.event_time)
        keyed = [(feed, *each) for feed in self._feeds.values() for each in feed.keyed(request)]
        if not keyed:
            return values
        current = _values(self._use_case, request, _UNKNOWN)
        asked = [self._ask(feed, stream, place, request, current) for feed, stream, place in keyed]
        for (feed, stream, _), (ask, row), found in zip(
            keyed, asked, self._find([ask for ask, _ in asked]), strict=True
        ):
            spans = self._spans(feed, stream, ask, found, row)
            values.update(statistics(stream.wanted, time, spans, current))
        return values

    def _ask(
        self, feed: _Feed, stream: Stream, place: Place, request: ScoringRequest, current: Mapping[str, Any]
    ) -> tuple[Ask, Row | None]:
        """What to find, and the scored event as it is laid over that, where it belongs to its own windows."""
        time = current[TIME]
        edges = tuple(time - offset for offset in stream.offsets)
        if feed is not self._own or not stream.counts_itself:
            return Ask(place, edges), None
        numbers, texts = stream.pack(current)
        ask = Ask(place, edges, (feed.space, request.event_id), tuple(json.loads(texts)) if texts else ())
        return ask, (time, request.event_id, numbers, texts)

    def _find(self, asked: Sequence[Ask]) -> list[Found]:
        return self._store.find(asked, most=self._limits.hot + 1, cut=self._limits.cut)

    def _spans(self, feed: _Feed, stream: Stream, ask: Ask, found: Found, row: Row | None) -> Spans:
        """Sooner or later nothing has changed between two looks at the store."""
        while True:
            if not found.hot:
                if len(found.rows) <= self._limits.hot:
                    return Rows(found.rows, width=len(stream.numbers), current=row)
                self._store.promote(ask.place)
            elif found.crowded:
                self._store.split(found.crowded)
            elif (summaries := self._summaries.of(stream, found.whole)) is not None:
                spans = Buckets(stream, ask, found, summaries)
                return spans if row is None or feed.has(row[1], found.payload, ask) else WithCurrent(spans, row)
            (found,) = self._find([ask])

    def record(self, request: ScoringRequest) -> None:
        """Let an event enter the state. The same event id enters once. Threads at once share one transaction."""
        if self._own:
            self._enter(self._own.entry(request, _UNKNOWN))

    def record_many(self, requests: Sequence[ScoringRequest]) -> list[bool]:
        """Let events enter together, in one transaction (SQLite) or one round trip; which of them are new."""
        own = self._own
        return self._add([own.entry(request, _UNKNOWN) for request in requests]) if own else [False] * len(requests)

    def _add(self, entries: Sequence[Entry]) -> list[bool]:
        return self._store.add(self._own.space, entries, keep=self._own.keep) if self._own else []

    def outcome(self, event_id: str, label: int, known: datetime | None = None) -> bool:
        """Tell what a recorded event turned out to be (1 or 0) and when that was known (None: when the label matures).

        False if the event isn't in the state: never recorded, or older than every window.
        """
        own = self._own
        if own is None:
            return False
        rewrite = partial(own.told, event_id, Outcome(label, known))
        return self._store.change(own.space, [(event_id, rewrite)], keep=own.keep)[0]

    def keep(self, table: str) -> int:
        """How long an event of the table is kept at least, in microseconds."""
        return self._feeds[table].keep

    def signature(self, table: str) -> str:
        """Changes with what is kept of the table's events; state of another signature is never read."""
        return self._feeds[table].streams.signature

    def seed(
        self,
        rows: Iterable[tuple[ScoringRequest, Outcome]],
        *,
        table: str | None = None,
        now: datetime | None = None,
        reached: Callable[[datetime], None] | None = None,
    ) -> int:
        """Let history enter in bulk, in any order, a transaction for each batch; returns how many events were new.

        An event that is there already keeps its place and takes over an outcome that the row knows. `table` names
        another table than the event table; its events carry the time at which they became known. Afterwards what no
        window needs any more, at the newest row or `now`, is dropped, and so are former definitions to which no event
        has come for that long. `reached` is told the time of the last row of each batch that is stored.
        """
        feed = self._feeds.get(table or self._use_case.event.table)
        if feed is None:
            return 0
        added, newest = 0, microseconds(now) if now else 0
        for batch in batches(rows):
            entries = [feed.entry(request, outcome) for request, outcome in batch]
            new = self._store.add(feed.space, entries, keep=feed.keep, bulk=True)
            added, newest = added + sum(new), max(newest, *(entry.time for entry in entries))
            self._take_over(
                [(entry, row[1]) for entry, row, first in zip(entries, batch, new, strict=True) if not first]
            )
            if reached:
                reached(batch[-1][0].event_time)
        wall = microseconds(datetime.now(UTC))
        if newest:
            self._store.prune(feed.space, min(newest, wall) - feed.keep)
        self._store.drop_idle(feed.table, but=feed.space, before=wall - feed.keep)
        return added

    def _take_over(self, there: Sequence[tuple[Entry, Outcome]]) -> None:
        """Outcomes that history knows and the state does not, or only an older one."""
        own = self._own
        known = [(entry, outcome) for entry, outcome in there if outcome.label is not None]
        if own and known:
            rewrites = [
                (entry.event_id, partial(own.told, entry.event_id, outcome, said=entry.payload))
                for entry, outcome in known
            ]
            self._store.change(own.space, rewrites, keep=own.keep)

    def clear(self) -> None:
        """Delete the whole state of the use case, of every definition, and first of all what says that it is loaded."""
        with closing(open_packed(path=self._settings.online_db, redis_url=self._settings.redis_url)) as packed:
            packed.drop_marks(self._use_case.name, events_mark(""))
        self._store.drop(f"{self._use_case.name}:activity:")

    def close(self) -> None:
        """Close the connections."""
        self._store.close()


class _Feed:
    """How the events of one table enter its streams."""

    def __init__(self, use_case: UseCase, streams: TableStreams) -> None:
        self._use_case, self.streams = use_case, streams
        self.table = f"{use_case.name}:activity:{streams.table}:"
        self.space = f"{self.table}{streams.signature}"
        self.keep = (streams.reach + LATENESS) // _MICROSECOND
        self.names = [wanted.name for stream in streams.streams for wanted in stream.wanted]
        self._names = [(stream, f"{self.space}:{stream.name}") for stream in streams.streams]

    def keyed(self, request: ScoringRequest) -> list[tuple[Stream, Place]]:
        """The streams that an event belongs to, and its place there; a missing key belongs nowhere."""
        get = request.entities.get
        keys = [joined_key([get(entity) for entity in stream.entities]) for stream, _ in self._names]
        return [
            (stream, Place(name, key)) for (stream, name), key in zip(self._names, keys, strict=True) if key is not None
        ]

    def has(self, event_id: str, payload: str | None, asked: Ask) -> bool:
        """Whether a stored event is among the events that were asked for."""
        if payload is None:
            return False
        members = self.entry(*self.unpacked(event_id, payload)).members
        span = range(asked.edges[0] + 1, asked.edges[-1] + 1)
        return any(asked.place == (member.stream, member.key) and member.time in span for member in members)

    def entry(self, request: ScoringRequest, outcome: Outcome, *, revised: bool = False) -> Entry:
        """All that is stored of an event. Of outcomes only positive ones, where no negative one makes a difference.

        One that is `revised` is stored in any case: an older one that comes again must not take its place.
        """
        values = _values(self._use_case, request, outcome)
        members = [
            Member(*place, time, *stream.pack(values))
            for stream, place in self.keyed(request)
            if (time := stream.enters_at(values)) is not None
        ]
        entities = [request.entities.get(name) for name in self.streams.entities]
        fields = [request.fields.get(name) for name in self.streams.fields]
        kept = outcome.label == 1 or ((self.streams.of_outcomes or revised) and outcome.label is not None)
        told = [outcome.label, values[KNOWN]] if kept else None
        payload = as_json([values[TIME], entities, fields, told])
        return Entry(request.event_id, values[TIME], payload, tuple(members))

    def told(
        self, event_id: str, outcome: Outcome, payload: str, *, said: str | None = None
    ) -> tuple[Entry, Entry] | None:
        """A stored event before and after its outcome; None if nothing changes.

        History gives what it `said`: what it would store of the event. That changes nothing newer.
        """
        if payload == said:
            return None
        request, held = self.unpacked(event_id, payload)
        if said and held.known and held.known > _known(self._use_case, request, outcome):
            return None
        revised = held.label is not None
        before, after = self.entry(request, held, revised=revised), self.entry(request, outcome, revised=revised)
        return None if before.payload == after.payload else (before, after)

    def unpacked(self, event_id: str, payload: str) -> tuple[ScoringRequest, Outcome]:
        """What `entry` stored."""
        time, entities, fields, told = from_json(payload)
        keys = dict(zip(self.streams.entities, entities, strict=True))
        request = ScoringRequest(event_id, time_at(time), keys, dict(zip(self.streams.fields, fields, strict=True)))
        return request, Outcome(told[0], time_at(told[1])) if told else _UNKNOWN


def _values(use_case: UseCase, request: ScoringRequest, outcome: Outcome) -> dict[str, Any]:
    """An event's values by name, as `features.events` has them in columns."""
    known = microseconds(_known(use_case, request, outcome))
    times = {"event_time": request.event_time, TIME: microseconds(request.event_time), KNOWN: known}
    return {**request.entities, **request.fields, LABEL: outcome.label, **times}


def _known(use_case: UseCase, request: ScoringRequest, outcome: Outcome) -> datetime:
    """When an outcome was known: at its recorded time, or when its label matured."""
    return outcome.known or request.event_time + use_case.label.maturity
