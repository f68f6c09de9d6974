"""Parts of a use case that contradict each other: found with all other mistakes, before anything is computed."""

from __future__ import annotations

from typing import Any

import pytest

from configs.contradictions import contradictions
from configs.loading import FOLDER, UseCaseError, parse, read_yaml


def changed(path: str, value: Any, *, name: str = "handbook_fraud") -> dict[str, Any]:
    """A shipped use case with one part replaced, or added at the end of a list (`aggregates.+`)."""
    raw = read_yaml(FOLDER / f"{name}.yaml")
    *parents, last = path.split(".")
    place: Any = raw
    for key in parents:
        place = place.setdefault(key, {})
    if last == "+":
        place.append(value)
    else:
        place[last] = value
    return raw


def found(path: str, value: Any, *, name: str = "handbook_fraud") -> dict[str, str]:
    """Path -> what was expected, of every mistake."""
    with pytest.raises(UseCaseError) as caught:
        parse(changed(path, value, name=name))
    return {problem.path: problem.expected for problem in caught.value.problems}


def test_random_folds_need_a_table_without_a_time() -> None:
    assert "train on the future" in found("split", {"by": "random"})["split.by"]


def test_a_split_by_time_needs_a_time() -> None:
    period = {"by": "time", "train": {"start": "2024-01-01", "end": "2024-02-01"}}
    split = period | {"test": {"start": "2024-03-01", "end": "2024-04-01"}}
    assert "no time to split by" in found("split", split, name="taiwan_default")["split.by"]


def test_the_event_and_its_table_name_one_time() -> None:
    assert "tables.transactions.time" in found("event.time", "tx_time_seconds")["event.time"]


@pytest.mark.parametrize("contract", [{"column": "tx_fraud"}, {"column": "tx_fraud", "feature": False}])
def test_the_label_is_no_request_field_under_any_name(contract: dict[str, Any]) -> None:
    assert "the label" in found("request.harmless", contract)["request.harmless"]


def test_the_time_of_the_outcome_is_no_request_field() -> None:
    contract = {"type": "time"}
    assert "label was known" in found("request.outcome_at", contract, name="fraud")["request.outcome_at"]


def test_a_protected_attribute_is_no_request_field_under_any_name() -> None:
    contract = {"column": "sex", "type": "category"}
    assert "protected.sex" in found("request.title", contract, name="credit")["request.title"]


@pytest.mark.parametrize("table", ["transactions", "again"])
def test_a_view_of_the_event_table_does_not_show_the_label(table: str) -> None:
    view = {"table": table, "entity": "customer", "ttl": "30d", "columns": {"tx_fraud": {}}}
    raw = changed("views.past", view)
    raw["tables"]["again"] = raw["tables"]["transactions"]
    assert [path for path, *_ in contradictions(raw)] == ["views.past.columns.tx_fraud"]


def test_outcomes_are_counted_in_the_event_table_only() -> None:
    part = {"entity": "customer", "table": "again", "column": "tx_fraud", "functions": ["sum"], "windows": ["7d"]}
    raw = changed("aggregates.+", part | {"delay": "7d", "name": "again"})
    raw["tables"]["again"] = raw["tables"]["transactions"]
    assert [path for path, *_ in contradictions(raw)] == ["aggregates.5.table"]


def counted_again(part: dict[str, Any], *, table: dict[str, Any] | None = None) -> list[str]:
    """Paths of what is wrong with an aggregate over another name of the event table of `credit` or `fraud`."""
    raw = changed("aggregates.+", {"table": "again", "functions": ["count"], "windows": ["7d"], "name": "again"} | part)
    raw["label"]["known"] = "noted"
    raw["protected"] = {"gender": {"type": "category", "column": "sex"}}
    raw["tables"]["again"] = table or raw["tables"]["transactions"]
    return [path.removeprefix("aggregates.5.") for path, *_ in contradictions(raw)]


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"where": "tx_fraud = 1"}, "where"),
        ({"where": 'tx_amount > 1 AND "sex" IN (1)'}, "where"),
        ({"where": "noted IS NOT NULL"}, "where"),
        ({"column": "noted"}, "column"),
        ({"column": "sex"}, "column"),
        ({"column": "tx_fraud", "delay": "7d"}, "table"),
    ],
)
def test_the_event_table_by_another_name_shows_nothing_hidden(part: dict[str, Any], path: str) -> None:
    assert counted_again({"entity": "customer"} | part) == [path]


