"""How the online stores reach SQLite and Redis: connections kept open, one writer at a time, vendor errors mapped."""

from __future__ import annotations

import fcntl
import hashlib
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from configs.errors import FeatureError

_BUSY = 30_000  # milliseconds
_PAGES = 10_000  # a checkpoint syncs to disk: rarely enough to stay out of the 99th percentile of a request
_ANSWER = 3  # seconds to connect or to answer: less than a scoring request may take
BATCH = 10_000  # rows that are read at once
TURN = 500  # rows of one transaction or pipeline: between two, other writers get their turn

T = TypeVar("T")


class SqliteFile:
    """One SQLite file in WAL mode: a reader that is never blocked, and a writer of which there is one at a time.

    The file lock beside the database serializes writers *and checkpoints* over processes: SQLite before 3.51.3 can
    corrupt a WAL when two connections do either at the same instant. "Database is locked" never reaches a caller.

    What was committed survives every death of a process. A power cut takes what came since the last checkpoint: up to
    `_PAGES` pages, of the activity state some 1,300 recorded events. A full load of history brings them back.
    """

    def __init__(self, path: Path, *, schema: str) -> None:
        self._path = path
        self._mutex, self._reading = threading.Lock(), threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._guard = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._failure(error) from error
        self._release = weakref.finalize(self, os.close, self._guard)  # Feast drops its store without closing it
        self._connections: list[sqlite3.Connection] = []
        try:
            with self._alone():
                self._writer = self._connect(
                    "journal_mode = WAL", "synchronous = NORMAL", f"wal_autocheckpoint = {_PAGES}"
                )
                self._writer.executescript(schema)
                self._reader = self._connect("query_only = ON")
        except FeatureError:
            self.close()
            raise

    def _connect(self, *pragmas: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connections.append(connection)
        for pragma in (f"busy_timeout = {_BUSY}", *pragmas):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query, from one consistent snapshot."""
        try:
            with self._reading:
                return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Several queries over one consistent snapshot; one thread at a time."""
        try:
            with self._reading:
                self._reader.execute("BEGIN")
                try:
                    yield self._reader
                finally:
                    self._reader.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failure(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed at the end, rolled back on any exception."""
        with self._alone(), self._transaction():
            yield self._writer

    @contextmanager
    def writing_unless_busy(self) -> Iterator[sqlite3.Connection | None]:
        """The same for what can as well be left: None, without waiting, while somebody else writes."""
        with self._alone(wait=False) as alone:
            if not alone:
                yield None
                return
            with self._transaction():
                yield self._writer

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:  # SQLite ends it by itself when the disk is full
                self._writer.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the connections (which may checkpoint)."""
        with self._alone():
            for connection in self._connections:
                connection.close()
        self._release()

    @contextmanager
    def _alone(self, *, wait: bool = True) -> Iterator[bool]:
        """Whether nobody else writes; holds until the end. False only if it must not wait."""
        if not self._mutex.acquire(blocking=wait):
            yield False
            return
        try:
            with self._locked(wait=wait) as locked:
                yield locked
        finally:
            self._mutex.release()

    @contextmanager
    def _locked(self, *, wait: bool) -> Iterator[bool]:
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        except sqlite3.Error as error:
            raise self._failure(error) from error
        finally:
            fcntl.flock(self._guard, fcntl.LOCK_UN)

    def _failure(self, error: sqlite3.Error | OSError) -> FeatureError:
        return FeatureError(
            f"the online store {self._path} can't be used: {error}",
            expected="a writable SQLite file with free disk space",
            fix="check the disk; if the file is damaged, delete it and run `risk features materialize`",
        )


class RedisServer:
    """A Redis server; `client` is the vendor's own."""

    def __init__(self, url: str) -> None:
        try:
            import redis
        except ImportError:
            raise FeatureError.missing_extra("redis", extra="redis") from None
        self._error, self._unknown, self.changed = redis.RedisError, redis.exceptions.NoScriptError, redis.WatchError
        try:
            self.client: Any = redis.Redis.from_url(
                url, socket_connect_timeout=_ANSWER, socket_timeout=_ANSWER, socket_keepalive=True
            )
        except ValueError as error:
            raise FeatureError(f"RISK_REDIS_URL is no Redis address: {error}", expected="redis://host:6379") from None

    @contextmanager
    def talking(self) -> Iterator[Any]:
        """The client, with the vendor's errors mapped."""
        try:
            yield self.client
        except self.changed:
            raise
        except self._error as error:
            raise FeatureError(
                f"the Redis online store doesn't answer: {error}",
                expected="a reachable Redis server with free memory",
                fix="start it, or correct RISK_REDIS_URL",
            ) from error

    def run(self, script: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """The answers of a Lua script to each (keys, arguments), in one round trip once the server knows the script."""
        with self.talking() as client:
            try:
                return self._evaluated(client, script, calls)
            except self._unknown:
                client.script_load(script)
                return self._evaluated(client, script, calls)

    def _evaluated(self, client: Any, script: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        name = _sha(script)
        if len(calls) == 1:
            ((keys, arguments),) = calls
            return [client.evalsha(name, len(keys), *keys, *arguments)]
        with client.pipeline(transaction=False) as pipeline:
            for keys, arguments in calls:
                pipeline.evalsha(name, len(keys), *keys, *arguments)
            answers: list[Any] = pipeline.execute(raise_on_error=False)  # or the error would name keys and values
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def forget(self, pattern: str) -> None:
        """Delete every key that matches, a batch at a time."""
        with self.talking() as client:
            for key in client.scan_iter(match=pattern, count=BATCH):
                client.unlink(key)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


@cache
def _sha(script: str) -> str:
    """By which Redis calls a script."""
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def literal(text: str) -> str:
    """Text that matches only itself in a Redis pattern."""
    return "".join(f"\\{sign}" if sign in "*?[]^\\" else sign for sign in text)


def batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """The rows in lists of at most `TURN`."""
    source = iter(rows)
    while batch := list(islice(source, TURN)):
        yield batch
