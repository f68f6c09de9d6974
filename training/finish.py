"""From a chosen trial to a calibrated model, its out-of-fold development scores, and the one reading of the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.use_case import UseCase
from training.evidence import metrics
from training.evidence.calibrating import choose_calibration, held_out_probabilities
from training.evidence.tested import Tested
from training.folds import Rows, group_codes
from training.learners.protocol import Array, Sample
from training.model import Model
from training.search.trials import Trial
from training.workbench import Workbench

if TYPE_CHECKING:
    import pandas as pd

    from features.frame import Frame
    from training.holdout import Holdout
    from training.splits import Split


@dataclass(frozen=True)
class Outcome:
    """A finished model with its scores. development: rows of the tuning folds, scored by models that didn't see them.

    margins: the raw log-odds behind `development`, fold by fold. rows: positions in the frame of the tested rows.
    calibrations: how the kinds of calibration compare (`choose_calibration`).
    """

    model: Model
    development: Tested
    margins: list[Array]
    tested: Tested
    rows: Rows
    calibrations: dict[str, Any]


def finish(
    use_case: UseCase,
    frame: Frame,
    split: Split,
    holdout: Holdout,
    bench: Workbench,
    trial: Trial,
    *,
    bags: int,
    sample: Sample | None = None,
) -> Outcome:
    """Calibrate on out-of-fold scores, fit on all training rows (or on `sample`), and test.

    By time: tested on the test period, whose labels are read here. By chance: the outer folds' own out-of-fold scores
    are tested, each fold calibrated on the scores of rows outside it.
    """
    method = use_case.training.calibration
    if method == "auto" and trial.learner == "scorecard":
        method = "platt"  # only straight lines let points add up to the decision's points
    margins = bench.out_of_fold(trial, split.tuning, bags=bags)
    places = [fold.valid for fold in split.outer]
    outer = bench.out_of_fold(trial, split.outer, bags=bags)
    calibration, compared = choose_calibration(
        outer or margins,
        [bench.y[rows] for rows in places or [fold.valid for fold in split.tuning]],
        method=method,
        rows=places or None,
    )
    model = bench.model(trial, sample or bench.sample(bench.everything), bags=bags, calibration=calibration)
    if split.by == "time":
        probability = model.probability(model.encode(frame.features.iloc[split.test]))
        rows = split.test
        events = holdout.read()
        y = events["label"].to_numpy(dtype=np.float64)
        blocks, seed = blocks_of(events, split, rows), use_case.training.seed
        tested = Tested(use_case, events, frame.features.iloc[rows], y, probability, blocks, (slice(None),), seed)
    else:
        labels, rows = [bench.y[place] for place in places], split.train[np.concatenate(places)]
        found = cross_calibrated(outer, labels, places, method=compared["chosen"])
        y, p = np.concatenate(labels), np.concatenate(found)
        tested = scored_rows(use_case, frame, split, rows, y=y, probability=p, parts=_parts(found))
    valid = np.concatenate([fold.valid for fold in split.tuning])
    development = scored_rows(
        use_case,
        frame,
        split,
        split.train[valid],
        y=bench.y[valid],
        probability=calibration.probability(np.concatenate(margins)),
        parts=_parts(margins),
    )
    return Outcome(model, development, margins, tested, rows, compared)


def cross_calibrated(
    margins: Sequence[Array], labels: Sequence[Array], rows: Sequence[Rows], *, method: str
) -> list[Array]:
    """Probabilities of each part, calibrated on the rows outside it, so that no row calibrates itself.

    With repeated folds a row stands in several parts: it is left out of all of them.
    """
    pieces = list(zip(margins, labels, rows, strict=True))
    return list(held_out_probabilities(pieces, method))


def blocks_of(events: pd.DataFrame, split: Split, rows: Rows) -> NDArray[np.int64]:
    """What a bootstrap of these events (at the positions `rows` of the frame) draws whole, [n].

    The keys of `split.group`; else days, since events of one day are alike; without a time rows, because repeated folds
    score a row more than once.
    """
    if split.group:
        return group_codes(events[split.group])
    return metrics.day_of(events) if split.by == "time" else rows


def scored_rows(
    use_case: UseCase,
    frame: Frame,
    split: Split,
    rows: Rows,
    *,
    y: Array,
    probability: Array,
    parts: tuple[slice, ...],
) -> Tested:
    """Scored rows of the frame, which keep their index in it."""
    events = frame.events.iloc[rows].assign(label=y)
    blocks, seed = blocks_of(events, split, rows), use_case.training.seed
    return Tested(use_case, events, frame.features.iloc[rows], y, probability, blocks, parts, seed)


def _parts(scores: list[Array]) -> tuple[slice, ...]:
    ends = np.cumsum([0, *map(len, scores)])
    return tuple(slice(int(start), int(end)) for start, end in pairwise(ends))
