"""Which rows of a fold are fitted on and scored at each rung: thinned, and the same ones every time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from configs.errors import TrainingError
from training.evidence.metrics import OBJECTIVES
from training.folds import Fold, Rows
from training.learners.protocol import Array

MAX_ROWS = 20_000
"""Rows a tuning fold is fitted on at most: all positives and a fixed sample of negatives."""
MAX_NEGATIVES = 6_000
"""Negatives of a fold that are scored at most (as many as positives at least): more would narrow the objective's error
by little, since the positives are the few."""
FEW_NEGATIVES = 2
"""Negatives for each positive that are scored on a share of the rows, where fitting on so few errs more anyway."""
RARE = 0.05
"""Rate below which the positives are too few to leave any out."""


def thinned(y: Array, rows: Rows, *, most: int, seed: int) -> Rows:
    """At most `most` of the rows: every positive, and negatives drawn without replacement (as many at least)."""
    positives, negatives = rows[y[rows] == 1], rows[y[rows] == 0]
    keep = max(most - len(positives), len(positives))
    if len(rows) <= most or keep >= len(negatives):
        return rows
    drawn = np.random.default_rng(seed).choice(negatives, size=keep, replace=False)
    return np.sort(np.concatenate([positives, drawn]))


def share_of(y: Array, rows: Rows, share: float, *, seed: int) -> Rows:
    """About this share of the rows, at the same rate of positives; all positives where they are rare."""
    if share >= 1:
        return rows
    rate = float(y[rows].mean())
    if rate < RARE:
        return thinned(y, rows, most=round(share * len(rows)), seed=seed)
    generator, parts = np.random.default_rng(seed), []
    for value in (0, 1):
        own = rows[y[rows] == value]
        parts.append(generator.choice(own, size=max(1, round(share * len(own))), replace=False))
    return np.sort(np.concatenate(parts))


def scored(y: Array, rows: Rows, share: float, *, seed: int) -> tuple[Rows, float]:
    """Validation rows to score at a share of the training rows, and how many negatives each negative stands for."""
    positives = int(y[rows].sum())
    negatives = MAX_NEGATIVES if share == 1 else min(MAX_NEGATIVES, FEW_NEGATIVES * positives)
    kept = thinned(y, rows, most=positives + max(negatives, positives), seed=seed)
    negatives = len(kept) - positives
    return kept, (len(rows) - positives) / max(1, negatives)


def objective(name: str, y: Array, score: Array, *, stands_for: float) -> float:
    """The objective on thinned rows: AUC is the same at any rate, precision is put back to the full one."""
    if name == "auc":
        return _auc(score[y == 1], score[y == 0])
    if stands_for > 1:
        return _average_precision(y, score, stands_for)
    return OBJECTIVES[name](y, score)


def _auc(positives: Array, negatives: Array) -> float:
    """Share of the pairs in which the positive scores higher, ties half: `metrics.auc`, several times faster."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left") + np.searchsorted(ordered, positives, side="right")
    return float(below.sum() / (2 * len(positives) * len(negatives)))


def _average_precision(y: Array, score: Array, stands_for: float) -> float:
    """Average precision where each negative counts `stands_for` times."""
    order = np.argsort(-score)
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    tp = np.append(0.0, np.cumsum(y[order])[last])
    fp = np.append(0.0, (last + 1 - tp[1:]) * stands_for)
    return float(np.sum(np.diff(tp) / tp[-1] * tp[1:] / (tp[1:] + fp[1:])))


def require_both_classes(y: Array, folds: Sequence[Fold]) -> None:
    """Raise `TrainingError` when there is no fold, or a part of one has fewer than two rows of a class."""
    if not folds:
        raise TrainingError("no tuning fold", expected="at least one", fix="lengthen the training period of `split`")
    for place, fold in enumerate(folds):
        for part, rows in (("training", fold.train), ("validation", fold.valid)):
            counts = {value: int(np.sum(y[rows] == value)) for value in (1, 0)}
            if min(counts.values()) < 2:
                raise TrainingError(
                    f"{counts[1]} positive and {counts[0]} negative {part} rows in tuning fold {place + 1}",
                    expected="at least 2 rows of each class in both parts of every fold",
                    fix="use fewer `split.folds`, or lengthen the training period",
                )
