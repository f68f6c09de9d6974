"""The quality report of a load: completeness, uniqueness, validity, consistency, outliers, change since the last load.

Completeness counts all rows of the table, everything else the good ones. Of personal columns it holds counts alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from configs.use_case import UseCase
from features.contracts import ColumnContract, TableContract
from features.intake.changes import changes
from features.intake.consistency import consistency
from features.intake.kept import Load
from features.intake.loading import REPEATED
from features.intake.rules import given_sql
from features.sources import Source, quote, source
from features.values import value_sql

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
FENCE = 1.5
"""Interquartile ranges beyond the quartiles from which on a value is an outlier (Tukey 1977)."""

CATEGORIES = 100
"""Most frequent categories of a column that the report keeps."""

_HUGE = 1e150
_FEW = 10_000
"""Categories of a column with more are free text, and not listed."""


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: its quantiles (about right in large tables), and how many values lie beyond the fences.

    Without any spread between the quartiles there are no fences, and no outliers. Mean, deviation and quantiles leave
    out numbers whose squares are beyond all doubles.
    """

    least: float
    most: float
    mean: float
    deviation: float | None
    quantiles: tuple[float, ...]
    fences: tuple[float, float] | None
    outliers: int


@dataclass(frozen=True)
class ColumnQuality:
    """What is in a column. `missing` counts all rows of the table, `distinct` the values of keys and categories.

    More than 10,000 distinct values are counted with an error of some percent.
    """

    column: str
    role: str
    type: str
    personal: str | None
    missing: int
    distinct: int | None = None
    numbers: Numbers | None = None
    span: tuple[str, str] | None = None
    categories: tuple[tuple[str, int], ...] = ()


def report(
    connection: duckdb.DuckDBPyConnection,
    use_case: UseCase,
    contract: TableContract,
    load: Load,
    *,
    raw: Source,
    previous: Load | None,
) -> dict[str, Any]:
    """Write `quality.json` and `quality.html` into the load's folder; gives what is in the former.

    `connection` is that of the load: its view `numbered` is the raw table.
    """
    from features.intake.quality_page import page

    good = source(connection, load.good)
    missing = _missing(connection, contract, raw)
    columns = [_quality(connection, column, good, missing[column.name]) for column in _once(contract)]
    found = {
        "use_case": use_case.name,
        "table": load.table,
        "label": load.label,
        "loaded_at": load.loaded_at,
        "rows": load.rows,
        "rejected": load.rejected,
        "allowed": contract.rejects,
        "fails": load.fails(contract),
        "outcomes": load.outcomes,
        "repeated_ids": sum(rows for _, reason, rows in load.reasons if reason == REPEATED),
        "reasons": [{"column": column, "reason": reason, "rows": rows} for column, reason, rows in load.reasons],
        "columns": [asdict(column) for column in columns],
        "consistency": [asdict(each) for each in consistency(connection, use_case, contract, good, load)],
        "notes": list(load.notes),
    }
    before = read_report(previous) if previous else None
    found |= {"previous": before and before["loaded_at"], "changes": changes(before, found) if before else []}
    (load.folder / "quality.json").write_text(json.dumps(found, indent=2, default=str), encoding="utf-8")
    load.report.write_text(page(json.loads(json.dumps(found, default=str))), encoding="utf-8")
    return found


def read_report(load: Load) -> dict[str, Any]:
    """The report of a load as plain data."""
    found: dict[str, Any] = json.loads((load.folder / "quality.json").read_text(encoding="utf-8"))
    return found


def _once(contract: TableContract) -> list[ColumnContract]:
    """Each raw column in the role that says most of its values."""
    found: dict[str, ColumnContract] = {}
    for column in contract.columns:
        if column.name not in found or (column.contract and not found[column.name].contract):
            found[column.name] = column
    return list(found.values())


