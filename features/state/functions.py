"""The functions of windowed aggregates, from what `Spans` tells of a window: bit for bit as in `features.windows`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from features import exact
from features.language.operators import plain
from features.state.recent import Spans


@dataclass(frozen=True)
class Wanted:
    """One feature: `function` over the events with `last` <= age < `reach` (microseconds before the event's time).

    `slot` is the number (for `distinct`: the text) kept of each event that the function reads; None: the event itself.
    `own` names the scored event's value that is set against the window, for ratio and deviation.
    """

    name: str
    function: str
    reach: int
    last: int
    slot: int | None
    decimals: int
    own: str | None = None


def statistics(
    wanted: Sequence[Wanted], time: int, spans: Spans, current: Mapping[str, Any]
) -> dict[str, float | None]:
    """Every wanted feature at `time` (microseconds) from the key's events; `current` holds the scored event's values.

    An empty window gives 0 for count, sum and distinct, 1 for first_seen, else None.
    """
    return {
        each.name: _FUNCTIONS[each.function](each, time - each.reach, time - each.last, spans, current)
        for each in wanted
    }


Function = Callable[[Wanted, int, int, Spans, Mapping[str, Any]], float | None]
"""From what is wanted, the window's ends (after, until], the events and the scored event's values to the feature."""


def _count(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float:
    return float(spans.events(after, until) if wanted.slot is None else spans.present(wanted.slot, after, until))


def _share(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float | None:
    events = spans.events(after, until)
    return float(spans.present(_slot(wanted), after, until)) / float(events) if events else None


def _distinct(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float:
    return float(spans.distinct(_slot(wanted), after, until))


def _sum(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float:
    return exact.total(spans.whole(_slot(wanted), after, until)[1], wanted.decimals)


def _mean(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float | None:
    count, sums, _squares = spans.whole(_slot(wanted), after, until)
    return exact.mean(count, sums, wanted.decimals)


def _std(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float | None:
    return exact.deviation(*spans.whole(_slot(wanted), after, until), wanted.decimals)


def _min(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float | None:
    return _unsigned(spans.extremes(_slot(wanted), after, until)[0])


def _max(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float | None:
    return _unsigned(spans.extremes(_slot(wanted), after, until)[1])


def _unsigned(value: float | None) -> float | None:
    """Without a negative zero, whichever of two equals was found."""
    return None if value is None else value + 0.0


def _ratio(wanted: Wanted, after: int, until: int, spans: Spans, current: Mapping[str, Any]) -> float | None:
    value = plain(current[_own(wanted)])
    count, sums, _squares = spans.whole(_slot(wanted), after, until)
    return None if value is None else exact.ratio(value, count, sums, wanted.decimals)


def _deviation(wanted: Wanted, after: int, until: int, spans: Spans, current: Mapping[str, Any]) -> float | None:
    value = plain(current[_own(wanted)])
    sums = spans.whole(_slot(wanted), after, until)
    return None if value is None else exact.standardized(value, *sums, wanted.decimals)


def _since_last(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float | None:
    found = spans.last(wanted.slot, after, until)
    return None if found is None else float(after + wanted.reach - found) / 1e6


def _first_seen(wanted: Wanted, after: int, until: int, spans: Spans, _: Mapping[str, Any]) -> float:
    return float(spans.last(wanted.slot, after, until) is None)


def _slot(wanted: Wanted) -> int:
    if wanted.slot is None:
        raise AssertionError(f"{wanted.function} reads a slot")
    return wanted.slot


def _own(wanted: Wanted) -> str:
    if wanted.own is None:
        raise AssertionError(f"{wanted.function} reads the scored event's value")
    return wanted.own


_FUNCTIONS: Mapping[str, Function] = {
    "count": _count,
    "share": _share,
    "distinct": _distinct,
    "sum": _sum,
    "mean": _mean,
    "std": _std,
    "min": _min,
    "max": _max,
    "ratio": _ratio,
    "deviation": _deviation,
    "since_last": _since_last,
    "first_seen": _first_seen,
}
