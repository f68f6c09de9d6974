"""How a model of shares, such as LGD, does on loans that it didn't see, beside the constant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.evidence.resampling import Resamples, interval

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Bad loans in order of time with their realised shares: the rows to fit on, or to judge by.

    counts: `n`, `undefined` (bads without a realised share), `cut` (shares outside [0, 1]).
    """

    features: pd.DataFrame
    share: Array
    blocks: NDArray[np.int64]
    counts: dict[str, int]


def severity_evidence(judged: Sample, predicted: Array, constant: float, *, seed: int, draws: int) -> dict[str, Any]:
    """How a model of shares does on bad loans that it didn't see, beside the constant; None where undefined.

    `realised`, `predicted` (means), `bias` (predicted - realised) with `bias_interval`, `mae`, `rmse`, `constant_mae`,
    `constant_rmse`, `r2` (against the tested rows' own mean), `skill` (1 - squared error over the constant's) with
    `skill_interval`, `auc` (of ranks: see `rank_auc`), `gini` (2 auc - 1), `deciles` of the prediction
    [{n, predicted, realised}]. Intervals: 95 % block bootstrap.
    """
    share, n = judged.share, len(judged.share)
    if not n:
        return {"n": 0, "skill": None}
    error, base = predicted - share, constant - share
    spread = float(np.mean((share - share.mean()) ** 2))
    resamples = Resamples.of(judged.blocks, n=n, seed=seed, draws=draws)
    sums = resamples.totals(np.column_stack([np.ones(n), error, error**2, base**2]))
    skills = 1 - np.divide(sums[:, 2], sums[:, 3], out=np.full(len(sums), np.nan), where=sums[:, 3] > 0)
    ranks = rank_auc(share, predicted)
    return {
        "n": n,
        "realised": float(share.mean()),
        "predicted": float(predicted.mean()),
        "bias": float(error.mean()),
        "bias_interval": interval(sums[:, 1] / sums[:, 0]),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "constant_mae": float(np.abs(base).mean()),
        "constant_rmse": float(np.sqrt(np.mean(base**2))),
        "r2": float(1 - np.mean(error**2) / spread) if spread > 0 else None,
        "skill": skill(share, predicted, constant) if np.any(base) else None,
        "skill_interval": interval(skills),
        "auc": ranks,
        "gini": None if ranks is None else 2 * ranks - 1,
        "deciles": [
            {"n": len(part), "predicted": float(predicted[part].mean()), "realised": float(share[part].mean())}
            for part in np.array_split(np.argsort(predicted, kind="stable"), min(10, n))
        ],
    }


def skill(share: Array, predicted: Array, constant: float) -> float:
    """1 - mean squared error over that of the constant: above 0 the model is better."""
    base = float(np.mean((constant - share) ** 2))
    return 1 - float(np.mean((predicted - share) ** 2)) / base if base > 0 else 0.0


def rank_auc(share: Array, predicted: Array) -> float | None:
    """Chance that of two loans with different shares the worse is predicted the higher, ties half; None without two.

    (Somers' D + 1) / 2, the generalised AUC that supervisors ask of LGD models (ECB instructions for reporting the
    validation results of internal models, 2019).
    """
    from scipy.stats import kendalltau

    if len(np.unique(share)) < 2:
        return None
    if len(np.unique(predicted)) < 2:
        return 0.5
    tau = float(kendalltau(predicted, share, variant="b").statistic)
    return 0.5 + 0.5 * tau * float(np.sqrt(_untied(predicted) / _untied(share)))


def _untied(values: Array) -> float:
    """Pairs with different values."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    n = float(len(values))
    return n * (n - 1) / 2 - float(np.sum(counts * (counts - 1) / 2))
