"""What is left when processes are killed while they load history and take in events: `python -m benchmarks.kills`.

A process that has everything imported forks children. Each child does the whole work: it loads history, records
events and outcomes as they come, and loads again; some time on its way it gets a SIGKILL, and the next child begins
anew over what the dead one left. In the end the stores must hold what one undisturbed run leaves: nothing lost, nothing
twice.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import select
import shutil
import signal
import sqlite3
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.bars import line, publish
from benchmarks.worlds import payments
from configs.settings import Settings
from configs.use_case import UseCase
from features.materialize import materialize
from features.online import OnlineFeatures
from features.sources import connect, text
from features.state.activity import Activity
from features.state.buckets import Limits
from features.stores import connections
from features.traffic import history

TURN = 400
"""Rows of one transaction here: smaller than in earnest, so that more of them can be hit."""

_LATE = ("features.intake.loading", "features.intake.quality_page", "jinja2")
"""Imported by the work itself: a child that is busy importing has nothing to lose."""

DAYS = 20
HOT = "hot keys"
_BUSY = "c0"
_FIRST = datetime(2025, 1, 1, tzinfo=UTC)

LIMITS = Limits(hot=20, cut=4, fill=8)
"""The busy card is a hot key while events come in, so that its buckets are hit too."""

State = dict[str, list[tuple[Any, ...]]]


def world(name: str) -> UseCase:
    """A use case with a view, windows over its own events and their outcomes, and windows over another table."""
    return payments(
        name,
        tables={
            "payments": {"path": "payments.parquet", "time": "paid_at"},
            "logins": {"path": "logins.parquet", "time": "at"},
            "profiles": {"path": "profiles.parquet", "time": "valid_from", "created": "created_at"},
        },
        label={"column": "is_fraud", "maturity": "2d", "known": "known_at"},
        aggregates=[
            {"entity": "card", "column": "amount", "functions": ["count", "sum", "max"], "windows": ["1d", "7d"]},
            {"entity": "device", "column": "card", "functions": ["distinct"], "windows": ["7d"]},
            {"entity": "card", "column": "is_fraud", "functions": ["sum"], "windows": ["7d"], "delay": "3d"},
            {"entity": "card", "table": "logins", "functions": ["count"], "windows": ["3d"], "name": "card_logins"},
        ],
        views={"profile": {"table": "profiles", "entity": "card", "ttl": "30d", "columns": {"points": {}}}},
    )


def write_tables(settings: Settings, *, rows: int) -> None:
    """Payments of 300 cards, one of which is busy; profiles that are corrected later; logins, some of them twice."""
    settings.data.mkdir(parents=True, exist_ok=True)
    seconds = DAYS * 86_400 / rows
    day = "INTERVAL 1 SECOND * CAST(floor(i * {0}) AS BIGINT)"
    at = f"TIMESTAMPTZ '2025-01-01 00:00:00+00' + {day}"
    card = "'c' || CASE WHEN hash(i) % 5 = 0 THEN 0 ELSE hash(i + 7) % 300 END"
    queries = {
        "payments": f"SELECT 'p' || i AS payment_id, {at.format(seconds)} AS paid_at, {card} AS card_id, "
        "'d' || hash(i + 3) % 90 AS device_id, CAST(hash(i + 1) % 10000 AS DOUBLE) / 100 AS amount, "
        f"CAST(hash(i + 2) % 10 = 0 AS INTEGER) AS is_fraud, "
        f"{at.format(seconds)} + INTERVAL 1 HOUR * CAST(hash(i + 4) % 96 AS BIGINT) AS known_at",
        "logins": f"SELECT {at.format(seconds * 2)} AS at, {card} AS card_id "
        f"FROM (SELECT i - i % 7 % 2 AS i FROM rows) AS rows WHERE i < {rows // 2}",
        "profiles": f"SELECT {card} AS card_id, {at.format(seconds)} AS valid_from, "
        f"{at.format(seconds)} + INTERVAL 1 HOUR * CAST(hash(i + 5) % 48 AS BIGINT) AS created_at, "
        "CAST(hash(i + 6) % 100 AS DOUBLE) AS points",
    }
    with closing(connect(settings)) as connection:
        connection.execute(f"CREATE TABLE rows AS SELECT range AS i FROM range({rows})")
        for name, query in queries.items():
            full = query if " FROM (" in query else f"{query} FROM rows"
            connection.execute(f"COPY ({full}) TO {text(str(settings.data / f'{name}.parquet'))} (FORMAT parquet)")


def work(use_case: UseCase, settings: Settings) -> None:
    """Load half of history, take in a quarter as it comes, load the rest. All of it may have been done in part."""
    middle, late = (_FIRST + timedelta(days=DAYS * share) for share in (0.5, 0.75))
    materialize(use_case, settings, until=middle)
    with closing(Activity(use_case, settings, limits=LIMITS)) as activity:
        for request, outcome in history(use_case, settings, start=middle, end=late):
            if request.entities["card"] == _BUSY:
                activity.values(request)  # makes the card hot, and splits and sums up its buckets
            activity.record(request)
            if outcome.label is not None:
                activity.outcome(request.event_id, outcome.label, outcome.known)
    materialize(use_case, settings, until=_FIRST + timedelta(days=DAYS + 1))


def state(use_case: UseCase, settings: Settings) -> State:
    """All that the online store holds of the use case, byte for byte, and every value it answers at three times.

    Buckets have stamps that are never used again, so they are seen in the values only.
    """
    found = _redis_state(use_case, settings.redis_url) if settings.redis_url else _sqlite_state(settings)
    with closing(OnlineFeatures(use_case, settings)) as online:
        for days in (DAYS - 3, DAYS - 1, DAYS):
            moment = _FIRST + timedelta(days=days)
            requests = [
                request for request, _ in history(use_case, settings, start=moment - timedelta(hours=2), end=moment)
            ]
            found[f"values at day {days}"] = [
                (request.event_id, *online.read(request).values.items()) for request in requests
            ]
    return found


def _sqlite_state(settings: Settings) -> State:
    with closing(sqlite3.connect(settings.online_db)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        names = [name for name in tables if name not in {"activity_bucket", "activity_content"}]
        found = {name: sorted(database.execute(f"SELECT * FROM {name}")) for name in names}
        found[HOT] = list(database.execute("SELECT DISTINCT key FROM activity_bucket WHERE key = ?", (_BUSY,)))
        return found


def _redis_state(use_case: UseCase, url: str) -> State:
    import redis

    readers: Mapping[bytes, Callable[[Any, bytes], Any]] = {
        b"string": lambda client, key: client.get(key),
        b"hash": lambda client, key: sorted(client.hgetall(key).items()),
        b"zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
        b"set": lambda client, key: sorted(client.smembers(key)),
        b"list": lambda client, key: client.lrange(key, 0, -1),
    }
    with redis.Redis.from_url(url) as client:
        found = sorted(client.scan_iter(match=f"risk:{use_case.name}:*", count=10_000))
        hot = [(_BUSY,)] if any(key.endswith(f"#tops:{_BUSY}".encode()) for key in found) else []
        keys = [key for key in found if not any(f"#{kind}:".encode() in key for kind in ("tops", "tree", "sums"))]
        return {HOT: hot, "keys": [(key, repr(readers[client.type(key)](client, key))) for key in keys]}


def in_child(task: Callable[[], None], *, seconds: float | None = None) -> bool:
    """Do the task in a forked child; after so many seconds it gets a SIGKILL. Whether that was so.

    Raises `RuntimeError` if the child fails by itself.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            task()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    descriptor = os.pidfd_open(child)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(None if seconds is None else seconds * 1000):
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(descriptor)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the work failed by itself: see above")
    return os.WIFSIGNALED(status)


