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
from pathlib import Path
from typing import Any, Protocol

from features.language.operators import microseconds
from features.stores.connections import BATCH, TURN, RedisServer, SqliteFile, batches, literal
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

    def write(
        self, use_case: str, shape: ViewShape, rows: Iterable[tuple[str, PackedRow]], *, lives: int | None = None
    ) -> None:
        """Store (entity key, row) pairs of a view, except those that are older than what is there.

        Redis forgets keys that were not written for `lives` milliseconds; None: never.
        """

    def values(self, use_case: str, places: Sequence[tuple[str, str]]) -> list[bytes | None]:
        """The packed values of (entity, key) pairs, in their order, from one query; None where there is none."""

    def drop(self, use_case: str, view: str) -> None:
        """Delete what is stored of a view, and values that hold nothing else."""

    def mark(self, use_case: str, name: str) -> str | None:
        """A text that is kept beside the rows, such as how far they are loaded; None where none was set."""

    def set_mark(self, use_case: str, name: str, value: str, *, lives: int | None = None) -> None:
        """Set it. The last one wins. Redis forgets it after `lives` milliseconds; None: when it would have anyway."""

    def drop_marks(self, use_case: str, prefix: str) -> None:
        """Delete the marks whose name starts with `prefix`."""

    def close(self) -> None:
        """Close the connections."""


_PLACES = 100  # of one query


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
_DROP_MARKS = "DELETE FROM marks WHERE use_case = ?1 AND substr(name, 1, length(?2)) = ?2"
_WRITE = f"""
INSERT INTO {_TABLE} VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = merged({_TABLE}.value, excluded.value)
"""
_END = "\U0010ffff", ""  # after every (entity, key)
_AFTER = "WHERE use_case = :use_case AND (entity, key) > (:entity, :key)"
_LAST = f"SELECT entity, key FROM {_TABLE} {_AFTER} ORDER BY entity, key LIMIT 1 OFFSET :turn"
_PART = f"{_AFTER} AND (entity, key) <= (:last_entity, :last_key)"
_DROP = (
    f"UPDATE {_TABLE} SET value = without(value, :view) {_PART} AND instr(value, :view)",
    f"DELETE FROM {_TABLE} {_PART} AND length(value) = 0",
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

    def write(
        self, use_case: str, shape: ViewShape, rows: Iterable[tuple[str, PackedRow]], *, lives: int | None = None
    ) -> None:
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
        """See `PackedStore`. Some hundred rows a transaction."""
        at: tuple[str, str] | None = "", ""
        while at:
            first = {"use_case": use_case, "entity": at[0], "key": at[1]}
            with self._file.writing() as connection:
                at = connection.execute(_LAST, {**first, "turn": TURN - 1}).fetchone()
                last = dict(zip(("last_entity", "last_key"), at or _END, strict=True))
                for statement in _DROP:
                    connection.execute(statement, {**first, **last, "view": view_id(view)})

    def mark(self, use_case: str, name: str) -> str | None:
        """See `PackedStore`."""
        found = self._file.rows(_MARK, (use_case, name))
        return str(found[0][0]) if found else None

    def set_mark(self, use_case: str, name: str, value: str, *, lives: int | None = None) -> None:
        """See `PackedStore`. What is in a file doesn't go by the clock, so nothing said of it does."""
        with self._file.writing() as connection:
            connection.execute(_SET_MARK, (use_case, name, value))

    def drop_marks(self, use_case: str, prefix: str) -> None:
        """See `PackedStore`."""
        with self._file.writing() as connection:
            connection.execute(_DROP_MARKS, (use_case, prefix))

    def close(self) -> None:
        """See `PackedStore`."""
        self._file.close()


# Both walk over the segments of a value, like `segments.merged`: `at` the first byte of one, `past` the one after it
_WALK = """
local function find(value, view)  -- and whether it is there; if not, what is damaged, at the end of the value
  local at = 1
  while at + 35 <= #value do
    local past = at + 36 + struct.unpack('<I4', value, at + 16)
    if past > #value + 1 then break end
    if string.sub(value, at, at + 7) == view then return at, past, true end
    at = past
  end
  return at, #value + 1, false
end
"""
_WRITE_REDIS = (
    _WALK
    + """
-- KEYS: where the values are. ARGV: a segment of each, and milliseconds to live (0: for ever)
local life = tonumber(ARGV[#ARGV])
for i, name in ipairs(KEYS) do
  local new, old = ARGV[i], redis.call('GET', name) or ''
  local at, past, there = find(old, string.sub(new, 1, 8))
  local newer = false
  if there then
    local time, created = struct.unpack('<i8i8', new, 21)
    local held_time, held_created = struct.unpack('<i8i8', old, at + 20)
    newer = held_time > time or (held_time == time and held_created > created)
  end
  if not newer then redis.call('SET', name, string.sub(old, 1, at - 1) .. new .. string.sub(old, past)) end
  if life > 0 then redis.call('PEXPIRE', name, life) end
end
"""
)
_DROP_REDIS = (
    _WALK
    + """
-- KEYS: where the values are. ARGV: a view
for _, name in ipairs(KEYS) do
  local old = redis.call('GET', name) or ''
  local at, past = find(old, ARGV[1])
  local rest = string.sub(old, 1, at - 1) .. string.sub(old, past)
  if rest == '' then redis.call('DEL', name) elseif rest ~= old then redis.call('SET', name, rest) end
end
"""
)


class RedisPacked:
    """Values as strings in Redis. Times are microseconds, which Lua's doubles hold exactly until the year 2255."""

    def __init__(self, url: str) -> None:
        self._server = RedisServer(url)

    def write(
        self, use_case: str, shape: ViewShape, rows: Iterable[tuple[str, PackedRow]], *, lives: int | None = None
    ) -> None:
        """See `PackedStore`. A script writes some hundred rows, so that others get their turn between two."""
        for batch in batches(rows):
            names = [_name(use_case, shape.entity, key) for key, _ in batch]
            self._server.run(_WRITE_REDIS, [(names, [*(packed(shape, row) for _, row in batch), lives or 0])])

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
            for names in batches(client.scan_iter(match=pattern, count=BATCH)):
                self._server.run(_DROP_REDIS, [(names, [view_id(view)])])

    def mark(self, use_case: str, name: str) -> str | None:
        """See `PackedStore`."""
        with self._server.talking() as client:
            found = client.get(_mark(use_case, name))
        return None if found is None else str(found, "utf-8")

    def set_mark(self, use_case: str, name: str, value: str, *, lives: int | None = None) -> None:
        """See `PackedStore`."""
        with self._server.talking() as client:
            client.set(_mark(use_case, name), value, px=lives, keepttl=lives is None)

    def drop_marks(self, use_case: str, prefix: str) -> None:
        """See `PackedStore`."""
        self._server.forget(literal(_mark(use_case, prefix)) + "*")

    def close(self) -> None:
        """See `PackedStore`."""
        self._server.close()


def _space(use_case: str) -> str:
    return f"risk:{use_case}:vectors{VERSION}"


def _name(use_case: str, entity: str, key: str) -> str:
    return f"{_space(use_case)}:{len(entity)}:{entity}:{key}"


def _mark(use_case: str, name: str) -> str:
    return f"risk:{use_case}:mark:{name}"


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
