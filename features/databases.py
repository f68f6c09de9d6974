"""Tables of SQL databases, streamed into Parquet files: a chunk in memory at a time, secrets from the environment.

The file is written beside its place and renamed, so that a reader never sees half a table. A column's type comes from
the database where it is declared, and is widened as values ask for it.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.console import Ticker
from configs.errors import FeatureError
from configs.inputs import Table
from configs.settings import sqlalchemy_url
from features.arrow import Growing

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, TextClause

CHUNK = 5_000
"""Rows fetched at a time."""

FRESH = 900.0
"""Seconds for which one process takes a table as it has read it, so that all parts of a training see the same rows."""

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")
_read: dict[Path, float] = {}


def snapshot(table: Table, target: Path, *, ticker: Ticker | None = None) -> Path:
    """The table's rows as a Parquet file at `target`, read now unless this process has just done so.

    A table that didn't change leaves the file untouched, with its time. Raises `FeatureError` for a missing environment
    variable, a driver that isn't installed, a database that doesn't answer and a query that it refuses.
    """
    if target.is_file() and time.monotonic() - _read.get(target, -FRESH) < FRESH:
        return target
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".reading-") as folder:
        written = Path(folder) / target.name
        stream(table, written, ticker=ticker)
        if not (target.is_file() and filecmp.cmp(written, target, shallow=False)):
            shutil.move(written, target)
    _read[target] = time.monotonic()
    return target


def stream(table: Table, target: Path, *, ticker: Ticker | None = None, chunk: int = CHUNK) -> int:
    """Write all rows of a database table to a new Parquet file; returns their number."""
    url = address(str(table.url))
    with _errors(table, url), _connected(url) as connection:
        result = connection.execution_options(stream_results=True, yield_per=chunk).execute(
            _statement(connection, table)
        )
        names = _unique(list(result.keys()), table)
        with Growing(target, names, _declared(connection, table)) as growing:
            for rows in result.partitions(chunk):
                growing.add(rows)
                if ticker:
                    ticker.note(f"{table.label}: {growing.rows:,} rows")
    return growing.rows


def address(template: str) -> URL:
    """The address with every `${NAME}` filled in from the environment. Messages never hold what was filled in."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    absent = [name for name in _PLACEHOLDER.findall(template) if name not in os.environ]
    if absent:
        raise FeatureError(
            f"the address {template} needs the environment variable{'s' * (len(absent) > 1)} {', '.join(absent)}",
            expected="every ${NAME} of a table's url in the environment",
            fix=f"export {absent[0]}=...",
        )
    try:
        return make_url(sqlalchemy_url(_PLACEHOLDER.sub(lambda found: os.environ[found[1]], template)))
    except (ArgumentError, ValueError):
        raise FeatureError(
            f"{template} is not the address of a database",
            expected="such as postgresql://user:${DB_PASSWORD}@host/database or sqlite:////data/bank.db",
            fix="correct the table's url; write special characters of a password in percent encoding",
        ) from None


@contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    """A connection that only reads: nothing is ever committed."""
    from sqlalchemy import NullPool, create_engine

    postgres = url.get_backend_name() == "postgresql"
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_file():
        raise FeatureError(f"no file {url.database}", expected="a SQLite database", fix="check the table's url")
    arguments = {"connect_timeout": 10} if postgres else {}
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    with engine.connect() as connection:
        if url.get_driver_name() == "psycopg":
            _read_any_time(connection)
        yield connection.execution_options(postgresql_readonly=True) if postgres else connection


def _read_any_time(connection: Connection) -> None:
    """Times beyond Python's years, such as 'infinity', come as text: their rows are judged by the contract."""
    from psycopg import DataError
    from psycopg.abc import Buffer
    from psycopg.adapt import Loader
    from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader

    def lenient(base: Any) -> type[Loader]:
        class Lenient(base):  # type: ignore[misc]
            def load(self, data: Buffer) -> Any:
                try:
                    return super().load(data)
                except DataError:
                    return bytes(data).decode()

        return Lenient

    adapters = connection.connection.driver_connection.adapters  # type: ignore[union-attr]
    for kind, loader in {"date": DateLoader, "timestamp": TimestampLoader, "timestamptz": TimestamptzLoader}.items():
        adapters.register_loader(kind, lenient(loader))


