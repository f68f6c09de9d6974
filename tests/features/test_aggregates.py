"""Windowed aggregates against a brute-force reading of their definition."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import FeatureError
from configs.use_case import UseCase
from features.exact import deviation, mean, scaled, total
from features.frame import training_frame
from features.vector import AggregateFeature, aggregate_features

FUNCTIONS = ["count", "sum", "mean", "min", "max", "std", "distinct", "since_last"]


def windows(made, features: list[dict[str, Any]], rows: list[dict[str, Any]], **changes: Any) -> pd.DataFrame:
    made.payments(rows)
    return training_frame(made.use_case(aggregates=features, **changes), made.settings).features


def oracle(
    use_case: UseCase, feature: AggregateFeature, rows: list[dict[str, Any]], row: dict[str, Any]
) -> float | None:
    """The definition, one event at a time, with Python's own integers."""
    part = feature.aggregate
    keys = [use_case.entities[entity] for entity in part.entities]
    if any(row[key] is None for key in keys):
        return None
    last, width = part.delay.total_seconds(), feature.window.total_seconds()
    inside = []
    for other in rows:
        age = row["at"] - other["at"]
        fits = last <= age < last + width if part.current else last < age < last + width
        if (
            fits
            and all(other[key] == row[key] for key in keys)
            and (part.where is None or other["channel"] == "online")
        ):
            inside.append(other)
    if feature.function == "since_last":
        return min((float(row["at"] - other["at"]) for other in inside if other["at"] < row["at"]), default=None)
    if part.column is None:
        return float(len(inside))
    return summary(feature, [other[part.column] for other in inside if other[part.column] is not None])


def summary(feature: AggregateFeature, values: list[Any]) -> float | None:
    decimals = feature.aggregate.decimals
    units = [scaled(value, decimals) for value in values] if feature.aggregate.column == "amount" else []
    functions: dict[str, Callable[[], float | None]] = {
        "count": lambda: float(len(values)),
        "distinct": lambda: float(len(set(values))),
        "sum": lambda: total(sum(units), decimals),
        "mean": lambda: mean(len(units), sum(units), decimals),
        "std": lambda: deviation(len(units), sum(units), sum(unit**2 for unit in units), decimals),
        "min": lambda: min(values, default=None),
        "max": lambda: max(values, default=None),
    }
    return functions[feature.function]()


