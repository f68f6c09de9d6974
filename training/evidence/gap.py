"""How much better validation by chance looks than validation forward in time: a warning sign for both.

A model that only does well when its validation rows lie among its training rows has learned the period, or a leak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.folds import Fold, Rows

Array = NDArray[np.float64]

WARNING = 0.02
"""Gap of the objective from which the report warns: about the drift of an AUC between two quiet years."""


def matched_folds(folds: Sequence[Fold], *, n: int, seed: int) -> tuple[Fold, ...]:
    """For each fold one by chance, with as many rows to fit on and to score: so that only time differs.

    Where a fold needs more rows than there are, both parts shrink alike.
    """
    generator, found = np.random.default_rng(seed), []
    for fold in folds:
        share = min(1.0, n / (len(fold.train) + len(fold.valid)))
        train, valid = int(len(fold.train) * share), int(len(fold.valid) * share)
        rows = generator.permutation(n)[: train + valid]
        found.append(Fold(np.sort(rows[:train]), np.sort(rows[train:])))
    return tuple(found)


def validation_gap(
    y: Array,
    folds: Sequence[Fold],
    forward: Sequence[Array],
    *,
    margins: Callable[[Rows, Rows], Array],
    objective: Callable[[Array, Array], float],
    seed: int,
) -> dict[str, Any]:
    """Mean objective over the folds in time (`forward`: margins of their valid rows) and over folds by chance.

    margins: fits on the first rows and gives the scores of the second. Keys: `forward`, `random`, `gap` (random less
    forward), `folds`, `warning` (whether the gap is at least `WARNING`). A figure is None where a fold by chance has
    one class.
    """
    chance = [
        objective(y[fold.valid], margins(fold.train, fold.valid)) for fold in matched_folds(folds, n=len(y), seed=seed)
    ]
    ahead = [objective(y[fold.valid], score) for fold, score in zip(folds, forward, strict=True)]
    found = {"forward": float(np.mean(ahead)), "random": float(np.mean(chance))}
    gap = found["random"] - found["forward"]
    defined = {name: value if np.isfinite(value) else None for name, value in (found | {"gap": gap}).items()}
    return defined | {"folds": len(folds), "warning": bool(gap >= WARNING)}
