"""Live traffic for a rehearsal: which events are sent, what drift they carry, and what happens beside them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from configs.console import Ticker
from configs.errors import MonitoringError
from configs.settings import Settings
from configs.use_case import UseCase
from features.intake.privacy import tokenizer_of
from features.online import OnlineFeatures
from features.request import Outcome, ScoringRequest
from features.store import FeatureStore

if TYPE_CHECKING:
    from serving.client import Client

Event = tuple[ScoringRequest, Outcome]

LOADS = 4
"""How often the views are brought online again while the traffic runs, as a nightly job would."""


@dataclass(frozen=True)
class Traffic:
    """Events sorted by time: `scored` ones go to the service.

    It isn't asked about the `others`, but they count in the windows of the scored ones.
    """

    scored: list[Event]
    others: list[Event]

    @property
    def start(self) -> datetime:
        """Time of the first scored event."""
        return self.scored[0][0].event_time

    @property
    def middle(self) -> datetime:
        """Time from which on events carry the drift."""
        return self.scored[len(self.scored) // 2][0].event_time

    @property
    def end(self) -> datetime:
        """Just after the last scored event."""
        return self.scored[-1][0].event_time + timedelta(microseconds=1)


def live_traffic(use_case: UseCase, store: FeatureStore) -> Traffic:
    """About `rehearsal.requests` events of the rehearsal's period: all events of some keys of the first entity.

    Whole keys, so that no scored entity's history has holes; without entities, some events. Raises `MonitoringError`
    for a period without events.
    """
    events = list(store.requests(period=use_case.rehearsal.period))
    entity = next(iter(use_case.entities), None)
    share = use_case.rehearsal.requests / max(len(events), 1)
    keys = [request.entities.get(entity) if entity else request.event_id for request, _ in events]
    scored = [event for event, key in zip(events, keys, strict=True) if share >= 1 or _place(key) < share]
    if not scored:
        raise MonitoringError(
            f"no live events for {use_case.name}",
            expected="events in `rehearsal.period`, or `simulator.live_rows`",
            fix="correct the use case, then `risk config check`",
        )
    chosen = {request.event_id for request, _ in scored}
    others = [event for event in events if event[0].event_id not in chosen] if use_case.aggregates else []
    return Traffic(scored, others)


def _place(key: str | None) -> float:
    """A place between 0 and 1 that belongs to a key for good."""
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:8]) / 2**64


def send(
    traffic: Traffic,
    client: Client,
    store: FeatureStore,
    use_case: UseCase,
    settings: Settings,
    *,
    ticker: Ticker | None = None,
) -> list[float]:
    """Ask for a decision on each scored event, in order of time, and give the seconds each took over HTTP.

    What else happens by an event's time happens before it is sent: other events enter the windows, views are loaded.
    """
    half = len(traffic.scored) // 2
    requests = [request for request, _ in traffic.scored]
    requests = requests[:half] + drifted(requests[half:], use_case)
    loads = _loads(traffic, use_case)
    waiting = iter([*(request for request, _ in traffic.others), None])
    other = next(waiting)
    seconds = []
    online, tokenizer = OnlineFeatures(use_case, settings), tokenizer_of(use_case, settings)
    try:
        for request in requests:
            while loads and loads[0] <= request.event_time:
                store.materialize(until=loads.pop(0))
            while other is not None and other.event_time < request.event_time:
                online.record(tokenizer.request(other) if tokenizer else other)  # as the service would
                other = next(waiting)
            began = time.perf_counter()
            client.decide(request)
            seconds.append(time.perf_counter() - began)
            if ticker:
                ticker.advance()
    finally:
        online.close()
    return seconds


def _loads(traffic: Traffic, use_case: UseCase) -> list[datetime]:
    """When views are loaded again: at equal distances, the start (already loaded) left out."""
    if not use_case.views or use_case.event.time is None:
        return []
    step = (traffic.end - traffic.start) / LOADS
    return [traffic.start + step * number for number in range(1, LOADS)]


def drifted(requests: Sequence[ScoringRequest], use_case: UseCase) -> list[ScoringRequest]:
    """The requests with the rehearsal's drift in their fields."""
    import pandas as pd

    from features.simulators.drifts import apply_drift

    drift, rng = use_case.rehearsal.drift, np.random.default_rng(use_case.training.seed)
    fields = pd.DataFrame([dict(request.fields) for request in requests])
    times = pd.Series([request.event_time for request in requests])
    changed = apply_drift(fields, drift, times=times, rng=rng)[drift.column].tolist()
    return [
        replace(request, fields={**request.fields, drift.column: None if pd.isna(value) else value})
        for request, value in zip(requests, changed, strict=True)
    ]
