"""The model beside simpler ones, or its predecessor, on the same rows: what it gains for being harder to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.evidence import metrics
from training.evidence.paired import paired_difference

if TYPE_CHECKING:
    from training.evidence.tested import Tested

Array = NDArray[np.float64]

RANKING = {
    "auc": metrics.auc,
    "gini": metrics.gini,
    "ks": metrics.ks,
    "average_precision": metrics.average_precision,
}
"""Figures of ranking alone: they take any score, calibrated or not."""


def benchmark_evidence(tested: Tested, others: Mapping[str, Array]) -> list[dict[str, Any]]:
    """One entry for each of `others` (name -> score of each tested row, higher is riskier), in their order.

    name, metrics (of `RANKING`: means over the parts, None with one class), paired: this model less the other, see
    `training.evidence.paired.paired_difference`. A benchmark is fitted on the training rows with parameters chosen
    before the test was read, and nothing is chosen by what comes out.
    """
    objective = tested.use_case.training.objective
    return [
        {
            "name": name,
            "metrics": {key: _mean(tested, score, key) for key in RANKING},
            "paired": paired_difference(
                tested.y,
                tested.probability,
                score,
                tested.blocks,
                objective,
                seed=tested.seed,
                parts=tested.parts,
            ),
        }
        for name, score in others.items()
    ]


def _mean(tested: Tested, score: Array, name: str) -> float | None:
    value = float(np.mean([RANKING[name](tested.y[part], score[part]) for part in tested.parts]))
    return value if np.isfinite(value) else None
