"""Online equals offline, bit for bit: every function over every kind of window, in any order, on both stores."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from configs.inputs import Aggregate, Column, Table
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.frame import training_frame
from features.request import Outcome, ScoringRequest
from features.state.activity import Activity
from features.state.buckets import Limits
from features.traffic import stream

START = datetime(2025, 3, 29, 22, tzinfo=UTC)
"""Before an hour that clocks in Berlin don't have."""

OUTCOMES = ("count", "sum", "mean", "std", "min", "max", "distinct", "since_last", "first_seen")
NUMERIC = (*OUTCOMES, "ratio", "deviation")


def aggregate(**parts: Any) -> Aggregate:
    return Aggregate.model_validate({"entity": "card", "functions": ("count",), "windows": ("1h",)} | parts)


AGGREGATES = (
    aggregate(column="amount", functions=NUMERIC, windows=("1h", "1d")),
    aggregate(column="amount", functions=NUMERIC, windows=("1h",), current=False, name="earlier"),
    aggregate(column="amount", functions=NUMERIC, windows=("2h",), delay="1h", decimals=0, name="delayed"),
    aggregate(
        column="amount",
        functions=(*NUMERIC, "share"),
        windows=("1d",),
        where="channel = 'online' AND amount > 1",
        name="web",
    ),
    aggregate(functions=("share", "first_seen"), windows=("30m", "3h"), where="amount > 1", delay="30m", name="late"),
    aggregate(functions=("share",), windows=("1d",), where="channel = 'chip'", current=False, name="chips"),
    aggregate(column="amount", functions=NUMERIC, windows=("1s", "90d"), decimals=6, name="long"),
    aggregate(entity=("card", "terminal"), functions=("first_seen", "count"), windows=("3h",), name="new"),
    aggregate(functions=("count", "since_last"), windows=("1h", "1d"), where="card = 'C1' AND hour(event_time) < 5"),
    aggregate(functions=("count", "since_last"), windows=("1d",), name="plain"),
    aggregate(column="device", functions=("distinct", "count"), windows=("1h", "1d")),
    aggregate(column="device", functions=("distinct",), windows=("1h",), current=False, name="others"),
    aggregate(entity=("customer", "device"), column="channel", functions=("distinct", "count"), windows=("3h",)),
    aggregate(entity="terminal", column="is_fraud", functions=("count", "sum", "mean"), windows=("3h",), delay="2h"),
    aggregate(entity="terminal", column="is_fraud", functions=("sum",), windows=("3h",), name="undelayed"),
    aggregate(
        entity="terminal", column="is_fraud", functions=OUTCOMES, windows=("1h", "30d"), enters="outcome", name="o"
    ),
    aggregate(
        entity="terminal",
        column="is_fraud",
        functions=(*OUTCOMES, "share"),
        windows=("3h",),
        enters="outcome",
        delay="30m",
        current=False,
        where="amount > 1",
        name="large",
    ),
    aggregate(entity=("customer", "device"), column="is_fraud", functions=("mean",), windows=("1d",), enters="outcome"),
    aggregate(table="calls", column="seconds", functions=OUTCOMES, windows=("1h", "1d"), name="calls"),
    aggregate(
        table="calls",
        column="kind",
        functions=("distinct", "count", "share"),
        windows=("2h",),
        where="seconds > 5",
        delay="30m",
        current=False,
        name="long_calls",
    ),
    aggregate(
        entity=("card", "device"), table="calls", functions=("count", "first_seen"), windows=("3h",), name="both"
    ),
)

CALLS = Table(path="calls.parquet", time="at", created="seen_at")
REQUEST = {"amount": Column(), "channel": Column(type="category"), "opened": Column(type="time")}

LIMITS = (
    Limits(),
    Limits(hot=0, cut=0, fill=0),
    Limits(hot=0, cut=1, fill=2, memory=4_000),
    Limits(hot=3, cut=2, fill=4),
)
"""Every key from its events; every key from a tree, down to single microseconds; with next to no memory; some keys."""

moments = st.builds(
    lambda hours, minutes, offset: START + timedelta(hours=hours, minutes=30 * minutes, microseconds=offset),
    st.one_of(st.integers(0, 8), st.sampled_from((3, 3, 26))),
    st.integers(0, 1),
    st.sampled_from((-1, 0, 0, 0, 1)),
)
amounts = st.one_of(
    st.none(),
    st.sampled_from((0.0, 0.005, 1.005, 2.675, 10.0, 1e9 - 0.125, -3.5)),
    st.floats(-1e6, 1e6).map(lambda value: round(value, 3) + 0.0),
)
cards, devices = st.sampled_from(("C1", "C1", "C2", None)), st.sampled_from(("D1", "D2", 'D"\\é', None))
rows = st.fixed_dictionaries(
    {
        "tx_time": moments,
        "customer_id": st.sampled_from(("K1", "K2", None)),
        "card_id": cards,
        "terminal_id": st.sampled_from(("T1", "T2")),
        "device_id": devices,
        "amount": amounts,
        "channel": st.sampled_from(("chip", "online", None)),
        "is_fraud": st.sampled_from((0, 1, 1, None)),
        "outcome_at": st.one_of(st.none(), moments),
    }
)
calls = st.fixed_dictionaries(
    {
        "at": moments,
        "seen_at": st.one_of(st.none(), moments),
        "card_id": cards,
        "device_id": devices,
        "seconds": amounts,
        "kind": st.sampled_from(("in", "out", None)),
    }
)
zones = st.sampled_from(("UTC", "Europe/Berlin", None))


