"""Encoded training rows, and fitting on them: a chosen trial becomes boosters, out-of-fold scores, and a model."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from configs.use_case import UseCase
from features.vector import features_of
from training.encoding import Encoder
from training.evidence.calibration import Calibration, fit_platt
from training.folds import Fold, Rows
from training.learners.choice import learner
from training.learners.protocol import MAX_LEAVES, Array, Column, Fitted, Sample, columns_of
from training.model import Model
from training.search import Trial

if TYPE_CHECKING:
    from features.frame import Frame
    from training.splits import Split


@dataclass(frozen=True)
class Workbench:
    """Encoded training rows X [n, f] with their labels y [n], and how to fit on them. Rows are positions in X."""

    X: Array
    y: Array
    columns: tuple[Column, ...]
    encoder: Encoder
    seed: int
    threads: int

    @classmethod
    def of(cls, use_case: UseCase, frame: Frame, split: Split, *, threads: int) -> Workbench:
        """Encode the training rows with vocabularies learned from them. Raises for a monotone category."""
        features = [feature for feature in features_of(use_case) if feature.name not in use_case.training.exclude]
        trained = frame.features.iloc[split.train]
        encoder = Encoder.learned(features, trained)
        columns = columns_of(encoder, use_case.monotone)
        labels = frame.events["label"].to_numpy(dtype=np.float64)[split.train]
        return cls(encoder.table(trained), labels, columns, encoder, use_case.training.seed, threads)

    @property
    def everything(self) -> Rows:
        """All rows."""
        return np.arange(len(self.y))

    def fit(self, trial: Trial, rows: Rows, *, bags: int, seed: int | None = None) -> tuple[Fitted, ...]:
        """Boosters on `rows` with one seed each, several at a time."""
        sample, kind = Sample(self.X[rows], self.y[rows], self.columns), learner(trial.learner)
        first = self.seed if seed is None else seed

        def one(bag: int) -> Fitted:
            return kind.fit(sample, trial.params, seed=first + bag, threads=1)

        with ThreadPoolExecutor(max_workers=self.threads) as pool:
            return tuple(pool.map(one, range(bags)))

    def model(
        self, trial: Trial, rows: Rows, *, bags: int, calibration: Calibration | None = None, seed: int | None = None
    ) -> Model:
        """A model fitted on `rows`."""
        boosters = self.fit(trial, rows, bags=bags, seed=seed)
        return Model(trial.learner, self.encoder, boosters, calibration or Calibration())

    def out_of_fold(self, trial: Trial, folds: Sequence[Fold], *, bags: int) -> list[Array]:
        """Raw log-odds of each fold's `valid` rows from boosters fitted on its `train` rows."""
        return [self.model(trial, fold.train, bags=bags).margin(self.X[fold.valid]) for fold in folds]


def cross_calibrated(margins: Sequence[Array], labels: Sequence[Array], rows: Sequence[Rows]) -> list[Array]:
    """Probabilities of each part, calibrated on the rows outside it, so that no row calibrates itself.

    With repeated folds a row stands in several parts: it is left out of all of them.
    """
    margin, label, row = np.concatenate(margins), np.concatenate(labels), np.concatenate(rows)
    found = []
    for own, part in zip(margins, rows, strict=True):
        outside = ~np.isin(row, part)
        found.append(fit_platt(margin[outside], label[outside]).probability(own))
    return found


def bags_within(trial: Trial, bags: int) -> int:
    """As many of the wanted bags as `MAX_LEAVES` allows, one at least; a scorecard has nothing random to average."""
    leaves = learner(trial.learner).leaves(trial.params)
    return max(1, min(bags, MAX_LEAVES // leaves)) if leaves else 1
