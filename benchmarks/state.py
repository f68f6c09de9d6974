"""The online state under load: events into it, and a key with a million events in its windows, on both stores."""

from __future__ import annotations

import random
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.bars import Line, line, publish
from benchmarks.worlds import payments
from configs.settings import Settings, load_settings
from configs.use_case import UseCase
from features import exact
from features.request import Outcome, ScoringRequest
from features.state.activity import Activity

EVENTS = 50_000
"""Events that enter, of so many cards as a busy minute has."""

HOT = 1_000_000
DAYS = 30
DEVICES = 200_000
QUERIES = 2_000
_START = datetime(2025, 1, 1, tzinfo=UTC)
_HOUR = 3_600_000_000
_COMMIT = 200  # events of one transaction, as many callers at once make it

Event = tuple[int, str, str, float]
"""Microseconds after the start, card, device, amount."""


def lines() -> list[Line]:
    """Measured on SQLite and, where `RISK_REDIS_URL` names a server, on Redis."""
    found: list[Line] = []
    for store, url in {"SQLite": None, "Redis": load_settings().redis_url}.items():
        if store == "SQLite" or url:
            with tempfile.TemporaryDirectory() as folder:
                settings = Settings(home=Path(folder), redis_url=url, profile="test")
                found += [_ingestion(settings, store), _hot_key(settings, store, HOT)]
    return found


def world() -> UseCase:
    """Windows as fraud models have them: counts, sums, spreads and distinct devices of a card."""
    amounts = ["count", "sum", "mean", "std", "max", "ratio", "since_last"]
    return payments(
        f"state{uuid.uuid4().hex[:8]}",
        aggregates=[
            {"entity": "card", "column": "amount", "functions": amounts, "windows": ["1h", "30d"]},
            {"entity": "card", "column": "device", "functions": ["distinct"], "windows": ["1h", "30d"]},
        ],
    )


def made(count: int, *, cards: int, span: timedelta, seed: int) -> Iterator[Event]:
    """Events in the order of time, their devices and amounts drawn."""
    rng, step = random.Random(seed), span / timedelta(microseconds=1) / count
    for index in range(count):
        card, device = f"c{rng.randrange(cards)}", f"d{rng.randrange(DEVICES)}"
        yield int(index * step), card, device, round(rng.expovariate(0.02), 2)


def request(event: Event) -> ScoringRequest:
    """The event as a service has it."""
    at, card, device, amount = event
    entities = {"card": card, "device": device}
    return ScoringRequest(f"{at}{card}", _START + timedelta(microseconds=at), entities, {"amount": amount})


def _ingestion(settings: Settings, store: str) -> Line:
    """Events a second on one core, and that every one of them has arrived."""
    events = list(made(EVENTS, cards=5_000, span=timedelta(hours=1), seed=1))
    requests = [request(event) for event in events]
    with closing(Activity(world(), settings)) as activity:
        began = time.perf_counter()
        for start in range(0, EVENTS, _COMMIT):
            activity.record_many(requests[start : start + _COMMIT])
        duration = time.perf_counter() - began
        for card in ("c0", "c1", "c4999"):
            _check(activity, [event for event in events if event[1] == card], (_HOUR, card, "new", 1.0))
        activity.clear()
    return line(f"events into {store}", EVENTS / duration, unit="1/s", bar=">= 5000")


def _hot_key(settings: Settings, store: str, count: int) -> Line:
    """99th percentile of a request's windows while events keep entering, one in a hundred of them late."""
    span, rng = timedelta(days=DAYS), random.Random(2)
    history = list(made(count, cards=1, span=span, seed=3))
    with closing(Activity(world(), settings)) as activity:
        activity.seed((request(event), Outcome(None, None)) for event in history)
        _check(activity, history, (DAYS * 24 * _HOUR, "c0", "new", 1.0))
        durations, now = [], DAYS * 24 * _HOUR
        for index in range(QUERIES):
            now += DAYS * 24 * _HOUR // count
            late = rng.randrange(10**11) if index % 100 == 0 else 0
            event = (now - late, "c0", f"d{rng.randrange(DEVICES)}", round(rng.expovariate(0.02), 2))
            asked = request(event)
            began = time.perf_counter()
            activity.values(asked)
            durations.append(time.perf_counter() - began)
            activity.record(asked)
            history.append(event)
        _check(activity, history, (now + 1, "c0", "new", 1.0))
        activity.clear()
    durations = sorted(durations[QUERIES // 10 :])  # warm
    p99 = durations[int(len(durations) * 0.99)] * 1000
    return line(f"key with {count:,} events on {store}, p99", p99, unit="ms", bar="< 5", peer=_p50(durations))


def _p50(durations: list[float]) -> str:
    return f"p50 {durations[len(durations) // 2] * 1000:.2f} ms"


def _check(activity: Activity, history: list[Event], scored: Event) -> None:
    """The scored event's values must be, bit for bit, what its whole history gives. Raises `RuntimeError`."""
    found = activity.values(request(scored))
    events = [event for event in [*history, scored] if event[0] <= scored[0]]
    for name, value in {**_amounts(events, scored, "1h", 1), **_amounts(events, scored, "30d", 24 * DAYS)}.items():
        if repr(found[name]) != repr(value):
            raise RuntimeError(f"{name} is {found[name]} and should be {value}")


def _amounts(events: list[Event], scored: Event, window: str, hours: int) -> dict[str, float | None]:
    inside = [event for event in events if event[0] > scored[0] - hours * 3_600_000_000]
    units = [exact.scaled(event[3], 2) for event in inside]
    count, sums, squares = len(units), sum(units), sum(unit * unit for unit in units)
    return {
        f"card_amount_count_{window}": float(count),
        f"card_amount_sum_{window}": exact.total(sums, 2),
        f"card_amount_mean_{window}": exact.mean(count, sums, 2),
        f"card_amount_std_{window}": exact.deviation(count, sums, squares, 2),
        f"card_amount_max_{window}": max(event[3] for event in inside),
        f"card_amount_ratio_{window}": exact.ratio(scored[3], count, sums, 2),
        f"card_device_distinct_{window}": float(len({event[2] for event in inside})),
    }


def main() -> None:
    """Measure and report."""
    publish("state", lines(), title="The online state under load")


if __name__ == "__main__":
    main()
