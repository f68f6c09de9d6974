"""Who searches, and who tries what: locks that the operating system or PostgreSQL lifts when their holder dies."""

from __future__ import annotations

import fcntl
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from configs.errors import TrainingError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_OWNER = -1
"""Stands for the search as a whole where trials have their numbers."""
_ALIVE = "-ctcp_keepalives_idle=10 -ctcp_keepalives_interval=5 -ctcp_keepalives_count=3"
"""A machine that vanishes loses its locks after 25 seconds; a process that is killed loses them at once."""


class Claims(Protocol):
    """Numbers of trials that a process works on."""

    shared: bool

    def take(self, number: int) -> bool:
        """Whether the trial is this process's own now; False while another one has it."""
        ...

    def release(self, number: int) -> None:
        """Give a trial back, after its result was recorded or because the time is up."""
        ...


class Alone:
    """Claims of a search that no other process takes part in."""

    shared = False

    def take(self, number: int) -> bool:  # noqa: ARG002  # the protocol's signature
        """Always."""
        return True

    def release(self, number: int) -> None:
        """Nothing to give back."""


class Advisory:
    """Claims as advisory locks of one PostgreSQL session, which end with it; several threads may ask."""

    shared = True

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._key, self._lock = connection, _key(name), threading.Lock()

    def take(self, number: int) -> bool:
        """Whether the trial is this session's. Not for a number that the session has already."""
        return self._ask("pg_try_advisory_lock", number)

    def release(self, number: int) -> None:
        """Unlock it."""
        self._ask("pg_advisory_unlock", number)

    def _ask(self, function: str, number: int) -> bool:
        from sqlalchemy import text

        with self._lock:
            found = self._connection.execute(
                text(f"SELECT {function}(:key, :number)"), {"key": self._key, "number": number}
            )
            return bool(found.scalar_one())


@contextmanager
def advisory(url: str, name: str, *, owner: bool) -> Iterator[Advisory]:
    """A session's claims on the search `name`. Raises `TrainingError` when `owner`, and another process owns it."""
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            claims = Advisory(connection, name)
            if owner and not claims.take(_OWNER):
                raise _owned()
            yield claims
    finally:
        engine.dispose()


@contextmanager
def only_process(path: Path) -> Iterator[None]:
    """Hold the lock file `path`. Raises `TrainingError` when another process holds it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _owned() from None
        yield
        path.unlink(missing_ok=True)


def create_schema(url: str, schema: str) -> None:
    """Make a schema of PostgreSQL if it isn't there; processes may ask at once."""
    from sqlalchemy import text

    engine = _engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key, :number)"), {"key": _key(schema), "number": _OWNER})
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    from sqlalchemy import NullPool, create_engine

    return create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"options": _ALIVE})


def _key(name: str) -> int:
    """A 32-bit integer, signed as PostgreSQL's are."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big", signed=True)


def _owned() -> TrainingError:
    return TrainingError(
        "another process is searching with the same data, configuration and seed",
        expected="one search of a kind at a time",
        fix="wait for it; to search with several processes, start one with workers",
    )
