"""Window statistics over the recent events of one key, in memory: bit for bit what `features.windows` has in SQL."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from features import exact
from features.stores.activity import Row


@dataclass(frozen=True)
class Wanted:
    """One feature: `function` over the events with `last` <= age < `reach` (microseconds before the event's time).

    `slot` is the number (for `distinct`: the text) kept of each event that the function reads; None: the event itself.
    """

    name: str
    function: str
    reach: int
    last: int
    slot: int | None
    decimals: int


def statistics(wanted: Sequence[Wanted], time: int, rows: Sequence[Row], *, width: int) -> dict[str, float | None]:
    """Every wanted feature at `time` (microseconds) from the key's events, ordered by time, each with `width` numbers.

    An empty window gives 0 for count, sum and distinct, else None. An event without a number (NaN) has no part in it.
    """
    events = _Events(rows, width)
    return {each.name: events.statistic(each, time) for each in wanted}


class _Events:
    """The events of one key as columns."""

    def __init__(self, rows: Sequence[Row], width: int) -> None:
        self._times = [row[0] for row in rows]
        self._rows = rows
        packed = array("d", b"".join([row[2] for row in rows]))
        self._numbers = [packed[index::width] for index in range(width)]
        self._units: dict[tuple[int, int, int], list[int]] = {}

    def statistic(self, wanted: Wanted, time: int) -> float | None:
        low, high = bisect_right(self._times, time - wanted.reach), bisect_right(self._times, time - wanted.last)
        if wanted.function == "since_last":
            return self._since_last(wanted.slot, time, low, high)
        if wanted.slot is None:
            return float(high - low)  # a plain count: every other function reads a slot
        if wanted.function == "distinct":
            return float(self._distinct(wanted.slot, low, high))
        if wanted.function in _SUMMARIES:
            return _SUMMARIES[wanted.function](self._whole(wanted.slot, low, high), wanted.decimals)
        return _SIMPLE[wanted.function](self._present(wanted.slot, low, high))

    def _present(self, slot: int, low: int, high: int) -> list[float]:
        return [value for value in self._numbers[slot][low:high] if value == value]  # noqa: PLR0124  # NaN differs from itself

    def _whole(self, slot: int, low: int, high: int) -> list[int]:
        if (slot, low, high) not in self._units:
            self._units[slot, low, high] = list(map(int, self._present(slot, low, high)))
        return self._units[slot, low, high]

    def _distinct(self, slot: int, low: int, high: int) -> int:
        texts = {json.loads(row[3])[slot] for row in self._rows[low:high]}
        return len(texts - {None})

    def _since_last(self, slot: int | None, time: int, low: int, high: int) -> float | None:
        for index in range(high - 1, low - 1, -1):
            if slot is None or self._numbers[slot][index] == 1:
                return float(time - self._times[index]) / 1e6
        return None


def _deviation(units: Sequence[int], decimals: int) -> float | None:
    return exact.deviation(len(units), sum(units), sum([unit * unit for unit in units]), decimals)


_SUMMARIES: Mapping[str, Callable[[Sequence[int], int], float | None]] = {
    "sum": lambda units, decimals: exact.total(sum(units), decimals),
    "mean": lambda units, decimals: exact.mean(len(units), sum(units), decimals),
    "std": _deviation,
}
_SIMPLE: Mapping[str, Callable[[Sequence[float]], float | None]] = {
    "count": lambda values: float(len(values)),
    "min": lambda values: min(values, default=None),
    "max": lambda values: max(values, default=None),
}
