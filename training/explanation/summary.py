"""Contributions of a sample of rows to the score: what every part of the explanation is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.model import Model

Array = NDArray[np.float64]

ROWS = 1500
"""Rows that a summary looks at."""


@dataclass(frozen=True)
class Summary:
    """Contributions (log-odds) [n, f] and encoded values [n, f] of a sample of rows, for the features `names`."""

    names: tuple[str, ...]
    contributions: Array
    values: Array
    base: float

    @property
    def sizes(self) -> Array:
        """Mean |contribution| of each feature, in the order of `names`: [f]."""
        sizes: Array = np.abs(self.contributions).mean(axis=0)
        return sizes

    @property
    def order(self) -> NDArray[np.intp]:
        """Places of the features, the most important first: [f]."""
        return np.argsort(-self.sizes, kind="stable")

    @property
    def importance(self) -> dict[str, float]:
        """Mean |contribution| by feature, greatest first."""
        sizes = self.sizes
        return {self.names[index]: float(sizes[index]) for index in self.order}


def summarize(model: Model, X: Array, *, seed: int) -> Summary:
    """Contributions of up to `ROWS` rows of X, drawn with `seed`."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(X))[:ROWS])
    found = model.contributions(X[rows])
    return Summary(model.names, found[:, :-1], X[rows], float(found[:, -1].mean()))
