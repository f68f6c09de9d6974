"""The activity state in SQLite: see `features.stores.activity`. One transaction lets an event in, whole or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from configs.errors import FeatureError
from features.stores.activity import Ask, Entry, Found, Parts, Rewrite, clock
from features.stores.connections import TURN, SqliteFile
from features.stores.sqlite_tree import IS_HOT, KEEP, ROWS, SCHEMA, MemberRow, Reader, Writer
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
_REVISE = "UPDATE activity_event SET time = ?, payload = ? WHERE space = ? AND event_id = ?"
_NEXT_SPACE = """
SELECT space, (SELECT max(time) FROM activity_event AS each WHERE each.space = following.space)
FROM activity_event AS following WHERE space > ? ORDER BY space LIMIT 1
"""
_EXPIRE = "DELETE FROM activity_member WHERE stream = ? AND key = ? AND time < ? RETURNING time, event_id, texts"
_FORGET = """
DELETE FROM activity_event WHERE space = ?1
AND event_id IN (SELECT event_id FROM activity_event WHERE space = ?1 AND time < ?2 ORDER BY time LIMIT ?3)
"""
_AT = "(stream, key, time, event_id)"
_END = f"""
SELECT stream, key, time, event_id FROM activity_member WHERE {_AT} > (?, ?, ?, ?) AND stream < ?
ORDER BY stream, key, time, event_id LIMIT 1 OFFSET ?
"""
_SWEEP = f"""
DELETE FROM activity_member WHERE {_AT} > (?, ?, ?, ?) AND {_AT} <= (?, ?, ?, ?) AND time < ?
RETURNING stream, key, time, event_id, texts
"""
_SWEPT = 4  # rows for each that enters: what is too old goes faster than anything comes
_LEAVE = "DELETE FROM activity_member WHERE stream = ? AND key = ? AND time = ? AND event_id = ?"
_THERE = "SELECT 1 FROM activity_member WHERE stream = ? AND key = ? AND time = ? AND event_id = ?"
_EVENT = "INSERT OR IGNORE INTO activity_event VALUES (?, ?, ?, ?)"
_MEMBER = "INSERT OR REPLACE INTO activity_member VALUES (?, ?, ?, ?, ?, ?)"


_Place = tuple[str, str, int, str]
"""Stream, key, time and event id: the order of the members."""


class SqliteEvents:
    """Events in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, schema=_SCHEMA + SCHEMA)
        self._memory: Memory[Parts] = Memory(_MEMORY)
        self._swept: dict[str, _Place] = {}

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
            return [Parts(None) if node is None else reader.kept(node) or reader.parts(node, most=most) for node in now]

    def keep(self, contents: Sequence[tuple[Node, bytes]]) -> None:
        """See `EventStore`. Without room for it the next request adds up again."""
        with suppress(FeatureError), self._file.writing_unless_busy() as connection:
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
            rows = [(space, entry.event_id, entry.last, entry.payload) for entry in entries]
            new = [connection.execute(_EVENT, row).rowcount > 0 for row in rows]
            fresh = [entry for entry, first in zip(entries, new, strict=True) if first]
            members = sorted(row for entry in fresh for row in _rows(entry))  # in the order of the file's pages
            connection.executemany(_MEMBER, members)
            writer = Writer(connection)
            writer.moved(entered=members)
            if fresh and not bulk:
                _expire(connection, writer, fresh, keep)
                before = max(map(clock, fresh)) - keep
                connection.execute(_FORGET, (space, before, _SWEPT * len(fresh)))
                if members:  # of other keys a little at a time, from one event to the next
                    at = self._swept.get(space, members[0][:4])
                    end = _sweep(connection, at, space=space, rows=_SWEPT * len(members), before=before)
                    self._swept[space] = end or _start(space)
        return new

    def change(self, space: str, rewrites: Sequence[tuple[str, Rewrite]], *, keep: int) -> list[bool]:
        """See `EventStore`. In one transaction."""
        with self._file.writing() as connection:
            return [_change(connection, space, *each) for each in rewrites]

    def prune(self, space: str, before: int) -> None:
        """See `EventStore`. Some hundred rows a transaction; members first, so that no event enters a second time."""
        at: _Place | None = _start(space)
        while at:
            with self._file.writing() as connection:
                at = _sweep(connection, at, space=space, rows=TURN, before=before)
        gone = TURN
        while gone == TURN:
            with self._file.writing() as connection:
                gone = connection.execute(_FORGET, (space, before, TURN)).rowcount

    def drop_idle(self, prefix: str, *, but: str, before: int) -> None:
        """See `EventStore`."""
        space = prefix
        while found := self._file.rows(_NEXT_SPACE, (space,)):
            ((space, newest),) = found
            if not space.startswith(prefix):
                return
            if space != but and newest < before:
                self.prune(space, newest + 1)  # the most of it by and by
                self.drop(space)

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


def _start(space: str) -> _Place:
    """Before all members of a space."""
    return f"{space}:", "", -(2**63), ""


def _sweep(connection: sqlite3.Connection, at: _Place, *, space: str, rows: int, before: int) -> _Place | None:
    """Drop what is older than `before` of the next rows, whatever their keys; where they end, None for the last."""
    after = f"{space};"  # the sign that follows the colon
    end: _Place | None = connection.execute(_END, (*at, after, rows - 1)).fetchone()
    gone = connection.execute(_SWEEP, (*at, *(end or (after, "", 0, "")), before)).fetchall()
    writer = Writer(connection)
    for (stream, key), events in groupby(sorted(gone), key=itemgetter(0, 1)):
        writer.dropped(stream, key, before, [event[2:] for event in events])
    return end


def _change(connection: sqlite3.Connection, space: str, event_id: str, rewrite: Rewrite) -> bool:
    found = connection.execute(_PAYLOAD, (space, event_id)).fetchone()
    changed = rewrite(found[0]) if found else None
    if changed:
        connection.execute(_REVISE, (changed[1].last, changed[1].payload, space, event_id))
        _move(connection, *changed)
    return found is not None


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
