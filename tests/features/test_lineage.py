"""Lineage: every feature leads back to source columns that exist, and only those that it reads."""

from __future__ import annotations

from typing import Any

import pytest

from configs.errors import FeatureError
from configs.loading import load_use_case
from configs.settings import Settings
from features.lineage import fed_by, lineage, lineage_of
from features.vector import features_of


def columns(use_case: Any, feature: str) -> set[str]:
    return {str(column) for column in lineage(use_case, feature).columns}


@pytest.mark.parametrize("name", ["credit", "fraud", "lending_club", "handbook_fraud", "taiwan_default"])
def test_every_feature_of_the_shipped_use_cases_has_a_source(name: str, settings: Settings) -> None:
    use_case = load_use_case(name, settings)
    found = lineage_of(use_case)
    assert list(found) == [feature.name for feature in features_of(use_case)]
    assert all(node.columns for node in found.values())
    assert {column.table for node in found.values() for column in node.columns} <= set(use_case.tables)


def test_an_aggregate_reads_its_column_its_key_and_the_time(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    assert columns(fraud, "card_amount_mean_7d") == {
        "transactions.amount",
        "transactions.card_id (key)",
        "transactions.tx_time (time)",
    }


def test_an_aggregate_of_outcomes_also_reads_when_they_were_known(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    assert "transactions.outcome_at (known since)" in columns(fraud, "terminal_fraud_mean_7d")


def test_a_view_reads_its_times(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    assert columns(fraud, "profile__tenure_days") == {
        "customers.tenure_days",
        "customers.customer_id (key)",
        "customers.valid_from (time)",
        "customers.created_at (known since)",
    }


def test_a_derived_column_is_traced_through_the_features_it_uses(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    node = lineage(fraud, "amount_to_mean")
    assert [each.name for each in node.inputs] == ["amount", "card_amount_mean_30d"]
    assert columns(fraud, "amount_to_mean") == columns(fraud, "card_amount_mean_30d")


def test_a_column_names_all_that_it_feeds(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    fed = fed_by(fraud, "transactions.device_id")
    assert fed == ["customer_device_count_30d", "device_amount_count_1d", "device_amount_sum_1d", "new_device"]


def test_unknown_names_get_the_nearest(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    with pytest.raises(FeatureError, match="did you mean 'amount'"):
        lineage(fraud, "amuont")
    with pytest.raises(FeatureError, match=r"did you mean 'transactions\.amount'"):
        fed_by(fraud, "transactions.amounts")
