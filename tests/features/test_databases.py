"""Tables of real SQLite and PostgreSQL databases: streamed, types widened, secrets never in a message."""

from __future__ import annotations

import datetime as dt
import sqlite3
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy

from configs.errors import FeatureError
from configs.inputs import Table
from configs.settings import sqlalchemy_url
from features import databases
from features.databases import address, is_select, snapshot, stream
from features.frame import training_frame
from features.sources import data_hash

from .conftest import Made


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    path = tmp_path / "bank.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE loans (id INTEGER, amount REAL, note TEXT, mixed, flag BOOLEAN, at TIMESTAMP)")
        connection.executemany(
            "INSERT INTO loans VALUES (?, ?, ?, ?, ?, ?)",
            [(i, i / 2, f"n{i}", i, i % 2, f"2025-01-01 00:00:{i % 60:02}") for i in range(1000)],
        )
    connection.close()
    return path


def table(path: Path, query: str) -> Table:
    return Table(url=f"sqlite:///{path}", query=query)


def read(source: Table, target: Path, **options: Any) -> pa.Table:
    stream(source, target, **options)
    return pq.read_table(target)


def test_a_named_table_is_streamed_in_chunks(bank: Path, tmp_path: Path) -> None:
    found = read(table(bank, "loans"), tmp_path / "loans.parquet", chunk=64)
    assert found.column("id").to_pylist() == list(range(1000))
    assert found.schema.field("amount").type == pa.float64()


def test_a_select_may_have_colons_and_a_semicolon(bank: Path, tmp_path: Path) -> None:
    query = "SELECT id, 'a:b' AS text FROM loans WHERE at > '2025-01-01 00:00:57';"
    assert set(read(table(bank, query), tmp_path / "x.parquet").column("text").to_pylist()) == {"a:b"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([1, "x", 2.5], pa.string()),
        ([2**60 + 1, 2.5], pa.string()),
        ([2.5, 2**60 + 1], pa.string()),
        ([None, None, "late"], pa.string()),
        ([None], pa.null()),
        ([2**62, 1], pa.int64()),
    ],
)
def test_a_column_without_a_type_is_widened_as_its_values_ask(
    bank: Path, tmp_path: Path, values: list[Any], kind: pa.DataType
) -> None:
    with sqlite3.connect(bank) as connection:
        connection.execute("DELETE FROM loans")
        connection.executemany("INSERT INTO loans (mixed) VALUES (?)", [(value,) for value in values])
    connection.close()
    found = read(table(bank, "SELECT mixed FROM loans"), tmp_path / "x.parquet", chunk=1)
    assert found.schema.field("mixed").type == kind
    expected = [None if value is None else str(value) if kind == pa.string() else value for value in values]
    assert found.column("mixed").to_pylist() == expected


def test_an_empty_table_keeps_its_columns(bank: Path, tmp_path: Path) -> None:
    found = read(table(bank, "SELECT id, note FROM loans WHERE id < 0"), tmp_path / "x.parquet")
    assert (found.num_rows, found.column_names) == (0, ["id", "note"])


def test_columns_named_twice_are_refused(bank: Path, tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="gives the columns id twice"):
        stream(table(bank, "SELECT id, id FROM loans"), tmp_path / "x.parquet")


