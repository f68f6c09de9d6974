"""The queries of aggregates in Spark's dialect: nothing in them is DuckDB's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import expressions as ast
from sqlglot.errors import UnsupportedError

from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.aggregates import aggregate_query
from features.dialects import to_spark
from features.sources import Source

SHIPPED = ["credit", "fraud", "handbook_fraud", "lending_club", "taiwan_default"]
ALL = ["count", "sum", "mean", "min", "max", "std", "distinct", "since_last", "ratio", "deviation"]
EVERYTHING: list[dict[str, Any]] = [
    {"entity": "card", "column": "amount", "functions": ALL, "windows": ["1s", "365d"]},
    {"entity": "card", "column": "amount", "functions": ALL, "windows": ["6d"], "current": False, "name": "before"},
    {
        "entity": ["card", "device"],
        "functions": ["share", "first_seen"],
        "where": "channel IN ('online') AND ln(amount) > 2 AND dayofweek(event_time) = 6 AND epoch(event_time) > 0",
        "windows": ["30d"],
        "name": "pair",
    },
    {
        "entity": "device",
        "column": "is_fraud",
        "functions": ["mean"],
        "windows": ["30d"],
        "delay": "2d",
        "name": "late",
    },
    {
        "entity": "device",
        "column": "is_fraud",
        "functions": ["count", "mean", "since_last"],
        "windows": ["30d"],
        "enters": "outcome",
        "name": "told",
    },
    {
        "entity": "card",
        "table": "profiles",
        "column": "points",
        "functions": ["mean", "std", "distinct"],
        "windows": ["30d"],
    },
]
SOURCE = Source(
    Path("/data/profiles.parquet"),
    {"card_id": "VARCHAR", "valid_from": "TIMESTAMP", "created_at": "TIMESTAMP WITH TIME ZONE", "points": "DOUBLE"},
)


def queries(use_case: UseCase) -> list[str]:
    own = {None, use_case.event.table}
    return [
        aggregate_query(use_case, index, None if part.table in own else SOURCE)
        for index, part in enumerate(use_case.aggregates)
    ]


def check(query: str) -> None:
    """Parse the translation as Spark does, and look for what it has no word for."""
    tree = sqlglot.parse_one(to_spark(query), read="spark")
    assert not [node for node in tree.find_all(ast.DataType) if node.this == ast.DType.INT128]
    for window in tree.find_all(ast.Window):
        assert not window.find(ast.Distinct), "Spark has no DISTINCT over a frame"
        assert window.args.get("order") or window.alias, "Spark wants an order"
        if isinstance(window.this, ast.Sum):
            assert "DECIMAL(38, 0)" in window.this.sql("spark"), "Spark would add in 64 bits"
    assert not list(tree.find_all(ast.Qualify))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_aggregate_of_a_shipped_use_case_is_translated(name: str) -> None:
    use_case = load_use_case(name, Settings(profile="dev"))
    found = queries(use_case)
    for query in found:
        check(query)
    assert len(found) == len(use_case.aggregates)


@pytest.mark.parametrize("index", range(len(EVERYTHING)))
def test_every_function_and_kind_of_window_is_translated(made, index: int) -> None:
    check(queries(made.use_case(aggregates=[EVERYTHING[index]]))[0])


def test_words_with_another_meaning_in_spark_are_rewritten() -> None:
    query = "SELECT dayofweek(t), epoch(t), epoch_us(t), row(a, b), isfinite(x), CAST(n AS HUGEINT) FROM events"
    assert to_spark(query) == (
        "SELECT (DAYOFWEEK(t) - 1), CAST(UNIX_MICROS(CAST(t AS TIMESTAMP)) AS DOUBLE) / 1e6, "
        "UNIX_MICROS(CAST(t AS TIMESTAMP)), STRUCT(a, b), ABS(x) <= 1.7976931348623157e+308, "
        "CAST(n AS DECIMAL(38, 0)) FROM events"
    )


def test_distinct_counts_and_sums_over_frames_are_what_spark_can_do() -> None:
    frame = "OVER (PARTITION BY k ORDER BY t RANGE BETWEEN 9 PRECEDING AND CURRENT ROW)"
    found = to_spark(f"SELECT count(DISTINCT v) {frame}, sum(u) {frame} FROM events")
    assert "SIZE(COLLECT_SET(v) OVER (" in found
    assert "SUM(CAST(u AS DECIMAL(38, 0))) OVER (" in found


@pytest.mark.parametrize("function", ["epoch_ns", "list_sum", "my_macro"])
def test_a_function_without_a_translation_is_refused(function: str) -> None:
    with pytest.raises(UnsupportedError, match=f"no function of Spark is known for {function}"):
        to_spark(f"SELECT coalesce({function}(a), 0) FROM events")
