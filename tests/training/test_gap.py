"""Validation by chance beside validation forward in time."""

from __future__ import annotations

import numpy as np

from training.evidence.gap import matched_folds, validation_gap
from training.evidence.metrics import auc
from training.folds import Fold, Rows

N = 6000
FOLDS = [Fold(np.arange(0, 2000), np.arange(2000, 4000)), Fold(np.arange(0, 4000), np.arange(4000, 6000))]


def gap(*, drifting: bool) -> dict[str, object]:
    """A world whose months have risks of their own (`drifting`), and a learner that remembers months."""
    generator = np.random.default_rng(8)
    month, x = np.arange(N) // 100, generator.normal(size=N)
    effect = generator.normal(0, 1.5, N // 100)[month] if drifting else np.zeros(N)
    y = (generator.random(N) < 1 / (1 + np.exp(1 - x - effect))).astype(float)

    def margins(train: Rows, valid: Rows) -> np.ndarray:
        sums, counts = (np.bincount(month[train], weights=each, minlength=N // 100) for each in (y[train], None))
        return x[valid] + 4 * ((sums + 1) / (counts + 4))[month[valid]]

    forward = [margins(fold.train, fold.valid) for fold in FOLDS]
    return validation_gap(y, FOLDS, forward, margins=margins, objective=auc, seed=1)


def test_what_only_holds_within_a_period_shows_as_a_gap() -> None:
    found = gap(drifting=True)
    assert found["warning"] is True and found["gap"] > 0.05


def test_a_quiet_world_has_no_gap() -> None:
    found = gap(drifting=False)
    assert found["warning"] is False and abs(found["gap"]) < 0.02


def test_folds_by_chance_are_as_large_and_never_share_a_row() -> None:
    for fold, drawn in zip(FOLDS, matched_folds(FOLDS, n=N, seed=1), strict=True):
        assert (len(drawn.train), len(drawn.valid)) == (len(fold.train), len(fold.valid))
        assert not np.isin(drawn.valid, drawn.train).any()
