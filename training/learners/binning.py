"""Optimal bins with weights of evidence. The only module that imports optbinning.

Each column is first counted by its distinct values (at most `FINE` of them): the tree that proposes splits and the
solver that chooses among them then work on a table of counts, which is the same whether rows repeat or carry weights.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.learners.protocol import Array, Column, Sample

SMOOTHING = 0.5
"""Added to the positives and negatives of each bin, so that an empty class gives a finite weight of evidence."""
FINE = 1000
"""Distinct values of a number at most, before splits are looked for: beyond, neighbours of equal weight are joined."""

_LEAST_SHARE = 0.005
"""Share of the known rows a bin needs. Small, because the telling values of a fraud feature are rare."""
_SECONDS = 60
"""Limit of the solver, which needs hundredths of a second: results must not depend on how busy the machine is."""
_WHOLE = 1e8
"""The solver counts in whole numbers: fractional weights are scaled to about this sum first."""

Edges = tuple[float, ...]
Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Bins:
    """The bins of one column with a log-odds each; missing values and codes unseen in training have their own.

    Numbers: `edges` ascending, bin i holds edges[i-1] <= x < edges[i]. Categories: `groups` of codes. `rows` and
    `positives`: weight of the training rows by bin, missing values last; empty in files of older versions.
    """

    name: str
    edges: Edges
    groups: Groups
    labels: tuple[str, ...]
    log_odds: tuple[float, ...]
    missing: float
    unseen: float
    mean: float
    rows: tuple[float, ...] = ()
    positives: tuple[float, ...] = ()

    def value(self, x: Array) -> Array:
        """Log-odds of each value, [n]."""
        table = np.array([*self.log_odds, self.missing, self.unseen])
        return table[bin_index(x, self.edges, self.groups)]

    @property
    def bins(self) -> list[str]:
        """Names of the bins, `missing` last."""
        if self.groups:
            return [*(", ".join(self.labels[code] for code in group) for group in self.groups), "missing"]
        bounds = [-math.inf, *self.edges, math.inf]
        return [*(f"[{low:g}, {high:g})" for low, high in pairwise(bounds)), "missing"]

    @property
    def evidence(self) -> Array:
        """Weight of evidence by bin, missing last: ln(share of the positives / share of the negatives); empty: 0."""
        return weights_of_evidence(np.array(self.rows), np.array(self.positives))

    @property
    def information_value(self) -> float | None:
        """IV: sum over bins of (share of the positives - share of the negatives) x weight of evidence; >= 0.

        Siddiqi (2006) reads below 0.02 as unpredictive, and above 0.5 as suspicious. None in files of older versions.
        """
        if not self.rows:
            return None
        rows, positives = np.array(self.rows), np.array(self.positives)
        gap = _shares(positives) - _shares(rows - positives)
        return float(np.sum(np.where(rows > 0, gap * self.evidence, 0.0)))


def weights_of_evidence(rows: Array, positives: Array) -> Array:
    """Signed as risk; smoothed by `SMOOTHING`, and 0 for a bin without rows. [k] -> [k]."""
    return np.where(rows > 0, np.log(_shares(positives)) - np.log(_shares(rows - positives)), 0.0)


def _shares(counts: Array) -> Array:
    return np.asarray((counts + SMOOTHING) / (counts.sum() + SMOOTHING), dtype=np.float64)


def bin_index(x: Array, edges: Edges, groups: Groups) -> NDArray[np.int64]:
    """Bin of each value, [n]; with k bins, k is missing and k + 1 an unseen code."""
    if not groups:
        found = np.searchsorted(np.array(edges), x, side="right")
        return np.where(np.isnan(x), len(edges) + 1, found)
    home = np.full(max(map(max, groups)) + 2, len(groups) + 1, dtype=np.int64)
    for place, group in enumerate(groups):
        home[list(group)] = place
    code = np.clip(np.where(np.isnan(x), 0, x), 0, len(home) - 1).astype(np.int64)
    return np.where(np.isnan(x), len(groups), home[code])


@dataclass(frozen=True)
class Counts:
    """Weight of all rows and of the positives by distinct value, ascending [u]; and of the rows without a value."""

    values: Array
    rows: Array
    positives: Array
    missing: tuple[float, float]

    @classmethod
    def of(cls, x: Array, sample: Sample) -> Counts:
        """Count the values x [n] of one column."""
        weight = np.ones(len(x)) if sample.weight is None else sample.weight
        known = ~np.isnan(x)
        values, home = np.unique(x[known], return_inverse=True)
        rows, positives = (
            np.bincount(home, weights=each[known], minlength=len(values)).astype(np.float64)
            for each in (weight, weight * sample.y)
        )
        missing = float(weight[~known].sum()), float((weight * sample.y)[~known].sum())
        return cls(values, rows, positives, missing)


def binned(counts: Counts, column: Column, *, max_n_bins: int) -> Bins:
    """Bins whose log-odds are their weights of evidence, monotone in the column's direction."""
    edges, groups = _optimal(counts, column, max_n_bins)
    count = len(groups) or len(edges) + 1
    place = bin_index(counts.values, edges, groups)
    rows = np.append(np.bincount(place, weights=counts.rows, minlength=count), counts.missing[0])
    positives = np.append(np.bincount(place, weights=counts.positives, minlength=count), counts.missing[1])
    woe = weights_of_evidence(rows, positives)
    if column.direction > 0:
        woe[:-1] = np.maximum.accumulate(woe[:-1])  # smoothing may break a tie the wrong way
    elif column.direction < 0:
        woe[:-1] = np.minimum.accumulate(woe[:-1])
    figures = (tuple(each.tolist()) for each in (woe[:-1], rows, positives))
    log_odds, counted, bad = figures
    return Bins(column.name, edges, groups, column.labels, log_odds, float(woe[-1]), 0.0, 0.0, counted, bad)


