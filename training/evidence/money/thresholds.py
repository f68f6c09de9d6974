"""What every threshold is worth, exactly: one sort, then cumulative sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evidence.money.stakes import Stakes
from training.evidence.resampling import Resamples, interval

Array = NDArray[np.float64]

SHOWN = 200
"""Points of a curve that are kept for drawing."""


@dataclass(frozen=True)
class Curve:
    """Thresholds, and the rows acted on and their total worth at each: [k + 1] for k distinct probabilities.

    The first threshold acts on no row, the last on all of them.
    """

    thresholds: Array
    rows: Array
    value: Array

    @property
    def best(self) -> float:
        """The threshold worth most; of equals the one that acts on the fewest rows."""
        return float(self.thresholds[np.argmax(self.value)])


class Sweep:
    """Every threshold of fixed rows under changing row weights: sorted once, then O(m)."""

    def __init__(self, stakes: Stakes) -> None:
        self._order = np.argsort(-stakes.p if stakes.stop else stakes.p, kind="stable")
        ranked = stakes.p[self._order]
        self._last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else np.array([], int)
        self._value = stakes.realised[self._order]
        self.thresholds = _between(ranked[self._last], stop=stakes.stop)

    def curve(self, weight: Array | None = None) -> Curve:
        """The curve with weighted rows, all alike by default."""
        ones = np.ones(len(self._order)) if weight is None else weight[self._order]
        rows, value = np.cumsum(ones)[self._last], np.cumsum(ones * self._value)[self._last]
        return Curve(self.thresholds, np.append(0.0, rows), np.append(0.0, value))


def _between(distinct: Array, *, stop: bool) -> Array:
    """A threshold before, between and after distinct probabilities, in the order in which rows are acted on.

    Halfway, so that a threshold isn't the probability of one row; where no number lies between, the upper one, since
    loans are accepted below a threshold and payments stopped from it on.
    """
    low, high = np.minimum(distinct[:-1], distinct[1:]), np.maximum(distinct[:-1], distinct[1:])
    middle = low + (high - low) / 2
    inner = np.where(middle > low, middle, high)
    ends = (1.0, 0.0) if stop else (0.0, 1.0)
    return np.concatenate([[ends[0]], inner, [ends[1]]]) if len(distinct) else np.array([ends[0]])


def profit_curve(stakes: Stakes) -> Curve:
    """The curve over every threshold."""
    return Sweep(stakes).curve()


def threshold_interval(stakes: Stakes, *, seed: int, draws: int) -> list[float] | None:
    """95 % block bootstrap interval of the best threshold: chosen anew on each draw."""
    sweep, resamples = Sweep(stakes), Resamples.of(stakes.blocks, n=len(stakes.p), seed=seed, draws=draws)
    return interval(np.array([sweep.curve(weight).best for weight in resamples.weights()]))


def thinned(curve: Curve, *, shown: int = SHOWN) -> dict[str, list[float]]:
    """The curve for drawing: `threshold`, `share` of rows acted on, `per_1000` rows.

    Half of the points are evenly spaced, half ever denser towards the fewest rows (alerts are few); the best is in.
    """
    n = max(float(curve.rows[-1]), 1.0)
    last, most = len(curve.rows) - 1, min(shown, len(curve.rows)) // 2 + 1
    even, dense = np.linspace(0, last, most), np.geomspace(1, last + 1, most) - 1
    places = np.unique(np.concatenate([even, dense, [np.argmax(curve.value)]]).astype(np.int64))
    columns = {"threshold": curve.thresholds, "share": curve.rows / n, "per_1000": 1000 * curve.value / n}
    return {name: [float(each) for each in column[places]] for name, column in columns.items()}
