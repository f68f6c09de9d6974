"""The expression language: the same bits in DuckDB and in Python, and clear refusals."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import FeatureError
from configs.loading import load_use_case
from configs.settings import Settings
from features.expressions import compile_derived, compile_expression

NAMES = {"a": "number", "b": "number", "c": "category", "t": "time"}
CONNECTION = duckdb.connect()
DUCKDB_TYPES = {"number": "DOUBLE", "category": "VARCHAR", "time": "TIMESTAMP"}

numbers = st.one_of(
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-3, 3).map(float),
    st.sampled_from([0.5, -0.5, 1.5, 2.5, 0.49999999999999994, -0.0, 1e308, 5e-324, 1e16]),
)
times = st.one_of(
    st.none(), st.datetimes(datetime(1960, 1, 1), datetime(2099, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))
)
categories = st.sampled_from([None, "", "x", "y", "it's", "é", "Z"])


def in_duckdb(text: str, values: dict[str, Any]) -> Any:
    columns = ", ".join(f"CAST(${name} AS {DUCKDB_TYPES[kind]}) AS {name}" for name, kind in NAMES.items())
    bound = {
        name: value.replace(tzinfo=None) if isinstance(value, datetime) else value for name, value in values.items()
    }
    sql = compile_expression(text, allowed=NAMES).sql()
    row = CONNECTION.execute(f"SELECT {sql} FROM (SELECT {columns})", bound).fetchone()
    assert row is not None
    return row[0]


def same_bits(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return a.hex() == b.hex() or a == b == 0.0
    return type(a) is type(b) and bool(a == b)


EXPRESSIONS = [
    "a + b * 2 - a / b",
    "a / b / 3",
    "-a + 0.1",
    "(a - b) / nullif(b, 0)",
    "greatest(a, b, 1.5)",
    "least(a, b)",
    "coalesce(a, b, -1)",
    "abs(a) + floor(b)",
    "ceil(a)",
    "round(a)",
    "ln(a)",
    "exp(a / 10)",
    "exp(a) - exp(b)",
    "sqrt(a)",
    "a * b > a",
    "a < b OR a IS NULL",
    "NOT (a <= b AND b >= 0)",
    "a = b",
    "a <> b",
    "a IN (0, 1, b)",
    "a NOT IN (1, 2)",
    "a BETWEEN b AND 2",
    "a NOT BETWEEN b AND 2",
    "c IN ('x', 'it''s')",
    "c < 'y'",
    "c IS NOT NULL AND a",
    "coalesce(c, 'none')",
    "CASE WHEN a > b THEN 'high' WHEN a < b THEN 'low' END",
    "CASE a WHEN 1 THEN 10 WHEN b THEN 20 ELSE 30 END",
    "CASE WHEN c = 'x' THEN a ELSE NULL END",
    "(a > b) + 1",
    "hour(t)",
    "dayofweek(t)",
    "epoch(t)",
    "epoch(t) - a",
    "CASE WHEN dayofweek(t) IN (0, 6) THEN 1 ELSE 0 END",
]


@pytest.mark.parametrize("text", EXPRESSIONS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(a=numbers, b=numbers, c=categories, t=times)
def test_python_and_duckdb_agree_bit_for_bit(text: str, a: Any, b: Any, c: Any, t: Any) -> None:
    values = {"a": a, "b": b, "c": c, "t": t}
    ours, theirs = compile_expression(text, allowed=NAMES).evaluate(values), in_duckdb(text, values)
    assert same_bits(ours, theirs), (ours, theirs)


def test_logarithm_and_exponential_agree_over_many_values() -> None:
    values = [math.exp(step / 37) for step in range(-3000, 3000)]
    rows = CONNECTION.execute(
        "SELECT ln(x), exp(x / 1e100), sqrt(x) FROM (SELECT unnest($1::DOUBLE[]) AS x)", [values]
    ).fetchall()
    ours = [compile_expression(text, allowed={"x": "number"}) for text in ("ln(x)", "exp(x / 1e100)", "sqrt(x)")]
    assert all(
        each.evaluate({"x": x}) == found
        for x, row in zip(values, rows, strict=True)
        for each, found in zip(ours, row, strict=True)
    )


@pytest.mark.parametrize("year", [1970, 2024, 2400, 9999])
def test_seconds_of_far_times_agree(year: int) -> None:
    """Beyond 2**53 microseconds a time is no double: both round it before they divide."""
    start = datetime(year, 12, 31, 23, 59, 57, 123457, tzinfo=UTC)
    for step in range(300):
        values = {"a": None, "b": None, "c": None, "t": start + timedelta(microseconds=step)}
        assert compile_expression("epoch(t)", allowed=NAMES).evaluate(values) == in_duckdb("epoch(t)", values)


@pytest.mark.parametrize("text", ["a / b", "ln(b)", "exp(a)", "a * a * a"])
def test_what_is_not_finite_is_missing(text: str) -> None:
    assert compile_expression(text, allowed=NAMES).evaluate({"a": 1e300, "b": 0.0}) is None


def test_booleans_integers_and_nan_are_read_as_numbers() -> None:
    expression = compile_expression("a + coalesce(b, 5)", allowed=NAMES)
    assert expression.evaluate({"a": True, "b": 2}) == 3.0
    assert expression.evaluate({"a": 1.0, "b": math.nan}) == 6.0


def test_a_naive_time_is_utc() -> None:
    expression = compile_expression("hour(t)", allowed=NAMES)
    assert expression.evaluate({"t": datetime(2024, 5, 1, 13)}) == 13.0
    assert expression.evaluate({"t": datetime(2024, 5, 1, 13, tzinfo=UTC) + timedelta(hours=2)}) == 15.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aa + 1", "did you mean 'a'"),
        ("sqr(a)", "did you mean 'sqrt'"),
        ("read_csv('/etc/passwd')", "not allowed"),
        ("(SELECT 1)", "not allowed"),
        ("count(*) OVER ()", "not allowed"),
        ("a IN (SELECT 1)", "not allowed"),
        ("x.a", "unknown"),
        ("a + c", "is a category"),
        ("a = c", "mixes"),
        ("t", "gives a time"),
        ("a +", "not an expression"),
        ("a; DROP TABLE x", "not allowed"),
        ("round(a, 2)", "takes one value"),
        ("1e999", "too large"),
    ],
)
def test_refusals_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        compile_expression(text, allowed=NAMES)


def test_quotes_in_text_stay_text() -> None:
    assert in_duckdb("coalesce(c, 'x'' OR 1=1 --')", {"a": 1.0, "b": 1.0, "c": None, "t": None}) == "x' OR 1=1 --"


def test_a_result_is_made_the_kind_that_is_asked_for() -> None:
    assert compile_expression("a > 1", allowed=NAMES, gives="number").evaluate({"a": 2.0}) == 1.0
    assert compile_expression("a", allowed=NAMES, gives="condition").evaluate({"a": 2.0}) is True
    with pytest.raises(FeatureError, match="is a category"):
        compile_expression("c", allowed=NAMES, gives="number")


@pytest.mark.parametrize("name", ["credit", "fraud", "lending_club", "handbook_fraud", "taiwan_default"])
def test_derived_columns_of_every_use_case_compile(name: str, settings: Settings) -> None:
    use_case = load_use_case(name, settings)
    assert set(compile_derived(use_case)) == set(use_case.derived)


def test_a_derived_column_may_use_earlier_ones_only(settings: Settings) -> None:
    raw = load_use_case("taiwan_default", settings)
    late = raw.derived["utilisation"].model_copy(update={"sql": "worst_status + 1"})
    with pytest.raises(FeatureError, match=r"derived\.utilisation"):
        compile_derived(raw.model_copy(update={"derived": {**raw.derived, "utilisation": late}}))
