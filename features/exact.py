"""Window statistics from exact integer sums, so that a value doesn't depend on the order of the events.

Values are scaled to integers by 10**decimals. DuckDB adds them as HUGEINT and this module as Python integers; both then
go to doubles by the same steps, which makes offline and online values equal bit for bit.
"""

from __future__ import annotations

import math
import sys

from configs.errors import FeatureError
from features.language.operators import rounded

COMPARED = frozenset({"ratio", "deviation"})
"""Functions that set the event's own value against the window: peers have the same window, and values of their own."""

SUMMED = frozenset({"sum", "mean", "std"}) | COMPARED
"""Functions of windowed aggregates that read exact sums."""

NUMERIC = frozenset({"min", "max"}) | SUMMED
"""Functions that only numbers have."""

EARLIER = frozenset({"since_last", "first_seen"})
"""Functions that look strictly before the event: what happened in the same microsecond is not earlier."""

LIMIT = 10**15
"""Most units of a summed value, either way: doubles hold them exactly, and 128 bits the squares of ten thousand."""

_LOW = (1 << 64) - 1


def scaled(value: float, decimals: int) -> int:
    """The value in units of 10**-decimals, halves rounded away from zero. Raises `FeatureError` beyond `LIMIT`.

    >>> scaled(12.345, 2), scaled(-0.5, 0)
    (1235, -1)
    """
    units = int(rounded(value * float(10**decimals)))
    if abs(units) > LIMIT:
        raise FeatureError(
            "a value is too large for exact sums",
            expected=f"at most {most(decimals):g} at {decimals} decimals, either way",
            fix="correct the value, or declare fewer `decimals` for its aggregates",
        )
    return units


def most(decimals: int) -> float:
    """The largest value that can be summed with so many decimals."""
    return LIMIT / float(10**decimals)


def double(value: int) -> float:
    """An integer as a double, the way DuckDB casts a HUGEINT: two halves of 64 bits, each rounded."""
    return -double(-value) if value < 0 else float(value & _LOW) + float(value >> 64) * 2.0**64


def total(sums: int, decimals: int) -> float:
    """Sum of the values; 0 for an empty window."""
    return double(sums) / float(10**decimals)


def mean(count: int, sums: int, decimals: int) -> float | None:
    """Mean of the values; None for an empty window."""
    return double(sums) / double(count * 10**decimals) if count else None


def deviation(count: int, sums: int, squares: int, decimals: int) -> float | None:
    """Sample standard deviation (n - 1) from the integer sums of values and squares; None below two values."""
    if count < 2:
        return None
    spread = count * squares - sums * sums
    return math.sqrt(double(spread) / double(count * (count - 1))) / float(10**decimals)


def ratio(value: float, count: int, sums: int, decimals: int) -> float | None:
    """A value over the mean of others; None for an empty window, a mean of 0, or a ratio beyond all doubles.

    >>> ratio(3.0, 2, 400, 2), ratio(3.0, 2, 0, 2)
    (1.5, None)
    """
    found = mean(count, sums, decimals)
    return _finite(value / found) if found else None


def standardized(value: float, count: int, sums: int, squares: int, decimals: int) -> float | None:
    """How many sample standard deviations a value lies from the mean of others; None where `ratio` or they are.

    >>> standardized(3.0, 2, 400, 100_000, 2), standardized(3.0, 1, 200, 40_000, 2)
    (0.7071067811865475, None)
    """
    spread = deviation(count, sums, squares, decimals)
    found = mean(count, sums, decimals)
    return _finite((value - found) / spread) if spread and found is not None else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def statistic_sql(function: str, *, count: str, sums: str, squares: str, decimals: int, own: str = "") -> str:
    """The same statistics over columns with the integer sums, in DuckDB's SQL; `own` is the value set against them."""
    scale = 10**decimals
    total_sql = f"(CASE WHEN {sums} < 0 THEN -CAST(-{sums} AS DOUBLE) ELSE CAST({sums} AS DOUBLE) END)"
    mean_sql = f"CASE WHEN {count} > 0 THEN {total_sql} / CAST(CAST({count} AS HUGEINT) * {scale} AS DOUBLE) END"
    spread = f"CAST(CAST({count} AS HUGEINT) * {squares} - CAST({sums} AS HUGEINT) * {sums} AS DOUBLE)"
    pairs = f"CAST(CAST({count} AS HUGEINT) * ({count} - 1) AS DOUBLE)"
    std_sql = f"CASE WHEN {count} > 1 THEN sqrt({spread} / {pairs}) / {scale}e0 END"
    match function:
        case "sum":
            return f"coalesce({total_sql}, 0e0) / {scale}e0"
        case "mean":
            return mean_sql
        case "ratio":
            return _finite_sql(f"{own} / nullif({mean_sql}, 0e0)")
        case "deviation":
            return _finite_sql(f"({own} - {mean_sql}) / nullif({std_sql}, 0e0)")
        case _:
            return std_sql


def _finite_sql(value: str) -> str:
    """The value, or NULL beyond all doubles; NaN counts as the greatest number."""
    return f"CASE WHEN abs({value}) <= {sys.float_info.max!r} THEN {value} END"


def scaled_sql(value: str, decimals: int) -> str:
    """`scaled` over a column of doubles. A value beyond 2**63 units stops the query: nothing is rounded silently."""
    return f"CAST(round({value} * {10**decimals}e0) AS BIGINT)"
