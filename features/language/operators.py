"""The operators of the expression language, as Python functions that give the same bits as DuckDB on doubles.

Missing values are `None` and propagate as SQL's NULL does. Infinities and NaN may appear between two operators
(never at either end); they follow IEEE 754, and in comparisons NaN equals itself and is the greatest number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

Value = float | str | datetime | bool | None
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = 86_400_000_000


def microseconds(time: datetime) -> int:
    """Microseconds since 1970 (UTC); a naive time is UTC."""
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // _MICROSECOND


def plain(value: object) -> Any:
    """A value as the operators take it: booleans and integers as floats, NaN as missing, times in UTC."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(value)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, int)):
        return float(value)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    raise TypeError(f"{type(value).__name__} is not a number, text or time")


def divide(a: float, b: float) -> float | None:
    """Quotient of two doubles; None when the second is zero."""
    return a / b if b else None


def exponential(a: float) -> float:
    """e**a; infinity on overflow."""
    try:
        return math.exp(a)
    except OverflowError:
        return math.inf


def logarithm(a: float) -> float | None:
    """Natural logarithm; None at zero and below."""
    return None if a <= 0 else math.log(a)


def root(a: float) -> float | None:
    """Square root; None below zero."""
    return None if a < 0 else math.sqrt(a)


def _whole(function: Callable[[float], int]) -> Callable[[float], float]:
    def apply(a: float) -> float:
        return math.copysign(float(function(a)), a) if -1 < a < 1 else float(function(a)) if math.isfinite(a) else a

    return apply


def _half_away(a: float) -> int:
    whole = math.trunc(a)
    return whole + (int(math.copysign(1, a)) if abs(a - whole) >= 0.5 else 0)


floor = _whole(math.floor)
ceiling = _whole(math.ceil)
rounded = _whole(_half_away)


def equal(a: Any, b: Any) -> bool:
    """Whether two values of one type are equal."""
    _same_type(a, b)
    return _is_nan(b) if _is_nan(a) else bool(a == b)


def less(a: Any, b: Any) -> bool:
    """Whether the first of two values of one type is less."""
    _same_type(a, b)
    return False if _is_nan(a) else True if _is_nan(b) else bool(a < b)


def _is_nan(a: Any) -> bool:
    return bool(a != a)  # noqa: PLR0124  # also right for text and times, unlike math.isnan


def _same_type(a: Any, b: Any) -> None:
    if type(a) is not type(b):
        raise TypeError(f"{type(a).__name__} compared with {type(b).__name__}")


def hour(time: datetime) -> float:
    """Hour of the day, 0 to 23, UTC."""
    return float(microseconds(time) % _DAY // 3_600_000_000)


def day_of_week(time: datetime) -> float:
    """Day of the week, 0 (Sunday) to 6, UTC."""
    return float((microseconds(time) // _DAY + 4) % 7)


def epoch(time: datetime) -> float:
    """Seconds since 1970: microseconds as a double, divided."""
    return float(microseconds(time)) / 1e6
