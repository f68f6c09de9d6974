"""From a training frame to a candidate: split, search, calibrate, fit, test, and keep the evidence in one folder."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.use_case import RandomSplit, TimeSplit, UseCase
from features.temporary import own_folder
from training.dossier import Run, dossier
from training.encoding import uninformative
from training.evidence import metrics
from training.evidence.fairness import attribute_groups
from training.evidence.intervals import intervals
from training.evidence.plots import figures
from training.evidence.record import choices, lineage, write_folder
from training.evidence.reference import build_reference, reference_sample
from training.evidence.tested import Tested
from training.finish import Outcome, finish
from training.holdout import seal
from training.leaks.findings import as_json as leaks_as_json
from training.leaks.findings import require_clean
from training.leaks.guard import examine
from training.learners.protocol import Array
from training.model import Model
from training.refused import with_rejects
from training.search.search import search
from training.search.task import Warm
from training.search.trials import Search
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
    found: Search | None = None,
    warm: Sequence[Warm] = (),
    workers: int = 1,
    most: tuple[int, int] | None = None,
    ticker: Ticker | None = None,
) -> Candidate:
    """Search, fit and test on `frame`, and find out all about the result.

    `period` replaces the use case's split (a retraining on later data). `found` is an earlier search whose choice is
    taken as it is (a rebuilding); `warm` are parameters to start from, such as the champion's; `workers` processes
    share the search, and `most` repeats one that ran out of time (`Search.reached`). The test is read once, after
    every choice was made. Raises `TrainingError` before anything is fitted when a part of the split is empty or has one
    class, when the leak guard stops a column, or a monotone direction is on a category. Advances `ticker` by
    `training.trials` + `STEPS`. The folder appears whole, or not.
    """
    started, training, used = time.monotonic(), use_case.training, period or use_case.split
    maturity, entities = use_case.label.maturity, tuple(use_case.entities)
    split = split_events(frame.events, used, maturity=maturity, seed=training.seed, entities=entities)
    findings = examine(use_case, frame, split.train, split.test, settings)
    require_clean(use_case, findings)
    sealed, holdout = seal(frame, split, outcomes=tuple(use_case.outcomes))
    bench = Workbench.of(use_case, sealed, split, threads=settings.threads)
    if found is None:
        found = _searched(
            use_case, sealed, split, bench, settings, warm=warm, workers=workers, most=most, ticker=ticker
        )
    else:
        _step(ticker, training.trials, "the search as recorded")
    best, bags = found.best, bags_within(found.best, training.bags)
    _step(ticker, 1, f"fitting and testing the best trial ({best.learner})")
    bench = bench.without(best.left_out)
    refused, sample = with_rejects(use_case, sealed, split, bench, best)
    outcome = finish(use_case, sealed, split, holdout, bench, best, bags=bags, sample=sample)
    _step(ticker, 1, "looking at the model from all sides")
    model, tested = outcome.model, outcome.tested
    X = model.encode(frame.features.iloc[split.reference])
    evidence = lineage(frame, split, used) | choices(use_case, found, best, model, warm=warm)
    evidence["split"]["notes"] += [*uninformative(bench.encoder.features, bench.X), *found.notes]
    evidence |= {"leaks": leaks_as_json(findings), "rejects": refused}
    trained = model.probability(bench.X)
    values, bounds = _figures(tested, trained=trained)
    evidence |= _as_plain(values, bounds) | {"development": _as_plain(*_figures(outcome.development))}
    more, images = dossier(Run(use_case, sealed, split, bench, found, outcome, X), ticker=ticker)
    images |= figures(tested.y, tested.probability, found, more["importance"], title=use_case.title, by=split.by)
    evidence |= more | {"seconds": round(time.monotonic() - started, 1)}
    compared = (frame.features.iloc[split.reference], _unseen_scores(model, X, split, outcome), model)
    folder = write_folder(
        own_folder(settings.home / "candidates"),  # what a killed training leaves goes with the next one
        use_case.name,
        model,
        documents={"use_case": use_case.as_json(), "reference": build_reference(*compared), "evidence": evidence},
        images=images,
        sample=reference_sample(*compared),
    )
    _step(ticker, 1, f"{training.objective} {values[training.objective]:.4f} on the test")
    params = dict(best.params) | {"learner": best.learner, "bags": bags}
    return Candidate(folder, model, params, values, bounds, evidence, images, tested)


def _searched(
    use_case: UseCase,
    frame: Frame,
    split: Split,
    bench: Workbench,
    settings: Settings,
    *,
    warm: Sequence[Warm],
    workers: int,
    most: tuple[int, int] | None,
    ticker: Ticker | None,
) -> Search:
    training = use_case.training
    fair = training.against == "fairness"
    return search(
        bench.X,
        bench.y,
        bench.columns,
        split.tuning,
        training,
        seconds=SEARCH_SHARE * training.seconds,
        threads=settings.threads,
        ticker=ticker,
        settings=settings,
        weight=bench.weight,
        warm=warm,
        protected=attribute_groups(use_case, frame.events.iloc[split.train]) if fair else None,
        least=use_case.fairness.least,
        tolerance=use_case.fairness.loss,
        workers=workers,
        most=most,
    )


def _figures(
    tested: Tested, *, trained: Array | None = None
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Metrics of scored rows, and their intervals; with the scores of the training rows also the score's PSI."""
    values = _metrics(tested)
    if trained is not None:
        values["score_psi"] = metrics.score_psi(trained, tested.probability)
    return values, intervals(tested, values, trained=trained)


def _as_plain(values: dict[str, float], bounds: dict[str, tuple[float, float]]) -> dict[str, Any]:
    return {"metrics": values, "intervals": {name: list(pair) for name, pair in bounds.items()}}


def _metrics(tested: Tested) -> dict[str, float]:
    """Figures on the tested rows: means over the parts."""
    found = [
        metrics.compute(tested.use_case, tested.y[part], tested.probability[part], tested.events.iloc[part])
        for part in tested.parts
    ]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


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