def survived(folder: Path, *, kills: int, rows: int, redis_url: str | None = None, seed: int = 1) -> tuple[int, int]:
    """Kill that often; rounds of a new store each. Returns the number of kills and of rounds.

    Every second round finds the tables checked already, so that its kills hit the stores. Raises `RuntimeError` at the
    first round whose state differs from that of an undisturbed run.
    """
    connections.TURN = TURN
    for module in (*_LATE, *(["redis"] if redis_url else [])):
        import_module(module)
    use_case = world(f"kills{uuid.uuid4().hex[:8]}")
    base = Settings(home=folder / "whole", data=folder / "data", redis_url=redis_url, profile="test")
    in_child(lambda: write_tables(base, rows=rows))
    try:
        return _rounds(use_case, base, folder, kills=kills, rng=random.Random(seed))
    finally:
        in_child(lambda: _forget(use_case, base))


def _rounds(use_case: UseCase, base: Settings, folder: Path, *, kills: int, rng: random.Random) -> tuple[int, int]:
    cold = _seconds(lambda: in_child(lambda: work(use_case, base)))
    expected = _state_and_forget(use_case, base, folder)
    if expected[HOT] != [(_BUSY,)]:
        raise RuntimeError(f"the key {_BUSY} should be hot; found {expected[HOT]}")
    warm = _seconds(lambda: in_child(lambda: work(use_case, base)))
    _compare(expected, _state_and_forget(use_case, base, folder), rounds=0)
    killed = rounds = 0
    longest = [cold, warm]
    while killed < kills:
        settings, checked = base.model_copy(update={"home": folder / f"round{rounds}"}), rounds % 2
        rounds += 1
        if checked:
            shutil.copytree(base.home / "loads", settings.home / "loads")
        before = killed
        while killed < kills and in_child(lambda: work(use_case, settings), seconds=rng.uniform(0, longest[checked])):  # noqa: B023
            killed += 1
        again = _seconds(lambda: in_child(lambda: work(use_case, settings)))  # noqa: B023
        if killed == before:  # the machine has become faster: the times of kills follow
            longest[checked] = min(longest[checked], 2 * again)
        _compare(expected, _state_and_forget(use_case, settings, folder), rounds=rounds)
    return killed, rounds


