"""Row weights: a feature's values as weights, and positives that weigh as much as negatives without moving the odds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from configs.errors import TrainingError
from training.learners.protocol import Array, Sample


def row_weights(values: Array, *, name: str) -> Array:
    """The values [n] of the feature `name` as weights with mean 1, so that regularization means what it always means.

    Raises `TrainingError` for a value that is missing or below 0, and where all are 0.
    """
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any() or not values.any():
        found = f"{int(wrong.sum())} of {len(values)} rows have none, or one below 0" if wrong.any() else "all are 0"
        raise TrainingError(
            f"`training.weight`, {name}: {found}",
            expected="a finite weight of at least 0 in every row, and not 0 in all of them",
            fix="name another feature, or derive one that is always known",
        )
    return np.asarray(values / values.mean(), dtype=np.float64)


def balanced(sample: Sample) -> tuple[Sample, float]:
    """The sample with positives that weigh as much in all as negatives, and the log-odds to take off what it gives.

    Weighing positives by r adds ln r to the log-odds of a model that has the true odds (King & Zeng 2001, prior
    correction; Elkan 2001, theorem 2), so margins less ln r are about the population again. Weights keep their mean.
    Raises `TrainingError` where one class weighs nothing.
    """
    weight = np.ones(len(sample.y)) if sample.weight is None else sample.weight
    positives, negatives = float(weight[sample.y == 1].sum()), float(weight[sample.y == 0].sum())
    if not positives or not negatives:
        raise TrainingError(
            f"positives weigh {positives:g} in all and negatives {negatives:g}",
            expected="rows of both classes, to weigh them alike",
            fix="correct `training.weight`, or set `training.imbalance` to none",
        )
    ratio, total = negatives / positives, positives + negatives
    raised = weight * np.where(sample.y == 1, ratio, 1.0)
    return replace(sample, weight=raised * (total / float(raised.sum()))), math.log(ratio)
