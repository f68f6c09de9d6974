"""The explanation of a candidate: importance with its stability, dependence, interactions, segments, examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from training.explanation.dependence import dependence, interactions
from training.explanation.examples import examples
from training.explanation.refits import refit_stability
from training.explanation.segments import segments
from training.explanation.summary import Summary
from training.model import Model

if TYPE_CHECKING:
    from training.evidence.tested import Tested

REFITS = 3
Refit = Callable[[int], Model]
"""Seed -> the chosen learner and parameters, fitted again on drawn blocks of the training rows (`bootstrap_rows`)."""


def explanation_evidence(
    summary: Summary, model: Model, tested: Tested, *, refit: Refit, refits: int = REFITS
) -> dict[str, Any]:
    """Plain data for the evidence. Contributions are path-dependent TreeSHAP (Lundberg et al. 2020), in log-odds.

    rows (of the sample), base; importance and refits: see `refit_stability`; dependence, interactions: see
    `training.explanation.dependence`; segments, examples: see their modules.
    """
    stability = refit_stability(summary, [refit(tested.seed + 1 + number) for number in range(refits)])
    importance = stability.pop("importance")
    return {
        "rows": len(summary.values),
        "base": summary.base,
        "importance": importance,
        "refits": stability,
        "dependence": dependence(summary, model.vocabularies),
        "interactions": interactions(summary, model.vocabularies),
        "segments": segments(summary, model, tested),
        "examples": examples(summary, model, withheld=tested.use_case.personal),
    }
