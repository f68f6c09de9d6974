"""A contract's rules as SQL: which raw rows break them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from configs.inputs import Column
from features.contracts import END_YEAR, FIRST_YEAR, MAX_TEXT, Check, ColumnContract, TableContract
from features.sources import quote, text
from features.values import instant_sql, is_whole, missing_sql, text_sql, typed_sql

_OF_TEXT = {"empty", "long", "control"}
"""Checks that no whole number fails when it is read as text."""

_TEXTS = {"text", "category"}


@dataclass(frozen=True)
class Test:
    """One rule over raw columns: `broken` is a condition that is never NULL."""

    column: str
    reason: str
    check: Check
    broken: str


@dataclass(frozen=True)
class _Tested:
    """A column as SQL: its value in the contract's type, and whether there is one at all."""

    type: str
    value: str
    given: str
    now: str
    contract: Column


def tests_of(contract: TableContract, columns: Mapping[str, str], *, now: str) -> tuple[Test, ...]:
    """The tests of a table whose raw columns have these DuckDB types; `now` is a SQL literal for the present."""
    found: dict[tuple[str, str], Test] = {}
    for column in contract.columns:
        rules = column.rules()
        if rules:
            tested = _tested(column, columns[column.name], now)
        for rule in rules:
            if rule.check in _OF_TEXT and is_whole(columns[column.name]):
                continue
            test = Test(column.name, rule.reason, rule.check, f"coalesce({_SQL[rule.check](tested)}, FALSE)")
            found.setdefault((column.name, rule.reason), test)
    return tuple(found.values())


def _tested(column: ColumnContract, found: str, now: str) -> _Tested:
    given = given_sql(column, found)
    if column.contract:
        return _Tested(column.type, typed_sql(column.name, found, column.contract), given, now, column.contract)
    value = (instant_sql if column.type == "time" else text_sql)(column.name, found)
    return _Tested(column.type, value, given, now, Column())


def given_sql(column: ColumnContract, found: str) -> str:
    """Whether the row has a value (never NULL itself): sentinel codes are none, and neither is NaN."""
    raw = quote(column.name)
    given = f"{text_sql(column.name, found) if column.type in _TEXTS else raw} IS NOT NULL"
    if not column.contract:
        return given
    missing = missing_sql(column.name, found, column.contract)
    if missing:
        given += f" AND NOT {missing}"
    if column.type in {"number", "integer", "boolean"} and found in {"FLOAT", "DOUBLE", "VARCHAR"}:
        given += f" AND NOT coalesce(isnan(TRY_CAST({raw} AS DOUBLE)), FALSE)"
    return given


def _type(tested: _Tested) -> str:
    wrong = f" OR {tested.value} NOT IN (0, 1)" if tested.type == "boolean" else ""
    return f"{tested.given} AND ({tested.value} IS NULL{wrong})"


def _era(tested: _Tested) -> str:
    year = f"year({tested.value})"
    within = f"coalesce({year} >= {FIRST_YEAR} AND {year} < {END_YEAR}, FALSE)"  # the year of infinity is NULL
    return f"{tested.given} AND {tested.value} IS NOT NULL AND NOT {within}"


def _vocabulary(tested: _Tested) -> str:
    return f"{tested.given} AND {tested.value} NOT IN ({', '.join(map(text, tested.contract.values))})"


_SQL: Mapping[Check, Callable[[_Tested], str]] = {
    "missing": lambda tested: f"NOT ({tested.given})",
    "time": lambda tested: f"NOT ({tested.given}) OR {tested.value} IS NULL",
    "type": _type,
    "era": _era,
    "future": lambda tested: f"{tested.value} > {tested.now}",
    "below": lambda tested: f"{tested.given} AND {tested.value} < {tested.contract.min!r}",
    "above": lambda tested: f"{tested.given} AND {tested.value} > {tested.contract.max!r}",
    "whole": lambda tested: f"{tested.given} AND {tested.value} <> round({tested.value})",
    "vocabulary": _vocabulary,
    "empty": lambda tested: f"{tested.value} = ''",
    "long": lambda tested: f"{tested.given} AND length({tested.value}) > {MAX_TEXT}",
    "control": lambda tested: f"{tested.given} AND regexp_matches({tested.value}, '[\\x00-\\x1f\\x7f]')",
}
