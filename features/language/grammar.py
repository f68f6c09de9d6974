"""The grammar of the expression language: sqlglot's tree becomes pieces with DuckDB SQL and a Python closure each."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlglot import expressions as ast

from configs.errors import FeatureError
from features.language import closures as flow
from features.language import operators as ops
from features.language.closures import Run

Kind = Literal["number", "category", "time", "condition", "null", "unknown"]

_FUNCTIONS = (
    "coalesce nullif greatest least abs ln exp sqrt floor ceil round hour dayofweek epoch".split()  # noqa: SIM905
)
LANGUAGE = "numbers, 'text', names, + - * /, = <> < <= > >=, AND OR NOT, IN, BETWEEN, IS NULL, CASE, " + ", ".join(
    _FUNCTIONS
)


@dataclass(frozen=True)
class Piece:
    """A part of an expression in both forms."""

    sql: str
    run: Run
    kind: Kind


class Compiler:
    """Turns sqlglot's tree into pieces, one method a kind of node."""

    def __init__(self, text: str, allowed: Collection[str], names: set[str]) -> None:
        self._text, self._allowed, self._names = text, allowed, names

    def _piece(self, node: ast.Expr) -> Piece:
        for kinds, method in _METHODS:
            if isinstance(node, kinds):
                return method(self, node)
        raise self._refused(node)

    def result(self, node: ast.Expr, gives: Kind | None) -> Piece:
        """The whole expression; a time can't be a result."""
        if gives == "condition":
            return self._condition(node)
        piece = self._typed(node, gives) if gives else self._piece(node)
        if piece.kind == "time":
            raise FeatureError(
                f"{self._text!r} gives a time",
                expected="a number, a category or a condition",
                fix="use epoch(...)",
            )
        return piece

    def _refused(self, node: ast.Expr) -> FeatureError:
        name = str(node.this if isinstance(node, ast.Anonymous) else node.key).lower()
        nearest = difflib.get_close_matches(name, _FUNCTIONS, n=1)
        hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
        what = "the function" if isinstance(node, ast.Func) else "the syntax"
        return FeatureError(
            f"{what} {name!r} in {self._text!r} is not allowed{hint}",
            expected=LANGUAGE,
        )

    def _literal(self, node: ast.Literal) -> Piece:
        if node.is_string:
            quoted = "'" + node.this.replace("'", "''") + "'"
            return _constant(quoted, node.this, "category")
        value = float(node.this)
        if not math.isfinite(value):
            raise FeatureError(
                f"the number {node.this} in {self._text!r} is too large",
                expected="a finite double",
            )
        written = repr(value)
        return _constant(written if "e" in written else f"{written}e0", value, "number")

    def _boolean(self, node: ast.Boolean) -> Piece:
        return _constant("TRUE" if node.this else "FALSE", bool(node.this), "condition")

    def _null(self, _: ast.Null) -> Piece:
        return _constant("NULL", None, "null")

    def _paren(self, node: ast.Paren) -> Piece:
        return self._piece(node.this)

    def _column(self, node: ast.Column) -> Piece:
        name = node.name
        if node.table or name not in self._allowed:
            nearest = difflib.get_close_matches(name, list(self._allowed), n=1)
            hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
            raise FeatureError(
                f"the name {node.sql()!r} in {self._text!r} is unknown{hint}",
                expected=", ".join(sorted(self._allowed)),
            )
        self._names.add(name)
        kind: Kind = self._allowed[name] if isinstance(self._allowed, Mapping) else "unknown"
        return Piece('"' + name.replace('"', '""') + '"', flow.read(name), kind)

    def _arithmetic(self, node: ast.Binary) -> Piece:
        sign, apply = _ARITHMETIC[type(node)]
        a, b = self._number(node.this), self._number(node.expression)
        right = f"NULLIF({b.sql}, 0e0)" if isinstance(node, ast.Div) else b.sql
        return Piece(f"({a.sql} {sign} {right})", flow.two(a.run, b.run, apply), "number")

    def _negation(self, node: ast.Neg) -> Piece:
        a = self._number(node.this)
        return Piece(f"(-{a.sql})", flow.one(a.run, lambda x: -x), "number")

    def _function(self, node: ast.Func) -> Piece:
        name, apply, takes = _ONE[type(node)]
        if any(value for key, value in node.args.items() if key not in {"this", "zone"}):
            raise FeatureError(f"{name} takes one value in {self._text!r}", expected=f"{name}(x)")
        a = self._typed(node.this, takes)
        inner = a.sql
        if name in {"ln", "sqrt"}:  # DuckDB stops the whole query at a negative number
            inner = f"CASE WHEN {a.sql} {'>' if name == 'ln' else '>='} 0e0 THEN {a.sql} END"
        sql = f"CAST({name}({inner}) AS DOUBLE)" if takes == "time" else f"{name}({inner})"
        return Piece(sql, flow.one(a.run, apply), "number")

    def _comparison(self, node: ast.Binary) -> Piece:
        a, b = self._alike([node.this, node.expression])
        sign, apply = _COMPARISONS[type(node)]
        return Piece(f"({a.sql} {sign} {b.sql})", flow.two(a.run, b.run, apply), "condition")

    def _between(self, node: ast.Between) -> Piece:
        x, low, high = self._alike([node.this, node.args["low"], node.args["high"]])
        at_least, at_most = _COMPARISONS[ast.GTE][1], _COMPARISONS[ast.LTE][1]
        run = flow.conjunction(flow.two(x.run, low.run, at_least), flow.two(x.run, high.run, at_most))
        return Piece(f"({x.sql} BETWEEN {low.sql} AND {high.sql})", run, "condition")

    def _membership(self, node: ast.In) -> Piece:
        if not node.expressions:
            raise self._refused(node)
        x, *rest = self._alike([node.this, *node.expressions])
        run = flow.member(x.run, [piece.run for piece in rest])
        return Piece(f"({x.sql} IN ({', '.join(piece.sql for piece in rest)}))", run, "condition")

    def _is_null(self, node: ast.Is) -> Piece:
        if not isinstance(node.expression, ast.Null):
            raise self._refused(node)
        a = self._value(node.this)
        run = a.run
        return Piece(f"({a.sql} IS NULL)", lambda values: run(values) is None, "condition")

    def _logical(self, node: ast.And | ast.Or) -> Piece:
        a, b = self._condition(node.this), self._condition(node.expression)
        sign, combine = ("AND", flow.conjunction) if isinstance(node, ast.And) else ("OR", flow.disjunction)
        return Piece(f"({a.sql} {sign} {b.sql})", combine(a.run, b.run), "condition")

    def _inversion(self, node: ast.Not) -> Piece:
        a = self._condition(node.this)
        return Piece(f"(NOT {a.sql})", flow.one(a.run, lambda x: not x), "condition")

    def _case(self, node: ast.Case) -> Piece:
        tests = [
            ast.EQ(this=node.this.copy(), expression=branch.this) if node.this else branch.this
            for branch in node.args["ifs"]
        ]
        conditions = [self._condition(test) for test in tests]
        default = node.args.get("default") or ast.Null()
        *results, other = self._alike([*(branch.args["true"] for branch in node.args["ifs"]), default])
        branches = " ".join(
            f"WHEN {test.sql} THEN {piece.sql}" for test, piece in zip(conditions, results, strict=True)
        )
        run = flow.choice(
            [(test.run, piece.run) for test, piece in zip(conditions, results, strict=True)],
            other.run,
        )
        return Piece(f"CASE {branches} ELSE {other.sql} END", run, _common([*results, other]))

    def _many(self, node: ast.Func) -> Piece:
        pieces = self._alike([node.this, *node.expressions])
        name, combine = _MANY[type(node)]
        return Piece(
            f"{name}({', '.join(piece.sql for piece in pieces)})",
            combine([piece.run for piece in pieces]),
            _common(pieces),
        )

    def _nullif(self, node: ast.Nullif) -> Piece:
        a, b = self._alike([node.this, node.expression])
        return Piece(f"NULLIF({a.sql}, {b.sql})", flow.unless_equal(a.run, b.run), a.kind)

    def _value(self, node: ast.Expr) -> Piece:
        piece = self._piece(node)
        if piece.kind != "condition":
            return piece
        return Piece(f"CAST({piece.sql} AS DOUBLE)", flow.one(piece.run, float), "number")

    def _number(self, node: ast.Expr) -> Piece:
        return self._typed(node, "number")

    def _condition(self, node: ast.Expr) -> Piece:
        piece = self._piece(node)
        if piece.kind == "condition":
            return piece
        piece = self._typed(node, "number")
        return Piece(f"({piece.sql} <> 0e0)", flow.one(piece.run, lambda x: x != 0), "condition")

    def _typed(self, node: ast.Expr, kind: Kind) -> Piece:
        piece = self._value(node)
        if piece.kind == "null":
            return Piece(f"CAST(NULL AS {_SQL_TYPES[kind]})", piece.run, kind)
        if piece.kind not in {kind, "unknown"}:
            raise FeatureError(
                f"{node.sql()!r} in {self._text!r} is a {piece.kind}",
                expected=f"a {kind}",
            )
        return piece

    def _alike(self, nodes: Sequence[ast.Expr]) -> list[Piece]:
        pieces = [self._value(node) for node in nodes]
        kinds = {piece.kind for piece in pieces} - {"null", "unknown"}
        if len(kinds) > 1:
            raise FeatureError(
                f"{self._text!r} mixes {' and '.join(sorted(kinds))}",
                expected="values of one type",
            )
        return pieces


