"""Offline against online: the values of training frames beside those that scoring reads, bit for bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from math import copysign
from typing import Any, Literal

from configs.console import Ticker
from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.expressions import compile_derived
from features.frame import Frame, training_frame
from features.language.operators import microseconds
from features.online import OnlineFeatures
from features.replay import Replay, replaying
from features.request import ScoringRequest, utc
from features.state.activity import LATENESS
from features.stores.marks import events_mark, read_mark, view_mark
from features.stores.packed import PackedStore, open_packed, read_rows
from features.stores.segments import shapes_of, time_at
from features.traffic import Event, history
from features.vector import view_features

SHOWN = 1_000
"""Differences that are kept one by one; all are counted."""

_SEED = 7


@dataclass(frozen=True)
class Difference:
    """One feature of one event that has two values."""

    event_id: str
    event_time: datetime
    feature: str
    offline: float | str | None
    online: float | str | None


@dataclass(frozen=True)
class Diff:
    """What a comparison found.

    Of `events` vectors, `compared` values were compared and `left_out` could not be. `counts` has every difference by
    feature, `differences` the first of them (at most `SHOWN`).
    """

    store: Literal["replay", "live"]
    events: int
    compared: int
    left_out: int
    counts: Mapping[str, int]
    differences: tuple[Difference, ...]

    @property
    def found(self) -> int:
        """Number of values that differ."""
        return sum(self.counts.values())

    def by_feature(self) -> dict[str, int]:
        """Feature -> how many events differ in it, most first; those that never differ are not in it."""
        return dict(sorted(self.counts.items(), key=lambda item: (-item[1], item[0])))


def replay(
    use_case: UseCase, settings: Settings, *, events: int = 1_000, seed: int = _SEED, ticker: Ticker | None = None
) -> Diff:
    """Compare at the times of `events` events drawn from all of history, with a store that history is told again.

    It is told everything in the order in which it became known, and asked on the way, as scoring would have been. The
    store is a file of its own (with `settings.redis_url`: keys of their own) that is gone afterwards.

    Raises `FeatureError` for events without a time.
    """
    compared = _Compared(training_frame(_timed(use_case), settings, ticker=ticker), events=events, seed=seed)
    with replaying(use_case, settings) as store:
        pending: list[Event] = []
        rows = history(use_case, settings, start=None, end=None)
        for moment, peers in groupby(rows, key=lambda event: event[0].event_time):
            group = list(peers)
            wanted = next((index for index, event in enumerate(group) if event[0].event_id in compared), None)
            if wanted is None:
                pending += group
                continue
            first = group.pop(wanted)
            store.record([*pending, *group])
            pending = []
            _at_a_moment(store, microseconds(moment), first, group, compared)
            compared.tell(ticker)
    return compared.result("replay")


def _at_a_moment(store: Replay, time: int, first: Event, peers: list[Event], compared: _Compared) -> None:
    """Events of the same moment are in each other's windows: the first drawn one is read before it is recorded."""
    store.advance(time)
    compared.check(first[0], store.read(first[0]).values)
    store.record([first])
    store.advance(time)
    for request, _ in peers:
        if request.event_id in compared:
            compared.check(request, store.read(request).values)


def live(
    use_case: UseCase, settings: Settings, *, events: int = 1_000, seed: int = _SEED, ticker: Ticker | None = None
) -> Diff:
    """Compare the online store that scoring reads, at events drawn from the last day of history that is loaded.

    The store keeps the latest row of each view, and of windows what later events need. So features from a row that
    became known after the event are left out; and where events that history lacks have been scored for more than a day,
    windows at older times are no longer whole, which shows as differences.

    Raises `FeatureError` for events without a time, and where nothing is loaded.
    """
    with (
        closing(open_packed(path=settings.online_db, redis_url=settings.redis_url)) as packed,
        closing(OnlineFeatures(use_case, settings)) as online,
    ):
        end = _loaded(_timed(use_case), packed) + timedelta(microseconds=1)
        frame = training_frame(use_case, settings, start=end - LATENESS, end=end, ticker=ticker)
        compared = _Compared(frame, events=events, seed=seed)
        later = _Later(use_case, packed)
        for request, _ in history(use_case, settings, start=end - LATENESS, end=end):
            if request.event_id in compared:
                compared.check(request, online.read(request).values, but=later(request))
                compared.tell(ticker)
    return compared.result("live")


