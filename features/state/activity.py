"""Windowed aggregates online: the events of each key are kept as long as a window needs them, and added up when asked.

Exact under duplicates (an event id enters once), out-of-order events and late outcomes: nothing is added up before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.language.operators import microseconds
from features.request import Outcome, ScoringRequest, joined_key
from features.state.recent import statistics
from features.state.streams import KNOWN, LABEL, TIME, Stream, TableStreams, streams_of
from features.stores.activity import Entry, EventStore, Member, Row, Span
from features.stores.connections import batches
from features.stores.packed import as_json, from_json, time_at
from features.stores.redis_activity import RedisEvents
from features.stores.sqlite_activity import SqliteEvents

LATENESS = timedelta(days=1)
"""How much later than its event time a request may be scored and still see its whole windows."""

_MICROSECOND = timedelta(microseconds=1)
_UNKNOWN = Outcome(None, None)


class Activity:
    """The activity state of one use case, in SQLite (`settings.online_db`) or Redis (`settings.redis_url`)."""

    def __init__(self, use_case: UseCase, settings: Settings) -> None:
        self._use_case = use_case
        self._feeds = {streams.table: _Feed(use_case, streams) for streams in streams_of(use_case)}
        if self._feeds and use_case.event.time is None:
            raise FeatureError(
                "aggregates need times, and the event table has none", expected="event.time", fix="name the time column"
            )
        self._own = self._feeds.get(use_case.event.table)
        self._missing = dict.fromkeys(name for feed in self._feeds.values() for name in feed.names)
        url = settings.redis_url
        self._store: EventStore = RedisEvents(url) if url else SqliteEvents(settings.online_db)

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
        asked = [(feed, *keyed) for feed in self._feeds.values() for keyed in feed.keyed(request)]
        if not asked:
            return values
        spans = [Span(place, key, time - stream.reach, time - stream.last) for _, stream, place, key in asked]
        current = _values(self._use_case, request, _UNKNOWN)
        for (feed, stream, *_), found in zip(asked, self._store.read(spans), strict=True):
            rows = _with_current(found, stream, request.event_id, current) if feed is self._own else found
            values.update(statistics(stream.wanted, time, rows, width=len(stream.numbers)))
        return values

    def record(self, request: ScoringRequest) -> None:
        """Let an event enter the state. The same event id enters once."""
        if self._own:
            self._store.add(self._own.space, [self._own.entry(request, _UNKNOWN)], keep=self._own.keep)

    def outcome(self, event_id: str, label: int, known: datetime | None = None) -> bool:
        """Tell what a recorded event turned out to be (1 or 0) and when that was known (None: when the label matures).

        False if the event isn't in the state: never recorded, or older than every window.
        """
        own = self._own
        if own is None:
            return False

        def rewrite(payload: str) -> tuple[Entry, Entry] | None:
            request, outcome = own.unpacked(event_id, payload)
            before, after = own.entry(request, outcome), own.entry(request, Outcome(label, known))
            return None if before.payload == after.payload else (before, after)

        return self._store.change(own.space, event_id, rewrite)

    def seed(self, rows: Iterable[tuple[ScoringRequest, Outcome]], *, table: str | None = None) -> int:
        """Let history enter in bulk, in any order, a transaction for each batch; returns how many events were new.

        An event that is there already keeps its place and takes over an outcome that the row knows. `table` names
        another table than the event table; its events carry the time at which they became known. Afterwards what no
        window needs any more is dropped.
        """
        feed = self._feeds.get(table or self._use_case.event.table)
        if feed is None:
            return 0
        added, newest = 0, 0
        for batch in batches(rows):
            entries = [feed.entry(request, outcome) for request, outcome in batch]
            new = self._store.add(feed.space, entries, keep=feed.keep, bulk=True)
            added, newest = added + sum(new), max(newest, *(entry.time for entry in entries))
            self._take_over(
                [(entry, row[1]) for entry, row, first in zip(entries, batch, new, strict=True) if not first]
            )
        if newest:
            self._store.prune(feed.space, min(newest, microseconds(datetime.now(UTC))) - feed.keep)
        return added

    def _take_over(self, there: Sequence[tuple[Entry, Outcome]]) -> None:
        """Outcomes that history knows and the state does not."""
        known = [(entry, outcome) for entry, outcome in there if outcome.label is not None]
        if not known or self._own is None:
            return
        payloads = self._store.payloads(self._own.space, [entry.event_id for entry, _ in known])
        for (entry, outcome), payload in zip(known, payloads, strict=True):
            if payload != entry.payload and outcome.label is not None:
                self.outcome(entry.event_id, outcome.label, outcome.known)

    def clear(self) -> None:
        """Delete the whole state of the use case, of every definition."""
        self._store.drop(f"{self._use_case.name}:activity:")

    def close(self) -> None:
        """Close the connections."""
        self._store.close()


class _Feed:
    """How the events of one table enter its streams."""

    def __init__(self, use_case: UseCase, streams: TableStreams) -> None:
        self._use_case, self.streams = use_case, streams
        self.space = f"{use_case.name}:activity:{streams.table}:{streams.signature}"
        self.keep = (streams.reach + LATENESS) // _MICROSECOND
        self.names = [wanted.name for stream in streams.streams for wanted in stream.wanted]
        self._places = [(stream, f"{self.space}:{stream.name}") for stream in streams.streams]

    def keyed(self, request: ScoringRequest) -> list[tuple[Stream, str, str]]:
        """The streams that an event belongs to, with their place and its key there; a missing key belongs nowhere."""
        get = request.entities.get
        keys = [joined_key([get(entity) for entity in stream.entities]) for stream, _ in self._places]
        return [(*place, key) for place, key in zip(self._places, keys, strict=True) if key is not None]

    def entry(self, request: ScoringRequest, outcome: Outcome) -> Entry:
        """All that is stored of an event. Only a positive outcome makes a difference, so only that is kept."""
        values = _values(self._use_case, request, outcome)
        members = [Member(place, key, *stream.pack(values)) for stream, place, key in self.keyed(request)]
        entities = [request.entities.get(name) for name in self.streams.entities]
        fields = [request.fields.get(name) for name in self.streams.fields]
        positive = values[KNOWN] if outcome.label == 1 else None
        payload = as_json([values[TIME], entities, fields, positive])
        return Entry(request.event_id, values[TIME], payload, tuple(members))

    def unpacked(self, event_id: str, payload: str) -> tuple[ScoringRequest, Outcome]:
        """What `entry` stored."""
        time, entities, fields, positive = from_json(payload)
        keys = dict(zip(self.streams.entities, entities, strict=True))
        request = ScoringRequest(event_id, time_at(time), keys, dict(zip(self.streams.fields, fields, strict=True)))
        return request, _UNKNOWN if positive is None else Outcome(1, time_at(positive))


def _values(use_case: UseCase, request: ScoringRequest, outcome: Outcome) -> dict[str, Any]:
    """An event's values by name, as `features.events` has them in columns."""
    known = outcome.known or request.event_time + use_case.label.maturity
    times = {"event_time": request.event_time, TIME: microseconds(request.event_time), KNOWN: microseconds(known)}
    return {**request.entities, **request.fields, LABEL: outcome.label, **times}


def _with_current(rows: list[Row], stream: Stream, event_id: str, values: Mapping[str, Any]) -> list[Row]:
    """The rows with the event itself as the last of its time, unless it is among them or no window reaches it."""
    if stream.last > 0 or event_id in [row[1] for row in rows]:
        return rows
    return [*rows, (values[TIME], event_id, *stream.pack(values))]
