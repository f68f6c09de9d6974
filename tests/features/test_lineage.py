"""Lineage: every feature leads back to source columns that exist, and only those that it reads."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from configs.console import application
from configs.errors import FeatureError, RiskError
from configs.loading import load_use_case
from configs.settings import Settings
from features.inspect_cli import mount
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


def test_a_view_reads_its_times_and_those_of_the_event(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    assert columns(fraud, "profile__tenure_days") == {
        "customers.tenure_days",
        "customers.customer_id (key)",
        "customers.valid_from (time)",
        "customers.created_at (known since)",
        "transactions.customer_id (key)",
        "transactions.tx_time (time)",
    }


def test_rows_of_another_table_are_found_by_the_events_key_and_time(made: Any) -> None:
    part = {"table": "profiles", "entity": "card", "functions": ["count"], "windows": ["1d"], "where": "points > 1"}
    use_case = made.use_case(aggregates=[part | {"name": "rows"}])
    assert columns(use_case, "rows_count_1d") == {
        "profiles.card_id (key)",
        "profiles.valid_from (time)",
        "profiles.created_at (known since)",
        "profiles.points (filter)",
        "payments.card_id (key)",
        "payments.paid_at (time)",
    }
    assert fed_by(use_case, "payments.card_id") == fed_by(use_case, "payments.paid_at") == ["rows_count_1d"]


def test_a_derived_column_is_traced_through_the_features_it_uses(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    node = lineage(fraud, "amount_to_mean")
    assert [each.name for each in node.inputs] == ["amount", "card_amount_mean_30d"]
    assert columns(fraud, "amount_to_mean") == columns(fraud, "card_amount_mean_30d")


def test_a_column_names_all_that_it_feeds(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    fed = fed_by(fraud, "transactions.device_id")
    pair = ["customer_device_count_30d", "customer_device_since_last_30d"]
    assert fed == [*pair, "device_amount_count_1d", "device_amount_sum_1d", "new_device"]


def test_unknown_names_get_the_nearest(settings: Settings) -> None:
    fraud = load_use_case("fraud", settings)
    with pytest.raises(FeatureError, match="did you mean 'amount'"):
        lineage(fraud, "amuont")
    with pytest.raises(FeatureError, match=r"did you mean 'transactions\.amount'"):
        fed_by(fraud, "transactions.amounts")


def test_a_column_that_is_read_for_something_else_feeds_nothing(made: Any) -> None:
    assert fed_by(made.use_case(), "payments.is_fraud") == []
    assert fed_by(made.use_case(), "payments.payment_id") == []


APP = application("features")
mount(APP)


def said(*words: str) -> RiskError:
    """What `risk features <words>` refuses with."""
    found = CliRunner().invoke(APP, list(words))
    assert isinstance(found.exception, RiskError), found.output
    assert found.exception.fix
    return found.exception


def test_a_column_that_feeds_nothing_is_told(settings: Settings) -> None:
    found = CliRunner().invoke(APP, ["lineage", "fraud", "--column", "transactions.transaction_id"])
    assert "transactions.transaction_id feeds no feature" in found.output


def test_commands_refuse_unknown_names_and_say_what_to_do(settings: Settings) -> None:
    assert "did you mean 'transactions'" in said("describe", "fraud", "transaction").found
    both = said("lineage", "fraud", "amount", "--column", "transactions.amount")
    assert both.expected == "one of them"