def _seconds(task: Callable[[], object]) -> float:
    began = time.perf_counter()
    task()
    return time.perf_counter() - began


def _state_and_forget(use_case: UseCase, settings: Settings, folder: Path) -> State:
    """The state, read in a child: this process never opens a store."""
    path = folder / "state"

    def read() -> None:
        path.write_text(repr(state(use_case, settings)), encoding="utf-8")
        _forget(use_case, settings)

    in_child(read)
    found: State = ast.literal_eval(path.read_text(encoding="utf-8"))
    return found


def _forget(use_case: UseCase, settings: Settings) -> None:
    if settings.redis_url:
        connections.RedisServer(settings.redis_url).forget(f"risk:{use_case.name}:*")
    for file in settings.home.glob("online.db*"):
        file.unlink()


def _compare(expected: State, found: State, *, rounds: int) -> None:
    for name in expected.keys() | found.keys():
        before, after = expected.get(name, []), found.get(name, [])
        if before != after:
            other = [row for row in before if row not in after][:3], [row for row in after if row not in before][:3]
            raise RuntimeError(f"round {rounds}: {name} has {len(after)} rows instead of {len(before)}: {other}")


def main() -> None:
    """Kill on both stores and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="on each store")
    parser.add_argument("--rows", type=int, default=4000, help="payments of the made world")
    parser.add_argument("--redis", default=os.environ.get("RISK_REDIS_URL"), help="address; none: SQLite only")
    arguments = parser.parse_args()
    total, notes = 0, []
    for store, url in {"SQLite": None, "Redis": arguments.redis}.items():
        if store == "Redis" and not url:
            continue
        with tempfile.TemporaryDirectory() as folder:
            killed, rounds = survived(Path(folder), kills=arguments.kills, rows=arguments.rows, redis_url=url)
        total += killed
        notes.append(f"{killed} on {store} in {rounds} rounds")
    publish(
        "kills",
        [line("kills without loss", total, unit="kills", bar=">= 200")],
        title=f"Killed while loading and recording, then run again: {', '.join(notes)}",
    )


if __name__ == "__main__":
    main()
