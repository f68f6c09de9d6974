"""Arrow columns out of numpy codes, without a Python object a row."""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DAY = 86_400.0
"""Seconds. The worlds count time in seconds since the start of their history."""


def epoch(start: date) -> int:
    """Seconds from 1970-01-01 to midnight UTC of `start`."""
    return int(np.datetime64(start, "s").astype(np.int64))


def months_after(start: date, months: int) -> date:
    """The first day of the month `months` after `start`, on the same day of the month where there is one."""
    moved = np.datetime64(start, "M") + months
    last = int((moved + 1).astype("datetime64[D]").astype(int) - moved.astype("datetime64[D]").astype(int))
    found: date = (moved.astype("datetime64[D]") + min(start.day, last) - 1).item()
    return found


def instants(seconds: Ints | Floats, *, start: date, missing: Bools | None = None) -> pa.Array:
    """Seconds since `start` -> timestamp[us, UTC], whole seconds."""
    micros = (np.floor(seconds).astype(np.int64) + epoch(start)) * 1_000_000
    return pa.array(micros, mask=missing).cast(pa.timestamp("us", tz="UTC"))


def words(codes: npt.NDArray[np.integer], names: tuple[str, ...]) -> pa.Array:
    """Codes into `names` -> strings."""
    return pa.array(names).take(pa.array(codes))


def identifiers(prefix: str, codes: npt.NDArray[np.integer], *, count: int, missing: Bools | None = None) -> pa.Array:
    """Codes 0..count-1 -> strings such as `C000042`; null where `missing`."""
    width = max(len(str(count)), 4)
    names = pa.array([f"{prefix}{code:0{width}d}" for code in range(count)], pa.string())
    return names.take(pa.array(codes, mask=missing))


def firsts(codes: Ints) -> Bools:
    """Where each group of equal neighbours begins.

    >>> firsts(np.array([4, 4, 7])).tolist()
    [True, False, True]
    """
    changed: Bools = np.append(True, codes[1:] != codes[:-1])[: codes.size]
    return changed


def pick(rng: np.random.Generator, weights: npt.ArrayLike, count: int) -> Ints:
    """`count` codes drawn in proportion to `weights`."""
    reached = np.cumsum(weights)
    drawn: Ints = np.searchsorted(reached[:-1], rng.random(count) * reached[-1], side="right").astype(np.int64)
    return drawn
