"""From a chosen trial to a calibrated model, its out-of-fold development scores, and the one reading of the test."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from configs.use_case import UseCase
from training.evidence import metrics
from training.evidence.calibration import fit_platt
from training.evidence.tested import Tested
from training.folds import Fold, Rows, group_codes
from training.learners.protocol import Array
from training.model import Model
from training.search import Trial
from training.workbench import Workbench, cross_calibrated

if TYPE_CHECKING:
    from features.frame import Frame
    from training.holdout import Holdout
    from training.splits import Split


@dataclass(frozen=True)
class Outcome:
    """A finished model with its scores. development: rows of the tuning folds, scored by models that didn't see them.

    margins: the raw log-odds behind `development`, fold by fold. rows: positions in the frame of the tested rows.
    """

    model: Model
    development: Tested
    margins: list[Array]
    tested: Tested
    rows: Rows


def finish(
    use_case: UseCase, frame: Frame, split: Split, holdout: Holdout, bench: Workbench, trial: Trial, *, bags: int
) -> Outcome:
    """Calibrate on out-of-fold scores, fit on all training rows, and test.

    By time: tested on the test period, whose labels are read here. By chance: the outer folds' own out-of-fold scores
    are tested, each fold calibrated on the scores of rows outside it.
    """
    margins = bench.out_of_fold(trial, split.tuning, bags=bags)
    if split.by == "time":
        calibration = fit_platt(np.concatenate(margins), _labels(bench, split.tuning))
        model = bench.model(trial, bench.everything, bags=bags, calibration=calibration)
        probability = model.probability(model.encode(frame.features.iloc[split.test]))
        tested = scored_rows(use_case, frame, split, split.test, y=holdout.read(), probability=probability)
        rows = split.test
    else:
        outer = bench.out_of_fold(trial, split.outer, bags=bags)
        calibration = fit_platt(np.concatenate(outer), _labels(bench, split.outer))
        model = bench.model(trial, bench.everything, bags=bags, calibration=calibration)
        places = [fold.valid for fold in split.outer]
        found = cross_calibrated(outer, [bench.y[place] for place in places], places)
        rows = split.train[np.concatenate(places)]
        parts = _parts(found)
        y = bench.y[np.concatenate(places)]
        tested = scored_rows(use_case, frame, split, rows, y=y, probability=np.concatenate(found), parts=parts)
    development = scored_rows(
        use_case,
        frame,
        split,
        split.train[np.concatenate([fold.valid for fold in split.tuning])],
        y=_labels(bench, split.tuning),
        probability=calibration.probability(np.concatenate(margins)),
        parts=_parts(margins),
    )
    return Outcome(model, development, margins, tested, rows)


def scored_rows(
    use_case: UseCase,
    frame: Frame,
    split: Split,
    rows: Rows,
    *,
    y: Array,
    probability: Array,
    parts: tuple[slice, ...] = (slice(None),),
) -> Tested:
    """Scored rows of the frame with the blocks that a bootstrap draws whole.

    Blocks are the keys of `split.group`; else days, since events of one day are alike; without a time rows, because
    repeated folds score a row more than once.
    """
    events = frame.events.iloc[rows].reset_index(drop=True).assign(label=y)
    unit = metrics.day_of(events) if split.by == "time" else rows
    blocks = group_codes(events[split.group]) if split.group else unit
    features = frame.features.iloc[rows].reset_index(drop=True)
    return Tested(use_case, events, features, y, probability, blocks, parts, use_case.training.seed)


def _labels(bench: Workbench, folds: tuple[Fold, ...]) -> Array:
    labels: Array = bench.y[np.concatenate([fold.valid for fold in folds])]
    return labels


def _parts(scores: list[Array]) -> tuple[slice, ...]:
    ends = np.cumsum([0, *map(len, scores)])
    return tuple(slice(int(start), int(end)) for start, end in pairwise(ends))
