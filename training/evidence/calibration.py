"""From raw log-odds to probabilities: Platt, beta or isotonic calibration, stored as numbers, increasing, never 0 or 1.

All three work on log-odds and increase strictly, so that no ranking metric changes: not even by isotonic regression,
whose steps would tie scores. Applying one needs numpy only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from training.learners.logistic import logistic

Array = NDArray[np.float64]

_LIMIT = 20.0
"""Calibrated log-odds are cut here, which keeps probabilities 2e-9 from 0 and 1."""
_LEAST_SLOPE = 1e-3
"""A slope of zero or less would turn the ranking round."""
_LEAST_CLASS = 5
"""Positives, and negatives, that each point of an isotonic calibration rests on."""


class Calibration(ABC):
    """An increasing map of log-odds to log-odds, and so to probabilities."""

    method: ClassVar[str]

    @abstractmethod
    def log_odds(self, margin: Array) -> Array:
        """Calibrated log-odds, [n], before they are cut."""

    def probability(self, margin: Array) -> Array:
        """Probabilities in (0, 1) from log-odds, [n]."""
        return 1 / (1 + np.exp(-np.clip(self.log_odds(margin), -_LIMIT, _LIMIT)))

    def as_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        values: dict[str, Any] = asdict(self)  # type: ignore[call-overload]  # every kind is a dataclass
        return {"method": self.method} | values

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Calibration:
        """Read `as_json`. Raises `TrainingError` for a method that this version doesn't know."""
        kinds: dict[str, type[Calibration]] = {kind.method: kind for kind in (Platt, Beta, Isotonic)}
        if raw.get("method") not in kinds:
            raise TrainingError(
                f"the calibration method {raw.get('method')!r}",
                expected=f"one of {', '.join(kinds)}",
                fix="load the model with the version that wrote it",
            )
        values = {name: value for name, value in raw.items() if name != "method"}
        found = {name: tuple(value) if isinstance(value, list) else float(value) for name, value in values.items()}
        return kinds[raw["method"]](**found)


@dataclass(frozen=True)
class Platt(Calibration):
    """log-odds = slope x margin + intercept (Platt 1999); without arguments, the margin itself."""

    method: ClassVar[str] = "platt"
    slope: float = 1.0
    intercept: float = 0.0

    def log_odds(self, margin: Array) -> Array:
        """Calibrated log-odds, [n]."""
        return np.asarray(self.slope * margin + self.intercept, dtype=np.float64)


@dataclass(frozen=True)
class Beta(Calibration):
    """log-odds = a ln p - b ln(1 - p) + c  with p = sigmoid(margin) and a, b > 0 (Kull, Silva Filho & Flach 2017).

    a is the slope far below 0 and b the slope far above; where they are equal this is Platt scaling.
    """

    method: ClassVar[str] = "beta"
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def log_odds(self, margin: Array) -> Array:
        """Calibrated log-odds, [n]."""
        return np.asarray(self.b * np.logaddexp(0, margin) - self.a * np.logaddexp(0, -margin) + self.c)


@dataclass(frozen=True)
class Isotonic(Calibration):
    """Straight lines in log-odds through the block means of isotonic regression; `slope` goes on beyond both ends.

    margins, values: mean margin of each block and the log-odds of its rate, both strictly ascending, [k] with k >= 1.
    """

    method: ClassVar[str] = "isotonic"
    margins: tuple[float, ...]
    values: tuple[float, ...]
    slope: float = 1.0

    def log_odds(self, margin: Array) -> Array:
        """Calibrated log-odds, [n]."""
        beyond = margin - np.clip(margin, self.margins[0], self.margins[-1])
        return np.asarray(np.interp(margin, self.margins, self.values) + self.slope * beyond, dtype=np.float64)


def _targets(y: Array) -> Array:
    """(n+ + 1) / (n+ + 2) and 1 / (n- + 2) instead of 1 and 0 (Platt 1999): a separated sample stays finite."""
    positives, negatives = y.sum(), (1 - y).sum()
    return np.asarray(np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2)), dtype=np.float64)