def _common(pieces: Sequence[Piece]) -> Kind:
    return next((piece.kind for piece in pieces if piece.kind != "null"), "null")


def _constant(sql: str, value: Any, kind: Kind) -> Piece:
    return Piece(sql, lambda _: value, kind)


_SQL_TYPES: dict[Kind, str] = {
    "number": "DOUBLE",
    "category": "VARCHAR",
    "time": "TIMESTAMP",
}
_ARITHMETIC: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", lambda a, b: a + b),
    ast.Sub: ("-", lambda a, b: a - b),
    ast.Mul: ("*", lambda a, b: a * b),
    ast.Div: ("/", ops.divide),
}
_COMPARISONS: dict[type, tuple[str, Callable[[Any, Any], bool]]] = {
    ast.EQ: ("=", ops.equal),
    ast.NEQ: ("<>", lambda a, b: not ops.equal(a, b)),
    ast.LT: ("<", ops.less),
    ast.LTE: ("<=", lambda a, b: not ops.less(b, a)),
    ast.GT: (">", lambda a, b: ops.less(b, a)),
    ast.GTE: (">=", lambda a, b: not ops.less(a, b)),
}
_ONE: dict[type, tuple[str, Callable[[Any], Any], Kind]] = {
    ast.Abs: ("abs", abs, "number"),
    ast.Ln: ("ln", ops.logarithm, "number"),
    ast.Exp: ("exp", ops.exponential, "number"),
    ast.Sqrt: ("sqrt", ops.root, "number"),
    ast.Floor: ("floor", ops.floor, "number"),
    ast.Ceil: ("ceil", ops.ceiling, "number"),
    ast.Round: ("round", ops.rounded, "number"),
    ast.Hour: ("hour", ops.hour, "time"),
    ast.DayOfWeek: ("dayofweek", ops.day_of_week, "time"),
    ast.TimeToUnix: ("epoch", ops.epoch, "time"),
}
_MANY: dict[type, tuple[str, Callable[[Sequence[Run]], Run]]] = {
    ast.Coalesce: ("coalesce", flow.coalesce),
    ast.Greatest: ("greatest", flow.extreme(lambda x, best: ops.less(best, x))),
    ast.Least: ("least", flow.extreme(ops.less)),
}
_METHODS: tuple[tuple[Any, Callable[[Compiler, Any], Piece]], ...] = (
    (ast.Literal, Compiler._literal),
    (ast.Boolean, Compiler._boolean),
    (ast.Null, Compiler._null),
    (ast.Paren, Compiler._paren),
    (ast.Column, Compiler._column),
    (tuple(_ARITHMETIC), Compiler._arithmetic),
    (ast.Neg, Compiler._negation),
    (tuple(_ONE), Compiler._function),
    (tuple(_COMPARISONS), Compiler._comparison),
    (ast.Between, Compiler._between),
    (ast.In, Compiler._membership),
    (ast.Is, Compiler._is_null),
    ((ast.And, ast.Or), Compiler._logical),
    (ast.Not, Compiler._inversion),
    (ast.Case, Compiler._case),
    (tuple(_MANY), Compiler._many),
    (ast.Nullif, Compiler._nullif),
)
