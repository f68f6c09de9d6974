"""One look at an unknown table: types, distinct values, missing ones, codes, and how each column goes with a label."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import duckdb
import numpy as np
from numpy.typing import NDArray

from configs.errors import FeatureError
from features.contracts import MAX_TEXT
from features.intake.suspects import (
    Evidence,
    auc,
    named_code,
    named_event_time,
    named_time,
    number_codes,
    text_codes,
)
from features.sources import Source, quote, text, unreadable
from features.values import instant_sql, is_whole

ROWS = 100_000
"""Rows of a larger table that are looked at, spread evenly over it; uniqueness is always counted in all."""

LOOKED = "looked"
"""The temporary relation that holds them."""

Kind = Literal["number", "category", "boolean", "time", "other"]


@dataclass(frozen=True)
class Profile:
    """A column. `rows`, `present` and `distinct` count the rows looked at; `values` are up to 50 of the frequent ones.

    `low` and `high` are those of numbers without the sentinel codes `codes`; `whole` says that all are integers.
    `plain` says that every text is short and printable enough for a category or a key.
    """

    name: str
    found: str
    kind: Kind
    rows: int
    present: int
    distinct: int
    values: tuple[str, ...] = ()
    codes: tuple[float | str, ...] = ()
    low: float | None = None
    high: float | None = None
    whole: bool = False
    plain: bool = True

    @property
    def missing(self) -> float:
        """Share of rows without a value."""
        return 1 - self.present / self.rows


def look(
    connection: duckdb.DuckDBPyConnection, raw: Source, *, time: str | None = None
) -> tuple[int, dict[str, Profile]]:
    """The number of rows of the table, and a profile of each column. A table without rows is a `FeatureError`.

    Whole numbers in the column `time` are read as times, whatever names and sizes say. Makes the relation `LOOKED` with
    the columns of the table.
    """
    try:
        total = int((connection.execute(f"SELECT count(*) FROM {raw.scan}").fetchone() or (0,))[0])
        every = max(1, -(-total // ROWS))
        numbered = f'SELECT *, row_number() OVER () AS "row:" FROM {raw.scan}'
        chosen = f'SELECT * EXCLUDE ("row:") FROM ({numbered}) WHERE "row:" % {every} = 0'
        connection.execute(f"CREATE TEMP TABLE {LOOKED} AS {chosen if every > 1 else f'SELECT * FROM {raw.scan}'}")
    except duckdb.Error as error:
        raise unreadable(raw.path, error) from None
    if not total:
        raise FeatureError(
            f"{raw.path.name} has no rows",
            expected="a table with events and their outcomes",
            fix="name another table, or fill this one",
        )
    profiles = {name: _profile(connection, name, found) for name, found in raw.columns.items()}
    if time in profiles and is_whole(profiles[time].found):
        profiles[time] = replace(profiles[time], kind="time", codes=())
    return total, profiles


def _profile(connection: duckdb.DuckDBPyConnection, name: str, found: str) -> Profile:
    column = quote(name)
    rows, present, distinct = connection.execute(
        f"SELECT count(*), count({column}), count(DISTINCT {column}) FROM {LOOKED}"
    ).fetchone() or (0, 0, 0)
    kind = _kind(name, found)
    if kind == "category":
        kind = _kind_of_texts(connection, column)
    plain = Profile(name, found, kind, rows, present, distinct)
    if kind == "number":
        number = _number(connection, plain)
        return replace(number, kind="time", codes=()) if _dates_as_numbers(number) else number
    if kind == "category":
        values = _texts(connection, column, most=50)
        return replace(plain, values=values, codes=text_codes(values), plain=_short(connection, column))
    return plain


def _dates_as_numbers(column: Profile) -> bool:
    """Whole numbers under the name of an event's time that are dates as digits, or time since 1970."""
    named = named_event_time(column.name) == 2 and named_time(column.name)
    if not named or not is_whole(column.found) or column.low is None or column.high is None:
        return False
    digits = column.low >= 19_000_101 and column.high <= 21_991_231
    return digits or column.low >= 315_532_800  # seconds from 1980 on, and finer units


def _short(connection: duckdb.DuckDBPyConnection, column: str) -> bool:
    texts = f"CAST({column} AS VARCHAR)"
    spoilt = f"length({texts}) > {MAX_TEXT} OR regexp_matches({texts}, '[\\x00-\\x1f\\x7f]')"
    return connection.execute(f"SELECT 1 FROM {LOOKED} WHERE {spoilt} LIMIT 1").fetchone() is None


def _kind(name: str, found: str) -> Kind:
    if found == "BOOLEAN":
        return "boolean"
    if found.startswith(("TIMESTAMP", "DATE")):
        return "time"
    if found == "VARCHAR" or found.startswith("ENUM"):
        return "category"
    whole = found.endswith(("INT", "INTEGER"))
    if whole or found in {"DOUBLE", "FLOAT"} or found.startswith("DECIMAL"):
        return "category" if whole and named_code(name) else "number"
    return "other"


def _kind_of_texts(connection: duckdb.DuckDBPyConnection, column: str) -> Kind:
    """Texts may be times, or numbers spoilt by words such as 'NA'; text without such words stays what it is."""
    texts = f"CAST({column} AS VARCHAR)"
    words = text_codes(_texts(connection, column, most=500))
    spoilt = ", ".join(map(text, ["", *words]))
    times = f"{texts} LIKE '%____-__-__%' AND TRY_CAST({texts} AS TIMESTAMPTZ) IS NOT NULL"
    valued, numbers, dates = connection.execute(
        f"SELECT count(*), count(TRY_CAST({texts} AS DOUBLE)), count(*) FILTER (WHERE {times}) FROM {LOOKED} "
        f"WHERE {texts} NOT IN ({spoilt})"
    ).fetchone() or (0, 0, 0)
    if valued and dates >= 0.98 * valued:
        return "time"
    return "number" if words and valued and numbers == valued else "category"