def unchanged(margin: Array, y: Array) -> Platt:  # noqa: ARG001  # the signature of a fit
    """The margin as it is: what log loss gave may be true already, and less so after a fit on drifting folds."""
    return Platt()


def fit_platt(margin: Array, y: Array) -> Platt:
    """Platt scaling on out-of-fold margins [n] and labels [n]: log loss with Platt's smoothed targets."""
    slope, intercept = logistic(
        np.column_stack([margin, np.ones_like(margin)]),
        _targets(y),
        start=np.array([1.0, 0.0]),
        lower=np.array([_LEAST_SLOPE, -np.inf]),
        ridge=np.full(2, 1e-9),
    )
    return Platt(slope=float(slope), intercept=float(intercept))


def fit_beta(margin: Array, y: Array) -> Beta:
    """Beta calibration on out-of-fold margins [n] and labels [n], with the same targets.

    The difference of b and a has a ridge of one row: where margins are seen on one side of 0 only (a fraud model's),
    nothing else would tell how to go on.
    """
    softplus, one, target = np.logaddexp(0, margin), np.ones_like(margin), _targets(y)
    start, lower, ridge = (
        np.array([1.0, 0.0, 0.0]),
        np.array([_LEAST_SLOPE, -np.inf, -np.inf]),
        np.array([1e-9, 1, 1e-9]),
    )
    a, more, c = logistic(np.column_stack([margin, softplus, one]), target, start=start, lower=lower, ridge=ridge)
    b = a + more
    if b < _LEAST_SLOPE:  # on the bound of b what is left is a slope below 0 alone
        below = np.column_stack([margin - softplus, one])
        (a, c), b = logistic(below, target, start=start[[0, 2]], lower=lower[[0, 2]], ridge=ridge[[0, 2]]), _LEAST_SLOPE
    return Beta(a=float(a), b=float(b), c=float(c))


def fit_isotonic(margin: Array, y: Array) -> Isotonic:
    """Isotonic regression of the same targets on out-of-fold margins [n], by pooling adjacent violators.

    Neighbouring blocks are joined until each has `_LEAST_CLASS` rows of either class. Beyond the ends the slope is that
    of Platt scaling.
    """
    from scipy.optimize import isotonic_regression

    values, home, counts = np.unique(margin, return_inverse=True, return_counts=True)
    target = np.bincount(home, weights=_targets(y)) / counts
    first = isotonic_regression(target, weights=counts).blocks[:-1].astype(np.int64)
    rows, positives = (np.add.reduceat(each, first) for each in (counts, np.bincount(home, weights=y)))
    first = first[_joined(positives, rows - positives)]
    total = np.add.reduceat(counts, first)
    centre, rate = (np.add.reduceat(each * counts, first) / total for each in (values, target))
    return Isotonic(
        margins=tuple(centre.tolist()),
        values=tuple(np.log(rate / (1 - rate)).tolist()),
        slope=fit_platt(margin, y).slope,
    )


def _joined(positives: Array, negatives: Array) -> NDArray[np.int64]:
    """Blocks that a joined block starts with; what is left at the end goes to the last one."""
    starts, left = [0], np.zeros(2)
    for place, pair in enumerate(np.column_stack([positives, negatives])):
        if (left >= _LEAST_CLASS).all():
            starts.append(place)
            left = np.zeros(2)
        left = left + pair
    if len(starts) > 1 and not (left >= _LEAST_CLASS).all():
        starts.pop()
    return np.array(starts)


FITS: dict[str, Callable[[Array, Array], Calibration]] = {
    "none": unchanged,
    "platt": fit_platt,
    "beta": fit_beta,
    "isotonic": fit_isotonic,
}
"""Out-of-fold margins [n] and labels [n] to a calibration, the simplest first."""
