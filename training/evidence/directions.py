"""Monotone directions verified on the fitted model: real rows, and each declared feature moved over its own values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError

if TYPE_CHECKING:
    from training.model import Model

Array = NDArray[np.float64]

ROWS = 200
GRID = 50
"""Values of a feature that are tried at most: evenly spaced ranks of those in X, with the least and the greatest."""
TOLERANCE = 1e-6
"""Log-odds against the direction that count as nothing: XGBoost adds up in single precision."""


def verify_monotone(model: Model, X: Array, monotone: Mapping[str, str], *, seed: int) -> dict[str, Any]:
    """Probe the model on up to `ROWS` rows of X [n, f], each with up to `GRID` values of every declared feature.

    Returns rows, tolerance, features: one entry for each declared feature of the model with feature, direction, values
    (tried), greatest_violation (log-odds of the worst step against the direction, 0 when there is none) and spread (the
    greatest change of one row's log-odds over all values: 0 where the model doesn't use the feature). A missing value
    is no place on the way up or down, and isn't tried. Raises `TrainingError` when a step exceeds `TOLERANCE`.
    """
    rows = X[np.sort(np.random.default_rng(seed).permutation(len(X))[:ROWS])]
    declared = [name for name in model.names if name in monotone]
    found = [_probed(model, rows, X[:, model.names.index(name)], name, monotone[name]) for name in declared]
    worst = [one for one in found if one["greatest_violation"] > TOLERANCE]
    if worst:
        told = ", ".join(f"{one['feature']} by {one['greatest_violation']:.2g}" for one in worst)
        raise TrainingError(
            f"log-odds move against the declared direction: {told}",
            expected="scores that follow `monotone` everywhere",
            fix="train again, and report the learner and its parameters: its constraint does not hold",
        )
    return {"rows": len(rows), "tolerance": TOLERANCE, "features": found}


def _probed(model: Model, rows: Array, values: Array, name: str, direction: str) -> dict[str, Any]:
    known = np.unique(values[~np.isnan(values)])
    grid = known[np.unique(np.linspace(0, len(known) - 1, GRID).round().astype(np.int64))] if len(known) else known
    probes = np.repeat(rows, max(len(grid), 1), axis=0)
    if len(grid):
        probes[:, model.names.index(name)] = np.tile(grid, len(rows))
    margins = model.margin(probes).reshape(len(rows), -1)
    against = np.diff(margins, axis=1) * (-1 if direction == "increasing" else 1)
    return {
        "feature": name,
        "direction": direction,
        "values": len(grid),
        "greatest_violation": max(0.0, float(against.max(initial=0.0))),
        "spread": float(np.ptp(margins, axis=1).max(initial=0.0)),
    }
