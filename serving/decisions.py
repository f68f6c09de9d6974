"""The decision log: what was decided, on which facts, by which release, and what turned out."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import RowMapping, Select, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from configs.errors import ServingError
from configs.settings import Settings
from features.request import ScoringRequest, rfc3339
from serving import tables
from serving.outcomes import KnownOutcome, OutcomeReport, sort_out

if TYPE_CHECKING:
    from serving.frames import DecisionFrame


class ConflictError(ServingError):
    """An idempotency key that was used before with another request."""


class LogError(ServingError):
    """The log can't be read or written: nothing may be acknowledged."""


@dataclass(frozen=True)
class Decision:
    """One row of the log. Times are UTC, `margin` is in log-odds, `latency_ms` runs until the commit starts.

    `fallback` says why the features could not be trusted (then reasons are withheld), None when they could.
    """

    decision_id: str
    use_case: str
    caller: str
    idempotency_key: str
    request_digest: str
    event_id: str
    event_time: datetime
    decided_at: datetime
    release_version: int
    release_digest: str
    policy_hash: str
    request: dict[str, Any]
    features: dict[str, Any]
    feature_times: dict[str, str]
    margin: float
    probability: float
    points: int
    grade: int
    decision: str
    rule: str | None
    reasons: list[dict[str, Any]]
    fallback: str | None
    latency_ms: float

    def reply(self) -> dict[str, Any]:
        """The decision as the caller gets it, the same for every retry."""
        return {
            "decision_id": self.decision_id,
            "use_case": self.use_case,
            "event_id": self.event_id,
            "decided_at": rfc3339(self.decided_at),
            "release": {"version": self.release_version, "digest": self.release_digest},
            "probability": self.probability,
            "points": self.points,
            "grade": self.grade,
            "decision": self.decision,
            "reasons": self.reasons,
            "fallback": self.fallback,
            "latency_ms": self.latency_ms,
        }


_NAMES = tuple(field.name for field in fields(Decision))


