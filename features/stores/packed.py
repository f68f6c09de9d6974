"""The online store of views, without Feast: one packed value for each (use case, entity, entity key).

A use case is one Feast project with one feature service, so this is one value a feature service and key. A write that
is older than what is stored of its view, by (event time, created time), changes nothing, in any order and from any
number of writers: the comparison is part of the one statement (or script) that writes. `features.stores.segments`
describes the bytes. A new version of them lives in a table (or under keys) of its own, which `risk features
materialize` fills; what an older version left behind is not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from features.language.operators import microseconds
from features.stores.connections import BATCH, RedisServer, SqliteFile, batches, literal
from features.stores.segments import (
    VERSION,
    PackedRow,
    ViewShape,
    merged,
    packed,
    time_at,
    unpacked,
    view_id,
    without,
)


class PackedStore(Protocol):
    """What both stores can do."""

    def write(self, use_case: str, shape: ViewShape, rows: Iterable[tuple[str, PackedRow]]) -> None:
        """Store (entity key, row) pairs of a view, except those that are older than what is there."""

    def values(self, use_case: str, places: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """The packed values of (entity, key) pairs, in their order, from one query; None where there is none."""

    def drop(self, use_case: str, view: str) -> None:
        """Delete what is stored of a view, and values that hold nothing else."""

    def mark(self, use_case: str, name: str) -> str | None:
        """A text that is kept beside the rows, such as how far they are loaded; None where none was set."""

    def set_mark(self, use_case: str, name: str, value: str) -> None:
        """Set it. The last one wins."""

    def close(self) -> None:
        """Close the connections."""


_PLACES, _PIECE = 100, 500  # of one query, and rows of one script


def open_packed(*, path: Path, redis_url: str | None = None) -> PackedStore:
    """The store on Redis if an address is given, else in the SQLite file at `path`."""
    return RedisPacked(redis_url) if redis_url else SqlitePacked(path)


def read_rows(store: PackedStore, use_case: str, wanted: Sequence[tuple[ViewShape, str]]) -> list[PackedRow | None]:
    """The rows of (view, entity key) pairs, in their order; None where there is none with these columns."""
    values = store.values(use_case, [(shape.entity, key) for shape, key in wanted])
    return [unpacked(shape, value) for (shape, _), value in zip(wanted, values, strict=True)]


_TABLE = f"vectors_{VERSION}"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {_TABLE} (
    use_case TEXT, entity TEXT, key TEXT, value BLOB, PRIMARY KEY (use_case, entity, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (use_case TEXT, name TEXT, value TEXT, PRIMARY KEY (use_case, name)) WITHOUT ROWID;
"""
_MARK = "SELECT value FROM marks WHERE use_case = ? AND name = ?"
_SET_MARK = "INSERT INTO marks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
_WRITE = f"""
INSERT INTO {_TABLE} VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = merged({_TABLE}.value, excluded.value)
"""
_DROP = (
    f"UPDATE {_TABLE} SET value = without(value, :view) WHERE use_case = :use_case",
    f"DELETE FROM {_TABLE} WHERE use_case = :use_case AND length(value) = 0",
)


@lru_cache
def _read_sql(places: int) -> str:
    """One query for several keys: unlike `IN`, a union searches the index for each."""
    one = f"value FROM {_TABLE} WHERE use_case = ? AND entity = ? AND key = ?"
    return " UNION ALL ".join(f"SELECT {place}, {one}" for place in range(places))


class SqlitePacked:
    """Values in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, schema=_SCHEMA)
        with self._file.writing() as connection:
            connection.create_function("merged", 2, merged, deterministic=True)
            connection.create_function("without", 2, without, deterministic=True)

    def write(self, use_case: str, shape: ViewShape, rows: Iterable[tuple[str, PackedRow]]) -> None:
        """See `PackedStore`."""
        for batch in batches(rows):
            parameters = [(use_case, shape.entity, key, packed(shape, row)) for key, row in batch]
            with self._file.writing() as connection:
                connection.executemany(_WRITE, parameters)

    def values(self, use_case: str, places: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """See `PackedStore`. One query for every hundred places."""
        found: list[bytes | None] = [None] * len(places)
        for start in range(0, len(places), _PLACES):
            part = places[start : start + _PLACES]
            parameters = [item for place in part for item in (use_case, *place)]
            for place, value in self._file.rows(_read_sql(len(part)), parameters):
                found[start + place] = value
        return found

    def drop(self, use_case: str, view: str) -> None:
        """See `PackedStore`."""
        with self._file.writing() as connection:
            for statement in _DROP:
                connection.execute(statement, {"use_case": use_case, "view": view_id(view)})

    def mark(self, use_case: str, name: str) -> str | None:
        """See `PackedStore`."""
        found = self._file.rows(_MARK, (use_case, name))
        return str(found[0][0]) if found else None

    def set_mark(self, use_case: str, name: str, value: str) -> None:
        """See `PackedStore`."""
        with self._file.writing() as connection:
            connection.execute(_SET_MARK, (use_case, name, value))

    def close(self) -> None:
        """See `PackedStore`."""
        self._file.close()


# Both walk over the segments of a value: `at` the first byte of one, `past` the first byte after it
_WALK = """
local function find(value, view)
  local at = 1
  while at <= #value do
    local past = at + 36 + struct.unpack('<I4', value, at + 16)
    if string.sub(value, at, at + 7) == view then return at, past end
    at = past
  end
