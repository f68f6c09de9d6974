"""When to train and when to test: a first split in time from the times and outcomes of an unknown table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MATURITY = {"credit": timedelta(days=365), "fraud": timedelta(days=7)}
"""What an outcome usually needs to become known."""

ENOUGH = 50
"""Rows of each class that training and test should have; with fewer than `LEAST` time is not split."""

LEAST = 10

_SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # use cases write UTC without a zone


@dataclass(frozen=True)
class Periods:
    """Training, test and rehearsal, start included and end excluded, in UTC. `least`: rows of the rarest class."""

    train: tuple[datetime, datetime]
    test: tuple[datetime, datetime]
    rehearsal: tuple[datetime, datetime]
    maturity: timedelta
    least: int


def periods_of(
    times: NDArray[np.float64], positive: NDArray[np.bool_], kind: Literal["credit", "fraud"]
) -> Periods | None:
    """The latest fifth of the rows is the test, or more where it has too few rows of a class.

    `times` are microseconds since 1970. The gap between training and test is the usual maturity, but at most a third of
    the whole span, and less where training would keep too few rows of a class. None where no split is possible.
    """
    unit = _unit(float(np.ptp(times))) if len(times) else _SECOND
    options = [*_options(times, positive, kind, unit)]
    best = max(options, key=lambda option: min(option.least, ENOUGH), default=None)  # the first of equals
    return best if best and best.least >= LEAST else None


def _options(
    times: NDArray[np.float64], positive: NDArray[np.bool_], kind: Literal["credit", "fraud"], unit: int
) -> Iterator[Periods]:
    if not len(times) or not np.ptp(times):
        return
    longest = int(np.ptp(times)) // 3
    usual = int(min(MATURITY[kind].total_seconds() * _SECOND, longest))
    first, end = int(times.min()) // unit * unit, (int(times.max()) // unit + 1) * unit
    for part in (1, 2, 4, 0):
        maturity = usual // part // unit * unit if part else 0
        for share in (0.2, 0.3, 0.4, 0.5):
            start = int(np.quantile(times, 1 - share, method="higher")) // unit * unit
            if first < start - maturity:
                yield _periods(times, positive, (first, start - maturity, start, end), unit)


def _periods(
    times: NDArray[np.float64], positive: NDArray[np.bool_], bounds: tuple[int, int, int, int], unit: int
) -> Periods:
    first, cut, start, end = bounds
    train, test = (times >= first) & (times < cut), times >= start
    least = min(int(np.sum(rows & (positive == value))) for rows in (train, test) for value in (True, False))
    later = max(int(np.median(times[test])) // unit * unit, start)
    moments = [_EPOCH + timedelta(microseconds=each) for each in (first, cut, start, end, later)]
    maturity = timedelta(microseconds=start - cut)
    return Periods((moments[0], moments[1]), (moments[2], moments[3]), (moments[4], moments[3]), maturity, least)


def _unit(span: float) -> int:
    """Periods begin at midnights, or at full hours or seconds in a table of a few days or hours."""
    hour = 3600 * _SECOND
    return 24 * hour if span >= 240 * hour else hour if span >= 10 * hour else _SECOND