def _texts(connection: duckdb.DuckDBPyConnection, column: str, *, most: int) -> tuple[str, ...]:
    query = f"SELECT CAST({column} AS VARCHAR) AS v FROM {LOOKED} WHERE {column} IS NOT NULL GROUP BY v"
    return tuple(row[0] for row in connection.execute(f"{query} ORDER BY count(*) DESC, v LIMIT {most}").fetchall())


def _number(connection: duckdb.DuckDBPyConnection, plain: Profile) -> Profile:
    column = quote(plain.name)
    counted = connection.execute(
        f"SELECT TRY_CAST({column} AS DOUBLE) AS v, count(*) FROM {LOOKED} GROUP BY v HAVING isfinite(v)"
    ).fetchnumpy()
    values, counts = _filled(counted["v"]), np.asarray(counted["count_star()"])
    codes = number_codes(dict(zip(values.tolist(), map(int, counts), strict=True)))
    words = text_codes(_texts(connection, column, most=500)) if plain.found == "VARCHAR" else ()
    rest = values[~np.isin(values, codes)]
    return replace(
        plain,
        values=tuple(f"{value:g}" for value in np.sort(values)[:3]),
        codes=(*words, *codes),
        low=float(rest.min()) if len(rest) else None,
        high=float(rest.max()) if len(rest) else None,
        whole=bool(len(rest)) and bool(np.all(rest == np.round(rest))),
    )


def unique(connection: duckdb.DuckDBPyConnection, raw: Source, column: str) -> bool:
    """Whether every row of the whole table has a value of its own."""
    name = quote(column)
    row = connection.execute(f"SELECT count(*) = count(DISTINCT {name}) FROM {raw.scan}").fetchone()
    return bool(row and row[0])


def positives(
    connection: duckdb.DuckDBPyConnection, label: str, positive: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows looked at have an outcome, and which of these are positive."""
    same = f"CAST(CAST({quote(label)} AS VARCHAR) = {text(positive)} AS DOUBLE)"
    values = _filled(connection.execute(f"SELECT {same} AS v FROM {LOOKED}").fetchnumpy()["v"])
    known = ~np.isnan(values)
    return known, values[known] == 1


def evidence(
    connection: duckdb.DuckDBPyConnection, column: Profile, known: NDArray[np.bool_], positive: NDArray[np.bool_]
) -> Evidence:
    """How a column goes with the label, over the rows whose outcome is known.

    Categories are scored by their share of positives in one half of the rows, and judged on the other half.
    """
    codes = coded(connection, column)[known]
    others = codes != _usual_code(codes)
    rate = float(positive[others].mean()) if others.any() else 0.0
    usual, alone = _usual_text(connection, column), 0.0
    if column.kind in {"category", "boolean", "other"}:
        half = np.arange(len(codes)) % 2 == 0
        rates = _rates(codes[half], positive[half])
        alone = auc(np.array([rates.get(code, -1.0) for code in codes[~half]]), positive[~half])
    else:
        alone = auc(codes, positive)
    return Evidence(alone, usual, int(others.sum()), rate)


def coded(connection: duckdb.DuckDBPyConnection, column: Profile) -> NDArray[np.float64]:
    """The rows looked at as numbers: times in microseconds since 1970, categories by rank, missing ones as -inf."""
    name = quote(column.name)
    if column.kind in {"category", "other"}:
        rank = f'dense_rank() OVER (ORDER BY CAST({name} AS VARCHAR) NULLS FIRST) AS v, "row:"'
        numbered = f'SELECT *, row_number() OVER () AS "row:" FROM {LOOKED}'
        query = f'SELECT CAST(v AS DOUBLE) AS v FROM (SELECT {rank} FROM ({numbered})) ORDER BY "row:"'
    elif column.kind == "time":
        query = f"SELECT CAST(epoch_us({instant_sql(column.name, column.found)}) AS DOUBLE) AS v FROM {LOOKED}"
    else:
        query = f"SELECT TRY_CAST({name} AS DOUBLE) AS v FROM {LOOKED}"
    values = _filled(connection.execute(query).fetchnumpy()["v"])
    return np.where(np.isnan(values), -np.inf, values)


def _usual_text(connection: duckdb.DuckDBPyConnection, column: Profile) -> str:
    usual = connection.execute(
        f"SELECT CAST({quote(column.name)} AS VARCHAR) AS v FROM {LOOKED} GROUP BY v ORDER BY count(*) DESC, v LIMIT 1"
    ).fetchone()
    return str(usual[0])[:30] if usual and usual[0] is not None else "nothing"


def _usual_code(codes: NDArray[np.float64]) -> float:
    """The most frequent code; the least of several."""
    found, counts = np.unique(codes, return_counts=True)
    return float(found[counts.argmax()]) if len(found) else 0.0


def _filled(values: Any) -> NDArray[np.float64]:
    """What DuckDB hands over, with NaN for NULL."""
    return np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)


def _rates(codes: NDArray[np.float64], positive: NDArray[np.bool_]) -> dict[float, float]:
    found, places = np.unique(codes, return_inverse=True)
    ones = np.bincount(places, weights=positive)
    return dict(zip(found.tolist(), (ones / np.bincount(places)).tolist(), strict=True))