end
"""
_WRITE_REDIS = (
    _WALK
    + """
for i, name in ipairs(KEYS) do
  local new, old = ARGV[i], redis.call('GET', name) or ''
  local at, past = find(old, string.sub(new, 1, 8))
  if at then
    local time, created = struct.unpack('<i8i8', new, 21)
    local held_time, held_created = struct.unpack('<i8i8', old, at + 20)
    if time > held_time or (time == held_time and created >= held_created) then
      redis.call('SET', name, string.sub(old, 1, at - 1) .. new .. string.sub(old, past))
    end
  else
    redis.call('SET', name, old .. new)
  end
end
"""
)
_DROP_REDIS = (
    _WALK
    + """
for _, name in ipairs(KEYS) do
  local old = redis.call('GET', name) or ''
  local at, past = find(old, ARGV[1])
  local rest = at and string.sub(old, 1, at - 1) .. string.sub(old, past)
  if rest == '' then redis.call('DEL', name) elseif rest then redis.call('SET', name, rest) end
end
"""
)


class RedisPacked:
    """Values as strings in Redis. Times are microseconds, which Lua's doubles hold exactly until the year 2255."""

    def __init__(self, url: str) -> None:
        self._server = RedisServer(url)
        self._write = self._server.client.register_script(_WRITE_REDIS)
        self._drop = self._server.client.register_script(_DROP_REDIS)

    def write(self, use_case: str, shape: ViewShape, rows: Iterable[tuple[str, PackedRow]]) -> None:
        """See `PackedStore`. A script writes some hundred rows, so that others get their turn between two."""
        source = iter(rows)
        while part := list(islice(source, _PIECE)):
            names = [_name(use_case, shape.entity, key) for key, _ in part]
            with self._server.talking():
                self._write(keys=names, args=[packed(shape, row) for _, row in part])

    def values(self, use_case: str, places: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """See `PackedStore`. One round trip."""
        if not places:
            return []
        with self._server.talking() as client:
            found: list[bytes | None] = client.mget([_name(use_case, *place) for place in places])
        return found

    def drop(self, use_case: str, view: str) -> None:
        """See `PackedStore`."""
        pattern = literal(f"{_space(use_case)}:") + "*"
        with self._server.talking() as client:
            names = client.scan_iter(match=pattern, count=BATCH)
            while part := list(islice(names, _PIECE)):
                self._drop(keys=part, args=[view_id(view)])

    def mark(self, use_case: str, name: str) -> str | None:
        """See `PackedStore`."""
        with self._server.talking() as client:
            found = client.hget(_marks(use_case), name)
        return None if found is None else str(found, "utf-8")

    def set_mark(self, use_case: str, name: str, value: str) -> None:
        """See `PackedStore`."""
        with self._server.talking() as client:
            client.hset(_marks(use_case), name, value)

    def close(self) -> None:
        """See `PackedStore`."""
        self._server.close()


def _space(use_case: str) -> str:
    return f"risk:{use_case}:vectors{VERSION}"


def _name(use_case: str, entity: str, key: str) -> str:
    return f"{_space(use_case)}:{len(entity)}:{entity}:{key}"


def _marks(use_case: str) -> str:
    return f"risk:{use_case}:marks"


def as_json(value: Any) -> str:
    """JSON with doubles to the last bit (the shortest text that reads back) and times as microseconds."""
    return _ENCODER.encode(value)


def from_json(content: str | bytes) -> Any:
    """What `as_json` wrote."""
    return json.loads(content, object_hook=_time_or_object)


def _time_or_object(found: dict[str, Any]) -> Any:
    return time_at(found[_TIME]) if _TIME in found else found


_TIME = "$microseconds"  # no name in a use case begins with a dollar
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=lambda time: {_TIME: microseconds(time)})
