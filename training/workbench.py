"""Encoded training rows, and fitting on them: a chosen trial becomes boosters, out-of-fold scores, and a model."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from configs.use_case import UseCase
from features.vector import features_of
from training.encoding import Encoder
from training.evidence.calibration import Calibration, Platt
from training.folds import Fold, Rows
from training.learners.choice import learner
from training.learners.protocol import MAX_LEAVES, Array, Column, Fitted, Sample, columns_of
from training.learners.weights import balanced, row_weights
from training.model import Model
from training.search.trials import Trial

if TYPE_CHECKING:
    from features.frame import Frame
    from training.splits import Split


@dataclass(frozen=True)
class Workbench:
    """Encoded training rows X [n, f] with their labels y [n], and how to fit on them. Rows are positions in X.

    `weight` [n] has mean 1; None: all rows alike. `balance`: positives weigh as much as negatives.
    """

    X: Array
    y: Array
    columns: tuple[Column, ...]
    encoder: Encoder
    seed: int
    threads: int
    weight: Array | None = None
    balance: bool = False

    @classmethod
    def of(cls, use_case: UseCase, frame: Frame, split: Split, *, threads: int) -> Workbench:
        """Encode the training rows with vocabularies learned from them. Raises for a monotone category."""
        training = use_case.training
        features = [feature for feature in features_of(use_case) if feature.name not in training.exclude]
        trained = frame.features.iloc[split.train]
        encoder = Encoder.learned(features, trained)
        columns = columns_of(encoder, use_case.monotone)
        labels = frame.events["label"].to_numpy(dtype=np.float64)[split.train]
        weight = None
        if training.weight:
            values = trained[training.weight].to_numpy(dtype=np.float64, na_value=np.nan)
            weight = row_weights(values, name=training.weight)
        table, balance = encoder.table(trained), training.imbalance == "weighted"
        return cls(table, labels, columns, encoder, training.seed, threads, weight, balance)

    @property
    def everything(self) -> Rows:
        """All rows."""
        return np.arange(len(self.y))

    def without(self, names: Sequence[str]) -> Workbench:
        """The bench as if some features had never been there."""
        if not names:
            return self
        kept = [index for index, column in enumerate(self.columns) if column.name not in names]
        features = tuple(self.encoder.features[index] for index in kept)
        words = {name: labels for name, labels in self.encoder.vocabularies.items() if name not in names}
        columns = tuple(self.columns[index] for index in kept)
        return replace(self, X=self.X[:, kept], columns=columns, encoder=Encoder(features, words))

    def sample(self, rows: Rows) -> Sample:
        """Rows to fit on."""
        return Sample(self.X[rows], self.y[rows], self.columns, None if self.weight is None else self.weight[rows])

    def model(
        self,
        trial: Trial,
        sample: Sample,
        *,
        bags: int,
        calibration: Calibration | None = None,
        seed: int | None = None,
    ) -> Model:
        """A model of as many boosters as `bags` on the sample, with one seed each, fitted several at a time."""
        fitted_on, offset = balanced(sample) if self.balance else (sample, 0.0)
        kind, first = learner(trial.learner), self.seed if seed is None else seed

        def one(bag: int) -> Fitted:
            return kind.fit(fitted_on, trial.params, seed=first + bag, threads=1)

        with ThreadPoolExecutor(max_workers=self.threads) as pool:
            boosters = tuple(pool.map(one, range(bags)))
        return Model(trial.learner, self.encoder, boosters, calibration or Platt(), offset)

    def out_of_fold(self, trial: Trial, folds: Sequence[Fold], *, bags: int) -> list[Array]:
        """Raw log-odds of each fold's `valid` rows from boosters fitted on its `train` rows."""
        return [self.model(trial, self.sample(fold.train), bags=bags).margin(self.X[fold.valid]) for fold in folds]


def bags_within(trial: Trial, bags: int) -> int:
    """As many of the wanted bags as `MAX_LEAVES` allows, one at least; a scorecard has nothing random to average."""
    leaves = learner(trial.learner).leaves(trial.params)
    return max(1, min(bags, MAX_LEAVES // leaves)) if leaves else 1
