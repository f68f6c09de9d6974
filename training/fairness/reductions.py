"""Row weights that pull one model towards equal selection of groups. The only module that imports Fairlearn.

Agarwal et al. (2018) reduce fair classification to cost-sensitive classification: a Lagrange multiplier for each
group's distance from the overall rate becomes a signed weight of every row. Here the multipliers stay small enough for
no weight to change its sign, so that no label is turned round: what is left is a weighting of the training rows. One
deterministic model comes of it, which never sees the attribute. (Their exponentiated gradient gives a randomized
mixture of models, and group-specific thresholds treat groups differently: neither may decide on credit.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def parity_weights(y: Array, group: NDArray[np.str_], gap: Mapping[str, float], *, strength: float) -> Array:
    """Weights [n] with mean 1 under which the default-like rate of each group moves towards the overall one.

    y: 1 and 0. group: of each row. gap: group -> adverse rate less the overall one (groups that aren't named have no
    multiplier). strength: the greatest share by which a weight differs from 1 before scaling, in [0, 1): 0 gives ones.
    """
    import pandas as pd
    from fairlearn.reductions import DemographicParity, ErrorRate

    nothing = np.zeros((len(y), 1))  # Fairlearn wants features, and parity is about labels and groups alone
    parity, error = DemographicParity(), ErrorRate()
    for moment in (parity, error):
        moment.load_data(nothing, y, sensitive_features=group)
    multiplier = parity.index.to_frame(index=False)
    signs = np.where(multiplier.iloc[:, 0] == "+", 1.0, -1.0)
    distance = np.array([gap.get(str(name), 0.0) for name in multiplier.iloc[:, 2]])
    vector = pd.Series(np.maximum(signs * distance, 0.0), index=parity.index)
    pull = parity.signed_weights(vector).to_numpy(dtype=np.float64)
    greatest = np.abs(pull).max(initial=0.0)
    bounded = pull * (strength / greatest) if greatest > 0 else np.zeros_like(pull)
    cost: Array = np.abs(error.signed_weights().to_numpy(dtype=np.float64) + bounded)
    return np.asarray(cost / cost.mean(), dtype=np.float64)


def reweighing(y: Array, group: NDArray[np.str_]) -> Array:
    """Weights [n] that make label and group independent: P(group) P(label) / P(group, label) (Kamiran & Calders 2012).

    >>> reweighing(np.array([1.0, 0.0, 0.0, 0.0]), np.array(["a", "a", "b", "b"]))
    array([0.5 , 1.5 , 0.75, 0.75])
    """
    cell = np.unique(group, return_inverse=True)[1] * 2 + (y == 1)
    counts = np.bincount(cell, minlength=2 * (int(cell.max()) // 2 + 1)).reshape(-1, 2).astype(np.float64)
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0, keepdims=True) / counts.sum()
    table = np.divide(expected, counts, out=np.ones_like(counts), where=counts > 0)
    weights: Array = table.reshape(-1)[cell]
    return weights
