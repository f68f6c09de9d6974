"""Which row of a Parquet table was known for a key at a time: keys and times matched in DuckDB, within limits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from configs.errors import FeatureError
from features.asof import AT, CREATED, LINE, ROW, TIME, matched_query
from features.sources import quote
from features.stores.gather import Files
from features.values import text_sql

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Limits:
    """What DuckDB may use. It spills to a folder of its own under `folder`, or under the system's temporary one."""

    memory: str
    threads: int
    folder: str | None = None


@dataclass(frozen=True)
class History:
    """A table of features: the columns that are its keys, its time, and when a row was known."""

    files: Files
    keys: tuple[str, ...]
    time: str
    created: str | None


@contextmanager
def connected(limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    """A private in-memory DuckDB within the limits, times in UTC."""
    if limits.folder:
        Path(limits.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="asof-", dir=limits.folder) as scratch:
        options: dict[str, Any] = {
            "memory_limit": limits.memory,
            "threads": limits.threads,
            "temp_directory": scratch,
            "autoinstall_known_extensions": False,
            "asof_loop_join_threshold": 0,  # DuckDB takes rows from outside for few, and would compare each with all
        }
        with duckdb.connect(config=options) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection


def selected(query: str, *, limits: Limits) -> Places:
    """Places that a query for LINE gives, in order of the table."""
    with connected(limits) as connection:
        found: Places = np.sort(connection.execute(query).fetchnumpy()[LINE.strip('"')])
        return found


def matched(
    history: History, keys: Sequence[pd.Series[Any]], times: pd.Series[Any], *, ttl: timedelta | None, limits: Limits
) -> Places:
    """For each time (and the value of each key at the same position) the place of the row known then; -1 without one.

    A key that is text on one side only is compared as text, whole numbers without a fraction: pandas makes 8.0 of the 8
    beside a missing one. Times count to the microsecond, all below it is cut off on both sides. Raises `FeatureError`
    for a key of several types.
    """
    found = np.full(len(times), -1)
    asked = [_values(series) for series in keys]
    probes = {"row:": pa.array(np.arange(len(times))), "at:": _microseconds(times)}
    names = [f"key:{index}" for index in range(len(asked) or 1)]
    probes |= dict(zip(names, asked or [pa.repeat(pa.scalar(0), len(times))], strict=True))
    pairs = [_alike(history, *pair) for pair in zip(history.keys, names, asked, strict=True)] or [("0", '"key:0"')]
    stored = ", ".join(f"{column} AS {quote(name)}" for (column, _), name in zip(pairs, names, strict=True))
    given = ", ".join(f"{column} AS {quote(name)}" for (_, column), name in zip(pairs, names, strict=True))
    created = at(history.created) if history.created else "CAST(NULL AS BIGINT)"
    past = (
        f"(SELECT {stored}, {at(history.time)} AS {TIME}, {created} AS {CREATED}, {LINE} FROM ({history.files.scan}))"
    )
    query = matched_query(
        f"(SELECT {ROW}, {AT}, {given} FROM probes)", past, keys=[quote(name) for name in names], ttl=ttl
    )
    with connected(limits) as connection:
        connection.register("probes", pa.table(probes))
        answer = connection.execute(query).fetchnumpy()
    found[answer["row:"]] = answer["line:"]
    return found


def at(column: str) -> str:
    """A time column in microseconds since 1970."""
    return f"epoch_us(CAST({quote(column)} AS TIMESTAMP))"


def _microseconds(times: pd.Series[Any]) -> pa.Array:
    stamped = pa.array(pd.to_datetime(times, utc=True), from_pandas=True)
    return stamped.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())


def _values(series: pd.Series[Any]) -> pa.Array:
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        kinds = sorted({type(value).__name__ for value in series.dropna()})
        raise FeatureError(
            f"the column {series.name!r} of the entity rows holds {' and '.join(kinds)}",
            expected="values of one type",
            fix=f"convert it, as with rows[{series.name!r}].astype(str)",
        ) from None


def _alike(history: History, column: str, name: str, asked: pa.Array) -> tuple[str, str]:
    """The key in the table and the one asked for, as SQL of comparable types."""
    found = history.files.types.get(column)
    if found is None or _is_text(found) == _is_text(asked.type):
        return quote(column), quote(name)
    return text_sql(column, _in_duckdb(found)), text_sql(name, _in_duckdb(asked.type))


def _in_duckdb(kind: pa.DataType) -> str:
    """DuckDB's name of a type, as far as `text_sql` tells them apart."""
    return "DOUBLE" if pa.types.is_floating(kind) else "DECIMAL" if pa.types.is_decimal(kind) else "VARCHAR"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
