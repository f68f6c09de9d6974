"""Points scorecard: optimal bins, weights of evidence, a sign-constrained logistic regression, a table of log-odds.

The fitted scorecard is that table. Scoring needs neither optbinning nor scipy, and gives the same bits everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from training.learners.binning import Bins, Counts, bin_index, binned
from training.learners.logistic import logistic
from training.learners.protocol import Array, Params, Range, Sample, canonical_order

if TYPE_CHECKING:
    from configs.use_case import Points

_COUNTS: WeakKeyDictionary[Sample, list[Counts]] = WeakKeyDictionary()
_BINS: WeakKeyDictionary[Sample, dict[int, list[Bins]]] = WeakKeyDictionary()
"""What trials on the same rows share: counts by value, and bins by `max_n_bins`."""


class ScorecardLearner:
    """Optimal binning (Navas-Palencia 2020) and logistic regression on weights of evidence."""

    suffix = ".json"
    default: ClassVar[Params] = {"max_n_bins": 8, "l2": 1.0}
    space: ClassVar[Mapping[str, Range]] = {"max_n_bins": Range(4, 10, integer=True), "l2": Range(0.1, 100.0, log=True)}
    in_rows: ClassVar[frozenset[str]] = frozenset({"l2"})

    def leaves(self, params: Params) -> int:  # noqa: ARG002  # the protocol's signature
        """A scorecard has no leaves."""
        return 0

    def fit(self, sample: Sample, params: Params, *, seed: int, threads: int) -> FittedScorecard:  # noqa: ARG002
        """Fit; there is nothing random in it, so `seed` and `threads` have no effect."""
        parts, counted = _bins_of(sample, max_n_bins=int(params["max_n_bins"])), sample.counted
        order = canonical_order(sample.columns)
        woe = np.column_stack([parts[place].value(counted.X[:, place]) for place in order])
        slopes, intercept = _regression(woe, counted, l2=float(params["l2"]))
        means = np.average(woe, axis=0, weights=counted.weight)
        scaled = dict(zip(order.tolist(), zip(slopes.tolist(), means.tolist(), strict=True), strict=True))
        return FittedScorecard(tuple(_scaled(part, *scaled[place]) for place, part in enumerate(parts)), intercept)

    def load(self, content: bytes) -> FittedScorecard:
        """Read the table."""
        raw = json.loads(content)
        return FittedScorecard(tuple(_restored(part) for part in raw["columns"]), float(raw["intercept"]))


class FittedScorecard:
    """A table of log-odds by bin, and an intercept."""

    def __init__(self, columns: tuple[Bins, ...], intercept: float) -> None:
        self.columns, self.intercept = columns, intercept
        self._order = sorted(range(len(columns)), key=lambda place: columns[place].name)
        self._base = intercept + math.fsum(part.mean for part in columns)

    def margin(self, X: Array) -> Array:
        """Log-odds, [n]: the intercept and one entry of the table for each column, added in order of their names."""
        total = np.full(len(X), self.intercept)
        for place in self._order:
            total += self.columns[place].value(X[:, place])
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

    def information_values(self) -> dict[str, float | None]:
        """IV of each column over its bins and missing values."""
        return {part.name: part.information_value for part in self.columns}

    def points(self, scale: Points, *, slope: float = 1.0, intercept: float = 0.0) -> list[dict[str, Any]]:
        """The scorecard as people read it: a row for each bin, with the points that a score adds up.

        Over one bin of each feature, `points` sum to  base - double / ln 2 x (ln odds + slope x margin + intercept):
        `base` at the odds of `scale`, and `double` more where the odds of good to bad are twice as high (Siddiqi 2006,
        chapter 6). With the slope and intercept of a model's Platt scaling (and its offset) that is, rounded, the score
        which the decision returns. Rows: feature, bin, rows and rate (weight and rate of positives in training, None in
        files of older versions), woe, log_odds, points, rounded.
        """
        return [
            row | {"points": float(value), "rounded": round(float(value))}
            for part, entries in zip(self.columns, self._points(scale, slope, intercept), strict=True)
            for row, value in zip(_rows(part), entries, strict=True)
        ]

    def points_score(
        self, X: Array, scale: Points, *, slope: float = 1.0, intercept: float = 0.0, rounded: bool = False
    ) -> Array:
        """Points of each row added up from the table, [n]; `rounded`: from its whole points."""
        total = np.zeros(len(X))
        tables = self._points(scale, slope, intercept)
        for place in self._order:
            part = self.columns[place]
            table = np.round(tables[place]) if rounded else tables[place]
            total += table[bin_index(X[:, place], part.edges, part.groups)]
        return total

    def rounding_error(self, scale: Points, *, slope: float = 1.0, intercept: float = 0.0) -> float:
        """The furthest that a sum of whole points can be from the sum of exact ones, over all combinations of bins."""
        errors = [np.round(table) - table for table in self._points(scale, slope, intercept)]
        return float(max(sum(each.max() for each in errors), -sum(each.min() for each in errors)))

    def _points(self, scale: Points, slope: float, intercept: float) -> list[Array]:
        """Points by column and bin: those of `log_odds`, of missing and, for a category, of unseen codes."""
        factor = scale.double / math.log(2)
        total = scale.base - factor * (math.log(scale.odds) + slope * self.intercept + intercept)
        share = total / max(1, len(self.columns))
        return [
            share - factor * slope * np.array([*part.log_odds, part.missing, *([part.unseen] if part.groups else [])])
            for part in self.columns
        ]


def _rows(part: Bins) -> list[dict[str, Any]]:
    counted = bool(part.rows)
    rows = [
        {
            "feature": part.name,
            "bin": name,
            "rows": part.rows[place] if counted else None,
            "rate": part.positives[place] / part.rows[place] if counted and part.rows[place] else None,
            "woe": float(part.evidence[place]) if counted else None,
            "log_odds": value,
        }
        for place, (name, value) in enumerate(zip(part.bins, [*part.log_odds, part.missing], strict=True))
    ]
    empty = {"rows": 0.0 if counted else None, "rate": None, "woe": 0.0 if counted else None}
    unseen = {"feature": part.name, "bin": "unseen", "log_odds": part.unseen} | empty
    return [*rows, unseen] if part.groups else rows


def _bins_of(sample: Sample, *, max_n_bins: int) -> list[Bins]:
    """Bins of each column; computed once for the trials that share the rows."""
    kept = _BINS.setdefault(sample, {})
    if max_n_bins not in kept:
        counted = sample.counted
        if sample not in _COUNTS:
            _COUNTS[sample] = [Counts.of(counted.X[:, place], counted) for place in range(len(sample.columns))]
        kept[max_n_bins] = [
            binned(counts, column, max_n_bins=max_n_bins)
            for counts, column in zip(_COUNTS[sample], sample.columns, strict=True)
        ]
    return kept[max_n_bins]


def _regression(woe: Array, sample: Sample, *, l2: float) -> tuple[Array, float]:
    """Logistic regression with slopes >= 0, so that no feature's risk order turns round; L2 penalty on the slopes."""
    f = woe.shape[1]
    rate = float(np.clip(np.average(sample.y, weights=sample.weight), 1e-6, 1 - 1e-6))
    theta = logistic(
        np.column_stack([woe, np.ones(len(woe))]),
        sample.y,
        weight=sample.weight,
        start=np.append(np.full(f, 0.5), math.log(rate / (1 - rate))),
        lower=np.append(np.zeros(f), -np.inf),
        ridge=np.append(np.full(f, l2), 0.0),
    )
    return theta[:f], float(theta[f])


def _scaled(part: Bins, slope: float, mean: float) -> Bins:
    values = tuple(slope * value for value in part.log_odds)
    centre = slope * mean
    return replace(part, log_odds=values, missing=slope * part.missing, unseen=centre, mean=centre)


def _restored(raw: Mapping[str, Any]) -> Bins:
    groups = tuple(tuple(group) for group in raw["groups"])
    names = ("edges", "labels", "log_odds", "rows", "positives")
    sequences = {key: tuple(raw.get(key, ())) for key in names}
    return Bins(raw["name"], groups=groups, missing=raw["missing"], unseen=raw["unseen"], mean=raw["mean"], **sequences)