amounts = st.one_of(
    st.none(), st.integers(-2000, 2000).map(lambda cents: cents / 100), st.sampled_from([0.005, 1e9, -0.0])
)
events = st.fixed_dictionaries(
    {
        "at": st.integers(0, 12),
        "card_id": st.sampled_from(["c1", "c2", None]),
        "device_id": st.sampled_from(["d1", "d2", None]),
        "amount": amounts,
        "channel": st.sampled_from(["chip", "online", None]),
    }
)
definitions = st.fixed_dictionaries(
    {
        "entity": st.sampled_from(["card", ["card", "device"]]),
        "delay": st.sampled_from(["0s", "1s", "3s"]),
        "current": st.booleans(),
        "windows": st.sampled_from([["1s"], ["2s", "5s"], ["30s"]]),
        "where": st.sampled_from([None, "channel = 'online'"]),
    }
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(rows=st.lists(events, min_size=2, max_size=14), definition=definitions)
def test_every_function_is_what_its_definition_says(made_in, rows, definition) -> None:
    parts = [
        definition
        | {"column": "amount", "functions": [name for name in FUNCTIONS if name != "since_last"], "name": "a"},
        definition | {"column": "channel", "functions": ["count", "distinct"], "name": "b"},
        definition | {"functions": ["count", "since_last"], "name": "c"},
    ]
    with TemporaryDirectory() as folder:
        made = made_in(Path(folder))
        use_case = made.use_case(aggregates=parts)
        made.payments(rows)
        frame = training_frame(use_case, made.settings)
    order = sorted(range(len(rows)), key=lambda index: (rows[index]["at"], f"p{index:03}"))
    for feature in aggregate_features(use_case):
        expected = [oracle(use_case, feature, rows, rows[index]) for index in order]
        found = [None if math.isnan(value) else value for value in frame.features[feature.name]]
        assert found == expected, feature.name


def test_exact_sums_agree_with_the_statistics_module() -> None:
    values = [12.34, 99.99, 0.01, 5000.0]
    units = [scaled(value, 2) for value in values]
    assert deviation(4, sum(units), sum(unit**2 for unit in units), 2) == pytest.approx(
        statistics.stdev(values), rel=1e-14
    )
    assert mean(4, sum(units), 2) == pytest.approx(statistics.mean(values), rel=1e-15)


def test_events_of_the_same_second_are_in_each_others_windows(made) -> None:
    part = {"entity": "card", "column": "amount", "functions": ["count", "sum"], "windows": ["10s"]}
    found = windows(made, [part], [{"at": 5}, {"at": 5}, {"at": 5}])
    assert list(found["card_amount_count_10s"]) == [3.0, 3.0, 3.0]
    before = windows(made, [part | {"current": False}], [{"at": 5}, {"at": 5}, {"at": 6}])
    assert list(before["card_amount_count_10s"]) == [0.0, 0.0, 2.0]


def test_bounds_are_exact_to_the_microsecond(made) -> None:
    part = {"entity": "card", "functions": ["count"], "windows": ["10s"], "delay": "5s"}
    rows = [{"at": 0}, {"at": 5}, {"at": 4.999999}, {"at": 15}, {"at": 14.999999}]
    found = windows(made, [part], rows)
    assert list(found["card_count_10s"]) == [0.0, 0.0, 1.0, 3.0, 2.0], "by time: 0, 4.999999, 5, 14.999999, 15"


def test_a_label_counts_only_if_it_was_known_when_the_delay_was_over(made) -> None:
    part = {
        "entity": "card",
        "column": "is_fraud",
        "functions": ["sum", "count"],
        "windows": ["100s"],
        "delay": "10s",
        "name": "fraud",
    }
    rows = [
        {"at": 0, "is_fraud": 1, "known_at": made.at(5)},
        {"at": 1, "is_fraud": 1, "known_at": made.at(20)},
        {"at": 2, "is_fraud": None, "known_at": None},
        {"at": 50, "is_fraud": 0, "known_at": None},
    ]
    found = windows(made, [part], rows, label={"column": "is_fraud", "maturity": "10s", "known": "known_at"})
    assert (found["fraud_sum_100s"][3], found["fraud_count_100s"][3]) == (1.0, 3.0)


def test_rows_of_another_table_count_from_when_they_became_known(made) -> None:
    calls = pd.DataFrame(
        {
            "card_id": ["c1", "c1", "c2", None],
            "called_at": [made.at(1), made.at(2), made.at(1), made.at(1)],
            "noted_at": [made.at(1), made.at(8), made.at(1), made.at(1)],
            "minutes": [3.0, 4.0, 5.0, 6.0],
            "kind": ["fraud", "fraud", "other", "fraud"],
        }
    )
    made.write(calls, "calls.parquet")
    tables = {
        "payments": {"path": "payments.parquet", "time": "paid_at"},
        "calls": {"path": "calls.parquet", "time": "called_at", "created": "noted_at"},
    }
    parts = [
        {
            "table": "calls",
            "entity": "card",
            "column": "minutes",
            "functions": ["count", "sum", "max"],
            "windows": ["1m"],
            "name": "calls",
        },
        {
            "table": "calls",
            "entity": "card",
            "functions": ["count", "since_last"],
            "windows": ["1m"],
            "name": "fraud_calls",
            "where": "kind = 'fraud'",
        },
    ]
    rows = [{"at": 5}, {"at": 8}, {"at": 9, "card_id": "c2"}, {"at": 10, "card_id": None}]
    found = windows(made, parts, rows, tables=tables)
    assert list(found["calls_count_1m"][:3]) == [1.0, 2.0, 1.0]
    assert list(found["calls_sum_1m"][:3]) == [3.0, 7.0, 5.0]
    assert list(found["fraud_calls_count_1m"][:3]) == [1.0, 2.0, 0.0]
    assert list(found["fraud_calls_since_last_1m"][:2]) == [4.0, 7.0]
    assert found.iloc[3][["calls_count_1m", "fraud_calls_count_1m"]].isna().all()


def test_a_column_that_a_request_does_not_carry_is_refused(made) -> None:
    part = {"entity": "card", "column": "balance", "functions": ["sum"], "windows": ["1d"]}
    with pytest.raises(FeatureError, match="which a request doesn't carry"):
        windows(made, [part], [{"balance": 1.0}, {"balance": 2.0}])


def test_a_sum_of_text_is_refused(made) -> None:
    part = {"entity": "card", "column": "channel", "functions": ["sum"], "windows": ["1d"]}
    with pytest.raises(FeatureError, match="sum of 'channel', which is no number"):
        windows(made, [part], [{}, {}])


def test_a_condition_over_an_unknown_name_is_refused(made) -> None:
    part = {"entity": "card", "functions": ["count"], "windows": ["1d"], "where": "chanel = 'chip'"}
    with pytest.raises(FeatureError, match=r"aggregates \(card\)\.where: .*did you mean 'channel'"):
        windows(made, [part], [{}, {}])


def test_a_value_too_large_for_exact_sums_is_refused_and_not_rounded(made) -> None:
    part = {"entity": "card", "column": "amount", "functions": ["sum"], "windows": ["1d"]}
    with pytest.raises(FeatureError, match=r"amount is above 1e\+13"):
        windows(made, [part], [{"amount": 1e300}, {}])


def test_the_longest_window_and_its_delay_bound_the_history_that_is_read(made) -> None:
    part = {"entity": "card", "functions": ["count"], "windows": ["3s"], "delay": "2s"}
    made.payments([{"at": second} for second in range(20)])
    use_case = made.use_case(aggregates=[part])
    whole = training_frame(use_case, made.settings)
    late = training_frame(use_case, made.settings, start=made.start + timedelta(seconds=10), end=made.at(15))
    pd.testing.assert_frame_equal(late.features, whole.features.iloc[10:15].reset_index(drop=True))
