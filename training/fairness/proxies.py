"""How well the features tell a protected attribute: a model that never sees the attribute can still know it.

A feature that tells the attribute is a proxy. That alone is not unlawful: most features tell something about age. It
says where to look: whether the feature is needed, and whether a less discriminatory alternative exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evidence.groups import Groups
from training.evidence.resampling import Resamples, WeightedFigures, interval
from training.learners.choice import learner
from training.learners.protocol import Array, Column, Sample

FOLDS = 3
MOST_ROWS = 10_000
"""Rows drawn at most: an AUC from so many is known to about a hundredth."""
EXPLAINED = 500
"""Rows of each fold whose contributions are averaged."""
SHOWN = 10
BINS = 10
PARAMS = dict(learner("lightgbm").default) | {"trees": 80, "learning_rate": 0.1, "feature_fraction": 1.0}

CAVEAT = (
    "A strong proxy is not by itself unlawful: many lawful features tell something about an attribute. It shows where "
    "to look for a less discriminatory alternative."
)


def proxies(
    X: Array,
    columns: Sequence[Column],
    attributes: Mapping[str, Groups],
    *,
    blocks: NDArray[np.int64],
    seed: int,
    threads: int = 1,
) -> dict[str, Any]:
    """Attribute -> how well X tells it, by LightGBM and cross-validation. Use training rows; the label isn't used.

    X: encoded rows [n, f]. attributes: groups of the same rows; those with fewer than two groups are left out. blocks:
    rows of one block (such as a customer) stay in one fold, and are drawn together for the intervals.

    caveat, and attributes: `n` rows used, `auc` (`value`, `interval`): the mean over `groups` of each group's AUC
    against all others, out of fold, 0.5 when nothing is told; `features`: the `SHOWN` that tell most, each with its
    `share` of the mean |contribution| and its own `association`, `cramers_v` of the attribute with ten bins of the
    feature.
    """
    found = {}
    for name, groups in attributes.items():
        if len(groups) > 1:
            known = np.flatnonzero(np.any(list(groups.values()), axis=0))
            rows = _drawn(known, seed=seed)
            code = np.argmax([members[rows] for members in groups.values()], axis=0)
            sample = _Rows(X[rows], code, tuple(replace(column, direction=0) for column in columns), blocks[rows])
            found[name] = sample.evidence(tuple(groups), seed=seed, threads=threads)
    return {"caveat": CAVEAT, "attributes": found}


def cramers_v(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """Association of two codings, in [0, 1]: Cramér's V corrected for its bias (Bergsma 2013).

    0 where either has one value only. Chance alone gives about 0, whatever the number of bins.
    """
    rows, columns = (np.unique(code, return_inverse=True)[1].reshape(-1) for code in (first, second))
    r, c, n = int(rows.max(initial=0)) + 1, int(columns.max(initial=0)) + 1, len(rows)
    if r < 2 or c < 2:
        return 0.0
    table = np.bincount(rows * c + columns, minlength=r * c).reshape(r, c).astype(np.float64)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / n
    squared = max(0.0, float(((table - expected) ** 2 / expected).sum()) / n - (r - 1) * (c - 1) / (n - 1))
    sizes = [k - (k - 1) ** 2 / (n - 1) for k in (r, c)]
    return min(1.0, float(np.sqrt(squared / (min(sizes) - 1)))) if min(sizes) > 1 else 0.0


@dataclass(frozen=True)
class _Rows:
    """Rows with the code of their group."""

    X: Array
    code: NDArray[np.int64]
    columns: tuple[Column, ...]
    block: NDArray[np.int64]

    def evidence(self, names: Sequence[str], *, seed: int, threads: int) -> dict[str, Any]:
        home = _homes(self.block, seed=seed)
        asked = range(len(names)) if len(names) > 2 else range(1)  # of two groups, each tells the other
        resamples = Resamples.of(self.block, n=len(self.code), seed=seed)
        aucs, shares = {}, np.zeros(len(self.columns))
        for group in asked:
            y = (self.code == group).astype(np.float64)
            margin, share = self._told(y, home, seed=seed, threads=threads)
            figures = WeightedFigures(y, margin)
            aucs[names[group]] = np.array(
                [figures.auc(weight) for weight in (np.ones(len(y)), *resamples.weights())], dtype=np.float64
            )
            shares += share / len(asked)
        order = np.argsort(-shares, kind="stable")[:SHOWN]
        return {
            "n": len(self.code),
            "auc": _figure(np.mean(list(aucs.values()), axis=0)),
            "groups": {name: _figure(values) for name, values in aucs.items()},
            "features": [
                {
                    "feature": self.columns[index].name,
                    "share": float(shares[index]),
                    "association": cramers_v(_binned(self.X[:, index], self.columns[index]), self.code),
                }
                for index in order
            ],
        }

    def _told(self, y: Array, home: NDArray[np.int64], *, seed: int, threads: int) -> tuple[Array, Array]:
        """Out-of-fold log-odds of being in the group, [n], and each column's share of the mean |contribution|, [f]."""
        margin, mean = np.zeros(len(y)), np.zeros(len(self.columns))
        for fold in range(FOLDS):
            train, valid = np.flatnonzero(home != fold), np.flatnonzero(home == fold)
            if not 0 < y[train].sum() < len(train):
                continue  # one class: nothing is told about these rows
            sample = Sample(self.X[train], y[train], self.columns)
            fitted = learner("lightgbm").fit(sample, PARAMS, seed=seed, threads=threads)
            margin[valid] = fitted.margin(self.X[valid])
            mean += np.abs(fitted.contributions(self.X[valid[:EXPLAINED]])[:, :-1]).mean(axis=0)
        return margin, mean / mean.sum() if mean.sum() > 0 else mean


def _homes(block: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Fold of each row: blocks are dealt round; rows, where there are fewer blocks than folds."""
    place = np.unique(block, return_inverse=True)[1].reshape(-1)
    if place.max(initial=0) + 1 < FOLDS:
        place = np.arange(len(block))
    dealt = np.random.default_rng(seed).permutation(int(place.max(initial=0)) + 1) % FOLDS
    homes: NDArray[np.int64] = dealt[place]
    return homes


def _drawn(rows: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    if len(rows) <= MOST_ROWS:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))


def _binned(x: Array, column: Column) -> NDArray[np.int64]:
    """Codes of a category, deciles of a number; missing values are a bin of their own."""
    missing = np.isnan(x)
    if column.labels or missing.all():
        return np.where(missing, -1, x).astype(np.int64)
    edges = np.unique(np.nanquantile(x, np.arange(1, BINS) / BINS))
    return np.where(missing, -1, np.searchsorted(edges, x, side="right"))


def _figure(values: Array) -> dict[str, Any]:
    defined = bool(np.isfinite(values[0]))
    return {"value": float(values[0]) if defined else None, "interval": interval(values[1:]) if defined else None}
