"""Is the explanation a property of the world or of one fit: importance over models fitted again on drawn blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from training.explanation.summary import Summary
from training.model import Model

Array = NDArray[np.float64]

TOP = 10
"""Leading features whose overlap is counted."""


def bootstrap_rows(blocks: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Positions of the rows of as many blocks as there are, drawn with replacement; ascending, with repeats.

    Blocks are what rows are alike in: days, or customers. A model fitted on these rows differs from the first by what
    another sample of the same world would change (Efron 1979).
    """
    names, block = np.unique(blocks, return_inverse=True)
    counts = np.bincount(np.random.default_rng(seed).integers(0, len(names), len(names)), minlength=len(names))
    return np.repeat(np.arange(len(blocks)), counts[block.reshape(-1)])


def importances(summary: Summary, refits: Sequence[Model]) -> Array:
    """Mean |contribution| of each feature for the summary's model and each refit, on the same rows: [1 + k, f].

    Raises `TrainingError` where a refit has other features.
    """
    rows = [summary.sizes]
    for model in refits:
        if model.names != summary.names:
            raise TrainingError(
                f"a refit with {len(model.names)} features beside a model with {len(summary.names)}",
                expected="the same features in the same order",
                fix="fit it with the same encoder",
            )
        rows.append(np.abs(model.contributions(summary.values)[:, :-1]).mean(axis=0))
    return np.array(rows)


def refit_stability(summary: Summary, refits: Sequence[Model]) -> dict[str, Any]:
    """How far importance agrees between the model and `refits`, over all their pairs.

    refits (how many), pairs, rank_correlation (mean Spearman 1904, ties by mean ranks), rank_correlation_least, kendall
    (mean tau-b, Kendall 1938), top (features compared) and top_overlap (mean share of the `top` first features that two
    models have in common). importance: one entry a feature, the most important first, with feature, mean (of the
    model), share, rank, refit_mean and refit_sd (over model and refits), rank_best and rank_worst. With one feature
    the correlations are 1; without refits, or where importance is constant, they are None.
    """
    sizes = importances(summary, refits)
    pairs = list(combinations(sizes, 2))
    placed = [ranks(one) for one in sizes]
    top = min(TOP, sizes.shape[1])
    spearman = [correlation(ranks(one), ranks(other)) for one, other in pairs]
    overlap = [len(_leading(one, top) & _leading(other, top)) / top for one, other in pairs]
    total = float(summary.sizes.sum())
    return {
        "refits": len(refits),
        "pairs": len(pairs),
        "rank_correlation": _mean(spearman),
        "rank_correlation_least": None if _mean(spearman) is None else float(np.min(spearman)),
        "kendall": _mean([_kendall(one, other) for one, other in pairs]),
        "top": top,
        "top_overlap": float(np.mean(overlap)) if overlap else None,
        "importance": [
            {
                "feature": summary.names[index],
                "mean": float(sizes[0, index]),
                "share": float(sizes[0, index] / total) if total else None,
                "rank": place + 1,
                "refit_mean": float(sizes[:, index].mean()),
                "refit_sd": float(sizes[:, index].std(ddof=1)) if len(sizes) > 1 else None,
                "rank_best": int(min(each[index] for each in placed)),
                "rank_worst": int(max(each[index] for each in placed)),
            }
            for place, index in enumerate(summary.order)
        ],
    }


def ranks(sizes: Array) -> Array:
    """1 for the most important; equal ones share the mean of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-sizes), dtype=np.float64)


def _leading(sizes: Array, top: int) -> set[int]:
    return set(np.argsort(-sizes, kind="stable")[:top].tolist())


def correlation(one: Array, other: Array) -> float:
    """Pearson's correlation; of ranks it is Spearman's. 1 for a single value, NaN where one side is constant."""
    if len(one) < 2:
        return 1.0
    spread = float(one.std() * other.std())
    return float(np.mean((one - one.mean()) * (other - other.mean())) / spread) if spread else float("nan")


def _kendall(one: Array, other: Array) -> float:
    from scipy.stats import kendalltau

    if len(one) < 2:
        return 1.0
    return float(kendalltau(one, other, variant="b").statistic)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) and np.isfinite(values).all() else None
