"""The online store of views, without Feast: one value for each (use case, view, entity key), packed with its two times.

A write that is older than what is stored, by (event time, created time), changes nothing, in any order and from any
number of writers: the comparison is part of the one statement that writes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from features.language.operators import EPOCH, microseconds
from features.request import Value
from features.stores.connections import RedisServer, SqliteFile, batches, literal

NEVER = -(2**63)  # a row that doesn't say when it was created is older than one that does


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A view's columns for one key, the time they speak of, and the time they became known (None: at once)."""

    event_time: datetime
    created: datetime | None
    values: Mapping[str, Value]


class PackedStore(Protocol):
    """What both stores can do."""

    def write(self, use_case: str, view: str, rows: Iterable[tuple[str, PackedRow]]) -> None:
        """Store (entity key, row) pairs, except those that are older than what is there."""

    def read_many(self, use_case: str, wanted: Sequence[tuple[str, str]]) -> list[PackedRow | None]:
        """The rows of (view, entity key) pairs, in their order; None where there is none."""

    def read(self, use_case: str, view: str, key: str) -> PackedRow | None:
        """The row of one view and key."""

    def drop(self, use_case: str, view: str) -> None:
        """Delete every row of a view."""

    def close(self) -> None:
        """Close the connections."""


def open_packed(*, path: Path, redis_url: str | None = None) -> PackedStore:
    """The store on Redis if an address is given, else in the SQLite file at `path`."""
    return RedisPacked(redis_url) if redis_url else SqlitePacked(path)


_SCHEMA = """
CREATE TABLE IF NOT EXISTS packed (
    use_case TEXT, view TEXT, key TEXT, event_time INTEGER, created INTEGER, content TEXT,
    PRIMARY KEY (use_case, view, key)
) WITHOUT ROWID
"""
_WRITE = """
INSERT INTO packed VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET event_time = excluded.event_time, created = excluded.created, content = excluded.content
WHERE (excluded.event_time, excluded.created) >= (packed.event_time, packed.created)
"""
_READ = "SELECT event_time, created, content FROM packed WHERE use_case = ? AND view = ? AND key = ?"


class SqlitePacked:
    """Rows in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, schema=_SCHEMA)

    def write(self, use_case: str, view: str, rows: Iterable[tuple[str, PackedRow]]) -> None:
        """See `PackedStore`."""
        for batch in batches(rows):
            parameters = [(use_case, view, key, *_packed(row)) for key, row in batch]
            with self._file.writing() as connection:
                connection.executemany(_WRITE, parameters)

    def read_many(self, use_case: str, wanted: Sequence[tuple[str, str]]) -> list[PackedRow | None]:
        """See `PackedStore`."""
        return [self.read(use_case, view, key) for view, key in wanted]

    def read(self, use_case: str, view: str, key: str) -> PackedRow | None:
        """See `PackedStore`."""
        found = self._file.rows(_READ, (use_case, view, key))
        return _unpacked(*found[0]) if found else None

    def drop(self, use_case: str, view: str) -> None:
        """See `PackedStore`."""
        with self._file.writing() as connection:
            connection.execute("DELETE FROM packed WHERE use_case = ? AND view = ?", (use_case, view))

    def close(self) -> None:
        """See `PackedStore`."""
        self._file.close()


_WRITE_REDIS = """
local time, created = unpack(redis.call('HMGET', KEYS[1], 't', 'c'))
local a, b = tonumber(ARGV[1]), tonumber(time or ARGV[1])
if a > b or (a == b and tonumber(ARGV[2]) >= tonumber(created or ARGV[2])) then
  redis.call('HSET', KEYS[1], 't', ARGV[1], 'c', ARGV[2], 'v', ARGV[3])
end
"""


class RedisPacked:
    """Rows as hashes in Redis. Times are microseconds, which Lua's doubles hold exactly until the year 2255."""

    def __init__(self, url: str) -> None:
        self._server = RedisServer(url)
        self._write = self._server.client.register_script(_WRITE_REDIS)

    def write(self, use_case: str, view: str, rows: Iterable[tuple[str, PackedRow]]) -> None:
        """See `PackedStore`."""
        for batch in batches(rows):
            with self._server.talking() as client, client.pipeline(transaction=False) as pipeline:
                for key, row in batch:
                    self._write(keys=[_name(use_case, view, key)], args=_packed(row), client=pipeline)
                pipeline.execute()

    def read_many(self, use_case: str, wanted: Sequence[tuple[str, str]]) -> list[PackedRow | None]:
        """See `PackedStore`. One round trip."""
        with self._server.talking() as client, client.pipeline(transaction=False) as pipeline:
            for view, key in wanted:
                pipeline.hmget(_name(use_case, view, key), "t", "c", "v")
            return [
                _unpacked(int(time), int(created), text) if time else None for time, created, text in pipeline.execute()
            ]

    def read(self, use_case: str, view: str, key: str) -> PackedRow | None:
        """See `PackedStore`."""
        return self.read_many(use_case, [(view, key)])[0]

    def drop(self, use_case: str, view: str) -> None:
        """See `PackedStore`."""
        self._server.forget(literal(_name(use_case, view, "")) + "*")

    def close(self) -> None:
        """See `PackedStore`."""
        self._server.close()


def _name(use_case: str, view: str, key: str) -> str:
    return f"risk:{use_case}:view:{view}:{key}"


def _packed(row: PackedRow) -> tuple[int, int, str]:
    return (
        microseconds(row.event_time),
        NEVER if row.created is None else microseconds(row.created),
        as_json({name: _plain(value) for name, value in row.values.items()}),
    )


def _unpacked(event_time: int, created: int, content: str | bytes) -> PackedRow:
    return PackedRow(time_at(event_time), None if created == NEVER else time_at(created), from_json(content))


def time_at(value: int) -> datetime:
    """The time that lies `value` microseconds after 1970 began (UTC)."""
    return EPOCH + timedelta(microseconds=value)


def as_json(value: Any) -> str:
    """JSON with doubles to the last bit (the shortest text that reads back) and times as microseconds."""
    return _ENCODER.encode(value)


def from_json(content: str | bytes) -> Any:
    """What `as_json` wrote."""
    return json.loads(content, object_hook=_time_or_object)


def _time_or_object(found: dict[str, Any]) -> Any:
    return time_at(found[_TIME]) if _TIME in found else found


def _plain(value: Value) -> Value:
    return None if isinstance(value, float) and math.isnan(value) else value


_TIME = "$microseconds"  # no name in a use case begins with a dollar
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=lambda time: {_TIME: microseconds(time)})
