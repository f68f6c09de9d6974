"""The guard on a use case's own training frame: frame, split, findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configs.settings import Settings
from configs.use_case import TimeSplit, UseCase
from features.store import FeatureStore
from training.leaks.findings import Finding
from training.leaks.guard import examine
from training.splits import split_events

if TYPE_CHECKING:
    from configs.console import Ticker


def found_in(use_case: UseCase, settings: Settings, *, ticker: Ticker | None = None) -> tuple[Finding, ...]:
    """Build the training frame, split it as training would, and examine its training rows."""
    period = use_case.split
    start, end = (period.train.start, period.test.end) if isinstance(period, TimeSplit) else (None, None)
    frame = FeatureStore(use_case, settings).training_frame(start=start, end=end, ticker=ticker)
    if ticker:
        ticker.note(f"examining {len(frame.events):,} rows")
    split = split_events(
        frame.events,
        period,
        maturity=use_case.label.maturity,
        seed=use_case.training.seed,
        entities=tuple(use_case.entities),
    )
    return examine(use_case, frame, split.train, split.test, settings)