def test_the_event_table_by_another_name_may_be_counted() -> None:
    assert counted_again({"entity": "customer", "where": "tx_amount > 1"}) == []
    assert counted_again({"entity": "customer", "where": "tx_amount > 1 AND"}) == [], "reported where it is compiled"


@pytest.mark.parametrize("path", ["./handbook_transactions.parquet", "x/../handbook_transactions.parquet/"])
def test_a_path_is_compared_by_where_it_leads(path: str) -> None:
    assert counted_again({"entity": "customer", "column": "sex"}, table={"path": path, "time": "t"}) == ["column"]


def test_rows_of_a_database_are_compared_by_address_and_query() -> None:
    raw = changed("views.past", {"table": "again", "entity": "customer", "ttl": "30d", "columns": {"tx_fraud": {}}})
    raw["tables"]["transactions"] = {"url": "sqlite:///a.db", "query": "SELECT * FROM events"}
    raw["event"]["time"] = None
    for query, paths in (("SELECT *\n  FROM events", ["views.past.columns.tx_fraud"]), ("SELECT 1", [])):
        raw["tables"]["again"] = {"url": "sqlite:///a.db", "query": query}
        assert [path for path, *_ in contradictions(raw) if path.startswith("views")] == paths


@pytest.mark.parametrize("name", ["derived", "request", "customer_aggregates"])
def test_a_view_is_not_called_like_what_feast_has_besides(name: str) -> None:
    view = {"table": "transactions", "entity": "customer", "ttl": "30d", "columns": {"tx_amount": {}}}
    assert "Feast knows" in found(f"views.{name}", view)[f"views.{name}"]


def test_entities_that_read_like_a_pair_are_refused() -> None:
    part = {"functions": ["count"], "windows": ["3h"]}
    raw = changed("aggregates.+", part | {"entity": ["customer", "terminal"], "name": "pair"})
    raw["entities"]["customer_terminal"] = "pair_id"
    raw["aggregates"].append(part | {"entity": "customer_terminal", "name": "one"})
    assert [path for path, *_ in contradictions(raw)] == ["aggregates.6.entity"]


def test_a_delay_below_the_maturity_would_never_see_an_outcome() -> None:
    part = {"entity": "customer", "column": "tx_fraud", "functions": ["sum"], "windows": ["7d"], "delay": "1d"}
    assert "label.maturity (7d)" in found("aggregates.+", part)["aggregates.5.delay"]


def test_where_the_outcomes_time_is_recorded_any_delay_sees_some() -> None:
    part = {"entity": "customer", "column": "is_fraud", "functions": ["sum"], "windows": ["7d"], "delay": "1d"}
    assert parse(changed("aggregates.+", part, name="fraud"))


@pytest.mark.parametrize("name", ["tx_amount", "during_night", "customer_events_count_3h", "event_time", "probability"])
def test_a_name_stands_for_one_thing(name: str) -> None:
    raw = changed("derived", {name: {"sql": "1"}} | ({"during_night": {"sql": "1"}}))
    raw["request"]["during_night"] = {}
    assert f"derived.{name}" in {path for path, *_ in contradictions(raw)}


def test_an_aggregate_defined_twice_is_reported() -> None:
    part = {"entity": "customer", "functions": ["count"], "windows": ["3h"], "name": "customer_events"}
    assert "aggregates.2 has this one" in found("aggregates.+", part)["aggregates.5"]


@pytest.mark.parametrize("part", ["event", "label", "tables", "request", "views", "aggregates", "derived", "protected"])
@pytest.mark.parametrize("value", [None, 3, "text", [], ["a"], {"a": None}, {"table": [], "column": []}])
def test_any_shape_is_tolerated(part: str, value: Any) -> None:
    assert list(contradictions(changed(part, value, name="fraud"))) is not None
