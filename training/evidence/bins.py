"""Frozen bins of one encoded feature: deciles of the training rows or categories, and one bin for missing values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

BINS = 10
MISSING = "missing"


@dataclass(frozen=True)
class Bins:
    """Bins of a number (`edges`, ascending) or of a category (`labels` by code); the last bin is of missing values.

    Number: bin i holds edges[i-1] <= x < edges[i].
    """

    edges: Array
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Array, labels: Sequence[str] = (), *, bins: int = BINS) -> Bins:
        """Quantile bins of values [n] (NaN missing) without repeats, or one bin for each of `labels`.

        A least value that fills a whole bin, such as the 0 of a count, has a bin of its own.
        """
        if labels:
            return cls(np.array([]), tuple(labels))
        known = values[~np.isnan(values)]
        if not len(known):
            return cls(np.array([]))
        cuts = np.unique(np.quantile(known, np.arange(1, bins) / bins, method="lower"))
        low = known.min()
        above = known[known > low]
        own = above.min(initial=np.inf) if cuts[0] == low else np.inf
        edges = np.unique(np.append(cuts[cuts > low], own))
        return cls(edges[np.isfinite(edges)])

    @property
    def size(self) -> int:
        """Bins, the one of missing values among them."""
        return (len(self.labels) or len(self.edges) + 1) + 1

    @property
    def names(self) -> tuple[str, ...]:
        """What each bin is called: never finer than the bin, so no single value can be read from it."""
        if self.labels:
            return (*self.labels, MISSING)
        if not len(self.edges):
            return ("any value", MISSING)
        texts = [number(edge) for edge in self.edges]
        between = [f"{low} to {high}" for low, high in pairwise(texts)]
        return (f"below {texts[0]}", *between, f"from {texts[-1]}", MISSING)

    def place(self, values: Array) -> Codes:
        """The bin of each value, [n]; codes beyond the labels count as missing."""
        missing = self.size - 1
        if self.labels:
            codes = np.where(np.isnan(values), missing, values).astype(np.int64)
            return np.minimum(codes, missing)
        found = np.searchsorted(self.edges, values, side="right")
        return np.where(np.isnan(values), missing, found).astype(np.int64)

    def counts(self, values: Array) -> Codes:
        """Rows in each bin."""
        return np.bincount(self.place(values), minlength=self.size)


def number(value: float) -> str:
    """An edge of a bin, with four significant digits.

    >>> number(12345.6), number(0.000123456), number(3.0)
    ('12,350', '0.0001235', '3')
    """
    if not value:
        return "0"
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.0f}" if rounded.is_integer() and abs(rounded) < 1e12 else f"{rounded:.4g}"


def chance_psi(bins: int, first: int, second: int, *, level: float = 0.95) -> float | None:
    """The PSI that two samples of the same distribution stay below with probability `level`; None for an empty one.

    PSI / (1 / n + 1 / m) is nearly chi-square with bins - 1 degrees of freedom (Yurdakul & Naranjo 2020).
    """
    if not first or not second:
        return None
    return float(chdtri(bins - 1, 1 - level)) * (1 / first + 1 / second) if bins > 1 else 0.0
