"""One contract for batches, requests, documentation and samples."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from configs.errors import FeatureError
from configs.use_case import UseCase
from features.contracts import contract_of
from features.intake.loads import loaded
from features.samples import Sample, invalid_rows, valid_rows
from features.store import FeatureStore

STRICT = {
    "amount": {"min": 0, "max": 1000, "nullable": False},
    "channel": {"type": "category", "values": ["chip", "online"]},
}
LENIENT = {"payments": {"path": "payments.parquet", "time": "paid_at", "rejects": 1.0}}
EVERY_TYPE = {
    "amount": {"min": 0, "max": 1000, "nullable": False, "missing": [-999]},
    "channel": {"type": "category", "values": ["chip", "online"], "nullable": False},
    "device_kind": {"type": "category", "values": ["phone", "other"], "other": "other"},
    "merchant": {"type": "category", "missing": ["n/a"]},
    "items": {"type": "integer", "min": 1, "max": 99, "missing": [-1]},
    "limit": {"type": "number", "max": 5, "column": "credit_limit"},
    "abroad": {"type": "boolean", "nullable": False},
    "opened": {"type": "time"},
    "renewed": {"type": "time", "nullable": False},
}


def rejected(made: Any, **changes: Any) -> dict[tuple[str, str], int]:
    use_case = made.use_case(**{"tables": LENIENT, "request": STRICT} | changes)
    load = loaded(use_case, "payments", made.settings)
    return {(column, reason): rows for column, reason, rows in load.reasons}


def test_a_table_as_declared_has_no_rejects(made) -> None:
    made.payments([{}, {}])
    assert rejected(made) == {}


def test_broken_rules_are_counted_by_column(made) -> None:
    broken = [{"amount": -1.0}, {"amount": 2000.0}, {"amount": None}, {"channel": "phone"}, {"payment_id": ""}]
    made.payments([*broken, {"card_id": None}, {"card_id": "x" * 129}, {"card_id": "a\x00b"}])
    assert rejected(made) == {
        ("amount", "is below 0"): 1,
        ("amount", "is above 1000"): 1,
        ("amount", "is missing"): 1,
        ("channel", "is not in the vocabulary"): 1,
        ("payment_id", "is empty"): 1,
        ("card_id", "is longer than 128 characters"): 1,
        ("card_id", "holds control characters"): 1,
    }


def test_text_in_a_number_is_rejected_and_declared_sentinels_are_not(made) -> None:
    made.payments([{"amount": "12.5"}, {"amount": "n/a"}, {"amount": "-999"}, {"amount": "oops"}])
    request = {"amount": {"missing": ["n/a", -999]}}
    assert rejected(made, request=request) == {("amount", "is not a number"): 1}


def test_an_integer_that_is_not_whole_is_rejected(made) -> None:
    made.payments([{"amount": 1.0}, {"amount": 1.5}])
    assert rejected(made, request={"amount": {"type": "integer"}}) == {("amount", "is not whole"): 1}


def test_an_impossible_protected_attribute_rejects_no_row(made) -> None:
    made.payments([{"age": 44.0}, {"age": -5.0}, {"age": None}])
    assert rejected(made, protected={"age": {"min": 0}}) == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"payment_id": "same"}, {"payment_id": "same"}, {}], "payment_id repeats that of an earlier row"),
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


def test_a_time_is_no_label(made) -> None:
    made.payments([{"is_fraud": made.start}])
    with pytest.raises(FeatureError, match="the label 'is_fraud' holds TIMESTAMP") as caught:
        FeatureStore(made.use_case(), made.settings).training_frame()
    assert "label.known" in str(caught.value)


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


def test_a_contract_holds_what_the_use_case_says_of_a_column(made) -> None:
    use_case = made.use_case(request=STRICT, personal={"card_id": "token"})
    columns = {(column.name, column.role): column for column in contract_of(use_case, "payments").columns}
    assert columns["payment_id", "id"].unique
    assert columns["card_id", "key"].personal == "token"
    assert columns["amount", "field"].nullable is False
    assert columns["paid_at", "time"].past


def test_columns_are_described_with_type_unit_range_values_and_privacy(made) -> None:
    request = {
        "amount": {"min": 0, "max": 1000, "unit": "EUR", "nullable": False, "description": "price", "missing": [-9]},
        "channel": {"type": "category", "values": ["chip", "online"], "other": "online"},
    }
    use_case = made.use_case(request=request, personal={"card_id": "token"})
    rows = {row["column"]: row for row in contract_of(use_case, "payments").describe()}
    amount = {"type": "number", "unit": "EUR", "range": "0 to 1000", "nullable": False, "missing codes": [-9.0]}
    assert amount.items() <= rows["amount"].items()
    assert rows["amount"]["description"] == "price"
    assert (rows["channel"]["values"], rows["channel"]["other"]) == (["chip", "online"], "online")
    assert rows["card_id"]["personal"] == "token"
    assert rows["payment_id"]["unique"]


def test_a_summed_column_takes_no_value_that_exact_sums_cannot_hold(made) -> None:
    part = {"entity": "card", "column": "amount", "functions": ["mean"], "windows": ["1d"], "decimals": 2}
    tables = LENIENT | {"logins": {"path": "logins.parquet", "time": "at", "rejects": 0.9}}
    use_case = made.use_case(
        tables=tables, aggregates=[part, part | {"table": "logins", "name": "logged"}], request={"amount": {"min": 0}}
    )
    for table, lowest in (("payments", 0.0), ("logins", -1e13)):
        column = next(each for each in contract_of(use_case, table).columns if each.name == "amount")
        assert column.contract is not None
        assert (column.contract.min, column.contract.max) == (lowest, 1e13)
    made.payments([{"amount": 1e13}, {"amount": 1.1e13}])
    rows = pd.DataFrame({"card_id": ["c1", "c1"], "at": [made.at(0), made.at(1)], "amount": [-1e13, 1e200]})
    made.write(rows, "logins.parquet")
    for table in ("payments", "logins"):
        load = loaded(use_case, table, made.settings)
        assert list(load.reasons) == [("amount", "is above 1e+13", 1)]


def test_the_digest_changes_with_what_is_loaded_and_not_with_the_threshold(made) -> None:
    def digest(**changes: Any) -> str:
        return contract_of(made.use_case(**changes), "payments").digest

    assert digest() == digest(tables=LENIENT)
    assert len({digest(), digest(request=STRICT), digest(personal={"card_id": "token"})}) == 3


def sampled(use_case: UseCase) -> list[Sample]:
    contract = contract_of(use_case, use_case.event.table)
    return [*valid_rows(contract, 30, seed=1), *invalid_rows(contract, seed=2)]


def test_samples_are_the_same_for_the_same_seed(made) -> None:
    use_case = made.use_case(request=EVERY_TYPE)
    assert sampled(use_case) == sampled(use_case)
    assert valid_rows(contract_of(use_case, "payments"), 5, seed=1) != valid_rows(
        contract_of(use_case, "payments"), 5, seed=3
    )


def test_there_is_an_invalid_sample_for_every_rule(made) -> None:
    contract = contract_of(made.use_case(request=EVERY_TYPE), "payments")
    rules = {(column.name, rule.reason) for column in contract.columns for rule in column.rules()}
    assert {(sample.column, sample.reason) for sample in invalid_rows(contract, seed=2)} == rules
    assert len(rules) > 30


def test_a_column_that_two_parts_name_is_loaded_once(made) -> None:
    part = {"table": "logins", "entity": "card", "column": "amount", "windows": ["1d"], "where": "kind = 'a'"}
    parts = [part | {"functions": ["sum"]}, part | {"functions": ["mean"]}]
    tables = LENIENT | {"logins": {"path": "logins.parquet", "time": "at"}}
    use_case = made.use_case(tables=tables, aggregates=parts)
    assert contract_of(use_case, "logins").names == ("at", "card_id", "amount", "kind")
