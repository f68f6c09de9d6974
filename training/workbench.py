"""Encoded rows, and fitting on them: the chosen trial becomes a model with tested, calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from configs.use_case import UseCase
from features.vector import features_of
from training.encoding import Encoder
from training.evidence.calibration import Calibration, fit_platt
from training.learners.choice import learner
from training.learners.protocol import MAX_LEAVES, Array, Column, Fitted, Sample, columns_of
from training.model import Model
from training.search import Trial
from training.splits import Fold, Rows, Split

if TYPE_CHECKING:
    from features.frame import Frame


@dataclass(frozen=True)
class Scored:
    """Tested rows (positions in the frame), their calibrated probability, and the parts metrics are averaged over."""

    rows: Rows
    probability: Array
    parts: tuple[slice, ...]


@dataclass(frozen=True)
class Workbench:
    """Encoded rows of a frame with their labels (NaN unknown), and how to fit on them."""

    X: Array
    y: Array
    columns: tuple[Column, ...]
    encoder: Encoder
    seed: int
    threads: int

    @classmethod
    def of(cls, use_case: UseCase, frame: Frame, split: Split, *, threads: int) -> Workbench:
        """Encode a frame; vocabularies come from the training rows. A monotone direction on a category is an error."""
        features = [feature for feature in features_of(use_case) if feature.name not in use_case.training.exclude]
        encoder = Encoder.learned(features, frame.features.iloc[split.train])
        columns = columns_of(encoder, use_case.monotone)
        labels = frame.events["label"].to_numpy(dtype=np.float64)
        return cls(encoder.table(frame.features), labels, columns, encoder, use_case.training.seed, threads)

    def fit(self, trial: Trial, rows: Rows, *, bags: int) -> tuple[Fitted, ...]:
        """Boosters on `rows` with one seed each, several at a time."""
        sample, kind = Sample(self.X[rows], self.y[rows], self.columns), learner(trial.learner)

        def one(bag: int) -> Fitted:
            return kind.fit(sample, trial.params, seed=self.seed + bag, threads=1)

        with ThreadPoolExecutor(max_workers=self.threads) as pool:
            return tuple(pool.map(one, range(bags)))

    def out_of_fold(self, trial: Trial, folds: Sequence[Fold], *, bags: int) -> list[Array]:
        """Raw log-odds of each fold's `valid` rows from boosters fitted on its `train` rows."""
        return [self.model(trial, fold.train, bags=bags).margin(self.X[fold.valid]) for fold in folds]

    def model(self, trial: Trial, rows: Rows, *, bags: int, calibration: Calibration | None = None) -> Model:
        """A model fitted on `rows`."""
        return Model(trial.learner, self.encoder, self.fit(trial, rows, bags=bags), calibration or Calibration())

    def finish(self, split: Split, trial: Trial, *, bags: int) -> tuple[Model, Scored]:
        """The final model, and the tested rows' probabilities.

        By time: calibrated on the tuning folds' out-of-fold margins, tested on the test period. By chance: the folds'
        own out-of-fold margins are tested, each fold calibrated on the margins of rows outside it.
        """
        folds = split.outer or split.tuning
        margins = self.out_of_fold(trial, folds, bags=bags)
        labels = [self.y[fold.valid] for fold in folds]
        calibration = fit_platt(np.concatenate(margins), np.concatenate(labels))
        model = self.model(trial, split.train, bags=bags, calibration=calibration)
        if split.by == "time":
            return model, Scored(split.test, model.probability(self.X[split.test]), (slice(None),))
        parts = [slice(int(start), int(end)) for start, end in pairwise(np.cumsum([0, *map(len, margins)]))]
        rows = [fold.valid for fold in folds]
        probability = np.concatenate(cross_calibrated(margins, labels, rows))
        return model, Scored(np.concatenate(rows), probability, tuple(parts))


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
