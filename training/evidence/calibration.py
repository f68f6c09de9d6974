"""From raw log-odds to probabilities: Platt scaling, stored as two numbers, monotone, never 0 or 1.

Two parameters keep every ranking metric as it is. Isotonic regression would fit a curved reliability diagram better,
but its steps tie scores (which costs AUC and card precision) and it overfits the few positives of a fraud table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_LIMIT = 20.0
"""Calibrated log-odds are cut here, which keeps probabilities 2e-9 from 0 and 1."""
_LEAST_SLOPE = 1e-3
"""A slope of zero or less would turn the ranking round."""


@dataclass(frozen=True)
class Calibration:
    """probability = sigmoid(slope * margin + intercept)."""

    slope: float = 1.0
    intercept: float = 0.0

    def probability(self, margin: Array) -> Array:
        """Probabilities in (0, 1) from log-odds, [n]."""
        return 1 / (1 + np.exp(-np.clip(self.slope * margin + self.intercept, -_LIMIT, _LIMIT)))

    def as_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {"method": "platt"} | asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Calibration:
        """Read `as_json`."""
        return cls(slope=float(raw["slope"]), intercept=float(raw["intercept"]))


def fit_platt(margin: Array, y: Array) -> Calibration:
    """Platt scaling on out-of-fold margins: Newton's method on log loss with Platt's smoothed targets.

    Targets are (n+ + 1) / (n+ + 2) and 1 / (n- + 2) instead of 1 and 0 (Platt 1999): a separated sample stays finite.
    """
    positives, negatives = y.sum(), (1 - y).sum()
    target = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design, theta = np.column_stack([margin, np.ones_like(margin)]), np.array([1.0, 0.0])
    best = _loss(design, target, theta)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ theta, -_LIMIT, _LIMIT)))
        gradient = design.T @ (p - target)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        while (found := _loss(design, target, theta - step)) > best and np.abs(step).max() > 1e-12:
            step = step / 2
        theta = theta - step
        if best - found < 1e-10 * max(1.0, abs(best)):
            break
        best = found
    return Calibration(slope=max(float(theta[0]), _LEAST_SLOPE), intercept=float(theta[1]))


def _loss(design: Array, target: Array, theta: Array) -> float:
    margin = design @ theta
    return float(np.sum(np.logaddexp(0, margin) - target * margin))


def reliability(y: Array, p: Array, *, bins: int = 10) -> list[dict[str, float]]:
    """Mean prediction against observed rate in bins of equal size, with a 95 % Wilson interval of the rate."""
    rows = []
    for part in np.array_split(np.argsort(p, kind="stable"), min(bins, len(p))):
        low, high = wilson(int(y[part].sum()), len(part))
        rows.append(
            {
                "n": len(part),
                "predicted": float(p[part].mean()),
                "observed": float(y[part].mean()),
                "low": low,
                "high": high,
            }
        )
    return rows


def wilson(positives: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a rate (Wilson 1927)."""
    z, rate = 1.959964, positives / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))
