"""Every key and value of the online store passed through one function, wherever in the store it stands.

Knows no layout: what a table, a sorted set or a packed value holds is bytes or text, and only what changes is written.
One row or key is rewritten whole or not at all, and a second pass finds nothing left: it may be killed and run again.
Where the new key is taken already, what stands there is newer and stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from features.stores.connections import BATCH, RedisServer, SqliteFile, literal

Rewriting = Callable[[bytes], bytes]


def rewrite_online(path: Path, redis_url: str | None, use_cases: Sequence[str], change: Rewriting) -> int:
    """Rewrite what Redis has of the use cases if an address is given, else the SQLite file.

    Gives how many rows or keys changed.
    """
    if redis_url:
        return sum(_rewrite_redis(redis_url, use_case, change) for use_case in use_cases)
    return _rewrite_sqlite(path, change) if path.exists() else 0


def _rewrite_sqlite(path: Path, change: Rewriting) -> int:
    file = SqliteFile(path, schema="")
    try:
        tables = file.rows(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"
        )
        return sum(_table(file, name, change) for (name,) in tables)
    finally:
        file.close()


def _table(file: SqliteFile, table: str, change: Rewriting) -> int:
    """Walk a table along its primary key. A changed row is deleted and put in anew, at the place its new key gives."""
    described = file.rows(f"PRAGMA table_info({_quoted(table)})")
    keyed = [name for _, name, *_, place in sorted(described, key=lambda row: row[5]) if place] or ["rowid"]
    columns = [name for _, name, *_ in described]
    wanted = ", ".join(map(_quoted, [*keyed, *columns]))
    order, count = ", ".join(map(_quoted, keyed)), 0
    place: Sequence[Any] | None = None
    while True:
        after = f"WHERE ({order}) > ({_marks(keyed)})" if place else ""
        query = f"SELECT {wanted} FROM {_quoted(table)} {after} ORDER BY {order} LIMIT {BATCH}"
        rows = file.rows(query, place or ())
        if not rows:
            return count
        place = rows[-1][: len(keyed)]
        changed = [(row[: len(keyed)], old, new) for row, old, new in _changed(rows, len(keyed), change)]
        if changed:
            with file.writing() as connection:
                _put(connection, table, keyed, columns, changed)
        count += len(changed)


def _changed(rows: Sequence[Any], keys: int, change: Rewriting) -> Iterator[tuple[Any, Any, list[Any]]]:
    for row in rows:
        old = list(row[keys:])
        new = [_through(value, change) for value in old]
        if new != old:
            yield row, old, new


def _put(
    connection: sqlite3.Connection, table: str, keyed: Sequence[str], columns: Sequence[str], changed: Sequence[Any]
) -> None:
    """Unless someone wrote the row in the meantime: then it is left to the next pass."""
    same = " AND ".join(f"{_quoted(name)} IS ?" for name in [*keyed, *columns])
    for key, old, new in changed:
        gone = connection.execute(f"DELETE FROM {_quoted(table)} WHERE {same}", [*key, *old]).rowcount
        if gone:
            connection.execute(f"INSERT OR IGNORE INTO {_quoted(table)} VALUES ({_marks(columns)})", new)


def _through(value: Any, change: Rewriting) -> Any:
    if isinstance(value, str):
        return change(value.encode()).decode()
    return change(value) if isinstance(value, bytes) else value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _marks(names: Sequence[str]) -> str:
    return ", ".join("?" for _ in names)


def _rewrite_redis(url: str, use_case: str, change: Rewriting) -> int:
    server, count = RedisServer(url), 0
    try:
        with server.talking() as client:
            for key in client.scan_iter(match=literal(f"risk:{use_case}:") + "*", count=BATCH):
                count += _key(server, client, key, change)
    finally:
        server.close()
    return count


def _key(server: RedisServer, client: Any, key: bytes, change: Rewriting) -> bool:
    """Rewrite one key in a transaction that starts over when someone else changes the key."""
    kind = client.type(key).decode()
    if kind not in _KINDS:
        return False  # expired meanwhile
    read, put = _KINDS[kind]
    while True:
        try:
            with client.pipeline() as pipeline:
                pipeline.watch(key)
                old, left = read(pipeline, key), pipeline.pttl(key)
                new, name = _deep(old, change), change(key)
                if not old or (new == old and name == key):
                    return False
                pipeline.multi()
                pipeline.delete(key)
                put(pipeline, name, new)
                if left > 0:
                    pipeline.pexpire(name, left)
                pipeline.execute()
                return True
        except server.changed:
            continue


def _deep(value: Any, change: Rewriting) -> Any:
    """Bytes anywhere in a value that Redis gave."""
    if isinstance(value, bytes):
        return change(value)
    if isinstance(value, dict):
        return {change(name): change(content) for name, content in value.items()}
    if isinstance(value, (set, list, tuple)):
        return type(value)(_deep(each, change) for each in value)
    return value


def _put_hash(pipeline: Any, name: bytes, content: dict[bytes, bytes]) -> None:
    for field, value in content.items():
        pipeline.hsetnx(name, field, value)


def _put_list(pipeline: Any, name: bytes, content: list[bytes]) -> None:
    pipeline.rpush(name, *content)


_KINDS: dict[str, tuple[Callable[[Any, bytes], Any], Callable[[Any, bytes, Any], None]]] = {
    "string": (lambda pipe, key: pipe.get(key), lambda pipe, name, content: pipe.set(name, content, nx=True)),
    "hash": (lambda pipe, key: pipe.hgetall(key), _put_hash),
    "set": (lambda pipe, key: pipe.smembers(key), lambda pipe, name, content: pipe.sadd(name, *content)),
    "list": (lambda pipe, key: pipe.lrange(key, 0, -1), _put_list),
    "zset": (
        lambda pipe, key: pipe.zrange(key, 0, -1, withscores=True),
        lambda pipe, name, content: pipe.zadd(name, dict(content), nx=True),
    ),
}