def _missing(connection: duckdb.DuckDBPyConnection, contract: TableContract, raw: Source) -> dict[str, int]:
    """Rows of the raw table without a value, by column; sentinel codes are none."""
    columns = _once(contract)
    absent = [f"NOT ({given_sql(column, raw.columns[column.name])})" for column in columns]
    tests = ", ".join(f"count(*) FILTER (WHERE {each})" for each in absent)
    counts = connection.execute(f"SELECT {tests} FROM numbered").fetchone() or ()
    return {column.name: int(count) for column, count in zip(columns, counts, strict=True)}


def _quality(
    connection: duckdb.DuckDBPyConnection, column: ColumnContract, good: Source, missing: int
) -> ColumnQuality:
    plain = ColumnQuality(column.name, column.role, column.type, column.personal, missing)
    value = _value(column, good)
    if column.personal == "mask":
        return plain
    match column.type:
        case "number" | "integer":
            return ColumnQuality(**_fields(plain) | {"numbers": _numbers(connection, value, good)})
        case "time":
            least, most = _row(connection, f"SELECT min({value}), max({value}) FROM {good.scan}")
            span = None if least is None else (least.isoformat(sep=" "), most.isoformat(sep=" "))
            return ColumnQuality(**_fields(plain) | {"span": span})
        case "label" | "as found":
            return plain
    unique = column.unique and int(_row(connection, f"SELECT count(*) FROM {good.scan}")[0])
    distinct = unique or _distinct(connection, value, good)
    shown = column.contract is not None and column.personal is None and distinct <= _FEW
    categories = _categories(connection, value, good) if shown else ()
    return ColumnQuality(**_fields(plain) | {"distinct": distinct, "categories": categories})


def _fields(plain: ColumnQuality) -> dict[str, Any]:
    return {name: getattr(plain, name) for name in ("column", "role", "type", "personal", "missing")}


def _value(column: ColumnContract, good: Source) -> str:
    if column.contract:
        return value_sql(good.columns, column.field or column.name, column.contract)
    return quote(column.name) if column.type == "time" else f"CAST({quote(column.name)} AS VARCHAR)"


def _numbers(connection: duckdb.DuckDBPyConnection, value: str, good: Source) -> Numbers | None:
    small = f"abs(v) < {_HUGE!r}"
    least, most, mean, deviation, quantiles = _row(
        connection,
        f"SELECT min(v), max(v), avg(v) FILTER ({small}), stddev_samp(v) FILTER ({small}), "
        f"approx_quantile(v, {list(QUANTILES)}) FILTER ({small}) "
        f"FROM (SELECT {value} AS v FROM {good.scan}) WHERE v IS NOT NULL",
    )
    if mean is None:
        return None
    low, high = quantiles[QUANTILES.index(0.25)], quantiles[QUANTILES.index(0.75)]
    fences, outliers = None, 0
    if high > low:
        fences = (low - FENCE * (high - low), high + FENCE * (high - low))
        beyond = f"{value} < {fences[0]!r} OR {value} > {fences[1]!r}"
        outliers = int(_row(connection, f"SELECT count(*) FILTER (WHERE {beyond}) FROM {good.scan}")[0])
    return Numbers(least, most, mean, deviation, tuple(quantiles), fences, outliers)


def _distinct(connection: duckdb.DuckDBPyConnection, value: str, good: Source) -> int:
    """How many values there are: counted where they are few, else about (HyperLogLog), in memory of fixed size."""
    about = int(_row(connection, f"SELECT approx_count_distinct({value}) FROM {good.scan}")[0])
    return about if about > _FEW else int(_row(connection, f"SELECT count(DISTINCT {value}) FROM {good.scan}")[0])


def _categories(connection: duckdb.DuckDBPyConnection, value: str, good: Source) -> tuple[tuple[str, int], ...]:
    query = f"SELECT {value} AS v, count(*) AS n FROM {good.scan} GROUP BY v HAVING v IS NOT NULL"
    rows = connection.execute(f"{query} ORDER BY n DESC, v LIMIT {CATEGORIES}").fetchall()
    return tuple((str(name), int(count)) for name, count in rows)


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    found: tuple[Any, ...] = connection.execute(query).fetchone() or ()
    return found
