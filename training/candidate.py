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
from training.evidence.plots import figures
from training.evidence.record import choices, lineage, write_folder
from training.evidence.reference import build_reference, reference_sample
from training.explain import beeswarm, summarize
from training.learners.protocol import Array
from training.model import Model
from training.search import search
from training.splits import Rows, Split, split_events
from training.workbench import Scored, Workbench, bags_within

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

    `folder` holds model/, use_case.json, reference.json, evidence.json and figures/. `metrics` come from the
    out-of-time test (from out-of-fold predictions where the table has no time): from `test_probability` of the frame's
    rows at the positions `test_rows`.
    """

    folder: Path
    model: Model
    params: dict[str, Any]
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    evidence: dict[str, Any]
    figures: dict[str, bytes]
    test_rows: Rows
    test_probability: Array


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
    split = split_events(frame.events, used, maturity=use_case.label.maturity, seed=training.seed)
    bench = Workbench.of(use_case, frame, split, threads=settings.threads)
    seconds = SEARCH_SHARE * training.seconds
    found = search(
        bench.X,
        bench.y,
        bench.columns,
        split.tuning,
        training,
        seconds=seconds,
        threads=settings.threads,
        ticker=ticker,
    )
    best, bags = found.best, bags_within(found.best, training.bags)
    _step(ticker, training.trials - len(found.trials) + 1, f"fitting and testing the best trial ({best.learner})")
    model, scored = bench.finish(split, best, bags=bags)
    tested = _metrics(use_case, frame, bench, model=model, split=split, scored=scored)
    bounds = _intervals(frame, bench, split, scored)
    _step(ticker, 1, "explaining and drawing")
    summary = summarize(model, bench.X[split.reference], seed=training.seed)
    images = figures(
        bench.y[scored.rows], scored.probability, found, summary.importance, title=use_case.title, by=split.by
    )
    images["shap_summary"] = beeswarm(summary, title=f"{use_case.title}: SHAP summary")
    evidence = lineage(frame, split, used) | choices(use_case, found, model, summary)
    evidence["reliability"] = reliability(bench.y[scored.rows], scored.probability)
    evidence |= {"metrics": tested, "intervals": {name: list(pair) for name, pair in bounds.items()}}
    evidence["seconds"] = round(time.monotonic() - started, 1)
    compared = (frame.features.iloc[split.reference], _unseen_scores(bench, model, split, scored), model)
    documents = {"use_case": use_case.as_json(), "reference": build_reference(*compared), "evidence": evidence}
    folder = write_folder(
        settings.home / "candidates",
        use_case.name,
        model,
        documents=documents,
        images=images,
        sample=reference_sample(*compared),
    )
    _step(ticker, 1, f"{training.objective} {tested[training.objective]:.4f} on the test")
    params = dict(best.params) | {"learner": best.learner, "bags": bags}
    return Candidate(
        folder,
        model,
        params,
        tested,
        bounds,
        evidence,
        images,
        test_rows=scored.rows,
        test_probability=scored.probability,
    )


def _metrics(
    use_case: UseCase, frame: Frame, bench: Workbench, *, model: Model, split: Split, scored: Scored
) -> dict[str, float]:
    """Figures on the tested rows (mean over the parts), and the stability of the score between training and test."""
    found = []
    for part in scored.parts:
        rows = scored.rows[part]
        found.append(metrics.compute(use_case, bench.y[rows], scored.probability[part], frame.events.iloc[rows]))
    means = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return means | {"score_psi": metrics.score_psi(model.probability(bench.X[split.train]), scored.probability)}


def _intervals(frame: Frame, bench: Workbench, split: Split, scored: Scored) -> dict[str, tuple[float, float]]:
    """Of days; without a time of rows, because repeated folds score a row more than once."""
    blocks = metrics.day_of(frame.events.iloc[scored.rows]) if split.by == "time" else scored.rows
    return metrics.intervals(bench.y[scored.rows], scored.probability, blocks, seed=bench.seed)


def _unseen_scores(bench: Workbench, model: Model, split: Split, scored: Scored) -> Array:
    """Scores of the reference rows; where the final model was fitted on them, out-of-fold scores instead."""
    probability = model.probability(bench.X[split.reference])
    if split.by == "random":
        probability[scored.rows] = scored.probability
    return probability


def _step(ticker: Ticker | None, steps: int, note: str) -> None:
    if ticker is not None:
        ticker.advance(steps)
        ticker.note(note)
