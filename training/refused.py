"""Reject inference in a training run: tried where the use case asks for it, used where it helped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from configs.use_case import UseCase
from training.finish import blocks_of
from training.learners.protocol import Array, Sample
from training.rejects.check import rejects_evidence
from training.rejects.inference import Applicants, Margin, beliefs, choice_fit, infer
from training.search.trials import Trial
from training.splits import Split
from training.workbench import Workbench

if TYPE_CHECKING:
    from features.frame import Frame


def with_rejects(
    use_case: UseCase, frame: Frame, split: Split, bench: Workbench, trial: Trial
) -> tuple[dict[str, Any] | None, Sample | None]:
    """What the honest check found (None: not asked for), and the rows to fit on if inference helped (None: as ever).

    Raises nothing where there are no refused rows: the evidence says so.
    """
    declared = use_case.rejects
    if declared is None:
        return None, None
    refused = bench.encoder.table(frame.features.iloc[split.rejects])
    weight = None if bench.weight is None else np.append(bench.weight, np.ones(len(refused)))
    applicants = Applicants(bench.X, bench.y, refused, weight)

    def fit(X: Array, y: Array, weights: Array) -> Margin:
        return bench.model(trial, Sample(X, y, bench.columns, weights), bags=1).margin

    choice, seed = choice_fit(bench.columns, seed=bench.seed), bench.seed
    found = rejects_evidence(
        applicants,
        split.tuning,
        declared,
        objective=use_case.training.objective,
        fit=fit,
        choice=choice,
        blocks=blocks_of(frame.events.iloc[split.train], split, split.train),
        seed=seed,
    )
    if not found["use"]:
        return found, None
    believed = beliefs(applicants, fit, choice=choice, seed=seed)
    chosen = infer(found["use"], applicants, believed, seed=seed, uplift=declared.uplift)
    own = 1.0 if weight is None else weight[chosen.rows]
    return found, Sample(applicants.every[chosen.rows], chosen.y, bench.columns, chosen.weight * own)
