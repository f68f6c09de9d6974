"""A first use case from a table that nobody has described yet: looked at once, guessed, written with its reasons."""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import yaml
from numpy.typing import NDArray

from configs.console import Ticker
from configs.errors import FeatureError
from configs.inputs import Table
from configs.loading import parse
from configs.settings import Settings
from configs.use_case import UseCase
from features.intake.draft_text import draft_text
from features.intake.guesses import Guesses, Known, is_category, kind_of
from features.intake.periods import periods_of
from features.intake.profile import Profile, coded, look, positives
from features.intake.roles import Roles, Wishes, roles_of, timely
from features.intake.suspects import named_known, named_personal, slug, text_codes
from features.sources import Source, connect, source
from features.temporary import own_folder
from features.values import text_sql

_VOCABULARY = 20
"""Categories with more values than this get no declared vocabulary; training learns it."""

_FORMATS = (".parquet", ".pq", ".csv", ".csv.gz")
_EXPECTED = "a .parquet, .csv or .csv.gz file, a folder of Parquet files, or a database address with --query"
_PASSWORD = re.compile(r"://[^/@:]*:(?!\$\{)[^@/]+@")


@dataclass(frozen=True)
class Draft:
    """A draft: its text, and the same as a checked use case."""

    text: str
    use_case: UseCase
    guesses: Guesses


def draft(
    table: str,
    settings: Settings,
    *,
    wishes: Wishes | None = None,
    name: str | None = None,
    query: str | None = None,
    taken: Collection[str] = (),
    ticker: Ticker | None = None,
) -> Draft:
    """Draft a use case from a file, a folder or a database's table. Nothing is written.

    `taken` are names of other use cases, which a draft without a `name` avoids. Raises `FeatureError` for a table that
    can't be read or has no rows, no label or no usable column, and for wishes that it can't meet.
    """
    wishes = wishes or Wishes()
    with _opened(table, query, settings, ticker) as (connection, raw, place, stem):
        _note(ticker, "looking at columns")
        rows, profiles = look(connection, raw, time=wishes.time)
        _note(ticker, "guessing roles")
        roles = roles_of(connection, raw, profiles, wishes)
        kind, reason = kind_of(wishes.kind, roles, [stem])
        guesses = Guesses(
            source=raw.path.name if "path" in place else str(query),
            rows=rows,
            width=len(profiles),
            name=name or (f"{stem}_draft" if stem in taken else stem),
            owner=settings.identity,
            kind=kind,
            kind_reason=reason,
            table=stem,
            place=place,
            roles=roles,
            vocabularies=_vocabularies(connection, raw, roles),
            periods=None,
            notes=raw.notes,
        )
        guesses = _timed(connection, profiles, guesses)
    _note(ticker, "checking the draft")
    return _checked(guesses)


def _checked(guesses: Guesses) -> Draft:
    if not guesses.roles.of("field", "time"):
        raise FeatureError(
            f"no column of {guesses.source} is left to predict from",
            expected="columns beside the label, keys, times and leaks",
            fix="name the label with --label, or add columns",
        )
    text = draft_text(guesses)
    return Draft(text, parse(yaml.safe_load(text), file=f"{guesses.name}.yaml"), guesses)


@contextmanager
def _opened(
    table: str, query: str | None, settings: Settings, ticker: Ticker | None
) -> Iterator[tuple[duckdb.DuckDBPyConnection, Source, dict[str, Any], str]]:
    """The table, its section in the use case without a time, and a name for it."""
    own = own_folder(settings.home / "scratch")
    with connect(settings) as connection, tempfile.TemporaryDirectory(dir=own, prefix="init-") as folder:
        if "://" not in table:
            path = _found(table, settings)
            inside = path.is_relative_to(settings.data)
            place = {"path": str(path.relative_to(settings.data) if inside else path)}
            yield connection, source(connection, path), place, slug(path.name.split(".")[0])
            return
        from features.databases import is_select, stream

        definition = _database(table, query)
        if ticker:
            ticker.note("reading the database")
        target = Path(folder) / "table.parquet"
        stream(definition, target, ticker=ticker)
        stem = "events" if is_select(str(query)) else slug(str(query).split(".")[-1])
        yield connection, source(connection, target), {"url": table, "query": query}, stem


