"""The tables of the decision log and how to open them: SQLite with one writing process, or PostgreSQL."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    event,
)

from configs.errors import ServingError
from configs.settings import Settings

metadata = MetaData()


class UtcTime(TypeDecorator[datetime]):
    """Aware times in UTC; SQLite, which has no zones, holds them as text without one."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC on the way in."""
        if value is None:
            return None
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC on the way out."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", String, primary_key=True),
    Column("use_case", String, nullable=False),
    Column("caller", String, nullable=False),
    Column("idempotency_key", String, nullable=False),
    Column("request_digest", String, nullable=False),
    Column("event_id", String, nullable=False),
    Column("event_time", UtcTime, nullable=False),
    Column("decided_at", UtcTime, nullable=False),
    Column("release_version", Integer, nullable=False),
    Column("release_digest", String, nullable=False),
    Column("policy_hash", String, nullable=False),
    Column("request", JSON, nullable=False),
    Column("features", JSON, nullable=False),
    Column("feature_times", JSON, nullable=False),
    Column("margin", Float, nullable=False),
    Column("probability", Float, nullable=False),
    Column("points", Integer, nullable=False),
    Column("grade", Integer, nullable=False),
    Column("decision", String, nullable=False),
    Column("rule", String),
    Column("reasons", JSON, nullable=False),
    Column("fallback", String),
    Column("latency_ms", Float, nullable=False),
    UniqueConstraint("use_case", "caller", "idempotency_key", name="decisions_idempotency"),
    Index("decisions_by_time", "use_case", "event_time"),
    Index("decisions_by_arrival", "use_case", "decided_at"),
    Index("decisions_by_event", "use_case", "event_id"),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("use_case", String, primary_key=True),
    Column("event_id", String, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("label", Integer, nullable=False),
    Column("known_at", UtcTime, nullable=False),
    Column("recorded_at", UtcTime, nullable=False),
)


def open_engine(settings: Settings, *, readonly: bool) -> Engine:
    """An engine for the log. Values never appear in its errors. A missing SQLite file can't be read: `ServingError`."""
    url = settings.database("decisions")
    options: dict[str, Any] = {"hide_parameters": True, "json_serializer": _compact}
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, **options)
    path = Path(url.removeprefix("sqlite:///"))
    if readonly and not path.exists():
        raise ServingError(
            f"no decision log {path}", expected="decisions of a running service", fix="risk serve, then risk decide"
        )
    if readonly:
        url = f"sqlite:///file:{path}?mode=ro&uri=true"
    # one connection, so that nothing but the writer ever checkpoints: old SQLite can corrupt a WAL that two work on
    options |= {"pool_size": 1, "max_overflow": 0}
    engine = create_engine(url, connect_args={"timeout": 10, "check_same_thread": False}, **options)
    if not readonly:
        event.listen(engine, "connect", _durable)
    return engine


def claim(settings: Settings) -> int | None:
    """Make this the one process that writes the SQLite log; gives the lock's file descriptor, None for a server.

    Raises `ServingError` when the log has a writer already.
    """
    url = settings.database("decisions")
    if not url.startswith("sqlite"):
        return None
    path = Path(url.removeprefix("sqlite:///") + ".lock")
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise ServingError(
            f"another process writes the decision log of {settings.home}",
            expected="one scoring service for a home folder with SQLite",
            fix="stop the other service, or use another RISK_HOME, or PostgreSQL (RISK_DATABASE_URL)",
        ) from None
    return lock


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _durable(connection: Any, _record: object) -> None:
    """Readers never block the writer (WAL), and a commit is on the disk when it returns (FULL)."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
