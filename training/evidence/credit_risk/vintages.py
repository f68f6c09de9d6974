"""Vintage curves: how the bads of each origination cohort came in, beside the PD that the model gave it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.evidence.reliability import wilson
from training.evidence.tested import Tested

if TYPE_CHECKING:
    import pandas as pd

LEAST = 30
"""Loans that a cohort needs to be shown."""
MONTHLY = 24
"""Cohorts are months up to so many of them, else quarters."""
DAYS_A_MONTH = 365.25 / 12


def vintages(development: Tested, tested: Tested) -> dict[str, Any] | None:
    """Cohorts of the out-of-fold development rows and of the tested rows by month or quarter; None without times.

    `by` (month or quarter), `timed` (whether the time of each outcome is recorded: `label.known`), `small` (cohorts
    left out for having fewer than `LEAST` loans), `cohorts` [{cohort, part (development or tested), n, observed, low,
    high, predicted, months, cumulative}]: observed rate of bads with its 95 % Wilson interval, mean PD, and with
    `timed` the cumulative rate of bads known by each month on book, up to the month of the latest; a bad without a
    time is counted in `observed` alone.
    """
    if not tested.use_case.event.time or tested.events["event_time"].isna().any():
        return None
    timed = tested.use_case.label.known is not None
    months = [np.unique(_months(part.events)) for part in (development, tested)]
    width = 1 if len(np.unique(np.concatenate(months))) <= MONTHLY else 3
    rows, small = [], 0
    for name, part in (("development", development), ("tested", tested)):
        for found in _cohorts(part, width=width, timed=timed):
            small += found["n"] < LEAST
            rows += [{"part": name} | found] if found["n"] >= LEAST else []
    return {"by": "month" if width == 1 else "quarter", "timed": timed, "small": int(small), "cohorts": rows}


def _months(events: pd.DataFrame) -> NDArray[np.int64]:
    """Months since January 1970."""
    times = events["event_time"].dt
    months: NDArray[np.int64] = ((times.year - 1970) * 12 + times.month - 1).to_numpy(dtype=np.int64)
    return months


def _cohorts(tested: Tested, *, width: int, timed: bool) -> Iterator[dict[str, Any]]:
    cohort = _months(tested.events) // width
    for value in np.unique(cohort):
        own = np.flatnonzero(cohort == value)
        y = tested.y[own]
        low, high = wilson(int(y.sum()), len(own))
        yield {
            "cohort": _named(int(value), width),
            "n": len(own),
            "observed": float(y.mean()),
            "low": low,
            "high": high,
            "predicted": float(tested.probability[own].mean()),
            **(_cumulative(tested.events.iloc[own], y) if timed else {"months": None, "cumulative": None}),
        }


def _named(cohort: int, width: int) -> str:
    year, place = 1970 + cohort * width // 12, cohort * width % 12
    return f"{year}-{place + 1:02d}" if width == 1 else f"{year} Q{place // 3 + 1}"


def _cumulative(events: pd.DataFrame, y: NDArray[np.float64]) -> dict[str, Any]:
    """Rate of bads known after each whole month on book."""
    age = (events["known"] - events["event_time"]).dt.total_seconds().to_numpy(dtype=np.float64, na_value=np.nan)
    months = np.ceil(age[(y == 1) & np.isfinite(age)] / 86400 / DAYS_A_MONTH)
    last = int(months.max()) if len(months) else 0
    counts = np.bincount(np.clip(months, 0, None).astype(np.int64), minlength=last + 1)
    return {"months": list(range(last + 1)), "cumulative": (np.cumsum(counts) / len(y)).tolist()}
