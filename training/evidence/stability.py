"""Whether the score and its performance stay: PSI, AUC and observed against predicted rate, month by month."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.evidence import metrics
from training.evidence.bins import BINS, chance_psi
from training.evidence.resampling import DRAWS, Resamples, WeightedFigures, interval

if TYPE_CHECKING:
    import pandas as pd

    from training.evidence.tested import Tested

Array = NDArray[np.float64]


def months_of(events: pd.DataFrame) -> NDArray[np.str_] | None:
    """The calendar month (UTC, such as 2024-03) of each event, [n]; None where an event has no time."""
    times = events["event_time"]
    if not len(times) or times.isna().any():
        return None
    names: NDArray[np.str_] = times.dt.strftime("%Y-%m").to_numpy(dtype=np.str_)
    return names


def stability_evidence(development: Tested, tested: Tested, *, trained: Array, draws: int = DRAWS) -> dict[str, Any]:
    """Months of the test, and of the out-of-fold development rows. trained: scores that PSI compares with.

    by: `month`, or `fold` where the table has no time (each fold of the test is an entry, and none of `development`).
    months, development: entries with month (or `fold 1`), rows, positives, psi (of the score over the deciles of
    `trained`), psi_chance (its 95 % quantile if nothing moved), auc, observed and predicted (mean probability) rate,
    auc_interval and observed_interval (95 % block bootstrap of the month's own blocks), calibrated (whether the
    interval of the observed rate holds the predicted one). Undefined figures are None.
    """
    names = months_of(tested.events)
    if names is None:
        rows = [np.arange(len(tested.y))[part] for part in tested.parts]
        folds = [_entry(f"fold {number + 1}", tested, own, trained, draws) for number, own in enumerate(rows)]
        return {"by": "fold", "months": folds, "development": []}
    return {
        "by": "month",
        "months": _months(tested, names, trained, draws),
        "development": _months(development, months_of(development.events), trained, draws),
    }


def _months(part: Tested, names: NDArray[np.str_] | None, trained: Array, draws: int) -> list[dict[str, Any]]:
    if names is None:
        return []
    return [_entry(str(name), part, np.flatnonzero(names == name), trained, draws) for name in np.unique(names)]


def _entry(name: str, part: Tested, rows: NDArray[np.int64], trained: Array, draws: int) -> dict[str, Any]:
    y, p = part.y[rows], part.probability[rows]
    resamples, figures = (
        Resamples.of(part.blocks[rows], n=len(rows), seed=part.seed, draws=draws),
        WeightedFigures(y, p),
    )
    sums = resamples.totals(np.column_stack([np.ones(len(rows)), y]))
    observed = interval(sums[:, 1] / sums[:, 0])
    area, predicted = metrics.auc(y, p), float(p.mean())
    return {
        "month": name,
        "rows": len(rows),
        "positives": int(y.sum()),
        "psi": metrics.score_psi(trained, p),
        "psi_chance": chance_psi(BINS, len(trained), len(rows)),
        "auc": None if np.isnan(area) else area,
        "auc_interval": interval(np.array([figures.auc(weight) for weight in resamples.weights()])),
        "observed": float(y.mean()),
        "observed_interval": observed,
        "predicted": predicted,
        "calibrated": None if observed is None else bool(observed[0] <= predicted <= observed[1]),
    }
