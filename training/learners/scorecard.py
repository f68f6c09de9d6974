"""Points scorecard: optimal bins, weights of evidence, a sign-constrained logistic regression, a table of log-odds.

The fitted scorecard is that table. Scoring needs neither optbinning nor scipy, and gives the same bits everywhere.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.learners.protocol import Array, Column, Params, Range, Sample

if TYPE_CHECKING:
    from configs.use_case import Points

_SMOOTHING = 0.5
"""Added to the positives and negatives of each bin, so that an empty class gives a finite weight of evidence."""

_LEAST_SHARE = 0.005
"""Share of the rows a bin needs. Small, because the telling values of a fraud feature are rare."""


@dataclass(frozen=True)
class Bins:
    """The bins of one column with a log-odds each; missing values and codes unseen in training have their own.

    Numbers: `edges` ascending, bin i holds edges[i-1] <= x < edges[i]. Categories: `groups` of codes.
    """

    name: str
    edges: tuple[float, ...]
    groups: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...]
    log_odds: tuple[float, ...]
    missing: float
    unseen: float
    mean: float

    def value(self, x: Array) -> Array:
        """Log-odds of each value, [n]."""
        table = np.array([*self.log_odds, self.missing, self.unseen])
        return table[bin_index(x, self.edges, self.groups)]


def bin_index(x: Array, edges: tuple[float, ...], groups: tuple[tuple[int, ...], ...]) -> NDArray[np.int64]:
    """Bin of each value, [n]; with k bins, k is missing and k + 1 an unseen code."""
    if not groups:
        found = np.searchsorted(np.array(edges), x, side="right")
        return np.where(np.isnan(x), len(edges) + 1, found)
    home = np.full(max(map(max, groups)) + 2, len(groups) + 1, dtype=np.int64)
    for place, group in enumerate(groups):
        home[list(group)] = place
    code = np.clip(np.where(np.isnan(x), 0, x), 0, len(home) - 1).astype(np.int64)
    return np.where(np.isnan(x), len(groups), home[code])


class ScorecardLearner:
    """Optimal binning (Navas-Palencia 2020) and logistic regression on weights of evidence."""

    suffix = ".json"
    default: ClassVar[Params] = {"max_n_bins": 8, "l2": 1.0}
    space: ClassVar[Mapping[str, Range]] = {"max_n_bins": Range(4, 10, integer=True), "l2": Range(0.1, 100.0, log=True)}

    def leaves(self, params: Params) -> int:  # noqa: ARG002  # the protocol's signature
        """A scorecard has no leaves."""
        return 0

    def fit(self, sample: Sample, params: Params, *, seed: int, threads: int) -> FittedScorecard:  # noqa: ARG002
        """Fit; there is nothing random in it, so `seed` and `threads` have no effect."""
        parts = [
            _binned(sample.X[:, index], sample.y, column, max_n_bins=int(params["max_n_bins"]))
            for index, column in enumerate(sample.columns)
        ]
        woe = np.column_stack([part.value(sample.X[:, index]) for index, part in enumerate(parts)])
        weights, intercept = _regression(woe, sample.y, l2=float(params["l2"]))
        scaled = tuple(
            _scaled(part, weight, woe[:, index])
            for index, (part, weight) in enumerate(zip(parts, weights, strict=True))
        )
        return FittedScorecard(scaled, intercept)

    def load(self, content: bytes) -> FittedScorecard:
        """Read the table."""
        raw = json.loads(content)
        return FittedScorecard(tuple(_restored(part) for part in raw["columns"]), float(raw["intercept"]))


class FittedScorecard:
    """A table of log-odds by bin, and an intercept."""

    def __init__(self, columns: tuple[Bins, ...], intercept: float) -> None:
        self.columns, self.intercept = columns, intercept
        self._base = intercept + math.fsum(part.mean for part in columns)

    def margin(self, X: Array) -> Array:
        """Log-odds, [n]: the intercept and one entry of the table for each column, added in order."""
        total = np.full(len(X), self.intercept)
        for index, part in enumerate(self.columns):
            total += part.value(X[:, index])
        return total

    def contributions(self, X: Array) -> Array:
        """Table entries less their training mean, [n, f + 1]: the exact Shapley values of an additive model."""
        found = np.empty((len(X), len(self.columns) + 1))
        for index, part in enumerate(self.columns):
            found[:, index] = part.value(X[:, index]) - part.mean
        found[:, -1] = self._base
        return found

    def dump(self) -> bytes:
        """The table as JSON."""
        return json.dumps(
            {"intercept": self.intercept, "columns": [asdict(part) for part in self.columns]}, indent=1
        ).encode()

    def points(self, scale: Points) -> list[dict[str, Any]]:
        """The scorecard as people read it: a row for each bin, with points that sum to `base` at the odds of `scale`.

        More points mean less risk; `scale.double` points double the odds of good to bad (Siddiqi 2006, chapter 6).
        """
        factor = scale.double / math.log(2)
        share = (scale.base - factor * (math.log(scale.odds) + self.intercept)) / max(1, len(self.columns))
        return [
            {"feature": part.name, "bin": name, "log_odds": value, "points": share - factor * value}
            for part in self.columns
            for name, value in zip(_names(part), [*part.log_odds, part.missing], strict=True)
        ]


def _binned(x: Array, y: Array, column: Column, *, max_n_bins: int) -> Bins:
    """Bins with smoothed weights of evidence, signed as risk: ln(share of the positives / share of the negatives)."""
    edges, groups = _optimal(x, y, column, max_n_bins)
    place, count = bin_index(x, edges, groups), (len(groups) or len(edges) + 1) + 2
    positives = np.bincount(place, weights=y, minlength=count)
    negatives = np.bincount(place, weights=1 - y, minlength=count)
    woe = np.log((positives + _SMOOTHING) / (y.sum() + _SMOOTHING)) - np.log(
        (negatives + _SMOOTHING) / ((1 - y).sum() + _SMOOTHING)
    )
    woe = np.where(positives + negatives > 0, woe, 0.0)
    if column.direction > 0:
        woe[: count - 2] = np.maximum.accumulate(woe[: count - 2])  # smoothing may break a tie the wrong way
    elif column.direction < 0:
        woe[: count - 2] = np.minimum.accumulate(woe[: count - 2])
    return Bins(column.name, edges, groups, column.labels, tuple(woe[:-2].tolist()), float(woe[-2]), 0.0, 0.0)


def _optimal(
    x: Array, y: Array, column: Column, max_n_bins: int
) -> tuple[tuple[float, ...], tuple[tuple[int, ...], ...]]:
    """Edges of a number or groups of a category; none where there is nothing to split."""
    known = ~np.isnan(x)
    codes = sorted({int(code) for code in x[known]}) if column.labels else []
    if len(np.unique(x[known])) < 2 or len(np.unique(y[known])) < 2:
        return (), ((tuple(codes),) if codes else ())
    logging.getLogger("__cvxpy__").disabled = True  # its import prints about solvers that aren't used here
    from optbinning import OptimalBinning

    trend = {1: "ascending", -1: "descending", 0: "auto_asc_desc"}[column.direction]
    kind: dict[str, Any] = (
        {"dtype": "categorical"} if column.labels else {"dtype": "numerical", "monotonic_trend": trend}
    )
    binning = OptimalBinning(
        **kind, max_n_bins=max_n_bins, min_bin_size=_LEAST_SHARE, min_prebin_size=_LEAST_SHARE, time_limit=5
    )
    binning.fit(x[known].astype(np.int64) if column.labels else x[known], y[known].astype(np.int64))
    if column.labels:
        return (), tuple(tuple(sorted(int(code) for code in group)) for group in binning.splits)
    return tuple(float(edge) for edge in binning.splits), ()


def _regression(woe: Array, y: Array, *, l2: float) -> tuple[Array, float]:
    """Logistic regression with weights >= 0, so that no feature's risk order turns round; L2 penalty on the weights."""
    from scipy.optimize import minimize

    n, f = woe.shape

    def loss(theta: Array) -> tuple[float, Array]:
        margin = woe @ theta[:f] + theta[f]
        value = float(np.sum(np.logaddexp(0, margin) - y * margin) + l2 / 2 * theta[:f] @ theta[:f]) / n
        residual = 1 / (1 + np.exp(-np.clip(margin, -500, 500))) - y
        return value, np.append(woe.T @ residual + l2 * theta[:f], residual.sum()) / n

    rate = float(np.clip(y.mean(), 1e-6, 1 - 1e-6))
    start = np.append(np.full(f, 0.5), math.log(rate / (1 - rate)))
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * f + [(None, None)], options={"maxiter": 500}
    )
    return found.x[:f], float(found.x[f])


def _scaled(part: Bins, weight: float, woe: Array) -> Bins:
    mean = float(weight * woe.mean())
    values = tuple(float(weight * value) for value in part.log_odds)
    return Bins(part.name, part.edges, part.groups, part.labels, values, float(weight * part.missing), mean, mean)


def _restored(raw: Mapping[str, Any]) -> Bins:
    groups = tuple(tuple(group) for group in raw["groups"])
    sequences = {key: tuple(raw[key]) for key in ("edges", "labels", "log_odds")}
    return Bins(raw["name"], groups=groups, missing=raw["missing"], unseen=raw["unseen"], mean=raw["mean"], **sequences)


def _names(part: Bins) -> list[str]:
    if part.groups:
        return [*(", ".join(part.labels[code] for code in group) for group in part.groups), "missing"]
    bounds = [-math.inf, *part.edges, math.inf]
    return [*(f"[{low:g}, {high:g})" for low, high in pairwise(bounds)), "missing"]
