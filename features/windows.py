"""Window frames of aggregates in SQL: which events a feature covers, and what is computed over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from configs.inputs import Aggregate
from features.asof import ROW
from features.exact import COMPARED, EARLIER, SUMMED, scaled_sql, statistic_sql
from features.sources import quote
from features.vector import AggregateFeature

_MICROSECOND = timedelta(microseconds=1)
_SPREADS = {"std", "deviation"}


def windowed(features: Sequence[AggregateFeature], rows: str) -> str:
    """Query for `features` (all of one aggregate) over the query `rows`: its columns `ROW`, then one a feature.

    `rows` has ROW, key, t (microseconds since 1970), event (1; NULL for what only asks), hit (1 where the event counts,
    else NULL), value (NULL: no value) and, where it is compared, own (the value that the asking event has itself).
    """
    part = features[0].aggregate
    units = f", {scaled_sql('value', part.decimals)} AS units" if SUMMED & set(part.functions) else ""
    pieces = ", ".join(dict.fromkeys(piece for feature in features for piece in _pieces(feature)))
    windows = ", ".join(dict.fromkeys(_window(feature) for feature in features))
    own = ", own" if COMPARED & set(part.functions) else ""
    return (
        f"SELECT {ROW}, {', '.join(f'{_finished(feature)} AS {quote(feature.name)}' for feature in features)}\n"
        f"FROM (SELECT {ROW}, t{own}, {pieces}\nFROM (SELECT *{units} FROM ({rows})) WINDOW {windows})"
    )


def bounds(part: Aggregate, window: timedelta, *, strictly_before: bool) -> tuple[int, int]:
    """First and last microsecond before the event that a window covers: 0 is the event's own time.

    >>> part = Aggregate(entity="card", functions=("count",), windows=("1h",), delay="1d")
    >>> bounds(part, part.windows[0], strictly_before=False)
    (89999999999, 86400000000)
    """
    delay = part.delay // _MICROSECOND
    last = delay if part.current else delay + 1
    return delay + window // _MICROSECOND - 1, max(last, 1) if strictly_before else last


def _name(feature: AggregateFeature) -> str:
    return f"{'before' if feature.function in EARLIER else 'window'}_{feature.window // _MICROSECOND}"


def _window(feature: AggregateFeature) -> str:
    first, last = bounds(feature.aggregate, feature.window, strictly_before=feature.function in EARLIER)
    end = f"{last} PRECEDING" if last else "CURRENT ROW"
    return f"{_name(feature)} AS (PARTITION BY key ORDER BY t RANGE BETWEEN {first} PRECEDING AND {end})"


def _pieces(feature: AggregateFeature) -> Iterator[str]:
    """What is computed over the frame; functions of the same window share counts and sums."""
    name, counted = _name(feature), "value" if feature.aggregate.column else "hit"
    match feature.function:
        case "since_last" | "first_seen":
            yield f"max(CASE WHEN hit = 1 THEN t END) OVER {name} AS last_{name}"
        case "min" | "max" as function:
            yield f"{function}(value) OVER {name} AS {function}_{name}"
        case "distinct":
            yield f"count(DISTINCT value) OVER {name} AS distinct_{name}"
        case "share":
            yield f"count(hit) OVER {name} AS hits_{name}"
            yield f"count(event) OVER {name} AS events_{name}"
        case function:
            yield f"count({counted}) OVER {name} AS count_{name}"
            if function in SUMMED:
                yield f"sum(units) OVER {name} AS sum_{name}"
            if function in _SPREADS:
                yield f"sum(CAST(units AS HUGEINT) * units) OVER {name} AS squares_{name}"


def _finished(feature: AggregateFeature) -> str:
    name = _name(feature)
    match feature.function:
        case "since_last":
            return f"CAST(t - last_{name} AS DOUBLE) / 1e6"
        case "first_seen":
            return f"CASE WHEN last_{name} IS NULL THEN 1e0 ELSE 0e0 END"
        case "share":
            return f"CASE WHEN events_{name} > 0 THEN CAST(hits_{name} AS DOUBLE) / CAST(events_{name} AS DOUBLE) END"
        case "min" | "max" as function:  # plus zero: no negative zero, whichever of two equals was found
            return f"CAST({function}_{name} AS DOUBLE) + 0e0"
        case "count" | "distinct" as function:
            return f"CAST({function}_{name} AS DOUBLE)"
        case function:
            sums = {"count": f"count_{name}", "sums": f"sum_{name}", "squares": f"squares_{name}"}
            return statistic_sql(function, **sums, decimals=feature.aggregate.decimals, own="own")