class _Compared:
    """Drawn rows of a frame by event id, and how those differ that were checked."""

    def __init__(self, frame: Frame, *, events: int, seed: int) -> None:
        import numpy as np

        count = len(frame.events)
        drawn = np.sort(np.random.default_rng(seed).choice(count, size=min(events, count), replace=False))
        ids, rows = frame.events["event_id"].iloc[drawn], frame.features.iloc[drawn]
        self._names = list(rows.columns)
        self._rows = dict(zip(ids, rows.itertuples(index=False, name=None), strict=True))
        self._events = self._values = self._left_out = 0
        self._counts: Counter[str] = Counter()
        self._differences: list[Difference] = []

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._rows

    def check(self, request: ScoringRequest, online: Mapping[str, Any], *, but: Collection[str] = ()) -> None:
        """Compare an event's values, except for features in `but`."""
        self._events += 1
        for name, value in zip(self._names, self._rows[request.event_id], strict=True):
            if name in but:
                self._left_out += 1
                continue
            self._values += 1
            offline = None if value != value else value  # noqa: PLR0124  # NaN: missing
            if not _same(offline, online[name]):
                self._counts[name] += 1
                if len(self._differences) < SHOWN:
                    found = Difference(request.event_id, request.event_time, name, offline, online[name])
                    self._differences.append(found)

    def tell(self, ticker: Ticker | None) -> None:
        """Show how far it is."""
        if ticker and self._events % 500 == 0:
            found = self._counts.total()
            ticker.note(f"{self._events:,} of {len(self._rows):,} events, {found:,} differences")

    def result(self, store: Literal["replay", "live"]) -> Diff:
        """What was found so far."""
        return Diff(store, self._events, self._values, self._left_out, dict(self._counts), tuple(self._differences))


def _same(offline: Any, online: Any) -> bool:
    """Equal to the last bit: minus zero is not zero."""
    if offline != online or isinstance(offline, float) != isinstance(online, float):
        return False
    return not isinstance(offline, float) or copysign(1, offline) == copysign(1, online)


class _Later:
    """Features of an event that the live store can't have any more, because a later row took the place of theirs."""

    def __init__(self, use_case: UseCase, packed: PackedStore) -> None:
        self._name, self._packed = use_case.name, packed
        self._shapes = [(shape, _fed_by(use_case, view)) for view, shape in shapes_of(use_case).items()]

    def __call__(self, request: ScoringRequest) -> set[str]:
        asked = [(shape, key, fed) for shape, fed in self._shapes if (key := request.entities.get(shape.entity))]
        rows = read_rows(self._packed, self._name, [(shape, key) for shape, key, _ in asked])
        late = [
            fed
            for row, (*_, fed) in zip(rows, asked, strict=True)
            if row and max(row.event_time, row.created or row.event_time) > request.event_time
        ]
        return set[str]().union(*late)


def _fed_by(use_case: UseCase, view: str) -> set[str]:
    """A view's features, and the derived ones that they go into."""
    names = {name for name, _ in view_features(use_case, view)}
    for name, expression in compile_derived(use_case).items():
        if names & expression.names:
            names.add(name)
    return names


def _timed(use_case: UseCase) -> UseCase:
    if use_case.event.time is None:
        raise FeatureError(
            f"the events of {use_case.name} have no time, so there is no order in which they became known",
            expected="event.time",
            fix="name the time column; the features of a table without times are the same offline and online",
        )
    return use_case


def _loaded(use_case: UseCase, packed: PackedStore) -> datetime:
    """Time of the newest event, or else of the newest row of a view, that is online."""
    names = [events_mark(use_case.event.table)] if use_case.aggregates else []
    names = names or [view_mark(view) for view in use_case.views]
    marks = [read_mark(packed, use_case.name, name) for name in names]
    reached = [mark.reached for mark in marks if mark and mark.reached is not None]
    if not reached:
        raise FeatureError(
            f"nothing of {use_case.name} is online",
            expected="a loaded store",
            fix=f"risk features materialize {use_case.name}",
        )
    return utc(time_at(max(reached)))