def digest_of(request: ScoringRequest) -> str:
    """SHA-256 over the canonical JSON of a request: two requests with the same content have the same digest."""
    content = json.dumps(request.wire(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def new_decision_id() -> str:
    """32 hex digits that sort by time: 48 bits of milliseconds, then 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


class DecisionLog:
    """The log on SQLite (one writing process, WAL, every commit synchronous) or PostgreSQL.

    `readonly` opens an existing log without being able to change it. A context manager: it holds a lock.
    """

    def __init__(self, settings: Settings, *, readonly: bool = False) -> None:
        self._broken = False
        self._lock = None if readonly else tables.claim(settings)
        self._engine = tables.open_engine(settings, readonly=readonly)
        if not readonly:
            try:
                tables.metadata.create_all(self._engine)
            except SQLAlchemyError as error:
                self.close()
                raise _unavailable(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connections and the right to write."""
        self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def broken(self) -> bool:
        """Whether the disk failed a write. From then on nothing is acknowledged until the process starts again."""
        return self._broken

    def ping(self) -> None:
        """Raises `LogError` when the log can't be reached or is broken."""
        self._unbroken()
        self._one(select(tables.decisions.c.decision_id).limit(1))

    def find(
        self,
        use_case: str,
        key: str,
        *,
        caller: str,
        digest: str,
        again: Callable[[Mapping[str, Any]], str] | None = None,
    ) -> Decision | None:
        """The decision already made under an idempotency key; `ConflictError` when it was made for another request.

        `again` computes the digest of a logged request anew, where it may have changed since it was logged.
        """
        table = tables.decisions.c
        query = select(tables.decisions).where(
            table.use_case == use_case, table.caller == caller, table.idempotency_key == key
        )
        row = self._one(query)
        if row is None:
            return None
        if row["request_digest"] != digest and (again is None or again(row["request"]) != digest):
            raise ConflictError(
                "the idempotency key was used before with another request",
                expected="the same request, or a new key",
                fix="send a new event with a new event_id (or Idempotency-Key)",
            )
        return _decision(row)

    def append(self, decision: Decision) -> Decision:
        """Commit a decision; when it returns, the row is on the disk.

        If another writer was faster with the same key, its decision is given back (or `ConflictError` raised).
        """
        self._unbroken()
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(tables.decisions), {name: getattr(decision, name) for name in _NAMES})
        except IntegrityError as error:
            key, caller, digest = decision.idempotency_key, decision.caller, decision.request_digest
            earlier = self.find(decision.use_case, key, caller=caller, digest=digest)
            if earlier is None:
                raise _unavailable(error) from None
            return earlier
        except SQLAlchemyError as error:
            self._broken = _disk_failed(error)
            raise _unavailable(error) from None
        return decision

    def get(self, decision_id: str) -> Decision | None:
        """A decision by its id, or None."""
        row = self._one(select(tables.decisions).where(tables.decisions.c.decision_id == decision_id))
        return None if row is None else _decision(row)

    def recent(self, use_case: str, *, limit: int) -> list[Decision]:
        """The last decisions in the order in which they were made, the newest first."""
        table = tables.decisions.c
        query = select(tables.decisions).where(table.use_case == use_case)
        return [
            _decision(row)
            for row in self._all(query.order_by(table.decided_at.desc(), table.decision_id.desc()).limit(limit))
        ]

    def record_outcomes(self, use_case: str, turned_in: Sequence[KnownOutcome]) -> OutcomeReport:
        """Store outcomes of decided events in one transaction.

        The first of equal labels counts. Another label than the known one becomes a new revision and is reported. An
        outcome of an event that was never decided, or known before its event, is rejected.
        """
        self._unbroken()
        ids = list({outcome.event_id for outcome in turned_in})
        times = self._event_times(use_case, ids)
        latest = self._latest(use_case, ids)
        report = sort_out(turned_in, times=times, latest=latest)
        if report.stored:
            self._store(use_case, report.stored, latest)
        in_force = tuple(outcome for _, outcome in self._latest(use_case, ids).values())
        return replace(report, in_force=in_force)

    def outcomes(self, use_case: str, event_id: str) -> list[dict[str, Any]]:
        """Every revision of an event's outcome, the oldest first."""
        table = tables.outcomes
        query = select(table).where(table.c.use_case == use_case, table.c.event_id == event_id)
        return [dict(row) for row in self._all(query.order_by(table.c.revision))]

    def frame(self, use_case: str, start: datetime, end: datetime, *, as_known: datetime) -> DecisionFrame:
        """Decisions on events from `start` (included) to `end` (excluded), with the labels known at `as_known`.

        Of several revisions of an outcome the last one known by then counts. Rows are ordered by event time and id.
        """
        from serving.frames import decision_frame

        row, known = tables.decisions.c, tables.outcomes.c
        period = (row.use_case == use_case, row.event_time >= start, row.event_time < end)
        rows = self._all(select(tables.decisions).where(*period).order_by(row.event_time, row.decision_id))
        events = select(row.event_id).where(*period)
        labels = self._all(
            select(tables.outcomes)
            .where(known.use_case == use_case, known.known_at <= as_known, known.event_id.in_(events))
            .order_by(known.revision)
        )
        return decision_frame([dict(row) for row in rows], {label["event_id"]: dict(label) for label in labels})

    def _event_times(self, use_case: str, ids: Sequence[str]) -> dict[str, datetime]:
        table = tables.decisions.c
        query = select(table.event_id, table.event_time).where(table.use_case == use_case, table.event_id.in_(ids))
        return {row["event_id"]: row["event_time"] for row in self._all(query)}

    def _latest(self, use_case: str, ids: Sequence[str]) -> dict[str, tuple[int, KnownOutcome]]:
        table = tables.outcomes.c
        query = select(tables.outcomes).where(table.use_case == use_case, table.event_id.in_(ids))
        rows = self._all(query.order_by(table.revision))
        return {
            row["event_id"]: (row["revision"], KnownOutcome(row["event_id"], row["label"], row["known_at"]))
            for row in rows
        }

    def _store(
        self, use_case: str, stored: Sequence[KnownOutcome], latest: Mapping[str, tuple[int, KnownOutcome]]
    ) -> None:
        revisions = {event_id: revision for event_id, (revision, _) in latest.items()}
        rows = []
        for outcome in stored:
            revisions[outcome.event_id] = revision = revisions.get(outcome.event_id, 0) + 1
            extra = {"use_case": use_case, "revision": revision, "recorded_at": datetime.now(UTC)}
            rows.append(asdict(outcome) | extra)
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(tables.outcomes), rows)
        except SQLAlchemyError as error:
            self._broken = _disk_failed(error)
            raise _unavailable(error) from None

    def _unbroken(self) -> None:
        if self._broken:
            raise LogError("the disk of the decision log failed a write", expected="a sound disk", fix="restart")

    def _one(self, query: Select[Any]) -> RowMapping | None:
        rows = self._all(query)
        return rows[0] if rows else None

    def _all(self, query: Select[Any]) -> Sequence[RowMapping]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).mappings().all()
        except SQLAlchemyError as error:
            raise _unavailable(error) from None


def _decision(row: RowMapping) -> Decision:
    return Decision(**{name: row[name] for name in _NAMES})


def _disk_failed(error: SQLAlchemyError) -> bool:
    """After a failed fsync the kernel may forget what it could not write, and a later one succeed without it."""
    return str(getattr(getattr(error, "orig", None), "sqlite_errorname", "")).startswith("SQLITE_IOERR")


def _unavailable(error: SQLAlchemyError) -> LogError:
    """The driver's message may hold values: only its kind is told."""
    kind = type(getattr(error, "orig", None) or error).__name__
    return LogError(f"the decision log failed ({kind})", expected="a writable, reachable database", fix="see /readyz")
