"""How figures are written in the report: rounded for reading, and never a number where there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from configs.durations import render

NOTHING = "-"


def figure(value: float | None) -> str:
    """A statistic with about three significant digits; `-` where it is undefined.

    >>> figure(0.41234), figure(0.0000123), figure(1234567.0), figure(-3.14159), figure(None), figure(0.0)
    ('0.412', '1.2e-05', '1,234,567', '-3.14', '-', '0')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    if not value:
        return "0"
    size = abs(value)
    if size < 0.0005:
        return f"{value:.1e}"
    return f"{value:.3f}" if size < 1 else f"{value:.2f}" if size < 100 else f"{value:,.0f}"


def change(value: float | None) -> str:
    """A difference with its sign.

    >>> change(0.0081), change(-0.04), change(None)
    ('+0.0081', '-0.0400', '-')
    """
    return NOTHING if value is None or not math.isfinite(value) else f"{value:+.4f}"


def share(value: float | None) -> str:
    """A share in percent; a small one is never said to be 0.

    >>> share(0.125), share(0.0), share(0.000004), share(None)
    ('12.5%', '0%', '<0.01%', '-')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    if not value:
        return "0%"
    return f"{value:.1%}" if size >= 0.01 else f"{value:.2%}" if size >= 0.0001 else "<0.01%"


def count(value: float | None) -> str:
    """A number of rows with separators."""
    return NOTHING if value is None else f"{value:,.0f}"


def interval(pair: Sequence[float] | None) -> str:
    """An interval such as `0.771 to 0.806`.

    >>> interval([0.7712, 0.8056]), interval(None)
    ('0.771 to 0.806', '-')
    """
    return f"{figure(pair[0])} to {figure(pair[1])}" if pair else NOTHING


def shares(pair: Sequence[float] | None) -> str:
    """An interval of shares in percent."""
    return f"{share(pair[0])} to {share(pair[1])}" if pair else NOTHING


def amounts(pair: Sequence[float] | None) -> str:
    """An interval of sums of money."""
    return f"{count(pair[0])} to {count(pair[1])}" if pair else NOTHING


def estimate(entry: Mapping[str, Any] | None) -> str:
    """A figure with its interval: `{"value", "interval"}` or `{"value", "low", "high"}`.

    >>> estimate({"value": 0.8, "interval": [0.7, 0.9]}), estimate({"value": None, "interval": None})
    ('0.800 (0.700 to 0.900)', '-')
    """
    if entry is None or entry["value"] is None:
        return NOTHING
    pair = entry["interval"] if "interval" in entry else (entry["low"], entry["high"])
    return figure(entry["value"]) + (f" ({interval(pair)})" if pair else "")


def chance(p: float | None) -> str:
    """A p-value; one below a thousandth says no more than that.

    >>> chance(0.0412), chance(3.9e-40), chance(None)
    ('0.041', '< 0.001', '-')
    """
    return "< 0.001" if p is not None and p < 0.001 else figure(p)


def moment(text: str | None) -> str:
    """A point in time to the minute, in UTC as recorded.

    >>> moment("2021-01-01T06:01:33+00:00"), moment("2021-07-01T00:00:00"), moment(None)
    ('2021-01-01 06:01', '2021-07-01', '-')
    """
    if not text:
        return NOTHING
    return text[:10] if text[11:16] in {"", "00:00"} else f"{text[:10]} {text[11:16]}"


def duration(length: timedelta) -> str:
    """A length of time in whole days, or as the use case writes it.

    >>> duration(timedelta(days=30)), duration(timedelta(days=1)), duration(timedelta(hours=6))
    ('30 days', '1 day', '6h')
    """
    if length % timedelta(days=1) or not length:
        return render(length)
    return "1 day" if length.days == 1 else f"{length.days:,} days"


def plain(value: Any) -> str:
    """A parameter or a cell of any kind.

    >>> plain(True), plain(0.12345), plain({"a": 1, "b": None}), plain(["x", 2000])
    ('yes', '0.1235', 'a 1, b -', 'x, 2,000')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(each)}" for name, each in value.items()) or NOTHING
    if isinstance(value, (list, tuple)):
        return ", ".join(map(plain, value)) or NOTHING
    return NOTHING if value is None or value == "" else _cell(value)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


FILTERS = {
    "figure": figure,
    "change": change,
    "share": share,
    "count": count,
    "interval": interval,
    "shares": shares,
    "amounts": amounts,
    "estimate": estimate,
    "chance": chance,
    "moment": moment,
    "duration": duration,
    "plain": plain,
}