@cache
def fraud() -> UseCase:
    return load_use_case("fraud", Settings())


def use_case() -> UseCase:
    parts = {
        "name": f"test_{uuid.uuid4().hex[:12]}",
        "simulator": None,
        "tables": {"transactions": Table(path="events.parquet", time="tx_time"), "calls": CALLS},
        "views": {},
        "derived": {},
        "request": REQUEST,
        "aggregates": AGGREGATES,
        "label": fraud().label.model_copy(update={"maturity": timedelta(hours=3)}),
    }
    return fraud().model_copy(update=parts)


def write(path: Path, table: Sequence[dict[str, Any]], zone: str | None, **types: pa.DataType) -> None:
    """Texts, but for the columns of other types; times in a zone of their own, or without one."""
    times = {name for row in table for name, value in row.items() if isinstance(value, datetime)}
    kinds = types | {name: pa.timestamp("us", tz=zone) for name in times}
    if zone is None:
        table = [row | {name: row[name].replace(tzinfo=None) for name in times if row[name]} for row in table]
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in table[0]])
    pq.write_table(pa.Table.from_pylist(list(table), schema=schema), path)


def asked(row: dict[str, Any]) -> tuple[ScoringRequest, Outcome]:
    entities = {name: row[f"{name}_id"] for name in ("customer", "card", "terminal", "device")}
    fields = {"amount": row["amount"], "channel": row["channel"], "opened": row["opened"]}
    request = ScoringRequest(row["transaction_id"], row["tx_time"], entities, fields)
    return request, Outcome(row["is_fraud"], row["outcome_at"])


def offline(world: UseCase, settings: Settings) -> dict[str, dict[str, float | None]]:
    frame = training_frame(world, settings)
    names = [name for name in frame.features.columns if name not in world.request]
    values = frame.features[names].astype(object).where(frame.features[names].notna(), None)
    return dict(zip(frame.events["event_id"], values.to_dict("records"), strict=True))


def feed(state: Activity, events: list[tuple[ScoringRequest, Outcome]], draw: st.DataObject) -> None:
    """Events in any order, some twice, some in bulk; outcomes after the events they belong to, some corrected."""
    shuffled = draw.draw(st.permutations(events + events[:2]))
    bulk = draw.draw(st.integers(0, len(shuffled)))
    state.seed(shuffled[:bulk])
    state.record_many([request for request, _ in shuffled[bulk:-1]])
    state.record(shuffled[-1][0])
    told = [(request.event_id, outcome) for request, outcome in shuffled if outcome.label is not None]
    for event_id, _ in told[:2]:
        state.outcome(event_id, draw.draw(st.integers(0, 1)), START)
    for event_id, outcome in told:
        state.outcome(event_id, outcome.label or 0, outcome.known)


def feed_calls(state: Activity, world: UseCase, settings: Settings, draw: st.DataObject) -> None:
    entities, fields = state.inputs("calls")
    found = list(stream(world, settings, "calls", entities=entities, fields=fields, start=None, end=None))
    state.seed(draw.draw(st.permutations(found + found[:1])), table="calls")


def values_online(
    state: Activity, events: list[tuple[ScoringRequest, Outcome]], draw: st.DataObject, *, in_time: bool
) -> dict[str, dict[str, float | None]]:
    """Moment by moment, or everything first, when later events must not show."""
    found = {}
    by_time = sorted(events, key=lambda event: event[0].event_time)
    moments = groupby(by_time, key=lambda event: event[0].event_time if in_time else None)
    for _, moment in moments:
        now = list(moment)
        feed(state, now, draw)
        found |= {request.event_id: state.values(request) for request, _ in now}
    return found


def differences(found: dict[str, dict[str, Any]], expected: dict[str, dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Event, feature, online and offline, where one bit differs."""
    assert found.keys() == expected.keys()
    return [
        (event_id, name, value, expected[event_id][name])
        for event_id, values in found.items()
        for name, value in values.items()
        if repr(value) != repr(expected[event_id][name])
    ]


GENERATED = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "phases": (Phase.explicit, Phase.generate),  # an example takes long: what fails is not made smaller
    "suppress_health_check": list(HealthCheck),
}


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_values_equal_the_offline_aggregates_bit_for_bit(store: str, request: pytest.FixtureRequest) -> None:
    redis_url = request.getfixturevalue("redis_url") if store == "redis" else None

    @given(
        history=st.lists(rows, min_size=1, max_size=24),
        called=st.lists(calls, min_size=1, max_size=10),
        zone=zones,
        draw=st.data(),
    )
    @hypothesis_settings(max_examples=5, **GENERATED)
    def check(history: list[Any], called: list[Any], zone: str | None, draw: st.DataObject) -> None:
        history = [row | {"transaction_id": f"E{n}", "opened": row["outcome_at"]} for n, row in enumerate(history)]
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(home=Path(folder) / "home", data=Path(folder), redis_url=redis_url)
            write(Path(folder) / "events.parquet", history, zone, amount=pa.float64(), is_fraud=pa.int64())
            write(Path(folder) / "calls.parquet", called, zone, seconds=pa.float64())
            expected = offline(use_case(), settings)
            assert len(expected) == len(history)
            for limits in LIMITS:
                world = use_case()
                with closing(Activity(world, settings, limits=limits)) as state:
                    feed_calls(state, world, settings, draw)
                    found = values_online(state, list(map(asked, history)), draw, in_time=draw.draw(st.booleans()))
                    state.clear()
                assert differences(found, expected) == []

    check()
