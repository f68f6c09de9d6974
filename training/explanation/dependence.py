"""How a feature's contribution goes with its value, and how much of it other features decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evidence.bins import Bins
from training.explanation.summary import Summary

Array = NDArray[np.float64]

LEADING = 12
"""Features, the most important first, whose dependence is described."""
PARTNERS = 3
FINE = 30
"""Bins of a feature's own value that are taken off before a partner is looked for."""
COARSE = 4
"""Parts of a feature's own value, and of a partner's, whose crossing is looked at."""
LABELS = 7
"""Labels of a category that are parts of their own beside the rest."""
LEAST = 0.01
"""Share of the variance not explained by the own value, below which nothing is said of partners."""


def dependence(summary: Summary, vocabularies: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Of each leading feature the contribution by value, with what other features add to it.

    feature, kind (number or category), bins: label, rows, share, mean contribution (log-odds; above 0 is riskier), low
    and high (its 10 % and 90 % quantiles: the width is what the other features make of one value).
    """
    return [_curve(summary, int(index), vocabularies) for index in summary.order[:LEADING]]


def _curve(summary: Summary, index: int, vocabularies: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    name, values, found = summary.names[index], summary.values[:, index], summary.contributions[:, index]
    bins = Bins.of(values, vocabularies.get(name, ()))
    place = bins.place(values)
    rows = []
    for number, label in enumerate(bins.names):
        own = found[place == number]
        if len(own):
            low, high = np.quantile(own, [0.1, 0.9])
            rows.append(
                {
                    "label": label,
                    "rows": len(own),
                    "share": len(own) / len(found),
                    "mean": float(own.mean()),
                    "low": float(low),
                    "high": float(high),
                }
            )
    return {"feature": name, "kind": "category" if bins.labels else "number", "bins": rows}


def interactions(summary: Summary, vocabularies: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Of each leading feature the part of its contribution that its own value doesn't decide, and who does.

    TreeSHAP gives a feature's value different contributions in the company of different other values; without
    interactions equal values contribute equally. unexplained: share of the contribution's variance that is left at
    equal values: half the mean squared difference of neighbours by value over the variance (Rice 1984). partners: up to
    `PARTNERS` features, the strongest first, with share: adjusted R2 of what is left, on the means of the cells that
    parts of the own value make with parts of the partner's. None are named where `unexplained` is below `LEAST`.
    The definition says nothing of cause: a partner may stand for what it goes along with.
    """
    everyone = [
        coarse(column, category=name in vocabularies)
        for name, column in zip(summary.names, summary.values.T, strict=True)
    ]
    found = []
    for index in map(int, summary.order[:LEADING]):
        values, contribution = summary.values[:, index], summary.contributions[:, index]
        share = unexplained(values, contribution)
        partners: list[dict[str, Any]] = []
        if share is not None and share >= LEAST:
            rest = _rest(values, contribution)
            told = [
                (cell_share(rest, everyone[index], everyone[other]), name)
                for other, name in enumerate(summary.names)
                if other != index
            ]
            leading = sorted(told, key=lambda one: -one[0])[:PARTNERS]
            partners = [{"feature": name, "share": part} for part, name in leading if part]
        found.append({"feature": summary.names[index], "unexplained": share, "partners": partners})
    return found


def unexplained(values: Array, contribution: Array) -> float | None:
    """Share of a contribution's variance at equal values, in [0, 1]; None where it doesn't vary."""
    spread = float(contribution.var())
    if spread <= 1e-18 or len(values) < 3:
        return None
    ranked = contribution[np.argsort(values, kind="stable")]  # missing values come last, and are equal to each other
    half = float(np.mean(np.diff(ranked) ** 2)) / 2
    return min(1.0, half / spread)


def cell_share(rest: Array, own: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Adjusted R2 of `rest` on the means of the cells of two codings, [n] each; 0 where there is nothing to explain."""
    cell = own * (int(other.max()) + 1) + other
    counts = np.bincount(cell)
    means = np.bincount(cell, weights=rest) / np.maximum(counts, 1)
    cells, n = int(np.sum(counts > 0)), len(rest)
    total = float(np.sum((rest - rest.mean()) ** 2))
    if total <= 1e-18 or n <= cells:
        return 0.0
    left = float(np.sum((rest - means[cell]) ** 2))
    return max(0.0, 1 - left / (n - cells) * (n - 1) / total)


def coarse(values: Array, *, category: bool) -> NDArray[np.int64]:
    """A few parts of a feature's values, [n]: quarters and missing, or `LABELS` frequent labels and the rest."""
    if not category:
        return Bins.of(values, bins=COARSE).place(values)
    found, code, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.empty(len(found), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(found))
    return np.minimum(rank[code.reshape(-1)], LABELS)


def _rest(values: Array, contribution: Array) -> Array:
    """What the mean at (nearly) equal values leaves of a contribution, [n]."""
    found, code = np.unique(values, return_inverse=True)
    place = code.reshape(-1) if len(found) <= FINE else Bins.of(values, bins=FINE).place(values)
    means = np.bincount(place, weights=contribution) / np.maximum(np.bincount(place), 1)
    rest: Array = contribution - means[place]
    return rest
