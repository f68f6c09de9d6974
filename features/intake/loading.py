"""One pass from a raw table to good rows and rejects: rules as SQL, personal columns tokenized, both files streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb

from configs.errors import FeatureError
from configs.use_case import UseCase
from features.contracts import AHEAD, ROW_NUMBER, ColumnContract, TableContract
from features.intake.privacy import MASK, Tokenizer
from features.intake.rules import Test, tests_of
from features.sources import Source, quote, text
from features.values import instant_sql, is_whole, label_sql, missing_sql, text_sql

REPEATED = "repeats that of an earlier row"
"""Reason of a row whose id another good row had first."""

_ROW = quote(ROW_NUMBER)
_REMEMBERED = 1 << 18
_FORMAT = "FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480"  # a group of wide rows fits a small memory


def numbered(raw: Source) -> str:
    """Query for a raw table with the number of each row in it, from 1."""
    return f"SELECT row_number() OVER () AS {_ROW}, * FROM {raw.scan}"


def written(
    connection: duckdb.DuckDBPyConnection,
    use_case: UseCase,
    contract: TableContract,
    raw: Source,
    folder: Path,
    *,
    tokenizer: Tokenizer | None,
    now: datetime,
) -> dict[str, Any]:
    """Write `rows.parquet` and `rejects.parquet`, and give the facts of the load that `Load` holds.

    Works in bounded memory: what doesn't fit is spilled. `connection` is for this load alone.
    """
    connection.execute(f"CREATE VIEW numbered AS {numbered(raw)}")
    expires = _rejected(connection, contract, raw, now)
    _copy(connection, "SELECT * FROM rejects ORDER BY row_number", folder / "rejects.parquet")
    good = _copy(connection, _good(connection, use_case, contract, raw, tokenizer), folder / "rows.parquet")
    return _facts(connection, use_case, contract, good, folder) | {"expires": expires}


@contextmanager
def readable(contract: TableContract) -> Iterator[None]:
    """Turn what DuckDB raises into a `FeatureError`. What it says of a conversion quotes the value: no message may."""
    try:
        yield
    except duckdb.Error as error:
        named = isinstance(error, (duckdb.BinderException, duckdb.IOException, duckdb.OutOfMemoryException))
        reason = str(error).splitlines()[0] if named else type(error).__name__
        raise FeatureError(
            f"{contract.label} can't be loaded: {reason}",
            expected="columns of the types that its contract names, and room for them",
            fix="correct the table, or the types in the use case; raise RISK_MEMORY, or free the disk of RISK_HOME",
        ) from None


def _rejected(connection: duckdb.DuckDBPyConnection, contract: TableContract, raw: Source, now: datetime) -> str | None:
    """Make the table `rejects`: row_number, column, reason, event_id. Gives when a future row is one no longer."""
    limit = f"TIMESTAMP '{(now + AHEAD).replace(tzinfo=None).isoformat(sep=' ')}'"
    tests = [*tests_of(contract, raw.columns, now=limit), *_beyond(contract, raw)]
    unique = contract.one("id")
    public = unique and unique not in contract.personal
    shown = f"left({text_sql(unique, raw.columns[unique])}, 128)" if unique and public else "NULL"
    connection.execute('CREATE TABLE rejects (row_number BIGINT, "column" VARCHAR, reason VARCHAR, event_id VARCHAR)')
    if tests:
        _by_rule(connection, tests, shown)
    if unique:
        _by_id(connection, unique, shown)
    return _expires(connection, contract, raw, limit, now)


def _beyond(contract: TableContract, raw: Source) -> Iterator[Test]:
    """A line with more values than the header has names: nobody knows which belong where."""
    extra = [f"{quote(name)} IS NOT NULL" for name in raw.beyond if name not in contract.names]
    if extra:
        yield Test("(line)", "has more values than the header has names", "type", " OR ".join(extra))


def _by_rule(connection: duckdb.DuckDBPyConnection, tests: Sequence[Test], shown: str) -> None:
    """The list of broken rules is built for rows that break any; all others cost the tests alone."""
    broken = " OR ".join(f"({test.broken})" for test in tests)
    each = ", ".join(f"CASE WHEN {test.broken} THEN {index} END" for index, test in enumerate(tests))
    rules = ", ".join(f"({index}, {text(test.column)}, {text(test.reason)})" for index, test in enumerate(tests))
    connection.execute(f'CREATE TABLE rules AS FROM (VALUES {rules}) AS rules(rule, "column", reason)')
    connection.execute(
        f'INSERT INTO rejects SELECT row_number, "column", reason, event_id FROM (SELECT {_ROW} AS row_number, '
        f"{shown} AS event_id, unnest([{each}]) AS rule FROM numbered WHERE {broken}) JOIN rules USING (rule)"
    )


def _by_id(connection: duckdb.DuckDBPyConnection, unique: str, shown: str) -> None:
    """The first good row keeps its id; the others are rejected."""
    connection.execute(
        f"CREATE TABLE ids AS SELECT {_ROW} AS row_number, {quote(unique)} AS id FROM numbered "
        f"WHERE {_ROW} NOT IN (SELECT row_number FROM rejects)"
    )
    repeated = "SELECT id, min(row_number) AS first FROM ids GROUP BY id HAVING count(*) > 1"
    connection.execute(
        f"INSERT INTO rejects SELECT row_number, {text(unique)}, {text(REPEATED)}, "
        f"{shown.replace(quote(unique), 'id')} FROM ids JOIN ({repeated}) USING (id) WHERE row_number > first"
    )
    connection.execute("DROP TABLE ids")


def _expires(
    connection: duckdb.DuckDBPyConnection, contract: TableContract, raw: Source, limit: str, now: datetime
) -> str | None:
    """When the first of the rows rejected as future no longer is one."""
    past = sorted({column.name for column in contract.columns if column.past})
    row = connection.execute("SELECT count(*) FROM rejects WHERE reason = 'is in the future'").fetchone()
    if not (past and row and row[0]):
        return None
    later = [instant_sql(name, raw.columns[name]) for name in past]
    least = ", ".join(f"min({each}) FILTER (WHERE {each} > {limit})" for each in later)
    found = connection.execute(f"SELECT {least} FROM numbered").fetchone() or ()
    first = min((each for each in found if each is not None), default=None)
    return None if first is None else (first.replace(tzinfo=now.tzinfo) - AHEAD).isoformat()


def _good(
    connection: duckdb.DuckDBPyConnection,
    use_case: UseCase,
    contract: TableContract,
    raw: Source,
    tokenizer: Tokenizer | None,
) -> str:
    """Query for the good rows with the columns of the contract.

    They stay in the order of the table: numbering the rows reads them one after the other, and nothing is sorted. The
    token keys are in no query.
    """
    if tokenizer:
        token = lru_cache(_REMEMBERED)(tokenizer.token)  # a value that comes again is not hashed again
        connection.create_function("token", token, ["VARCHAR"], "VARCHAR")
    columns = [f"{_column(contract, raw, name)} AS {quote(name)}" for name in contract.names]
    if contract.table == use_case.event.table and use_case.event.id is None:
        columns.insert(0, _ROW)
    return f"SELECT {', '.join(columns)} FROM numbered WHERE {_ROW} NOT IN (SELECT row_number FROM rejects)"


def _column(contract: TableContract, raw: Source, name: str) -> str:
    """A column as it is loaded: a personal one shielded, keys as text, times alone as a TIMESTAMP in UTC."""
    named = [column for column in contract.columns if column.name == name]
    match contract.personal.get(name):
        case "token":
            return f"token({_given(named, raw, name)})"
        case "mask" if any(column.contract and column.contract.type != "category" for column in named):
            return f"CAST(NULL AS {raw.columns[name]})"  # no number and no time is a mask
        case "mask":
            return f"CASE WHEN {_given(named, raw, name)} IS NOT NULL THEN {text(MASK)} END"
    timed = all(column.role in {"time", "created", "known"} for column in named)
    if timed:
        return instant_sql(name, raw.columns[name])
    keyed = any(column.role in {"id", "key"} for column in named) and not is_whole(raw.columns[name])
    return text_sql(name, raw.columns[name]) if keyed else quote(name)


def _given(named: Sequence[ColumnContract], raw: Source, name: str) -> str:
    """A personal value as text; NULL where a code says that there is none."""
    codes = {missing_sql(name, raw.columns[name], column.contract) for column in named if column.contract} - {None}
    value = text_sql(name, raw.columns[name])
    return f"CASE WHEN NOT ({' OR '.join(sorted(filter(None, codes)))}) THEN {value} END" if codes else value


def _facts(
    connection: duckdb.DuckDBPyConnection, use_case: UseCase, contract: TableContract, good: int, folder: Path
) -> dict[str, Any]:
    rejected = connection.execute("SELECT count(DISTINCT row_number) FROM rejects").fetchone() or (0,)
    reasons = connection.execute(
        'SELECT "column", reason, count(*) FROM rejects GROUP BY ALL ORDER BY 3 DESC, 1, 2'
    ).fetchall()
    scan = f"read_parquet({text(str(folder / 'rows.parquet'))})"
    columns = {str(name): str(kind) for name, kind, *_ in connection.execute(f"DESCRIBE FROM {scan}").fetchall()}
    outcomes = None
    if contract.table == use_case.event.table:
        label = label_sql(columns, use_case.label)
        counts = f"count(*) FILTER ({label} = 1), count(*) FILTER ({label} = 0), count(*) - count({label})"
        outcomes = connection.execute(f"SELECT {counts} FROM {scan}").fetchone()
    return {
        "rows": good + int(rejected[0]),
        "rejected": int(rejected[0]),
        "reasons": tuple((str(column), str(reason), int(rows)) for column, reason, rows in reasons),
        "outcomes": outcomes,
    }


def _copy(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    row = connection.execute(f"COPY ({query}) TO {text(str(path))} ({_FORMAT})").fetchone()
    return int(row[0]) if row else 0
