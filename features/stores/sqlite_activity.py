"""The activity state in SQLite: see `features.stores.activity`. One transaction lets an event in, whole or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from features.stores.activity import Ask, Entry, Found, Parts, Rewrite, clock
from features.stores.connections import SqliteFile
from features.stores.sqlite_tree import CONTENT, IS_HOT, KEEP, ROWS, SCHEMA, MemberRow, Reader, Writer, prune
from features.stores.tree import Memory, Node, Place

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
_MEMORY = 32 * 2**20  # bytes of what is in buckets
_PAYLOAD = "SELECT payload FROM activity_event WHERE space = ? AND event_id = ?"
_EXPIRE = "DELETE FROM activity_member WHERE stream = ? AND key = ? AND time < ? RETURNING time, event_id, texts"
_FORGET = "DELETE FROM activity_event WHERE space = ? AND time < ?"
_LEAVE = "DELETE FROM activity_member WHERE stream = ? AND key = ? AND time = ? AND event_id = ?"
_THERE = "SELECT 1 FROM activity_member WHERE stream = ? AND key = ? AND time = ? AND event_id = ?"
_EVENT = "INSERT OR IGNORE INTO activity_event VALUES (?, ?, ?, ?)"
_MEMBER = "INSERT OR REPLACE INTO activity_member VALUES (?, ?, ?, ?, ?, ?)"


class SqliteEvents:
    """Events in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, schema=_SCHEMA + SCHEMA)
        self._memory: Memory[Parts] = Memory(_MEMORY)

    def find(self, asked: Sequence[Ask], *, most: int, cut: int) -> list[Found]:
        """See `EventStore`."""
        with self._file.reading() as connection:
            return [self._find(connection, each, most=most, cut=cut) for each in asked]

    def _find(self, connection: sqlite3.Connection, asked: Ask, *, most: int, cut: int) -> Found:
        if connection.execute(IS_HOT, asked.place).fetchone() is None:
            found = connection.execute(ROWS, (*asked.place, asked.edges[0], asked.edges[-1], most))
            return Found(False, found.fetchall())
        row = connection.execute(_PAYLOAD, asked.event).fetchone() if asked.event else None
        return Reader(connection, self._memory).find(asked, cut=cut)._replace(payload=row[0] if row else None)

    def parts(self, nodes: Sequence[Node], *, most: int) -> list[Parts]:
        """See `EventStore`."""
        with self._file.reading() as connection:
            reader = Reader(connection, self._memory)
            now = [reader.now(node) for node in nodes]
            return [Parts(None) if node is None else reader.parts(node, most=most) for node in now]

    def contents(self, nodes: Sequence[Node]) -> list[bytes | None]:
        """See `EventStore`."""
        found = [self._file.rows(CONTENT, (*node.at, node.stamp)) for node in nodes]
        return [rows[0][0] if rows else None for rows in found]

    def keep(self, contents: Sequence[tuple[Node, bytes]]) -> None:
        """See `EventStore`."""
        with self._file.writing_unless_busy() as connection:
            if connection:
                connection.executemany(KEEP, [(content, *node.at, node.stamp) for node, content in contents])

    def split(self, nodes: Sequence[Node]) -> None:
        """See `EventStore`."""
        with self._file.writing() as connection:
            writer = Writer(connection)
            for node in nodes:
                writer.split(node)
        for node in nodes:
            self._memory.forget_above(node)

    def promote(self, place: Place) -> None:
        """See `EventStore`."""
        with self._file.writing() as connection:
            Writer(connection).promote(place)

    def add(self, space: str, entries: Sequence[Entry], *, keep: int, bulk: bool = False) -> list[bool]:
        """See `EventStore`."""
        with self._file.writing() as connection:
            rows = [(space, entry.event_id, entry.time, entry.payload) for entry in entries]
            new = [connection.execute(_EVENT, row).rowcount > 0 for row in rows]
            fresh = [entry for entry, first in zip(entries, new, strict=True) if first]
            members = sorted(row for entry in fresh for row in _rows(entry))  # in the order of the file's pages
            connection.executemany(_MEMBER, members)
            writer = Writer(connection)
            writer.moved(entered=members)
            if fresh and not bulk:
                _expire(connection, writer, fresh, keep)
                connection.execute(_FORGET, (space, max(map(clock, fresh)) - keep))
        return new

    def payloads(self, space: str, event_ids: Sequence[str]) -> list[str | None]:
        """See `EventStore`."""
        found = [self._file.rows(_PAYLOAD, (space, event_id)) for event_id in event_ids]
        return [rows[0][0] if rows else None for rows in found]

    def change(self, space: str, event_id: str, rewrite: Rewrite, *, keep: int) -> bool:
        """See `EventStore`."""
        with self._file.writing() as connection:
            found = connection.execute(_PAYLOAD, (space, event_id)).fetchone()
            changed = rewrite(found[0]) if found else None
            if changed:
                update = "UPDATE activity_event SET payload = ? WHERE space = ? AND event_id = ?"
                connection.execute(update, (changed[1].payload, space, event_id))
                _move(connection, *changed)
        return bool(found)

    def prune(self, space: str, before: int) -> None:
        """See `EventStore`."""
        with self._file.writing() as connection:
            connection.execute(_FORGET, (space, before))
            streams = _glob(f"{space}:")
            connection.execute("DELETE FROM activity_member WHERE stream GLOB ? AND time < ?", (streams, before))
            prune(connection, streams, before)

    def drop(self, prefix: str) -> None:
        """See `EventStore`."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM activity_event WHERE space GLOB ?", (_glob(prefix),))
            for table in ("member", "text", "bucket", "content"):
                connection.execute(f"DELETE FROM activity_{table} WHERE stream GLOB ?", (_glob(prefix),))

    def close(self) -> None:
        """See `EventStore`."""
        self._file.close()


def _expire(connection: sqlite3.Connection, writer: Writer, entries: Iterable[Entry], keep: int) -> None:
    """Drop what the keys of these events have that is too old for them."""
    oldest: dict[tuple[str, str], int] = {}
    for entry in entries:
        before = clock(entry) - keep
        for member in entry.members:
            place = member.stream, member.key
            oldest[place] = max(before, oldest.get(place, before))
    for place, before in oldest.items():
        gone = connection.execute(_EXPIRE, (*place, before)).fetchall()
        if gone:
            writer.dropped(*place, before, gone)


def _move(connection: sqlite3.Connection, before: Entry, after: Entry) -> None:
    """Members that keep their time change, if they are still there; others leave it, and enter at another."""
    old, new = {row[:4]: row for row in _rows(before)}, {row[:4]: row for row in _rows(after)}
    left = [row for at, row in old.items() if new.get(at) != row and connection.execute(_THERE, at).fetchone()]
    there = {row[:4] for row in left}
    entered = [row for at, row in new.items() if old.get(at) != row and (at not in old or at in there)]
    connection.executemany(_LEAVE, [row[:4] for row in left])
    connection.executemany(_MEMBER, entered)
    Writer(connection).moved(left=left, entered=entered)


def _rows(entry: Entry) -> list[MemberRow]:
    return [(m.stream, m.key, m.time, entry.event_id, m.numbers, m.texts) for m in entry.members]


def _glob(prefix: str) -> str:
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in prefix) + "*"
