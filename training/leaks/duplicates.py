"""Rows of training that come back in the test: the one check that looks at test rows. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.validation import DUPLICATES
from training.leaks.findings import Evidence, Finding
from training.leaks.statistics import Array, Mask

if TYPE_CHECKING:
    import pandas as pd

EXCESS = 0.01
"""Share of test rows, beyond what is found inside training, from which duplicates block."""
FEWEST = 20
"""Duplicates below which none block."""
RETURNING = 0.9
"""Distinct keys for each row, below which an entity's key is part of what must be alike."""

Rows = NDArray[np.int64]
Hashes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class _Twins:
    """Of each test row whether a training row is alike, and whether a positive one is; the share that is chance."""

    twin: Mask
    positive: Mask
    chance: float | None


def duplicates(features: pd.DataFrame, keys: pd.DataFrame, y: Array, *, train: Rows, test: Rows) -> Finding | None:
    """Test rows that are alike with a training row in every feature, and in every key of entities that come back.

    Rows of few and coarse features coincide by chance. How many do is taken from training itself: the share of its
    later half that coincides with its earlier half (rows are in order of time). It blocks when the share of the test
    exceeds that by `EXCESS` and concerns `FEWEST` rows. Where folds by chance tile the rows (`train` and `test` are the
    same), rows that are alike come to stand on both sides of a fold; there the share alone must reach `EXCESS`, and
    nine tenths of the test rows with a positive twin be positive, as copies are.

    Evidence: rows, share (of the test), share_by_chance (None for folds by chance), same_features (rows alike in the
    features, whatever their keys), positive_twins (share of positives among test rows with a positive twin, None
    without) against base_rate (of the test): the effect. No duplicates is no finding.
    """
    import pandas as pd

    returning = [name for name in keys.columns if keys[name].nunique() < RETURNING * len(keys)]
    alike = pd.util.hash_pandas_object(features, index=False).to_numpy()
    whole = pd.util.hash_pandas_object(pd.concat([features, keys[returning]], axis=1), index=False).to_numpy()
    found, wide = _twins(whole, y, train, test), _twins(alike, y, train, test).twin
    rows = int(found.twin.sum())
    if not rows:
        return None
    share, copies = rows / len(test), y[test][found.positive]
    copies = copies[~np.isnan(copies)]
    evidence: Evidence = {
        "rows": rows,
        "share": share,
        "share_by_chance": found.chance,
        "same_features": int(wide.sum()),
        "positive_twins": float(copies.mean()) if len(copies) else None,
        "base_rate": float(np.nanmean(y[test])),
    }
    excess = share - (found.chance or 0.0) >= EXCESS
    alike_too = found.chance is not None or bool(len(copies) and copies.mean() >= 0.9)
    blocks = rows >= FEWEST and excess and alike_too
    reason = f"{rows:,} rows of the test ({share:.1%}) are alike with a row of training"
    return Finding(DUPLICATES, "duplicates", reason, evidence, blocks=blocks)


def _twins(hashes: Hashes, y: Array, train: Rows, test: Rows) -> _Twins:
    if np.array_equal(train, test):
        _, place, counts = np.unique(hashes[train], return_inverse=True, return_counts=True)
        others = np.bincount(place, weights=y[train])[place] - y[train]
        return _Twins(counts[place] > 1, others > 0, None)
    half = len(train) // 2
    chance = float(np.isin(hashes[train[half:]], hashes[train[:half]]).mean()) if half else 0.0
    return _Twins(np.isin(hashes[test], hashes[train]), np.isin(hashes[test], hashes[train][y[train] == 1]), chance)
