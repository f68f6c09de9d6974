"""The views of an event in one float64 vector: numbers are copied to their places, byte for byte, in model order."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from features.language.operators import microseconds
from features.request import Value
from features.stores.segments import HEAD, ViewShape, beside_numbers, segments, time_at


@dataclass(frozen=True, slots=True)
class ViewVector:
    """The views of one event.

    `numbers`: float64 in the order of `VectorReader.names`, missing as NaN (numpy reads it without a copy:
    `np.frombuffer(numbers)`). `others`: texts, times, integers and flags by feature name, missing ones None.
    `times`: the event time of each view's row, stale ones included. `stale`: views older than their TTL, whose columns
    are missing.
    """

    numbers: array[float]
    others: dict[str, Value]
    times: dict[str, datetime]
    stale: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a view's segment goes: (bytes from, bytes to, bytes) of the numbers."""

    shape: ViewShape
    ttl: int
    copies: tuple[tuple[int, int, int], ...]


class VectorReader:
    """Lays the values of an event's entities into one vector.

    `views`: shapes with their TTL. `names`: the order of the vector, of (view, column) pairs, numbers all (default: the
    order of the views and of their columns). Columns of other kinds come beside it, as `view__column`.
    """

    def __init__(
        self, views: Sequence[tuple[ViewShape, timedelta]], *, names: Sequence[tuple[str, str]] | None = None
    ) -> None:
        order = names if names is not None else [(shape.view, name) for shape, _ in views for name in shape.numbers]
        slots = {name: slot for slot, name in enumerate(order)}
        self.names = tuple(f"{view}__{column}" for view, column in order)
        self.entities = tuple(dict.fromkeys(shape.entity for shape, _ in views))
        self._empty = array("d", [math.nan]) * len(order)
        self._others = dict.fromkeys(
            f"{shape.view}__{name}" for shape, _ in views for name, kind in shape.columns if kind != "number"
        )
        self._places = {
            (shape.entity, shape.id): _Place(shape, ttl // timedelta(microseconds=1), _copies(shape, slots))
            for shape, ttl in views
        }

    def read(self, values: Sequence[bytes | None], at: datetime) -> ViewVector:
        """`values`: those of `entities`, in their order. `at`: the event's time.

        A row that speaks of, or became known at, a later time than the event's is not used; one exactly as old as its
        TTL is still fresh.
        """
        now, stale = microseconds(at), []
        vector = ViewVector(self._empty[:], dict(self._others), {}, ())
        for entity, value in zip(self.entities, values, strict=True):
            for start, end, view, signature, event_time, created in segments(value or b""):
                place = self._places.get((entity, view))
                if place is None or signature != place.shape.signature or max(event_time, created) > now:
                    continue
                vector.times[place.shape.view] = time_at(event_time)
                if now - event_time > place.ttl:
                    stale.append(place.shape.view)
                else:
                    _lay(place, value or b"", start + HEAD.size, end, vector)
        return ViewVector(vector.numbers, vector.others, vector.times, tuple(stale)) if stale else vector


def _lay(place: _Place, value: bytes, at: int, end: int, vector: ViewVector) -> None:
    target, source = memoryview(vector.numbers).cast("B"), memoryview(value)
    for start, slot, size in place.copies:
        target[slot : slot + size] = source[at + start : at + start + size]
    if len(place.shape.numbers) < len(place.shape.columns):
        for name, found in beside_numbers(place.shape, value, at, end):
            vector.others[f"{place.shape.view}__{name}"] = found


def _copies(shape: ViewShape, slots: Mapping[tuple[str, str], int]) -> tuple[tuple[int, int, int], ...]:
    """Neighbours that stay neighbours are copied at once."""
    runs: list[list[int]] = []
    for index, name in enumerate(shape.numbers):
        slot = slots.get((shape.view, name))
        if slot is None:
            continue
        if runs and (runs[-1][0] + runs[-1][2], runs[-1][1] + runs[-1][2]) == (index * 8, slot * 8):
            runs[-1][2] += 8
        else:
            runs.append([index * 8, slot * 8, 8])
    return tuple((start, slot, size) for start, slot, size in runs)