def _found(table: str, settings: Settings) -> Path:
    """The file or folder, from here or from RISK_DATA."""
    paths = [Path(table).expanduser().resolve(), (settings.data / table).resolve()]
    path = next((each for each in paths if each.exists()), None)
    if path is None:
        near = [each.name for folder in {each.parent for each in paths} if folder.is_dir() for each in folder.iterdir()]
        nearest = difflib.get_close_matches(paths[0].name, near, n=1, cutoff=0.5)
        hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        fix = "check the path; relative paths start here or in RISK_DATA"
        raise FeatureError(f"no file or folder {table}{hint}", expected=_EXPECTED, fix=fix)
    if path.is_file() and not path.name.lower().endswith(_FORMATS):
        raise FeatureError(
            f"{path.name} has the format {path.suffix or 'of no suffix'}",
            expected=_EXPECTED,
            fix="export the table as Parquet or CSV",
        )
    return path


def _database(url: str, query: str | None) -> Table:
    if query is None:
        raise FeatureError(
            "the address of a database without --query",
            expected="--query with a table's name or a SELECT",
            fix="--query loans, or --query 'SELECT * FROM loans'",
        )
    if _PASSWORD.search(url):
        raise FeatureError(
            "the address holds a password, which would stand in the draft",
            expected="an environment variable in its place",
            fix="write '...://user:${DB_PASSWORD}@host/database' in single quotes",
        )
    return Table(url=url, query=query)


def _vocabularies(connection: duckdb.DuckDBPyConnection, raw: Source, roles: Roles) -> dict[str, list[str]]:
    """Column -> its values in the whole table, for the categories that have few; those that say 'unknown' left out."""
    found: dict[str, list[str]] = {}
    for each in roles.of("field", "leak"):
        few = each.profile.distinct <= _VOCABULARY and not named_personal(each.profile.name)
        if few and is_category(each):
            value = text_sql(each.profile.name, each.profile.found)
            query = f"SELECT DISTINCT {value} AS v FROM {raw.scan} WHERE v IS NOT NULL ORDER BY v"
            values = [row[0] for row in connection.execute(query).fetchall()]
            found[each.profile.name] = [value for value in values if value not in text_codes(values)]
    return {name: values for name, values in found.items() if len(values) <= 2 * _VOCABULARY}


def _timed(connection: duckdb.DuckDBPyConnection, profiles: Mapping[str, Profile], guesses: Guesses) -> Guesses:
    """The guesses with periods; without an event time where none leaves enough rows of both classes to test on."""
    roles = guesses.roles
    if roles.time is None:
        return replace(guesses, no_time="No column sounds like the time of the event; name it here if there is one.")
    times = coded(connection, profiles[roles.time])
    known, positive = positives(connection, roles.label.column, roles.label.text)
    usable = np.isfinite(times[known])
    periods = periods_of(times[known][usable], positive[usable], guesses.kind)
    if periods is None:
        reason = f"{roles.time} looks like the event's time, but it leaves too few rows of a class to test on."
        columns = [replace(each, role="useless", reason="a time") if each.role == "time" else each
                   for each in roles.columns]  # fmt: skip
        return replace(guesses, roles=replace(roles, time=None, columns=tuple(columns)), no_time=reason)
    rejected = _rejected(times)
    place = {**guesses.place, "time": roles.time} | ({"rejects": rejected} if rejected > 0.01 else {})
    found = _known(connection, times[known], known, positive, roles)
    return replace(guesses, periods=periods, place=place, known=found)


def _rejected(times: NDArray[Any]) -> float:
    """Twice the share of rows that a load will reject: their time is missing, impossible or in the future."""
    now = datetime.now(UTC).timestamp() * 1e6
    good = timely(times[times <= now])
    return round(min(1.0, 2 * (1 - good / len(times))), 3)


def _known(
    connection: duckdb.DuckDBPyConnection,
    times: NDArray[Any],
    known: NDArray[Any],
    positive: NDArray[Any],
    roles: Roles,
) -> Known | None:
    """The first time that follows the event and is there for every outcome, or for the positive ones only."""
    for each in roles.of("leak"):
        values = coded(connection, each.profile)[known] if each.profile.kind == "time" else np.full(len(times), np.nan)
        there = np.isfinite(values) & np.isfinite(times)
        if there[positive].mean() < 0.8 or np.mean(values[there] >= times[there]) < 0.99:
            continue
        complete = bool(there.mean() > 0.99) and named_known(each.profile.name)
        if complete or positive[there].mean() > 0.9:
            days = (values - times)[there & positive] / 86_400_000_000
            return Known(each.profile.name, int(np.quantile(days, 0.5)), int(np.quantile(days, 0.9)), complete)
    return None


def _note(ticker: Ticker | None, text: str) -> None:
    if ticker:
        ticker.advance()
        ticker.note(text)
