"""The audit chain: rows that are only ever appended, each holding the hash of the one before it.

A row's hash is SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8) of its other columns. Changing,
removing or inserting a row therefore breaks the chain at a row that `verify` names. What a chain can't see by itself,
rows cut off at its end, shows against the hashes that signed releases carry (`verify(anchors=...)`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from configs.errors import GovernanceError
from configs.settings import Settings

GENESIS = "0" * 64
"""The previous hash of the first row."""

_LOCK = 7_236_415_001  # any constant: PostgreSQL's advisory lock that serializes writers of the chain

AUDIT = sa.Table(
    "audit_chain",
    sa.MetaData(),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

# The database itself refuses changes too; whoever may drop the triggers is still caught by the chain.
_SQLITE_GUARDS = tuple(
    f"CREATE TRIGGER audit_chain_no_{change.lower()} BEFORE {change} ON audit_chain "
    "BEGIN SELECT RAISE(ABORT, 'audit_chain is append-only'); END"
    for change in ("UPDATE", "DELETE")
)
_POSTGRESQL_GUARDS = (
    "CREATE OR REPLACE FUNCTION audit_chain_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'audit_chain is append-only'; END $$",
    "CREATE TRIGGER audit_chain_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_chain_append_only()",
)


@dataclass(frozen=True)
class AuditRow:
    """Who (`actor`) did what (`action`) to what (`subject`, such as `credit/3`), and when (`at`, RFC 3339 in UTC)."""

    seq: int
    at: str
    actor: str
    action: str
    subject: str
    detail: str
    previous: str
    hash: str

    @property
    def facts(self) -> dict[str, Any]:
        """The detail as data."""
        return dict(json.loads(self.detail))

    def as_dict(self) -> dict[str, Any]:
        """The row with its detail as data, for `--json` output."""
        return asdict(self) | {"detail": self.facts}


@dataclass(frozen=True)
class BrokenChain:
    """The first row at which the chain doesn't hold, and why."""

    seq: int
    reason: str


class AuditLog:
    """The chain in the governance database; safe with several appending processes."""

    def __init__(self, settings: Settings) -> None:
        self._engine = governance_engine(settings)

    def append(
        self, actor: str, action: str, subject: str, detail: Mapping[str, Any], *, within: sa.Connection | None = None
    ) -> AuditRow:
        """Add a row, in a transaction of its own or as part of the caller's (`within`, from `writing`)."""
        if within is not None:
            return _append(within, actor, action, subject, detail)
        with self.writing() as connection:
            return _append(connection, actor, action, subject, detail)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is alone in writing: what is done in it is committed together or not at all."""
        with _reached(), self._engine.begin() as connection:
            _lock(connection)
            yield connection

    def rows(self, *, subject: str | None = None, within: sa.Connection | None = None) -> list[AuditRow]:
        """All rows in order, or those of one subject and everything below `subject/`."""
        query = sa.select(AUDIT).order_by(AUDIT.c.seq)
        if subject is not None:
            below = AUDIT.c.subject.startswith(f"{subject}/", autoescape=True)
            query = query.where(sa.or_(AUDIT.c.subject == subject, below))
        with _reached(), nullcontext(within) if within is not None else self._engine.connect() as connection:
            return [AuditRow(**row._asdict()) for row in connection.execute(query)]

    def verify(self, *, anchors: Mapping[int, str] | None = None) -> BrokenChain | None:
        """Name the first row that was changed, removed or inserted. `anchors`: hashes by seq, known from elsewhere."""
        rows = self.rows()
        return broken(rows) or _missing_anchor({row.seq: row.hash for row in rows}, anchors or {})

    def require_intact(self, *, anchors: Mapping[int, str] | None = None) -> None:
        """Raise `GovernanceError` at the first row where the chain is broken."""
        found = self.verify(anchors=anchors)
        if found:
            raise GovernanceError(
                f"the audit chain is broken at row {found.seq}: {found.reason}",
                expected="an unbroken chain, because approvals rest on it",
                fix="find out who changed it, and restore the governance database from a backup",
            )


def broken(rows: list[AuditRow]) -> BrokenChain | None:
    """The first row whose place, predecessor or content is not what its hash was made from."""
    previous = GENESIS
    for expected, row in enumerate(rows, start=1):
        if row.seq != expected:
            return BrokenChain(expected, f"row {expected} is missing; the next one found is {row.seq}")
        if row.previous != previous:
            return BrokenChain(row.seq, "its previous hash is not the hash of the row before it")
        if row.hash != _digest({key: value for key, value in asdict(row).items() if key != "hash"}):
            return BrokenChain(row.seq, "its content is not what its hash was made from")
        previous = row.hash
    return None


def governance_engine(settings: Settings) -> sa.Engine:
    """Open the governance database. Connections aren't pooled: writes are rare, and nothing is left open."""
    engine = sa.create_engine(settings.database("governance"), poolclass=sa.NullPool)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    with _reached(), engine.begin() as connection:
        if not sa.inspect(connection).has_table(AUDIT.name):
            _lock(connection)
            _create(connection)
    return engine


@contextmanager
def _reached() -> Iterator[None]:
    """Turn what the database refuses, such as a write to a full disk, into one `GovernanceError`."""
    try:
        yield
    except sa.exc.OperationalError as error:
        raise GovernanceError(
            f"the governance database can't be used: {str(error.orig).splitlines()[0]}",
            expected="a database that can be reached, with space on its disk",
            fix="free space on the disk of RISK_HOME, or check RISK_DATABASE_URL; then do it again",
        ) from error


def _create(connection: sa.Connection) -> None:
    """Make the table and its guards, unless another process did while this one waited for the lock."""
    if sa.inspect(connection).has_table(AUDIT.name):
        return
    AUDIT.create(connection)
    guards = _POSTGRESQL_GUARDS if connection.dialect.name == "postgresql" else _SQLITE_GUARDS
    for statement in guards:
        connection.exec_driver_sql(statement)


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Transactions are begun by hand, because sqlite3's own start too late to keep two writers apart."""
    connection.isolation_level = None
    connection.execute("PRAGMA busy_timeout = 30000")
    connection.execute("PRAGMA synchronous = FULL")


def _lock(connection: sa.Connection) -> None:
    """Wait until no other transaction writes; SQLite's `BEGIN IMMEDIATE` already has."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def _append(connection: sa.Connection, actor: str, action: str, subject: str, detail: Mapping[str, Any]) -> AuditRow:
    last = connection.execute(sa.select(AUDIT.c.seq, AUDIT.c.hash).order_by(AUDIT.c.seq.desc()).limit(1)).first()
    content: dict[str, Any] = {
        "seq": last.seq + 1 if last else 1,
        "at": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": canonical(dict(detail)),
        "previous": last.hash if last else GENESIS,
    }
    row = AuditRow(**content, hash=_digest(content))
    connection.execute(sa.insert(AUDIT).values(**asdict(row)))
    return row


def _missing_anchor(hashes: Mapping[int, str], anchors: Mapping[int, str]) -> BrokenChain | None:
    for seq in sorted(anchors):
        if hashes.get(seq) != anchors[seq]:
            return BrokenChain(
                seq, "a signed release names another hash for this row" if seq in hashes else "the row was cut off"
            )
    return None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def canonical(data: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, no NaN."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
