"""A small, safe part of SQL, written once and run twice: as DuckDB SQL over tables, as Python closures over one event.

Every number is a double. A division by zero, a logarithm of zero and anything missing give NULL (None), and so does a
result that is not finite. A condition used as a number is 1 or 0; a number used as a condition is true unless it is
zero.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlglot

from configs.errors import FeatureError
from configs.use_case import UseCase
from features.language.closures import Run
from features.language.grammar import LANGUAGE, Compiler, Kind
from features.vector import expression_names


@dataclass(frozen=True)
class Expression:
    """A compiled expression. `names` are the fields it reads; `kind` is what it gives."""

    text: str
    names: frozenset[str]
    kind: Kind
    _duckdb: str = field(repr=False)
    _run: Run = field(repr=False, compare=False)

    def sql(self) -> str:
        """DuckDB's SQL over columns with the names as quoted identifiers; numbers must be doubles, times in UTC."""
        return self._duckdb

    def evaluate(self, values: Mapping[str, Any]) -> float | str | bool | None:
        """The value for one event; a name without a value is missing. Conditions give bool or None."""
        try:
            result = self._run(values)
        except TypeError as error:
            raise FeatureError(
                f"the expression {self.text!r} met values of the wrong type: {error}",
                expected="values as declared",
            ) from None
        if isinstance(result, float):
            return result if math.isfinite(result) else None
        return result  # type: ignore[no-any-return]


def compile_expression(
    text: str,
    *,
    allowed: Collection[str],
    gives: Literal["number", "category", "condition"] | None = None,
) -> Expression:
    """Parse and check `text`. `allowed` are the names it may read; if it maps them to kinds, types are checked too.

    With `gives` the result is made that kind (a condition becomes 1 or 0, a number becomes "is not zero").
    Raises `FeatureError` naming what isn't allowed and the nearest name that is.
    """
    names: set[str] = set()
    compiler = Compiler(text, allowed, names)
    try:
        tree = sqlglot.parse_one(text, read="duckdb")
        piece = compiler.result(tree, gives)
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FeatureError(f"{text!r} is not an expression: {reason}", expected=LANGUAGE) from None
    sql = f"CASE WHEN isfinite({piece.sql}) THEN {piece.sql} END" if piece.kind == "number" else piece.sql
    return Expression(text, frozenset(names), piece.kind, sql, piece.run)


def compile_derived(use_case: UseCase) -> dict[str, Expression]:
    """The derived columns, in the order in which they are computed: each may use those declared before it."""
    names: dict[str, Literal["number", "category", "time"]] = expression_names(use_case)
    for name in use_case.derived:
        del names[name]
    compiled = {}
    for name, derived in use_case.derived.items():
        try:
            compiled[name] = compile_expression(derived.sql, allowed=names, gives=derived.type)
        except FeatureError as error:
            raise FeatureError(f"derived.{name}: {error.found}", expected=error.expected, fix=error.fix) from None
        names[name] = derived.type
    return compiled


def compile_rules(use_case: UseCase) -> dict[str, Expression]:
    """The conditions of the policy's rules by name, over everything an event has and its `probability`."""
    names = expression_names(use_case) | {"probability": "number"}
    compiled = {}
    for rule in use_case.policy.rules:
        try:
            compiled[rule.name] = compile_expression(rule.when, allowed=names, gives="condition")
        except FeatureError as error:
            raise FeatureError(f"policy.rules, {rule.name}: {error.found}", expected=error.expected) from None
    return compiled
