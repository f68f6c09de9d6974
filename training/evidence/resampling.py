"""Block bootstrap: whole blocks (days, customers) are drawn with replacement, since rows of one block are alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 200
LEAST_BLOCKS = 5
"""With fewer blocks single rows are drawn: an interval from two or three blocks says nothing."""
LEAST_DEFINED = 0.5
"""Share of the draws in which a figure must be defined to have an interval."""


@dataclass(frozen=True)
class Resamples:
    """Bootstrap draws of n rows. block: of each row, [n], from 0. counts: of each block by draw, [draws, blocks].

    The same draws serve every figure, so that differences between figures are paired.
    """

    block: NDArray[np.int64]
    counts: NDArray[np.uint8]

    @classmethod
    def of(cls, blocks: NDArray[np.int64] | None, *, n: int, seed: int, draws: int = DRAWS) -> Resamples:
        """Draw; without blocks, or with fewer than `LEAST_BLOCKS`, single rows."""
        block = np.arange(n)
        if blocks is not None and len(np.unique(blocks)) >= LEAST_BLOCKS:
            block = np.unique(blocks, return_inverse=True)[1].reshape(-1)
        total = int(block.max()) + 1 if n else 0
        generator = np.random.default_rng(seed)
        counts = np.empty((draws if n else 0, total), dtype=np.uint8)  # a byte each: rows may be drawn, and many
        for draw in counts:
            draw[:] = np.bincount(generator.integers(0, total, total), minlength=total)
        return cls(block.astype(np.int64), counts)

    def totals(self, columns: Array) -> Array:
        """Sum of each column over the rows of each draw: [n, k] -> [draws, k]."""
        total = self.counts.shape[1]
        sums = np.column_stack([np.bincount(self.block, weights=column, minlength=total) for column in columns.T])
        return np.array([draw.astype(np.float64) @ sums for draw in self.counts]).reshape(len(self.counts), -1)

    def weights(self, rows: NDArray[np.int64] | NDArray[np.bool_] | None = None) -> Iterator[Array]:
        """Weight of each row (of `rows`) in one draw after the other."""
        block = self.block if rows is None else self.block[rows]
        return (draw[block].astype(np.float64) for draw in self.counts)


def interval(values: Array, *, level: float = 0.95) -> list[float] | None:
    """Percentile interval of draws; NaN draws are left out, and None when most of them are."""
    defined = values[np.isfinite(values)]
    if not len(values) or len(defined) < LEAST_DEFINED * len(values):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


class WeightedFigures:
    """AUC and average precision of fixed scores under changing row weights: sorted once, then O(n) a draw."""

    def __init__(self, y: Array, score: Array) -> None:
        self._order = np.argsort(-score, kind="stable")
        ranked = score[self._order]
        self._last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else np.array([], int)
        self._y, self._score = y[self._order], ranked

    def _curve(self, weight: Array) -> tuple[Array, Array]:
        ranked = weight[self._order]
        return np.cumsum(ranked * self._y)[self._last], np.cumsum(ranked)[self._last]

    def auc(self, weight: Array) -> float:
        """Area under the ROC curve; NaN with one class."""
        hits, rows = self._curve(weight)
        if not len(hits) or not 0 < hits[-1] < rows[-1]:
            return float("nan")
        tp, fp = np.append(0.0, hits), np.append(0.0, rows - hits)
        return float(np.sum(np.diff(fp) * (tp[1:] + tp[:-1]) / 2) / (tp[-1] * fp[-1]))

    def average_precision(self, weight: Array) -> float:
        """Average precision; NaN without a positive, or with nothing else."""
        hits, rows = self._curve(weight)
        if not len(hits) or not 0 < hits[-1] < rows[-1]:
            return float("nan")
        return float(np.sum(np.diff(hits, prepend=0) * hits / np.maximum(rows, 1e-12)) / hits[-1])

    def ks(self, weight: Array) -> float:
        """Kolmogorov-Smirnov statistic; NaN with one class."""
        tp, fp = self._rates(weight)
        return float(np.max(tp - fp))

    def recall_at_fpr(self, weight: Array, rate: float) -> float:
        """Recall at the lowest threshold whose false-positive rate is at most `rate`; NaN with one class."""
        tp, fp = self._rates(weight)
        return float(tp[np.searchsorted(fp, rate, side="right") - 1])

    def _rates(self, weight: Array) -> tuple[Array, Array]:
        """True and false positive rates from the highest score down, starting at 0."""
        hits, rows = self._curve(weight)
        misses = rows - hits
        if not len(hits) or not 0 < hits[-1] < rows[-1]:
            return np.array([np.nan]), np.array([np.nan])
        return np.append(0.0, hits / hits[-1]), np.append(0.0, misses / misses[-1])

    def ece(self, weight: Array, *, bins: int = 10) -> float:
        """Expected calibration error over bins of equal weight (`metrics.ece`); the scores must be probabilities."""
        ranked = weight[self._order]
        total = ranked.sum()
        if not total:
            return float("nan")
        middle = (np.cumsum(ranked) - ranked / 2) / total
        place = np.minimum((middle * bins).astype(np.int64), bins - 1)
        gaps = np.bincount(place, weights=ranked * (self._y - self._score), minlength=bins)
        return float(np.abs(gaps).sum() / total)

    def brier(self, weight: Array) -> float:
        """Mean squared error of the probability."""
        ranked = weight[self._order]
        return float(np.sum(ranked * (self._y - self._score) ** 2) / ranked.sum()) if ranked.sum() else float("nan")

    def figure(self, name: str, weight: Array) -> float:
        """The figure that `training.objective` names."""
        return self.auc(weight) if name == "auc" else self.average_precision(weight)
