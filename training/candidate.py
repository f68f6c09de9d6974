"""From a training frame to a candidate: split, search, calibrate, fit, test, and keep the evidence in one folder."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.use_case import RandomSplit, TimeSplit, UseCase
from training.evidence import metrics
from training.evidence.calibration import reliability
from training.evidence.gap import validation_gap
from training.evidence.intervals import intervals
from training.evidence.plots import figures
from training.evidence.record import choices, lineage, write_folder
from training.evidence.reference import build_reference, reference_sample
from training.evidence.tested import Tested
from training.explain import beeswarm, summarize
from training.finish import Outcome, finish
from training.folds import Rows
from training.holdout import seal
from training.learners.protocol import Array
from training.model import Model
from training.search import Trial, search
from training.splits import Split, split_events
from training.workbench import Workbench, bags_within

if TYPE_CHECKING:
    from configs.console import Ticker
    from configs.settings import Settings
    from features.frame import Frame

SEARCH_SHARE = 0.6
"""Share of `training.seconds` that the search may use; the rest is for calibration, the final fit and the figures."""
STEPS = 3
"""Ticks of `build_candidate` beside one for each trial."""


@dataclass(frozen=True)
class Candidate:
    """A fitted model with its evidence.

    `folder` holds model/, use_case.json, reference.json, evidence.json and figures/. `metrics` and `intervals` come
    from `tested`: the out-of-time test, or out-of-fold scores where the table has no time.
    """

    folder: Path
    model: Model
    params: dict[str, Any]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    evidence: dict[str, Any]
    figures: dict[str, bytes]
    tested: Tested


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Give Ctrl-C back after the block: the solver under optbinning leaves SIGINT to end the process without a word."""
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # no other thread may set handlers
            signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))


@interrupts_kept()
def build_candidate(
    use_case: UseCase,
    frame: Frame,
    settings: Settings,
    *,
    period: TimeSplit | RandomSplit | None = None,
    ticker: Ticker | None = None,
) -> Candidate:
    """Search, fit and test on `frame`; `period` replaces the use case's split (a retraining on later data).

    The test rows are scored once, after every choice was made. Raises `TrainingError` before anything is fitted when a
    part of the split is empty or has one class, or a monotone direction is on a category. Advances `ticker` by
    `training.trials` + `STEPS`. The folder appears whole or not at all.
    """
    started, training, used = time.monotonic(), use_case.training, period or use_case.split
    split = split_events(
        frame.events,
        used,
        maturity=use_case.label.maturity,
        seed=training.seed,
        entities=tuple(use_case.entities),
    )
    sealed, holdout = seal(frame, split)
    bench = Workbench.of(use_case, sealed, split, threads=settings.threads)
    found = search(
        bench.X,
        bench.y,
        bench.columns,
        split.tuning,
        training,
        seconds=SEARCH_SHARE * training.seconds,
        threads=settings.threads,
        ticker=ticker,
    )
    best, bags = found.best, bags_within(found.best, training.bags)
    _step(ticker, training.trials - len(found.trials) + 1, f"fitting and testing the best trial ({best.learner})")
    outcome = finish(use_case, sealed, split, holdout, bench, best, bags=bags)
    model, tested = outcome.model, outcome.tested
    trained = model.probability(bench.X)
    figures_found = _metrics(use_case, tested) | {"score_psi": metrics.score_psi(trained, tested.probability)}
    bounds = intervals(tested, figures_found, trained=trained)
    _step(ticker, 1, "explaining and drawing")
    X = model.encode(frame.features.iloc[split.reference])
    summary = summarize(model, X, seed=training.seed)
    images = figures(tested.y, tested.probability, found, summary.importance, title=use_case.title, by=split.by)
    images["shap_summary"] = beeswarm(summary, title=f"{use_case.title}: SHAP summary")
    evidence = lineage(frame, split, used) | choices(use_case, found, model, summary)
    evidence["reliability"] = reliability(tested.y, tested.probability)
    evidence["validation_gap"] = _gap(bench, split, best, outcome)
    evidence |= {"metrics": figures_found, "intervals": {name: list(pair) for name, pair in bounds.items()}}
    evidence["seconds"] = round(time.monotonic() - started, 1)
    compared = (frame.features.iloc[split.reference], _unseen_scores(model, X, split, outcome), model)
    documents = {"use_case": use_case.as_json(), "reference": build_reference(*compared), "evidence": evidence}
    folder = write_folder(
        settings.home / "candidates",
        use_case.name,
        model,
        documents=documents,
        images=images,
        sample=reference_sample(*compared),
    )
    _step(ticker, 1, f"{training.objective} {figures_found[training.objective]:.4f} on the test")
    params = dict(best.params) | {"learner": best.learner, "bags": bags}
    return Candidate(folder, model, params, figures_found, bounds, evidence, images, tested)


def _metrics(use_case: UseCase, tested: Tested) -> dict[str, float]:
    """Figures on the tested rows: means over the parts."""
    found = [
        metrics.compute(use_case, tested.y[part], tested.probability[part], tested.events.iloc[part])
        for part in tested.parts
    ]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _gap(bench: Workbench, split: Split, best: Trial, outcome: Outcome) -> dict[str, Any] | None:
    """Validation forward in time beside validation by chance; None where time can't be tested."""
    if split.by == "random":
        return None

    def margins(train: Rows, valid: Rows) -> Array:
        return bench.model(best, train, bags=1).margin(bench.X[valid])

    objective = metrics.OBJECTIVES[outcome.tested.use_case.training.objective]
    return validation_gap(bench.y, split.tuning, outcome.margins, margins=margins, objective=objective, seed=bench.seed)


def _unseen_scores(model: Model, X: Array, split: Split, outcome: Outcome) -> Array:
    """Scores of the reference rows; where the final model was fitted on them, out-of-fold scores instead."""
    probability = model.probability(X)
    if split.by == "random":
        probability[outcome.rows] = outcome.tested.probability
    return probability


def _step(ticker: Ticker | None, steps: int, note: str) -> None:
    if ticker is not None:
        ticker.advance(steps)
        ticker.note(note)
