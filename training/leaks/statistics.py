"""Statistics of one column against a label of 0 and 1 that hold with few positives. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]

FOLDS = 5
BINS = 64
"""Quantile bins of a number with more distinct values than `FEW`."""
FEW = 256
PRIOR = 20.0
"""Rows by which the share of positives in a bin is drawn towards that of all rows."""
Z95 = 1.645
"""One-sided."""


@dataclass(frozen=True)
class Profile:
    """A column's distinct values, missing ones as one of them, which comes first if there are any.

    values [k]: ascending (NaN for missing). place [n]: index of each row's value. rows, ones [k]: rows with it, and
    positives among them.
    """

    values: Array
    place: Codes
    rows: Array
    ones: Array

    @property
    def usual(self) -> int:
        """Index of the most frequent value."""
        return int(np.argmax(self.rows))

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return int(self.rows[0]) if len(self.rows) and np.isnan(self.values[0]) else 0

    @property
    def distinct(self) -> int:
        """Distinct values, missing left out."""
        return len(self.values) - bool(self.missing)


def profile(values: Array, y: Array) -> Profile:
    """Count a column's values; `values` [n] are numbers, or codes of categories, NaN for missing."""
    found, place = _distinct(np.where(np.isnan(values), -np.inf, values))
    rows = np.bincount(place, minlength=len(found)).astype(np.float64)
    ones = np.bincount(place, weights=y, minlength=len(found)).astype(np.float64)
    return Profile(np.where(np.isneginf(found), np.nan, found), place, rows, ones)


def _distinct(values: Array) -> tuple[Array, Codes]:
    """The distinct values, ascending, and the place of each row among them; codes are counted instead of sorted."""
    least, most = values.min(initial=0), values.max(initial=0)
    if least >= 0 and most < FEW and not np.any(values % 1):
        codes = values.astype(np.int64)
        there = np.bincount(codes, minlength=FEW) > 0
        return np.flatnonzero(there).astype(np.float64), (np.cumsum(there) - 1)[codes]
    found, place = np.unique(values, return_inverse=True)
    return found, place.astype(np.int64)


def dealt(y: Array) -> Codes:
    """Fold of each row, 0 to `FOLDS` - 1: each class is shuffled, always alike, and dealt round."""
    generator, homes = np.random.default_rng(0), np.zeros(len(y), dtype=np.int64)
    for value in (0, 1):
        rows = generator.permutation(np.flatnonzero(y == value))
        homes[rows] = np.arange(len(rows)) % FOLDS
    return homes


def rank_auc(column: Profile) -> float:
    """Area under the ROC curve of the value itself, missing lowest; ties count half. NaN with one class.

    Not folded at 0.5: below it, high values are found with negatives.
    """
    return _grouped_auc(column.ones, column.rows - column.ones)


def auc(scores: Array, y: Array) -> float:
    """Area under the ROC curve of scores without missing values; NaN with one class."""
    return rank_auc(profile(scores, y))


def auc_folded(scores: Array, y: Array) -> float:
    """The same, folded at 0.5: whichever class has the higher scores."""
    area = auc(scores, y)
    return max(area, 1 - area)


def out_of_fold_auc(column: Profile, y: Array, homes: Codes, *, ordered: bool) -> float:
    """AUC of the share of positives in a row's bin, taken from the other folds; NaN with one class.

    Any shape of dependence counts, and a category with many rare levels gains nothing, since no row is in its own
    share. Shares are drawn to the base rate by `PRIOR` rows. `ordered` numbers with more than `FEW` values are cut into
    `BINS` quantile bins, missing ones apart. `homes` [n]: each row's fold, from 0 to `FOLDS` - 1.
    """
    codes = _binned(column) if ordered and column.distinct > FEW else column.place
    count = int(codes.max()) + 1
    cell = homes * count + codes
    rows = np.bincount(cell, minlength=FOLDS * count).reshape(FOLDS, count).astype(np.float64)
    ones = np.bincount(cell, weights=y, minlength=FOLDS * count).reshape(FOLDS, count)
    base = ones.sum() / rows.sum()
    share = (ones.sum(axis=0) - ones + PRIOR * base) / (rows.sum(axis=0) - rows + PRIOR)
    order = np.argsort(share, axis=None, kind="stable")
    flat, filled = share.ravel()[order], rows.ravel()[order] > 0
    starts = np.flatnonzero(np.append(True, np.diff(flat[filled]) > 0))
    if not len(starts):
        return float("nan")
    hits = np.add.reduceat(ones.ravel()[order][filled], starts)
    return _grouped_auc(hits, np.add.reduceat(rows.ravel()[order][filled], starts) - hits)


def _binned(column: Profile) -> Codes:
    """Quantile bins of the rows by the distinct value they have, without sorting the rows again."""
    first = int(bool(column.missing))
    below = np.cumsum(column.rows[first:]) - column.rows[first:]
    bins = np.minimum(below * BINS // max(column.rows[first:].sum(), 1), BINS - 1).astype(np.int64) + first
    codes: Codes = np.append(np.zeros(first, dtype=np.int64), bins)[column.place]
    return codes


def _grouped_auc(ones: Array, zeros: Array) -> float:
    positives, negatives = float(ones.sum()), float(zeros.sum())
    if not positives or not negatives:
        return float("nan")
    below = np.cumsum(zeros) - zeros / 2
    return float((ones * below).sum() / (positives * negatives))


def auc_error(area: float, positives: float, negatives: float) -> float:
    """Standard error of an AUC (Hanley and McNeil 1982); NaN without both classes."""
    if positives < 1 or negatives < 1:
        return float("nan")
    pair, other = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (pair - area**2) + (negatives - 1) * (other - area**2)
    return float(np.sqrt(max(variance, 0.0) / (positives * negatives)))


def least_auc(area: float, y: Array) -> float:
    """Lower end of the one-sided 95 % interval of an AUC that is folded at 0.5; NaN for an undefined one."""
    positives = float(y.sum())
    folded = max(area, 1 - area)
    return folded - Z95 * auc_error(folded, positives, len(y) - positives)


def least_rate(hits: float, rows: float) -> float:
    """Lower end of the one-sided 95 % interval of a share (Wilson 1927); 0 without rows."""
    if not rows:
        return 0.0
    rate, square = hits / rows, Z95**2 / rows
    middle = rate + square / 2 - Z95 * np.sqrt(rate * (1 - rate) / rows + square / (4 * rows))
    return float(middle / (1 + square))


def normal_ranks(values: NDArray[Any]) -> Array:
    """Columns [n, p] as normal scores of their ranks (van der Waerden), missing at the median; a constant is 0."""
    from scipy.special import ndtri

    scores = np.zeros(values.shape)
    for index in range(values.shape[1]):
        column = values[:, index]
        there = ~np.isnan(column)
        if not there.any():
            continue
        _, place, rows = np.unique(column[there], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(rows) - (rows - 1) / 2)[place]
        scores[there, index] = ndtri((ranks - 0.5) / there.sum())
        spread = scores[:, index].std()
        scores[:, index] = (scores[:, index] - scores[:, index].mean()) / spread if spread > 1e-9 else 0.0
    return scores
