"""Performance on matured outcomes, beside the out-of-time test that the release was approved on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import numpy as np

from configs.use_case import UseCase
from monitoring.windows import Span, Window

LEAST_OUTCOMES = 30
"""Outcomes of the rarer class under which an interval says too little to act on."""


@dataclass(frozen=True)
class Comparison:
    """One metric now, with its 95 % interval (NaN: none), and on the release's test period (NaN: not measured)."""

    name: str
    value: float
    low: float
    high: float
    baseline: float

    @property
    def loss(self) -> float:
        """How much lower the metric is than on the test period (for metrics of which more is better)."""
        return self.baseline - self.value

    def lost_more_than(self, drop: float) -> bool:
        """Whether the loss exceeds `drop` and the whole interval lies below the baseline. False where undefined."""
        return self.loss > drop and self.high < self.baseline


@dataclass(frozen=True)
class Performance:
    """Matured decisions of a span that one release's model made, and what became of them.

    `decisions` are all of them, `outcomes` those with a known outcome, `positives` among these. `metrics` is empty and
    `note` says why where nothing can be computed; `objective` is the metric that training optimized (None: undefined).
    """

    span: Span
    decisions: int
    outcomes: int
    positives: int
    metrics: tuple[Comparison, ...]
    objective: Comparison | None
    note: str


def measure(use_case: UseCase, window: Window, *, baseline: Mapping[str, float], decisions: int) -> Performance:
    """The use case's metrics on a window of matured decisions with outcomes (`Window.with_outcome`).

    `decisions` is how many matured decisions there were, with and without an outcome. One class only leaves out the
    metrics that need both. Average precision moves with the rate of positives: both rates are in the note.
    """
    labels = window.decisions["label"].to_numpy(dtype=float)
    positives = int(labels.sum())
    found = _comparisons(use_case, window, baseline) if window.rows else ()
    return Performance(
        span=window.span,
        decisions=decisions,
        outcomes=window.rows,
        positives=positives,
        metrics=found,
        objective=_objective(use_case, found, rarer=min(positives, window.rows - positives)),
        note=_note(window.span, decisions, window.rows, positives),
    )


def _comparisons(use_case: UseCase, window: Window, baseline: Mapping[str, float]) -> tuple[Comparison, ...]:
    import pandas as pd

    from training.evidence.intervals import intervals
    from training.evidence.metrics import compute, day_of
    from training.evidence.tested import Tested

    entities = [request["entities"] for request in window.requests]
    events = pd.DataFrame({name: [row.get(name) for row in entities] for name in use_case.entities}, dtype=object)
    events["event_time"] = window.decisions["event_time"]
    y = window.decisions["label"].to_numpy(dtype=float)
    p = window.decisions["probability"].to_numpy(dtype=float)
    found = compute(use_case, y, p, events)
    blocks = day_of(events) if use_case.event.time else np.arange(len(y))
    bounds = intervals(Tested(use_case, events, pd.DataFrame(), y, p, blocks, (slice(None),), seed=0), found)
    return tuple(
        Comparison(name, value, *bounds.get(name, (nan, nan)), baseline.get(name, nan)) for name, value in found.items()
    )


def _objective(use_case: UseCase, found: tuple[Comparison, ...], *, rarer: int) -> Comparison | None:
    """None with too few of the rarer class: the interval of a handful of outcomes is not to be trusted."""
    if rarer < LEAST_OUTCOMES:
        return None
    return next((each for each in found if each.name == use_case.training.objective), None)


def _note(span: Span, decisions: int, outcomes: int, positives: int) -> str:
    period = f"events from {span.start:%Y-%m-%d %H:%M} to {span.end:%Y-%m-%d %H:%M} UTC"
    if not decisions:
        return f"no matured decision: {period} are the newest with mature outcomes as of {span.as_of:%Y-%m-%d %H:%M}"
    if not outcomes:
        return f"no outcome is known for the {decisions:,} matured decisions on {period}"
    rate = f"{positives:,} positive ({positives / outcomes:.2%})"
    told = f"{outcomes:,} outcomes of {decisions:,} matured decisions on {period}, {rate}"
    if positives in (0, outcomes):
        return f"{told}: with one class the ranking metrics are undefined"
    if min(positives, outcomes - positives) < LEAST_OUTCOMES:
        return f"{told}: fewer than {LEAST_OUTCOMES} of the rarer class, so the metrics are reported and not judged"
    return told
