"""The activity state in SQLite: see `features.stores.activity`. One transaction lets an event in, whole or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from features.stores.activity import Entry, Rewrite, Row, Span, clock
from features.stores.connections import SqliteFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS activity_event (
    space TEXT, event_id TEXT, time INTEGER, payload TEXT, PRIMARY KEY (space, event_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS activity_event_time ON activity_event (space, time);
CREATE TABLE IF NOT EXISTS activity_member (
    stream TEXT, key TEXT, time INTEGER, event_id TEXT, numbers BLOB, texts TEXT,
    PRIMARY KEY (stream, key, time, event_id)
) WITHOUT ROWID;
"""
_SELECT = """
SELECT time, event_id, numbers, texts FROM activity_member
WHERE stream = ? AND key = ? AND time > ? AND time <= ? ORDER BY time
"""
_PAYLOAD = "SELECT payload FROM activity_event WHERE space = ? AND event_id = ?"
_EXPIRE = "DELETE FROM activity_member WHERE stream = ? AND key = ? AND time < ?"
_UPDATE = "UPDATE activity_member SET numbers = ?, texts = ? WHERE stream = ? AND key = ? AND time = ? AND event_id = ?"
_EVENT = "INSERT OR IGNORE INTO activity_event VALUES (?, ?, ?, ?)"
_MEMBER = "INSERT OR REPLACE INTO activity_member VALUES (?, ?, ?, ?, ?, ?)"


class SqliteEvents:
    """Events in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, schema=_SCHEMA)

    def read(self, spans: Sequence[Span]) -> list[list[Row]]:
        """See `EventStore`."""
        return [self._file.rows(_SELECT, (span.stream, span.key, span.after, span.until)) for span in spans]

    def add(self, space: str, entries: Sequence[Entry], *, keep: int, bulk: bool = False) -> list[bool]:
        """See `EventStore`."""
        with self._file.writing() as connection:
            rows = [(space, entry.event_id, entry.time, entry.payload) for entry in entries]
            new = [connection.execute(_EVENT, row).rowcount > 0 for row in rows]
            fresh = [entry for entry, first in zip(entries, new, strict=True) if first]
            members = sorted(row for entry in fresh for row in _rows(entry))  # in the order of the file's pages
            connection.executemany(_MEMBER, members)
            if not bulk:
                old = [(*place, clock(entry) - keep) for entry in fresh for place in _places(entry)]
                connection.executemany(_EXPIRE, old)
                forgotten = [(space, clock(entry) - keep) for entry in fresh]
                connection.executemany("DELETE FROM activity_event WHERE space = ? AND time < ?", forgotten)
        return new

    def payloads(self, space: str, event_ids: Sequence[str]) -> list[str | None]:
        """See `EventStore`."""
        found = [self._file.rows(_PAYLOAD, (space, event_id)) for event_id in event_ids]
        return [rows[0][0] if rows else None for rows in found]

    def change(self, space: str, event_id: str, rewrite: Rewrite) -> bool:
        """See `EventStore`."""
        with self._file.writing() as connection:
            found = connection.execute(_PAYLOAD, (space, event_id)).fetchone()
            changed = rewrite(found[0]) if found else None
            if changed:
                update = "UPDATE activity_event SET payload = ? WHERE space = ? AND event_id = ?"
                connection.execute(update, (changed[1].payload, space, event_id))
                moved = [(numbers, texts, *place) for *place, numbers, texts in _rows(changed[1])]
                connection.executemany(_UPDATE, moved)
        return bool(found)

    def prune(self, space: str, before: int) -> None:
        """See `EventStore`."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM activity_event WHERE space = ? AND time < ?", (space, before))
            connection.execute(
                "DELETE FROM activity_member WHERE stream GLOB ? AND time < ?", (_glob(f"{space}:"), before)
            )

    def drop(self, prefix: str) -> None:
        """See `EventStore`."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM activity_event WHERE space GLOB ?", (_glob(prefix),))
            connection.execute("DELETE FROM activity_member WHERE stream GLOB ?", (_glob(prefix),))

    def close(self) -> None:
        """See `EventStore`."""
        self._file.close()


def _rows(entry: Entry) -> list[tuple[str, str, int, str, bytes, str]]:
    return [(m.stream, m.key, entry.time, entry.event_id, m.numbers, m.texts) for m in entry.members]


def _places(entry: Entry) -> list[tuple[str, str]]:
    return [(member.stream, member.key) for member in entry.members]


def _glob(prefix: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in prefix) + "*"
