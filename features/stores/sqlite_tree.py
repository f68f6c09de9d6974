"""Hot keys in SQLite: their buckets, and where each text of any key occurs. See `features.stores.tree`."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from features.stores.activity import NEVER, Ask, Earlier, Found, Parts, Row
from features.stores.tree import STEP, TOP, Memory, Node, Place, new_stamp, path

SCHEMA = """
CREATE TABLE IF NOT EXISTS activity_bucket (
    stream TEXT, key TEXT, shift INTEGER, number INTEGER, stamp INTEGER, split INTEGER,
    PRIMARY KEY (stream, key, shift, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS activity_content (
    stream TEXT, key TEXT, shift INTEGER, number INTEGER, stamp INTEGER, content BLOB,
    PRIMARY KEY (stream, key, shift, number)
);
CREATE TABLE IF NOT EXISTS activity_text (
    stream TEXT, key TEXT, text TEXT, time INTEGER, event_id TEXT, PRIMARY KEY (stream, key, text, time, event_id)
) WITHOUT ROWID;
"""
IS_HOT = "SELECT 1 FROM activity_bucket WHERE stream = ? AND key = ? LIMIT 1"
_NODES = """
SELECT number, stamp, split FROM activity_bucket
WHERE stream = ? AND key = ? AND shift = ? AND number BETWEEN ? AND ? ORDER BY number
"""
_AT = "WHERE stream = ? AND key = ? AND shift = ? AND number = ?"
_CONTENT = f"SELECT content FROM activity_content {_AT} AND stamp = ?"
KEEP = f"""
INSERT OR REPLACE INTO activity_content
SELECT stream, key, shift, number, stamp, ? FROM activity_bucket {_AT} AND stamp = ?
"""
_TOUCH = f"UPDATE activity_bucket SET stamp = ? {_AT} RETURNING split"
_SPLIT = f"UPDATE activity_bucket SET split = 1 {_AT} AND split = 0"
_NEW = "INSERT INTO activity_bucket VALUES (?, ?, ?, ?, ?, 0)"
_CUT = [
    f"DELETE FROM activity_{table} WHERE stream = ? AND key = ? AND shift = ? AND number < ?"
    for table in ("bucket", "content")
]
_NEXT = "SELECT min(time) FROM activity_member WHERE stream = ? AND key = ? AND time >= ?"
ROWS = """
SELECT time, event_id, numbers, texts FROM activity_member
WHERE stream = ? AND key = ? AND time > ? AND time <= ? ORDER BY time, event_id LIMIT ?
"""
_OF_TEXT = "FROM activity_text WHERE stream = ? AND key = ? AND text = ?"
_BEFORE = f"SELECT time {_OF_TEXT} AND (time, event_id) < (?, ?) ORDER BY time DESC, event_id DESC LIMIT 1"
_UP_TO = f"SELECT max(time) {_OF_TEXT} AND time <= ?"
_AFTER = f"SELECT min(time) {_OF_TEXT} AND time > ?"
_ENTER_TEXT = "INSERT OR REPLACE INTO activity_text VALUES (?, ?, ?, ?, ?)"
_LEAVE_TEXT = "DELETE FROM activity_text WHERE stream = ? AND key = ? AND text = ? AND time = ? AND event_id = ?"

MemberRow = tuple[str, str, int, str, bytes, str]
"""Stream, key, time, event id, numbers and texts."""


class Reader:
    """What one snapshot holds of hot keys. What is in a bucket is remembered as long as its stamp lives."""

    def __init__(self, connection: sqlite3.Connection, memory: Memory[Parts]) -> None:
        self._connection, self._memory = connection, memory

    def find(self, asked: Ask, *, cut: int) -> Found:
        """What there is of a hot key."""
        rows: list[Row] = []
        earlier: list[Earlier] = []
        whole: list[Node] = []
        crowded: list[Node] = []
        low, high = asked.edges[0], asked.edges[-1]
        pending = _nodes(self._connection, asked.place, TOP, low + 1, high + 1)[::-1]
        while pending:
            node = pending.pop()
            begin, last = node.begin, node.end - 1
            if last <= low or begin > high:
                continue
            if not _cut(asked.edges, begin, last):
                whole.append(node)
                continue
            found = self.parts(node, most=cut)
            pending += found.children[::-1]
            if found.rows is not None:
                rows += found.rows
                earlier += found.earlier
            elif not node.split:
                crowded.append(node)
        return Found(True, rows, earlier, whole, crowded, newest=self._newest(asked))

    def parts(self, node: Node, *, most: int) -> Parts:
        """What is in a bucket that is there in this snapshot."""
        known = self._memory.get(node)
        if known is not None and (known.rows is None or len(known.rows) <= most or not node.shift):
            return known
        if node.split:
            found = Parts(node, _nodes(self._connection, node.place, node.shift - STEP, node.begin, node.end))
        else:
            limit = most + 1 if node.shift else -1
            rows = self._connection.execute(ROWS, (*node.place, node.begin - 1, node.end - 1, limit)).fetchall()
            if len(rows) == limit:
                return Parts(node)
            found = Parts(node, (), rows, self._earlier(node.place, rows))
        self._memory.put(node, found, size=500 + 300 * len(found.children) + 300 * len(found.rows or ()))
        return found

    def kept(self, node: Node) -> Parts | None:
        """What was kept of a bucket at its stamp."""
        row = self._connection.execute(_CONTENT, (*node.at, node.stamp)).fetchone()
        return Parts(node, content=row[0]) if row else None

    def now(self, node: Node) -> Node | None:
        """The bucket in this snapshot."""
        found = _nodes(self._connection, node.place, node.shift, node.begin, node.end)
        return found[0] if found else None

    def _newest(self, asked: Ask) -> list[Earlier]:
        return [
            self._up_to(asked, f"{slot}:{text}") if text is not None else [] for slot, text in enumerate(asked.texts)
        ]

    def _up_to(self, asked: Ask, text: str) -> Earlier:
        """The last one up to an edge is that of an earlier edge, too, unless it is later than that."""
        times: Earlier = []
        time = 2**63 - 1
        for edge in reversed(asked.edges):
            if time > edge:
                time = _time(self._connection, _UP_TO, (*asked.place, text, edge))
            times.append(time)
        return times[::-1]

    def _earlier(self, place: Place, rows: Sequence[Row]) -> list[Earlier]:
        seen: dict[str, int] = {}
        found = []
        for time, event_id, _, packed in rows:
            times: Earlier = []
            for text in _texts(packed):
                if text is None:
                    times.append(None)
                    continue
                known = seen.get(text)
                at = (*place, text, time, event_id)
                times.append(_time(self._connection, _BEFORE, at) if known is None else known)
                seen[text] = time
            found.append(times)
        return found


def _nodes(connection: sqlite3.Connection, place: Place, shift: int, begin: int, end: int) -> list[Node]:
    """The buckets that overlap the times from `begin` to before `end`."""
    found = connection.execute(_NODES, (*place, shift, begin >> shift, (end - 1) >> shift))
    return [Node(place, shift, number, stamp, bool(split)) for number, stamp, split in found]


def _cut(edges: Sequence[int], begin: int, last: int) -> bool:
    following = bisect_left(edges, begin)
    return following < len(edges) and edges[following] < last


def _time(connection: sqlite3.Connection, sql: str, parameters: Sequence[str | int]) -> int:
    row: tuple[int | None] | None = connection.execute(sql, parameters).fetchone()
    return row[0] if row and row[0] is not None else NEVER


def _texts(packed: str) -> list[str | None]:
    """Texts with the number of their slot, as `activity_text` has them."""
    if not packed:
        return []
    return [None if text is None else f"{slot}:{text}" for slot, text in enumerate(json.loads(packed))]


class Writer:
    """What one transaction does to hot keys and texts; a key that is not hot costs one look-up."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._stamp = new_stamp()
        self._hot: dict[tuple[str, str], bool] = {}
        self._touched: dict[tuple[str, str, int, int], bool] = {}

    def moved(self, *, left: Sequence[MemberRow] = (), entered: Sequence[MemberRow]) -> None:
        """Events left their places, and others entered; an event that was changed did both."""
        self._connection.executemany(_LEAVE_TEXT, _occurrences(left))
        self._connection.executemany(_ENTER_TEXT, _occurrences(entered))
        for row in (*left, *entered):
            if self.is_hot(row[0], row[1]):
                self._touch(row[0], row[1], row[2])
        for stream, key, text, time, _ in _occurrences([*left, *entered]):
            if self.is_hot(stream, key):
                following = _time(self._connection, _AFTER, (stream, key, text, time))
                if following != NEVER:
                    self._touch(stream, key, following)

    def is_hot(self, stream: str, key: str) -> bool:
        """Whether the key has buckets."""
        if (stream, key) not in self._hot:
            self._hot[stream, key] = self._connection.execute(IS_HOT, (stream, key)).fetchone() is not None
        return self._hot[stream, key]

    def dropped(self, stream: str, key: str, before: int, events: Sequence[tuple[int, str, str]]) -> None:
        """All events older than `before` were deleted: their times, ids and texts."""
        rows = [(stream, key, time, event_id, b"", texts) for time, event_id, texts in events]
        self._connection.executemany(_LEAVE_TEXT, _occurrences(rows))
        if not self.is_hot(stream, key):
            return
        for shift, number in path(before):
            for sql in _CUT:
                self._connection.execute(sql, (stream, key, shift, number))
            self._connection.execute(_TOUCH, (self._stamp, stream, key, shift, number)).fetchall()

    def promote(self, place: Place) -> None:
        """Make a key hot."""
        if not self.is_hot(*place):
            self._grow(place, TOP, None)

    def split(self, node: Node) -> None:
        """A child for every part of a bucket in which there are events."""
        if self._connection.execute(_SPLIT, node.at).rowcount:
            self._grow(node.place, node.shift - STEP, node)

    def _touch(self, stream: str, key: str, time: int) -> None:
        for shift, number in path(time):
            at = stream, key, shift, number
            split = self._touched.get(at)
            if split is None:
                found = self._connection.execute(_TOUCH, (self._stamp, *at)).fetchall()
                if not found:
                    self._connection.execute(_NEW, (*at, self._stamp))
                split = self._touched[at] = bool(found and found[0][0])
            if not split:
                return

    def _grow(self, place: Place, shift: int, within: Node | None) -> None:
        """Empty buckets where there are events, by leaps from one to the next."""
        at = within.begin if within else -(2**62)
        while True:
            (time,) = self._connection.execute(_NEXT, (*place, at)).fetchone()
            if time is None or (within and time >= within.end):
                return
            self._connection.execute(_NEW, (*place, shift, time >> shift, self._stamp))
            at = ((time >> shift) + 1) << shift


def _occurrences(rows: Sequence[MemberRow]) -> Iterator[tuple[str, str, str, int, str]]:
    for stream, key, time, event_id, _, packed in rows:
        for text in _texts(packed):
            if text is not None:
                yield stream, key, text, time, event_id