def test_a_table_that_did_not_change_leaves_the_file_untouched(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, source = tmp_path / "s" / "loans.parquet", table(bank, "loans")
    before = snapshot(source, target).stat().st_mtime_ns
    monkeypatch.setattr(databases, "FRESH", 0.0)
    assert snapshot(source, target).stat().st_mtime_ns == before
    with sqlite3.connect(bank) as connection:
        connection.execute("DELETE FROM loans WHERE id = 0")
    connection.close()
    assert pq.read_metadata(snapshot(source, target)).num_rows == 999
    assert [path.name for path in target.parent.iterdir()] == ["loans.parquet"]


def test_a_stream_that_breaks_off_leaves_the_file_as_it_was(
    bank: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "s" / "loans.parquet"
    snapshot(table(bank, "loans"), target)
    monkeypatch.setattr(databases, "FRESH", 0.0)
    with pytest.raises(FeatureError):
        snapshot(table(bank, "SELECT json_extract('broken', '$') FROM loans"), target)
    assert pq.read_metadata(target).num_rows == 1000


def test_an_address_takes_its_secrets_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANK_PASSWORD", "s3cret%21")
    url = address("postgresql://ann:${BANK_PASSWORD}@host/bank")
    assert (url.password, url.drivername) == ("s3cret!", "postgresql+psycopg")


def test_a_secret_that_is_not_set_is_named(tmp_path: Path) -> None:
    source = Table(url="postgresql://ann:${NO_SUCH_SECRET}@host/bank", query="loans")
    with pytest.raises(FeatureError, match="NO_SUCH_SECRET") as caught:
        stream(source, tmp_path / "x.parquet")
    assert caught.value.fix == "export NO_SUCH_SECRET=..."


@pytest.mark.parametrize(
    ("url", "query", "message"),
    [
        ("nothing", "t", "is not the address of a database"),
        ("sqlite:////no/such/bank.db", "t", "no file /no/such/bank.db"),
        ("oraclex://host/bank", "t", "knows no databases of the kind 'oraclex'"),
        ("postgresql://ann:${BANK_PASSWORD}@127.0.0.1:1/bank", "t", "can't be reached"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_clear_error_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, query: str, message: str
) -> None:
    monkeypatch.setenv("BANK_PASSWORD", "s3cret")
    with pytest.raises(FeatureError, match=message) as caught:
        stream(Table(url=url, query=query), tmp_path / "x.parquet")
    assert "s3cret" not in str(caught.value)


def test_a_query_that_the_database_refuses_is_a_clear_error(bank: Path, tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="no such column: salary"):
        stream(table(bank, "SELECT salary FROM loans"), tmp_path / "x.parquet")


def test_a_select_is_told_from_a_name() -> None:
    assert [is_select(each) for each in ("WITH a AS (SELECT 1) SELECT * FROM a", "(SELECT 1)", "bank.loans")] == [
        True,
        True,
        False,
    ]


# PostgreSQL


@pytest.fixture
def postgres(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, sqlalchemy.Engine]:
    """The address as a use case would write it, its password or the whole of it in the environment; and an engine."""
    monkeypatch.setenv("BANK_URL", postgres_url)
    return "${BANK_URL}", sqlalchemy.create_engine(sqlalchemy_url(postgres_url), poolclass=sqlalchemy.NullPool)


def test_every_type_of_postgresql_becomes_one_of_arrow(postgres: tuple[str, sqlalchemy.Engine], tmp_path: Path) -> None:
    url, engine = postgres
    key = uuid.UUID(int=5)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE t (i int, b bigint, n numeric(12,2), f real, x boolean, s text, d date, ts timestamp, "
            "tz timestamptz, j jsonb, u uuid, a int[], r bytea)"
        )
        connection.exec_driver_sql(
            "INSERT INTO t VALUES (1, 2, 3.25, 0.5, true, 'x', '2025-01-02', '2025-01-02 03:04:05.678901', "
            f"'2025-01-02 03:04:05+02', '{{\"k\": 1}}', '{key}', '{{1,2}}', '\\x00ff'), "
            "(null, null, null, null, null, null, null, null, null, null, null, null, null)"
        )
    found = read(Table(url=url, query="t"), tmp_path / "t.parquet").to_pylist()
    assert found[0] == {
        "i": 1, "b": 2, "n": Decimal("3.25"), "f": 0.5, "x": True, "s": "x", "d": dt.date(2025, 1, 2),
        "ts": dt.datetime(2025, 1, 2, 3, 4, 5, 678901), "tz": dt.datetime(2025, 1, 2, 1, 4, 5, tzinfo=dt.UTC),
        "j": '{"k": 1}', "u": str(key), "a": "[1, 2]", "r": "00ff",
    }  # fmt: skip
    assert set(found[1].values()) == {None}


def test_times_beyond_all_years_come_as_text(postgres: tuple[str, sqlalchemy.Engine], tmp_path: Path) -> None:
    query = "SELECT t, d, z FROM (VALUES ('2025-01-02 03:04:05'::timestamp, '2025-01-02'::date, now()), "
    query += "('infinity', 'infinity', '0044-03-15 00:00+00 BC')) AS v (t, d, z)"
    found = read(Table(url=postgres[0], query=query), tmp_path / "t.parquet").to_pylist()
    assert (found[0]["t"], found[0]["d"]) == ("2025-01-02 03:04:05", "2025-01-02")
    assert (found[1]["t"], found[1]["d"], found[1]["z"][-2:]) == ("infinity", "infinity", "BC")


def test_a_use_case_trains_on_a_table_of_postgresql_as_on_the_file(
    made: Made, postgres: tuple[str, sqlalchemy.Engine]
) -> None:
    url, engine = postgres
    rows = [{"amount": 1.0 * index} for index in range(50)]
    made.payments(rows)
    file = training_frame(made.use_case(), made.settings)
    table = pq.read_table(made.settings.data / "payments.parquet").to_pandas()
    table.to_sql("payments", engine, index=False)
    definition = {"payments": {"url": url, "query": "payments", "time": "paid_at"}}
    use_case = made.use_case(name="banked", tables=definition)
    stored = training_frame(use_case, made.settings)
    assert stored.features.equals(file.features)
    assert stored.events.equals(file.events)
    assert data_hash(use_case, made.settings) == data_hash(use_case, made.settings)


def test_reading_a_database_never_writes_to_it(postgres: tuple[str, sqlalchemy.Engine], tmp_path: Path) -> None:
    url, engine = postgres
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SEQUENCE numbers")
    with pytest.raises(FeatureError, match="read-only transaction"):
        stream(Table(url=url, query="SELECT nextval('numbers') AS a"), tmp_path / "x.parquet")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT is_called FROM numbers").scalar() is False
