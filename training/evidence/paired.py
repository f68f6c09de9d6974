"""Two models on the same rows: the difference of the objective, with a bootstrap that draws the same blocks for both.

What both models find hard is hard in every draw for both of them, so the difference is known far better than either
figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evidence.metrics import OBJECTIVES
from training.evidence.resampling import LEAST_DEFINED, Resamples, interval

Array = NDArray[np.float64]

DRAWS = 500
"""More than for an interval that is only shown: a 5 % quantile decides."""
ONE_SIDED = 0.05
BATCH = 50
"""Draws that are computed at once: bounds the memory."""


def paired_difference(
    y: Array,
    p_new: Array,
    p_old: Array,
    blocks: NDArray[np.int64] | None,
    objective: str,
    *,
    seed: int,
    draws: int = DRAWS,
    parts: Sequence[slice] = (slice(None),),
) -> dict[str, Any]:
    """The objective of the scores p_new [n] less that of p_old [n] for labels y [n] of 1 and 0, as plain data.

    blocks [n]: what is drawn whole; None, or fewer than five: rows. objective: of `metrics.OBJECTIVES`. parts: figures
    are means over them. Keys: `objective`, `new`, `old`, `difference`, `low` (one-sided 95 % lower bound: the 5 %
    quantile of the draws), `interval` (95 %, two-sided), `worse` (share of the draws in which new is below old),
    `draws` in which both are defined, `units` that were drawn from. With one class in a part, or in most draws, the
    figures are None.
    """
    figure = OBJECTIVES[objective]
    new, old = (float(np.mean([figure(y[part], p[part]) for part in parts])) for p in (p_new, p_old))
    resamples = Resamples.of(blocks, n=len(y), seed=seed, draws=draws)
    drawn = _drawn(y, p_new, objective, resamples, parts) - _drawn(y, p_old, objective, resamples, parts)
    known = drawn[np.isfinite(drawn)]
    defined = np.isfinite(new - old) and len(known) >= max(1, LEAST_DEFINED * draws)
    return {
        "objective": objective,
        "new": new if np.isfinite(new) else None,
        "old": old if np.isfinite(old) else None,
        "difference": new - old if defined else None,
        "low": float(np.quantile(known, ONE_SIDED)) if defined else None,
        "interval": interval(drawn) if defined else None,
        "worse": float(np.mean(known < 0)) if defined else None,
        "draws": len(known),
        "units": int(resamples.counts.shape[1]),
    }


def _drawn(y: Array, p: Array, objective: str, resamples: Resamples, parts: Sequence[slice]) -> Array:
    """The objective in every draw, [draws]: the mean over parts, NaN where one of them has one class."""
    found = [_part(y[part], p[part], resamples.block[part], resamples.counts, objective) for part in parts]
    means: Array = np.mean(found, axis=0)
    return means


def _part(y: Array, p: Array, block: NDArray[np.int64], counts: NDArray[np.uint8], objective: str) -> Array:
    """All draws at once: a sparse matrix [3 k + 1, blocks] counts the rows that k runs of positives are made of.

    A run is what shares a score with a positive; riskiest first, each has the negatives since the run before, the
    negatives in it, and its positives. The negatives below all positives are the last line.
    """
    from scipy.sparse import csr_array

    levels, level = np.unique(-p, return_inverse=True)
    held = np.zeros(len(levels), dtype=bool)
    held[level[y == 1]] = True
    runs = int(held.sum())
    before = np.cumsum(held) - held  # runs above each level
    place = 3 * before[level] + np.where(y == 1, 2, held[level].astype(np.int64))
    rows = csr_array((np.ones(len(y)), (place, block)), shape=(3 * runs + 1, counts.shape[1]))
    return np.concatenate([_figures(rows @ some.T.astype(np.float64), objective) for some in _batches(counts)])


def _batches(counts: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [counts[start : start + BATCH] for start in range(0, len(counts), BATCH)]


def _figures(sums: Array, objective: str) -> Array:
    """AUC or average precision of each column of weights: the sums of `metrics`, over runs of positives."""
    apart, tied, hits = sums[:-1:3], sums[1:-1:3], sums[2:-1:3]
    positives, negatives = hits.sum(axis=0), apart.sum(axis=0) + tied.sum(axis=0) + sums[-1]
    above = np.cumsum(apart + tied, axis=0)  # negatives down to the end of each run
    if objective == "auc":
        value = _over(np.sum(hits * (negatives - above + tied / 2), axis=0), positives * negatives)
    else:
        found = np.cumsum(hits, axis=0)
        value = _over(np.sum(hits * _over(found, found + above), axis=0, where=hits > 0), positives)
    return np.where((positives > 0) & (negatives > 0), value, np.nan)


def _over(part: Array, whole: Array) -> Array:
    found: Array = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return found
