"""Use case files: what is read, and how mistakes are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError
from configs.loading import FOLDER, UseCaseError, available, load_use_case, overlaid, parse, read_yaml
from configs.references import feature_names
from configs.settings import Settings

SHIPPED = ("credit", "fraud", "handbook_fraud", "lending_club", "taiwan_default")


def raw() -> dict[str, Any]:
    return read_yaml(FOLDER / "fraud.yaml")


def problems(changed: dict[str, Any]) -> dict[str, tuple[str, str]]:
    with pytest.raises(UseCaseError) as caught:
        parse(changed)
    return {problem.path: (problem.expected, problem.nearest) for problem in caught.value.problems}


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("profile", ["dev", "test", "prod"])
def test_every_shipped_use_case_is_valid_in_every_profile(name: str, profile: str) -> None:
    assert load_use_case(name, Settings(profile=profile)).name == name


@pytest.mark.parametrize("name", SHIPPED)
def test_a_dumped_use_case_reads_back_equal(name: str, settings: Settings) -> None:
    use_case = load_use_case(name, settings)
    assert parse(use_case.as_json()) == use_case


def test_all_mistakes_are_reported_at_once() -> None:
    changed = raw()
    changed["traning"] = {}
    changed["event"]["table"] = "transaction"
    changed["aggregates"][0]["functions"] = ["meen"]
    changed["label"]["maturity"] = "7 days"
    found = problems(changed)
    assert found["traning"][1] == "training"
    assert found["event.table"][1] == "transactions"
    assert found["aggregates.0.functions.0"][1] == "mean"
    assert "unit" in found["label.maturity"][0]


def test_an_unknown_key_deep_in_the_file_names_the_keys_of_that_place() -> None:
    changed = raw()
    changed["views"]["profile"]["columns"]["segment"]["valuse"] = ["a"]
    expected, nearest = problems(changed)["views.profile.columns.segment.valuse"]
    assert nearest == "values"
    assert "nullable" in expected


def test_a_missing_section_is_reported_with_its_path() -> None:
    changed = raw()
    del changed["label"]
    assert problems(changed)["label"] == ("a value", "")


def test_a_protected_attribute_may_not_be_a_feature() -> None:
    changed = raw()
    changed["protected"] = {"amount": {}}
    assert "protected.amount" in problems(changed)


def test_a_monotone_direction_of_an_unknown_feature_names_the_nearest() -> None:
    changed = raw()
    changed["monotone"] = {"amont": "increasing"}
    assert problems(changed)["monotone.amont"][1] == "amount"


def test_bands_must_ascend() -> None:
    changed = raw()
    changed["policy"]["bands"][0]["below"] = 0.9
    assert "policy" in problems(changed)


def test_the_test_period_may_not_start_before_training_ends() -> None:
    changed = raw()
    changed["split"]["test"]["start"] = "2025-03-01"
    assert "split" in problems(changed)


def test_a_gate_on_an_unknown_metric_names_the_nearest() -> None:
    changed = raw()
    changed["gates"]["minimum"] = {"acu": 0.7}
    assert problems(changed)["gates.minimum.acu"][1] == "auc"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_must_be_finite(number: float) -> None:
    changed = raw()
    changed["gates"]["minimum"] = {"auc": number}
    assert "finite" in problems(changed)["gates.minimum.auc"][0]


def test_an_aggregate_of_nothing_can_only_be_counted() -> None:
    changed = raw()
    changed["aggregates"][0] = {"entity": "card", "functions": ["count", "sum"], "windows": ["1d"]}
    assert "sum need a `column`" in problems(changed)["aggregates.0"][0]


def test_codes_of_a_category_are_texts_because_callers_send_texts() -> None:
    changed = raw()
    changed["request"]["channel"] = {"type": "category", "missing": [0]}
    assert "'0' instead of 0" in problems(changed)["request.channel"][0]


def test_bounds_of_a_column_must_not_cross() -> None:
    changed = raw()
    changed["request"]["amount"] = {"min": 2, "max": 1}
    assert "request.amount" in problems(changed)


def test_a_period_with_an_offset_is_read_in_utc() -> None:
    changed = raw()
    changed["split"]["train"]["start"] = "2025-02-15T01:00:00+01:00"
    assert parse(changed).split == parse(raw()).split


def test_a_key_that_stands_twice_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("name: a\nname: b\n")
    with pytest.raises(ConfigError, match="stands twice"):
        read_yaml(file)


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "\xff"])
def test_a_file_that_is_not_a_mapping_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError):
        read_yaml(file)


def test_an_unknown_use_case_names_the_nearest(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="did you mean 'credit'"):
        load_use_case("credti", settings)


def test_use_cases_of_a_further_folder_are_found(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text((FOLDER / "credit.yaml").read_text())
    assert "mine" in available(Settings(configs=tmp_path))


def test_an_overlay_replaces_values_and_keeps_their_neighbours() -> None:
    assert overlaid({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}


def test_feature_names_follow_from_the_definitions(settings: Settings) -> None:
    names = feature_names(load_use_case("fraud", settings).as_json())
    assert {"amount", "profile__segment", "card_amount_mean_7d", "customer_device_count_30d", "new_device"} <= set(
        names
    )
    assert len(names) == len(set(names))
