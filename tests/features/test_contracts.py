"""What the offline contract check finds, and which findings stop training."""

from __future__ import annotations

import pandas as pd
import pytest

from configs.errors import FeatureError
from features.contracts import check
from features.store import FeatureStore


def found(made, **changes):
    return {(each.column, each.problem): each.rows for each in check(made.use_case(**changes), made.settings)}


def test_a_table_as_declared_has_no_findings(made) -> None:
    made.payments([{}, {}])
    assert found(made) == {}


def test_broken_rules_are_counted_by_column(made) -> None:
    made.payments([{"amount": -1.0}, {"amount": 2000.0}, {"amount": None}, {"channel": "phone"}, {"card_id": None}])
    assert found(made) == {
        ("amount", "is below 0"): 1,
        ("amount", "is above 1000"): 1,
        ("amount", "is missing"): 1,
        ("channel", "is not in the vocabulary"): 1,
        ("card_id", "is missing"): 1,
    }


def test_text_in_a_number_is_found_and_declared_sentinels_are_not(made) -> None:
    made.payments([{"amount": "12.5"}, {"amount": "n/a"}, {"amount": "-999"}, {"amount": "oops"}])
    request = {"amount": {"missing": ["n/a", -999]}}
    assert found(made, request=request) == {("amount", "is not a number"): 1}


def test_an_integer_that_is_not_whole_is_found(made) -> None:
    made.payments([{"amount": 1.0}, {"amount": 1.5}])
    assert found(made, request={"amount": {"type": "integer"}}) == {("amount", "is not whole"): 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"payment_id": "same"}, {"payment_id": "same"}, {}], "payment_id is not unique"),
        ([{"payment_id": None}, {}], "payment_id is missing"),
        ([{"is_fraud": 0}, {"is_fraud": 0}], "is_fraud is never positive"),
        ([{"is_fraud": 1}, {"is_fraud": 1}], "is_fraud is always positive"),
        ([{"is_fraud": None}, {"is_fraud": None}], "is_fraud has no outcomes"),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_refused(made, rows, message: str) -> None:
    made.payments(rows)
    with pytest.raises(FeatureError, match=message):
        FeatureStore(made.use_case(), made.settings).training_frame()


def test_an_empty_table_and_an_empty_period_are_refused(made) -> None:
    made.payments([{}, {}])
    store = FeatureStore(
        made.use_case(tables={"payments": {"path": "payments.parquet", "time": "paid_at"}}), made.settings
    )
    with pytest.raises(FeatureError, match="no events of made"):
        store.training_frame(start=made.at(10**6))
    columns = ["payment_id", "card_id", "device_id", "amount", "channel", "is_fraud", "paid_at"]
    made.write(pd.DataFrame({name: pd.Series([], dtype=object) for name in columns}), "payments.parquet")
    with pytest.raises(FeatureError, match="has no rows"):
        store.training_frame()
