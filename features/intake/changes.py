"""What is different from the last load of a table: rows, missing values, distributions, categories. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MISSING = 0.01
"""Change of a missing share that is reported."""

SHIFT = 0.1
"""Change of a mean in standard deviations, or of a median in interquartile ranges, that is reported."""

Change = dict[str, str]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Each change as `column`, `what`, `before` and `now`; both sides are reports as plain data."""
    found = [_change("", "rows", f"{before['rows']:,}", f"{now['rows']:,}")] if before["rows"] != now["rows"] else []
    shares = [side["rejected"] / side["rows"] if side["rows"] else 0.0 for side in (before, now)]
    if abs(shares[1] - shares[0]) >= MISSING / 10:
        found.append(_change("", "rejected", f"{shares[0]:.2%}", f"{shares[1]:.2%}"))
    earlier = {column["column"]: column for column in before["columns"]}
    for column in now["columns"]:
        known = earlier.pop(column["column"], None)
        if known is None:
            found.append(_change(column["column"], "column", "not read", "read"))
        else:
            found += _column(known, column, (before["rows"], now["rows"]))
    return found + [_change(name, "column", "read", "not read") for name in earlier]


def _change(column: str, what: str, before: str, now: str) -> Change:
    return {"column": column, "what": what, "before": before, "now": now}


def _column(before: Mapping[str, Any], now: Mapping[str, Any], rows: tuple[int, int]) -> Iterator[Change]:
    name = now["column"]
    shares = [side["missing"] / count if count else 0.0 for side, count in zip((before, now), rows, strict=True)]
    if abs(shares[1] - shares[0]) >= MISSING:
        yield _change(name, "missing", f"{shares[0]:.1%}", f"{shares[1]:.1%}")
    if before["numbers"] and now["numbers"]:
        yield from _numbers(name, before["numbers"], now["numbers"])
    if not (before["personal"] or now["personal"]):
        yield from _categories(name, before, now)


def _numbers(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    scale = before["deviation"] or 0.0
    if abs(now["mean"] - before["mean"]) > SHIFT * scale:
        yield _change(name, "mean", f"{before['mean']:.6g}", f"{now['mean']:.6g}")
    low, middle, high = before["quantiles"][2:5]
    median = now["quantiles"][3]
    if abs(median - middle) > SHIFT * (high - low):
        yield _change(name, "median", f"{middle:.6g}", f"{median:.6g}")


def _categories(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    """New and vanished ones, among those that a report keeps."""
    known, found = (dict(side["categories"]) for side in (before, now))
    for value in found.keys() - known.keys() if _complete(before) else ():
        yield _change(name, f"new category {value}", "0", f"{found[value]:,}")
    for value in known.keys() - found.keys() if _complete(now) else ():
        yield _change(name, f"vanished category {value}", f"{known[value]:,}", "0")


def _complete(side: Mapping[str, Any]) -> bool:
    return bool(side["distinct"] == len(side["categories"]))
