"""Are the probabilities true: reliability curve, parts of the Brier score, calibration slope and intercept, tests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.evidence import metrics
from training.learners.logistic import Logistic, logistic

if TYPE_CHECKING:
    from training.evidence.tested import Tested

Array = NDArray[np.float64]

BINS = 10
_Z = 1.959964
"""Quantile of the normal distribution for an interval of 95 %."""


def each_row_once(tested: Tested) -> tuple[Array, Array]:
    """Labels and probabilities with each row of the frame once: of repeated folds, the first repeat.

    A test on rows that stand three times would see three times the evidence.
    """
    first = ~tested.events.index.duplicated()
    return tested.y[first], tested.probability[first]


def reliability(y: Array, p: Array, *, bins: int = BINS) -> list[dict[str, float]]:
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
    rate = positives / n
    centre = (rate + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    half = _Z * np.sqrt(rate * (1 - rate) / n + _Z * _Z / (4 * n * n)) / (1 + _Z * _Z / n)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def brier_parts(y: Array, p: Array, *, bins: int = BINS) -> dict[str, float | None] | None:
    """The Brier score = reliability - resolution + uncertainty + within_variance - within_covariance, exactly.

    Over bins of equal size: reliability is the mean square of mean probability less rate (Murphy 1973; 0 is best),
    resolution that of a bin's rate less the overall one (more is better), uncertainty is rate x (1 - rate). The within
    parts are what bins hide, the variance of the probabilities and twice their covariance with the labels (Stephenson,
    Coelho & Jolliffe 2008). skill: 1 - score / uncertainty, None with one class. None without rows.
    """
    if not len(y):
        return None
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, len(y)))
    place = np.empty(len(y), dtype=np.int64)
    for number, part in enumerate(parts):
        place[part] = number
    counts = np.bincount(place)
    predicted, observed = (np.bincount(place, weights=each) / counts for each in (p, y))
    rate, score = float(y.mean()), metrics.brier(y, p)
    uncertainty = rate * (1 - rate)
    inside_p, inside_y = p - predicted[place], y - observed[place]
    return {
        "brier": score,
        "reliability": float(np.average((predicted - observed) ** 2, weights=counts)),
        "resolution": float(np.average((observed - rate) ** 2, weights=counts)),
        "uncertainty": uncertainty,
        "within_variance": float(np.mean(inside_p**2)),
        "within_covariance": float(2 * np.mean(inside_p * inside_y)),
        "skill": 1 - score / uncertainty if uncertainty else None,
    }


def recalibration(y: Array, p: Array) -> tuple[dict[str, float] | None, dict[str, float] | None]:
    """Calibration slope and calibration in the large (Cox 1958), each as value, low and high (95 %, Wald).

    slope: of the labels on logit(p) by logistic regression; below 1 the probabilities are too extreme. intercept: what
    has to be added to logit(p) for the mean to be right; above 0 they are too low. None with one class, or where the
    labels are separated by p and no slope is finite.
    """
    if not 0 < y.sum() < len(y):
        return None, None
    logit = np.log(p) - np.log1p(-p)
    intercept = _wald(*_in_the_large(y, logit))
    bad, good = logit[y == 1], logit[y == 0]
    if good.max() <= bad.min() or bad.max() <= good.min():
        return None, intercept
    design, one = np.column_stack([logit, np.ones_like(logit)]), np.ones_like(logit)
    nothing = np.zeros(2)
    theta = logistic(design, y, start=np.array([1.0, 0.0]), lower=np.full(2, -np.inf), ridge=nothing)
    information = Logistic.of(design, y, one, nothing).slopes(theta)[1] * len(y)
    slope = _wald(float(theta[0]), float(np.linalg.inv(information)[0, 0]) ** 0.5)
    return slope, intercept


def _in_the_large(y: Array, logit: Array) -> tuple[float, float]:
    """The shift of logits under which the mean probability is the rate, by Newton's method, and its standard error."""
    shift = 0.0
    for _ in range(100):
        p = 1 / (1 + np.exp(-(logit + shift)))
        step = float((y - p).sum() / (p * (1 - p)).sum())
        shift += max(-2.0, min(2.0, step))
        if abs(step) < 1e-12:
            break
    p = 1 / (1 + np.exp(-(logit + shift)))
    return shift, float((p * (1 - p)).sum()) ** -0.5


def _wald(value: float, error: float) -> dict[str, float]:
    return {"value": value, "low": value - _Z * error, "high": value + _Z * error}


def spiegelhalter(y: Array, p: Array) -> dict[str, float] | None:
    """Spiegelhalter's (1986) z: how far the Brier score is from its expectation if every p is true; two-sided p-value.

    z = sum (y - p)(1 - 2p) / sqrt(sum (1 - 2p)^2 p (1 - p)). None where the denominator is 0.
    """
    spread = float(np.sum((1 - 2 * p) ** 2 * p * (1 - p)))
    if not spread:
        return None
    z = float(np.sum((y - p) * (1 - 2 * p))) / math.sqrt(spread)
    return {"z": z, "p_value": math.erfc(abs(z) / math.sqrt(2))}
