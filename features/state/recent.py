"""The events of one key that a window covers, in memory, one by one (`Rows`), and how windows ask for them (`Spans`).

Where they are too many, they are in buckets that were added up before (`features.state.buckets`). The event being
scored is laid over these by `WithCurrent`, and taken in among the former.
"""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from operator import mul
from typing import Protocol

from features.stores.activity import Row

_EXACT = 2**53


class Spans(Protocol):
    """The events of one key. Every span is `after` < time <= `until` in microseconds.

    `slot` is an index among a stream's numbers (for `distinct` and `holds`: among its texts). An event whose number is
    NaN, or whose text is None, has none there.
    """

    def events(self, after: int, until: int) -> int:
        """How many events there are."""

    def present(self, slot: int, after: int, until: int) -> int:
        """How many of them have a number."""

    def whole(self, slot: int, after: int, until: int) -> tuple[int, int, int]:
        """Count, sum and sum of squares of the numbers, which are whole; exact."""

    def extremes(self, slot: int, after: int, until: int) -> tuple[float | None, float | None]:
        """Least and greatest number; None where there is none."""

    def last(self, slot: int | None, after: int, until: int) -> int | None:
        """Time of the newest event; with a slot: of the newest whose number is 1."""

    def distinct(self, slot: int, after: int, until: int) -> int:
        """How many different texts there are."""

    def holds(self, slot: int, text: str, after: int, until: int) -> bool:
        """Whether this text is there."""


class Rows:
    """Events that are kept one by one, ordered by time, each with `width` numbers.

    `current` is laid over them, unless its id is there already: what `WithCurrent` does, in less time.
    """

    def __init__(self, rows: Sequence[Row], *, width: int, current: Row | None = None) -> None:
        if current is not None and current[1] not in [row[1] for row in rows]:
            rows = [*rows, current]
            if len(rows) > 1 and rows[-2][0] > current[0]:
                rows.sort(key=_time_of)
        self._rows = rows
        self._times = [row[0] for row in rows]
        packed = array("d", b"".join([row[2] for row in rows]))
        self._numbers = [packed[index::width] for index in range(width)]
        self._unpacked: list[list[str | None]] = []
        self._cuts: dict[tuple[int, int], tuple[int, int]] = {}
        self._found: dict[tuple[int, int, int], list[float]] = {}
        self._sums: dict[tuple[int, int, int], tuple[int, int, int]] = {}

    def events(self, after: int, until: int) -> int:
        """See `Spans`."""
        low, high = self._cut(after, until)
        return high - low

    def present(self, slot: int, after: int, until: int) -> int:
        """See `Spans`."""
        return len(self._values(slot, after, until))

    def whole(self, slot: int, after: int, until: int) -> tuple[int, int, int]:
        """See `Spans`."""
        place = slot, after, until
        if place not in self._sums:
            self._sums[place] = _sums(self._values(*place))
        return self._sums[place]

    def extremes(self, slot: int, after: int, until: int) -> tuple[float | None, float | None]:
        """See `Spans`."""
        values = self._values(slot, after, until)
        return (min(values), max(values)) if values else (None, None)

    def last(self, slot: int | None, after: int, until: int) -> int | None:
        """See `Spans`."""
        low, high = self._cut(after, until)
        for index in range(high - 1, low - 1, -1):
            if slot is None or self._numbers[slot][index] == 1:
                return self._times[index]
        return None

    def distinct(self, slot: int, after: int, until: int) -> int:
        """See `Spans`."""
        return len(self._texts(slot, after, until))

    def holds(self, slot: int, text: str, after: int, until: int) -> bool:
        """See `Spans`."""
        return text in self._texts(slot, after, until)

    def _texts(self, slot: int, after: int, until: int) -> set[str]:
        low, high = self._cut(after, until)
        if not self._unpacked:
            self._unpacked = [json.loads(row[3]) for row in self._rows]
        return {text for texts in self._unpacked[low:high] if (text := texts[slot]) is not None}

    def _cut(self, after: int, until: int) -> tuple[int, int]:
        found = self._cuts.get((after, until))
        if found is None:
            found = bisect_right(self._times, after), bisect_right(self._times, until)
            self._cuts[after, until] = found
        return found

    def _values(self, slot: int, after: int, until: int) -> list[float]:
        place = slot, after, until
        if place not in self._found:
            low, high = self._cut(after, until)
            self._found[place] = [value for value in self._numbers[slot][low:high] if value == value]  # noqa: PLR0124  # NaN differs from itself
        return self._found[place]


def _sums(values: Sequence[float]) -> tuple[int, int, int]:
    """Count, sum and sum of squares of whole numbers. Doubles add up exactly as long as the squares do."""
    squares = sum(map(mul, values, values))
    if squares < _EXACT:
        return len(values), int(sum(values)), int(squares)
    units = list(map(int, values))
    return len(units), sum(units), sum([unit * unit for unit in units])


def _time_of(row: Row) -> int:
    return row[0]


class WithCurrent:
    """One event laid over others among which it is not yet."""

    def __init__(self, below: Spans, row: Row) -> None:
        self._below = below
        self._time, _, numbers, texts = row
        self._numbers = array("d", numbers)
        self._texts: list[str | None] = json.loads(texts) if texts else []

    def events(self, after: int, until: int) -> int:
        """See `Spans`."""
        return self._below.events(after, until) + (after < self._time <= until)

    def present(self, slot: int, after: int, until: int) -> int:
        """See `Spans`."""
        return self._below.present(slot, after, until) + (self._number(slot, after, until) is not None)

    def whole(self, slot: int, after: int, until: int) -> tuple[int, int, int]:
        """See `Spans`."""
        found, number = self._below.whole(slot, after, until), self._number(slot, after, until)
        if number is None:
            return found
        unit = int(number)
        return found[0] + 1, found[1] + unit, found[2] + unit * unit

    def extremes(self, slot: int, after: int, until: int) -> tuple[float | None, float | None]:
        """See `Spans`."""
        (least, greatest), number = self._below.extremes(slot, after, until), self._number(slot, after, until)
        if number is None or least is None or greatest is None:
            return (least, greatest) if number is None else (number, number)
        return min(least, number), max(greatest, number)

    def last(self, slot: int | None, after: int, until: int) -> int | None:
        """See `Spans`."""
        found = self._below.last(slot, after, until)
        here = after < self._time <= until if slot is None else self._number(slot, after, until) == 1
        return self._time if here and (found is None or found < self._time) else found

    def distinct(self, slot: int, after: int, until: int) -> int:
        """See `Spans`."""
        text = self._texts[slot] if after < self._time <= until else None
        new = text is not None and not self._below.holds(slot, text, after, until)
        return self._below.distinct(slot, after, until) + new

    def holds(self, slot: int, text: str, after: int, until: int) -> bool:
        """See `Spans`."""
        here = after < self._time <= until and self._texts[slot] == text
        return here or self._below.holds(slot, text, after, until)

    def _number(self, slot: int, after: int, until: int) -> float | None:
        if not after < self._time <= until:
            return None
        number = self._numbers[slot]
        return None if math.isnan(number) else number