def _optimal(counts: Counts, column: Column, max_n_bins: int) -> tuple[Edges, Groups]:
    """Edges of a number or groups of a category; none where there is nothing to split.

    Categories are ranked by their rate of positives, and neighbours in that order share a bin (Navas-Palencia 2020).
    """
    values, rows, positives = counts.values, counts.rows, counts.positives
    trend = {1: "ascending", -1: "descending", 0: "auto_asc_desc"}[column.direction]
    if column.labels:
        rank = np.lexsort((values, (positives + SMOOTHING) / (rows + 2 * SMOOTHING)))
        values, rows, positives, trend = values[rank], rows[rank], positives[rank], "ascending"
    codes = tuple(sorted(int(code) for code in values)) if column.labels else ()
    if len(values) < 2 or not 0 < positives.sum() < rows.sum():
        return (), ((codes,) if codes else ())
    first = _fine(rows)
    cuts = first[_splits(np.add.reduceat(rows, first), np.add.reduceat(positives, first), trend, max_n_bins)]
    if column.labels:
        parts = np.split(values.astype(np.int64), cuts)
        return (), tuple(tuple(sorted(part.tolist())) for part in parts)
    below, above = values[cuts - 1], values[cuts]
    middle = below + (above - below) / 2
    return tuple(np.where(middle > below, middle, above).tolist()), ()


def _fine(rows: Array) -> NDArray[np.int64]:
    """Where each of at most `FINE` stretches of nearly equal weight starts, among the values."""
    if len(rows) <= FINE:
        return np.arange(len(rows))
    stretch = ((np.cumsum(rows) - rows / 2) / rows.sum() * FINE).astype(np.int64)
    return np.flatnonzero(np.diff(stretch, prepend=-1))


def _splits(rows: Array, positives: Array, trend: str, max_n_bins: int) -> NDArray[np.int64]:
    """First stretch of every bin but the first, chosen by optbinning for the greatest information value."""
    logging.getLogger("__cvxpy__").disabled = True  # its import prints about solvers that aren't used here
    from optbinning import OptimalBinning

    whole = bool(np.all(rows == np.round(rows)) and np.all(positives == np.round(positives)))
    scale = 1.0 if whole else _WHOLE / float(rows.sum())
    weight = np.concatenate([rows - positives, positives]) * scale
    label, place = np.repeat([0, 1], len(rows)), np.tile(np.arange(len(rows), dtype=np.float64), 2)
    kept = weight > 0
    given: dict[str, Any] = {"dtype": "numerical", "monotonic_trend": trend, "time_limit": _SECONDS}
    least = {"min_bin_size": _LEAST_SHARE, "min_prebin_size": _LEAST_SHARE}
    binning = OptimalBinning(max_n_bins=max_n_bins, **given, **least)
    binning.fit(place[kept], label[kept], sample_weight=weight[kept])
    return np.ceil(np.asarray(binning.splits, dtype=np.float64)).astype(np.int64)
