"""Drift statistics on the release's frozen bins. Pure: everything follows from two vectors of bin counts.

Bins are frozen at training (deciles or categories, with bins of their own for missing values and for categories outside
the vocabulary), so a number means the same in every window, and counts of windows add up to counts of longer ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtrc, chdtri

from training.evidence.metrics import psi as stability_index

Subject = Literal["feature", "score", "decision"]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class ColumnDrift:
    """One column of a window against the reference. Statistics are NaN where either side has no rows.

    `importance` is the column's share of the model's mean |contribution| (None: unknown); `reference` and `current` are
    shares of rows a bin, in the order of `bins`; `missing` and `other` are shares of rows (NaN: no such bin).
    """

    name: str
    subject: Subject
    importance: float | None
    rows: int
    psi: float
    psi_p: float
    jensen_shannon: float
    chi_square_p: float
    missing: float
    missing_reference: float
    other: float
    other_reference: float
    bins: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]

    @property
    def largest(self) -> int:
        """The bin whose share of rows changed most."""
        return int(np.argmax(np.abs(np.subtract(self.current, self.reference))))


def _shares(counts: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(counts, dtype=np.float64)
    total = array.sum()
    return array / total if total else np.full(array.shape, np.nan)


def psi(reference: ArrayLike, current: ArrayLike) -> float:
    """Population stability index of two vectors of counts over the same bins: the sum of (q - p) ln(q / p).

    Of a feature it is also called characteristic stability index (CSI).

    A bin that is empty on one side counts there as half a row, so that it weighs much, not infinitely; a bin that is
    empty on both sides is left out. NaN if a side has no rows.

    >>> round(psi([50, 50], [25, 75]), 4)
    0.2747
    """
    before, now = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    kept = before + now > 0
    return stability_index(before[kept], now[kept]) if before.sum() and now.sum() else float("nan")


def occupied(reference: ArrayLike, current: ArrayLike) -> int:
    """Bins with rows on either side: the others say nothing and cost no degree of freedom."""
    return int(np.count_nonzero(np.asarray(reference) + np.asarray(current)))


def _scale(reference: ArrayLike, current: ArrayLike) -> float:
    n, m = float(np.sum(reference)), float(np.sum(current))
    return 1 / n + 1 / m if n and m else float("nan")


def psi_p(reference: ArrayLike, current: ArrayLike) -> float:
    """Chance of a PSI at least as large without drift, when both samples are of these sizes.

    Without drift PSI ~ (1/n + 1/m) chi-square with bins - 1 degrees of freedom (Yurdakul 2018, "Statistical properties
    of population stability index"). Large samples a bin are assumed. NaN if a side has no rows; 1 with one bin.
    """
    return _survival(psi(reference, current) / _scale(reference, current), occupied(reference, current) - 1)


def psi_critical(rows: int, reference_rows: int, *, bins: int, alpha: float) -> float:
    """The PSI that chance exceeds with probability `alpha` without drift, for one column. NaN without rows."""
    if not rows or not reference_rows or bins < 2:
        return float("nan")
    return float(chdtri(bins - 1, alpha)) * (1 / rows + 1 / reference_rows)


def _survival(statistic: float, freedom: int) -> float:
    if np.isnan(statistic):
        return float("nan")
    return float(chdtrc(freedom, statistic)) if freedom > 0 else 1.0


def jensen_shannon(reference: ArrayLike, current: ArrayLike) -> float:
    """Jensen-Shannon divergence in bits: 0 (equal) to 1 (no bin in common). NaN if a side has no rows (Lin 1991)."""
    p, q = _shares(reference), _shares(current)
    if np.isnan(p).any() or np.isnan(q).any():
        return float("nan")
    middle = (p + q) / 2
    return max(0.0, (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2)


def _relative_entropy(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    kept = p > 0
    return float(np.sum(p[kept] * np.log2(p[kept] / q[kept])))


def chi_square_p(reference: ArrayLike, current: ArrayLike) -> float:
    """P-value of Pearson's chi-square test that both samples have one distribution. NaN if a side has no rows."""
    table = np.vstack([np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)])
    totals = table.sum(axis=1)
    if not totals.all():
        return float("nan")
    table = table[:, table.sum(axis=0) > 0]
    expected = np.outer(totals, table.sum(axis=0)) / totals.sum()
    return _survival(float(np.sum((table - expected) ** 2 / expected)), table.shape[1] - 1)


def benjamini_hochberg(p_values: Sequence[float], *, alpha: float) -> tuple[bool, ...]:
    """Which of the tests are discoveries at false-discovery rate `alpha` (Benjamini and Hochberg 1995). NaN: never.

    >>> benjamini_hochberg([0.001, 0.04, 0.5, float("nan")], alpha=0.05)
    (True, False, False, False)
    """
    p = np.asarray(p_values, dtype=np.float64)
    known = np.sort(p[~np.isnan(p)])
    passing = known[known <= alpha * np.arange(1, len(known) + 1) / max(len(known), 1)]
    cut = passing[-1] if len(passing) else -1.0
    return tuple(bool(value <= cut) for value in p)


def compare(
    name: str,
    reference: Sequence[int] | Counts,
    current: Sequence[int] | Counts,
    *,
    bins: Sequence[str],
    subject: Subject = "feature",
    importance: float | None = None,
    missing: int | None = None,
    other: int | None = None,
) -> ColumnDrift:
    """All statistics of one column from its counts; `missing` and `other` are places among the bins."""
    before, now = _shares(reference), _shares(current)
    return ColumnDrift(
        name=name,
        subject=subject,
        importance=importance,
        rows=int(np.sum(current)),
        psi=psi(reference, current),
        psi_p=psi_p(reference, current),
        jensen_shannon=jensen_shannon(reference, current),
        chi_square_p=chi_square_p(reference, current),
        missing=_at(now, missing),
        missing_reference=_at(before, missing),
        other=_at(now, other),
        other_reference=_at(before, other),
        bins=tuple(bins),
        reference=tuple(before.tolist()),
        current=tuple(now.tolist()),
    )


def _at(shares: NDArray[np.float64], position: int | None) -> float:
    return math.nan if position is None else float(shares[position])


def importance_shares(features: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """Each column's share of the total importance in the reference; None for all when the reference has none."""
    total = sum(float(spec.get("importance") or 0) for spec in features.values())
    return {name: float(spec.get("importance") or 0) / total if total else None for name, spec in features.items()}
