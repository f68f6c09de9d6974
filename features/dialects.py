"""The SQL of aggregates in another engine's dialect: the one place that knows where DuckDB's wording is its own.

Aggregates keep to SQL that both engines read alike: integer microseconds, named frames over ranges, CASE and casts.
What is left over is translated here, and everything else by sqlglot. Sums stay exact: DuckDB's 128-bit integers are
decimals of 38 digits in Spark, which stops at an overflow in ANSI mode. A sum beyond 2**64 units becomes a double in
two roundings in DuckDB and in one in Spark, so that its last bit may differ there, and nowhere else.
"""

from __future__ import annotations

import sys

import sqlglot
from sqlglot import ErrorLevel
from sqlglot import expressions as ast
from sqlglot.errors import UnsupportedError

_EXACT = "DECIMAL(38, 0)"
_SPARKS_OWN = {"unix_micros", "collect_set", "size", "struct"}
"""Functions of Spark that sqlglot has no class for, as far as they are made here."""


def to_spark(query: str) -> str:
    """An aggregate's query for Spark 3.5 and later, with `spark.sql.ansi.enabled` and the session's time zone UTC.

    Translated, not run: nothing here starts Spark. Raises sqlglot's `UnsupportedError` for what it knows that Spark
    can't express, and for every function that neither it nor this module knows.
    """
    tree = sqlglot.parse_one(query, read="duckdb")
    for node in reversed(list(tree.walk())):  # the innermost first
        found = _function(node) if isinstance(node, ast.Func) else _translated(node)
        if found is not None:
            node.replace(found)
    foreign = sorted({str(node.this) for node in tree.find_all(ast.Anonymous)} - _SPARKS_OWN)
    if foreign:
        raise UnsupportedError(f"no function of Spark is known for {', '.join(foreign)}")
    return tree.sql("spark", unsupported_level=ErrorLevel.RAISE)


def _translated(node: ast.Expr) -> ast.Expr | None:
    match node:
        case ast.DataType() if node.this == ast.DType.INT128:
            return ast.DataType.build(_EXACT)
        case ast.Window(this=ast.Count(this=ast.Distinct(expressions=[value]))):  # no DISTINCT over a frame
            over = node.copy()
            over.set("this", ast.func("collect_set", value.copy()))
            return ast.func("size", over)
        case _:
            return None


def _function(node: ast.Func) -> ast.Expr | None:
    match node:
        case ast.Sum() if isinstance(node.parent, ast.Window):  # Spark adds 64-bit integers in 64 bits
            return ast.Sum(this=ast.cast(node.this.copy(), _EXACT))
        case ast.DayOfWeek():  # from 1 in Spark
            return ast.paren(ast.Sub(this=node.copy(), expression=ast.Literal.number(1)))
        case ast.TimeToUnix(this=time):  # whole seconds in Spark
            return ast.Div(this=ast.cast(_micros(time), "DOUBLE"), expression=ast.Literal.number("1e6"))
        case ast.Anonymous(expressions=values):
            return _named(str(node.this).lower(), [value.copy() for value in values])
        case _:
            return None


def _named(function: str, values: list[ast.Expr]) -> ast.Expr | None:
    match function:
        case "row":
            return ast.func("struct", *values)
        case "epoch_us":
            return _micros(values[0])
        case "isfinite":  # NaN is the greatest number in both
            return ast.LTE(this=ast.Abs(this=values[0]), expression=ast.Literal.number(repr(sys.float_info.max)))
        case _:
            return None


def _micros(time: ast.Expr) -> ast.Expr:
    return ast.func("unix_micros", ast.cast(time.copy(), "TIMESTAMPTZ"))
