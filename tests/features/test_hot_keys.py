"""Keys with many events: answered from buckets, the same as from the events themselves, whoever writes at once."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from configs.inputs import Aggregate, Table
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.request import Outcome, ScoringRequest
from features.state.activity import Activity
from features.state.buckets import Limits
from features.stores import redis_activity, redis_scripts, sqlite_activity
from features.stores.connections import RedisServer

START = datetime(2025, 3, 1, tzinfo=UTC)
COLD, HOT = Limits(hot=10**9), Limits(hot=50, cut=4, fill=16)
FUNCTIONS = ("count", "sum", "mean", "std", "min", "max", "distinct", "since_last", "ratio", "deviation", "first_seen")


def aggregate(**parts: object) -> Aggregate:
    return Aggregate.model_validate({"entity": "card", "functions": ("count",), "windows": ("1h",)} | parts)


AGGREGATES = (
    aggregate(column="amount", functions=FUNCTIONS, windows=("10m", "1d")),
    aggregate(column="amount", functions=FUNCTIONS, windows=("3h",), delay="1h", current=False, name="delayed"),
    aggregate(functions=("share", "since_last"), windows=("6h",), where="channel = 'online'", name="online"),
    aggregate(column="device", functions=("distinct",), windows=("1h", "1d")),
    aggregate(column="is_fraud", functions=("count", "mean", "distinct"), windows=("1d",), enters="outcome", name="o"),
)


def use_case(name: str) -> UseCase:
    fraud = load_use_case("fraud", Settings())
    tables = {"transactions": Table(path="events.parquet", time="tx_time")}
    parts = {"name": name, "simulator": None, "tables": tables, "views": {}, "derived": {}, "aggregates": AGGREGATES}
    return fraud.model_copy(update=parts)


@pytest.fixture(params=["sqlite", "redis"])
def online(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    return settings.model_copy(update={"redis_url": url})


@pytest.fixture
def world(online: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UseCase]:
    world = use_case(f"hot_{random.SystemRandom().randrange(10**9)}")
    yield world
    for name in (world.name, f"{world.name}_cold"):
        with closing(Activity(use_case(name), online)) as state:
            state.clear()


@contextmanager
def hot_and_cold(online: Settings, world: UseCase) -> Iterator[tuple[Activity, Activity]]:
    """Two stores of their own: what is hot to one is answered from buckets by everybody."""
    cold = use_case(f"{world.name}_cold")
    with closing(Activity(world, online, limits=HOT)) as hot, closing(Activity(cold, online, limits=COLD)) as plain:
        yield hot, plain


def events(count: int, *, seed: int = 1) -> list[ScoringRequest]:
    """Of one card in a day and a half, some at the same time, in disorder."""
    rng = random.Random(seed)
    times = [rng.randrange(0, 36 * 3600 * 4) / 4 for _ in range(count)]
    return [
        ScoringRequest(
            f"E{number}",
            START + timedelta(seconds=time),
            {"card": "C1", "device": rng.choice((None, *(f"D{n}" for n in range(40))))},
            {"amount": rng.choice((None, round(rng.expovariate(0.01), 2))), "channel": rng.choice(("chip", "online"))},
        )
        for number, time in enumerate(times)
    ]


def asked(count: int) -> list[ScoringRequest]:
    later = events(count, seed=2)
    return [ScoringRequest(f"A{event.event_id}", event.event_time, event.entities, event.fields) for event in later]


def test_buckets_give_what_the_events_give_while_events_and_outcomes_keep_entering(
    online: Settings, world: UseCase
) -> None:
    history, rng = events(700), random.Random(3)
    with hot_and_cold(online, world) as (hot, cold):
        for state in (hot, cold):
            state.seed([(event, Outcome(None, None)) for event in history[:500]])
        for number, (event, question) in enumerate(zip(history[500:], asked(200), strict=True)):
            told = history[rng.randrange(500 + number)]
            label, known = rng.randrange(2), told.event_time + timedelta(hours=rng.randrange(9))
            for state in (hot, cold):
                state.record(event)
                state.outcome(told.event_id, label, known)
            if number % 5 == 0:
                assert hot.values(question) == cold.values(question)
                assert hot.values(event) == cold.values(event)


def test_what_buckets_add_up_to_outlives_the_process(online: Settings, world: UseCase) -> None:
    question = asked(1)[0]
    with closing(Activity(world, online, limits=HOT)) as state:
        state.record_many(events(500))
        first = state.values(question)
    with closing(Activity(world, online, limits=HOT._replace(memory=1_000))) as state:
        assert state.values(question) == first
        state.record_many(events(500, seed=4))
        assert state.values(question) == first  # they have the same ids


def test_events_of_one_microsecond_are_no_special_case(online: Settings, world: UseCase) -> None:
    same = [ScoringRequest(each.event_id, START, each.entities, each.fields) for each in events(300)]
    question = ScoringRequest("A", START + timedelta(minutes=10), {"card": "C1", "device": "D1"}, {"amount": 1.0})
    with hot_and_cold(online, world) as (hot, cold):
        hot.record_many(same)
        cold.record_many(same)
        for time in (START, question.event_time, question.event_time - timedelta(microseconds=1)):
            asked_at = ScoringRequest("A", time, question.entities, question.fields)
            assert hot.values(asked_at) == cold.values(asked_at)


PROGRAM = textwrap.dedent(
    """
    import os, random, sys
    from datetime import timedelta
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_hot_keys import HOT, Activity, Settings, asked, events, use_case
    home, url, name = sys.argv[2:]
    world, settings = use_case(name), Settings(home=Path(home), redis_url=url or None)

    def write(number):
        rng = random.Random(number)
        mine = [event for event in events(400) if rng.random() < 0.4 or int(event.event_id[1:]) % 8 == number]
        rng.shuffle(mine)
        state = Activity(world, settings, limits=HOT)
        for count, event in enumerate(mine):
            state.record(event)
            state.outcome(event.event_id, int(event.event_id[1:]) % 2, event.event_time + timedelta(hours=1))
            if count % 10 == 0:
                state.values(asked(1)[0])
        state.close()

    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                write(number)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    sys.exit(sum(os.waitpid(child, 0)[1] for child in children) != 0)
    """
)


def test_eight_processes_at_one_key_leave_what_one_leaves(online: Settings, world: UseCase) -> None:
    folder = str(Path(__file__).parent)
    arguments = [folder, str(online.home), online.redis_url or "", world.name]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    serial = use_case(f"{world.name}_serial")
    with closing(Activity(serial, online, limits=COLD)) as state:
        for event in events(400):
            state.record(event)
            state.outcome(event.event_id, int(event.event_id[1:]) % 2, event.event_time + timedelta(hours=1))
        expected = [state.values(question) for question in asked(40)]
        state.clear()
    with closing(Activity(world, online, limits=HOT)) as state:
        assert [state.values(question) for question in asked(40)] == expected


def test_threads_that_record_at_once_share_transactions_and_lose_nothing(online: Settings, world: UseCase) -> None:
    history = events(200)
    with closing(Activity(world, online, limits=HOT)) as state:
        threads = [
            threading.Thread(target=lambda part=part: [*map(state.record, history[part::8])]) for part in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert state.record_many(history) == [False] * len(history)


def test_what_is_dropped_leaves_no_buckets_and_no_texts(settings: Settings) -> None:
    world = use_case("dropped").model_copy(update={"aggregates": AGGREGATES[:-1]})  # nothing waits for outcomes
    with closing(Activity(world, settings, limits=HOT)) as state:
        for day in range(6):
            for event in events(120, seed=day):
                moved = timedelta(days=3 * day)
                state.record(
                    ScoringRequest(f"{day}{event.event_id}", event.event_time + moved, event.entities, event.fields)
                )
            state.values(ScoringRequest("A", START + timedelta(days=3 * day + 1), {"card": "C1"}, {"amount": 1.0}))
    kept = int((START + timedelta(days=11)).timestamp() * 1e6)
    with closing(sqlite3.connect(settings.online_db)) as database:
        counts = database.execute(
            "SELECT (SELECT count(*) FROM activity_text WHERE time < ?),"
            " (SELECT count(*) FROM activity_bucket WHERE (number + 1) << shift <= ?),"
            " (SELECT count(*) FROM activity_bucket) > 0",
            (kept, kept),
        ).fetchone()
    assert counts == (0, 0, 1)


@pytest.mark.parametrize("limits", [HOT, COLD])
def test_an_event_that_comes_again_after_its_name_expired_counts_once(
    redis_url: str, settings: Settings, limits: Limits
) -> None:
    world = use_case(f"again_{random.SystemRandom().randrange(10**9)}")
    online = settings.model_copy(update={"redis_url": redis_url})
    history, told = events(120), events(120, seed=7)
    again = [
        ScoringRequest(old.event_id, old.event_time, new.entities, new.fields)
        for old, new in zip(history, told, strict=True)
    ]
    with closing(Activity(world, online, limits=limits)) as state, closing(RedisServer(redis_url)) as server:
        state.record_many(history)
        state.values(asked(1)[0])
        server.forget(f"risk:{world.name}:activity:*:event:*")
        assert all(state.record_many(again))
        found = [state.values(question) for question in asked(60)]
        state.clear()
        state.record_many(again)
        assert found == [state.values(question) for question in asked(60)]
        state.clear()


def test_sums_that_cannot_be_kept_are_added_up_again(
    online: Settings, world: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_activity, "KEEP", "INSERT INTO a_full_disk VALUES (1)")
    monkeypatch.setitem(redis_activity._SCRIPTS, redis_scripts.KEEP, "return redis.error_reply('OOM')")
    with hot_and_cold(online, world) as (hot, cold):
        for state in (hot, cold):
            state.record_many(events(300))
        for question in asked(20):
            assert hot.values(question) == cold.values(question)
