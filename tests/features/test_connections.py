"""Connections to the stores: errors are mapped, a failed write changes nothing, a script needs no preparation."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from configs.errors import FeatureError
from features.stores import connections
from features.stores.connections import RedisServer, SqliteFile, batches

_SCHEMA = """
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS parent (a INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS child (a INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED, b BLOB);
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    opened = SqliteFile(tmp_path / "deep" / "online.db", schema=_SCHEMA)
    yield opened
    opened.close()


@pytest.fixture
def server(redis_url: str) -> Iterator[RedisServer]:
    with closing(RedisServer(redis_url)) as opened:
        yield opened


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FeatureError, match=r"online\.db can't be used"):
        SqliteFile(tmp_path / "file" / "online.db", schema=_SCHEMA)


def test_a_full_disk_is_named_and_writing_goes_on_when_there_is_room_again(file: SqliteFile) -> None:
    with file.writing() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(FeatureError, match="full"), file.writing() as connection:
        connection.execute("INSERT INTO child VALUES (NULL, zeroblob(1000000))")
    with file.writing() as connection:
        connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
        connection.execute("INSERT INTO child VALUES (NULL, zeroblob(1000000))")
    assert file.rows("SELECT count(*) FROM child") == [(1,)]


def test_a_commit_that_fails_is_undone(file: SqliteFile) -> None:
    with pytest.raises(FeatureError, match="FOREIGN KEY"), file.writing() as connection:
        connection.execute("INSERT INTO child VALUES (7, NULL)")
    with file.writing() as connection:
        connection.execute("INSERT INTO parent VALUES (1)")
    assert file.rows("SELECT (SELECT count(*) FROM child), (SELECT count(*) FROM parent)") == [(0, 1)]


def test_a_transaction_has_at_most_some_hundred_rows() -> None:
    assert [len(batch) for batch in batches(range(1200))] == [500, 500, 200]


def test_a_script_that_the_server_does_not_know_runs_for_every_call(server: RedisServer) -> None:
    script = f"return KEYS[1] .. ARGV[1] -- {uuid.uuid4().hex}"
    assert server.run(script, [(["a"], [1]), (["b"], [2])]) == [b"a1", b"b2"]
    assert server.run(script, [(["c"], [3])]) == [b"c3"]


def test_an_error_of_a_script_names_no_key_and_no_value(server: RedisServer) -> None:
    script = "if ARGV[1] == 'secret' then return redis.error_reply('ERR no room') end return 1"
    with pytest.raises(FeatureError, match="no room") as raised:
        server.run(script, [(["key"], ["open"]), (["hidden"], ["secret"])])
    assert "secret" not in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_a_server_that_does_not_answer_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_ANSWER", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with closing(RedisServer(url)) as server, pytest.raises(FeatureError, match="doesn't answer"):
            server.run("return 1", [([], [])])