@contextmanager
def _errors(table: Table, url: URL) -> Iterator[None]:
    """Turn what SQLAlchemy and drivers raise into one `FeatureError` without secrets."""
    from sqlalchemy.exc import DataError, DBAPIError, NoSuchModuleError, SQLAlchemyError

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name == "psycopg":
            raise FeatureError.missing_extra("psycopg", extra="postgres") from None
        raise FeatureError(
            f"the driver {error.name!r} for {table.url} is not installed",
            expected="an installed driver",
            fix="install the driver's package, or name another in the url: dialect+driver://...",
        ) from None
    except NoSuchModuleError:
        raise FeatureError(
            f"SQLAlchemy knows no databases of the kind {url.drivername!r}",
            expected="such as postgresql, sqlite or mysql+pymysql",
            fix="correct the table's url, or install the dialect",
        ) from None
    except DBAPIError as error:
        told = "a value is of another type" if isinstance(error, DataError) else str(error.orig)  # it quotes the value
        reason = _without_secrets(told, str(table.url), url)
        what = "can't be reached" if error.statement is None else f"refused {table.query!r}"
        fix = "check the address and that the server runs" if error.statement is None else "correct the table's query"
        raise FeatureError(
            f"the database {table.url} {what}: {reason}", expected="rows of a table or of a SELECT", fix=fix
        ) from None
    except SQLAlchemyError as error:
        reason = _without_secrets(str(error), str(table.url), url)
        raise FeatureError(
            f"{table.query!r} can't be read from {table.url}: {reason}",
            expected="a table's name, or a SELECT",
            fix="correct the table's query",
        ) from None


def _without_secrets(message: str, template: str, url: URL) -> str:
    secrets = [os.environ.get(name, "") for name in _PLACEHOLDER.findall(template)]
    for secret in sorted({*secrets, url.password or ""} - {""}, key=len, reverse=True):
        message = message.replace(str(secret), "***")
    return (message.strip().splitlines() or ["no reason given"])[0]


def _statement(connection: Connection, table: Table) -> TextClause:
    """The SELECT itself, or everything of the named table. Colons in it are no parameters."""
    from sqlalchemy import text

    query = str(table.query).strip().rstrip(";")
    if not is_select(query):
        quote = connection.dialect.identifier_preparer.quote_identifier
        query = "SELECT * FROM " + ".".join(map(quote, query.split(".")))
    return text(query.replace(":", "\\:"))


def is_select(query: str) -> bool:
    """Whether a table's `query` is a SELECT instead of a name.

    >>> is_select("SELECT a FROM b"), is_select("bank.loans"), is_select("selections")
    (True, False, False)
    """
    return bool(re.match(r"\s*(\(|(select|with)\b)", query, re.IGNORECASE))


def _declared(connection: Connection, table: Table) -> Mapping[str, Any]:
    """Python types of a named table's columns as the database declares them; nothing for a SELECT."""
    from sqlalchemy import inspect
    from sqlalchemy.exc import NoSuchTableError, UnreflectableTableError

    query = str(table.query).strip()
    if is_select(query):
        return {}
    schema, _, name = query.rpartition(".")
    try:
        columns = inspect(connection).get_columns(name, schema=schema or None)
    except (NoSuchTableError, UnreflectableTableError):  # a view, in some databases: values decide
        return {}
    return {column["name"]: column["type"].python_type for column in columns}


def _unique(names: Sequence[str], table: Table) -> Sequence[str]:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise FeatureError(
            f"{table.query!r} gives the columns {', '.join(sorted(twice))} twice",
            expected="columns with names of their own",
            fix="name them in the SELECT: AS other_name",
        )
    return names
