from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import ServingError
from configs.loading import FOLDER, load_use_case
from configs.settings import Settings
from features.vector import features_of
from serving.reasons import Catalogue, ReasonGiver, baseline_of

CATALOGUE = """
- {code: AMOUNT, en: Amount, zh: 金额, features: [amount, amount_*]}
- {code: COUNT, en: Count, zh: 次数, features: ["*_count"]}
- {code: OTHER, en: Other, zh: 其他, features: ["*"]}
"""
FEATURES = ("amount", "amount_count", "card_count", "hour")


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    path = tmp_path / "reasons.yaml"
    path.write_text(CATALOGUE, encoding="utf-8")
    return Catalogue.load(path)


def giver(catalogue: Catalogue, *, baseline: tuple[float, ...] = (0.0,) * 4, most: int = 4) -> ReasonGiver:
    return ReasonGiver(catalogue, FEATURES, baseline=baseline, most=most)


def test_the_features_of_a_reason_are_summed(catalogue: Catalogue) -> None:
    found = giver(catalogue).reasons([0.2, 0.3, 0.4, -1.0, -2.5])
    assert [(reason.code, reason.contribution) for reason in found] == [("AMOUNT", 0.5), ("COUNT", 0.4)]
    assert found[0].features == ("amount_count", "amount")


def test_a_feature_belongs_to_the_first_reason_that_fits(catalogue: Catalogue) -> None:
    assert giver(catalogue).reasons([0.0, 1.0, 0.0, 0.0])[0].code == "AMOUNT"


def test_contributions_count_relative_to_the_baseline(catalogue: Catalogue) -> None:
    found = giver(catalogue, baseline=(1.0, 0.0, 0.0, 0.0)).reasons([0.5, 0.0, 0.1, 0.0])
    assert [reason.code for reason in found] == ["COUNT"]


def test_nothing_that_lowers_the_risk_is_a_reason(catalogue: Catalogue) -> None:
    assert giver(catalogue).reasons([-1.0, 0.5, 0.0, 0.0]) == ()


def test_a_feature_that_lowers_the_risk_is_not_named_in_its_reason(catalogue: Catalogue) -> None:
    assert giver(catalogue).reasons([-0.1, 0.5, 0.0, 0.0])[0].features == ("amount_count",)


def test_ties_follow_the_catalogue(catalogue: Catalogue) -> None:
    found = giver(catalogue).reasons([0.1 + 0.2, 0.0, 0.3, 0.3])  # 0.30000000000000004 is no difference
    assert [reason.code for reason in found] == ["AMOUNT", "COUNT", "OTHER"]


def test_no_more_than_the_declared_number_is_given(catalogue: Catalogue) -> None:
    assert [reason.code for reason in giver(catalogue, most=1).reasons([0.1, 0.0, 0.2, 0.3])] == ["OTHER"]


def test_the_reason_of_a_rule_stands_first_and_once(catalogue: Catalogue) -> None:
    found = giver(catalogue, most=2).by_rule("COUNT", ("card_count",), [0.1, 0.0, 0.9, 0.3])
    assert [(reason.code, reason.contribution) for reason in found] == [("COUNT", None), ("OTHER", 0.3)]


def test_a_protected_attribute_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(ServingError, match="protected attributes: profile__sex"):
        ReasonGiver(catalogue, ("amount", "profile__sex"), baseline=(0.0, 0.0), protected={"sex"})


def test_a_feature_without_a_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reasons.yaml"
    path.write_text("- {code: AMOUNT, en: Amount, zh: 金额, features: [amount]}", encoding="utf-8")
    with pytest.raises(ServingError, match=r"no reason .* fits the feature 'hour'"):
        ReasonGiver(Catalogue.load(path), ("amount", "hour"), baseline=(0.0, 0.0))


@pytest.mark.parametrize("content", ["", "- {code: A}", "a: 1", "[1, 2]", "- [", CATALOGUE + CATALOGUE])
def test_another_shape_is_no_catalogue(tmp_path: Path, content: str) -> None:
    path = tmp_path / "reasons.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ServingError, match=r"reasons\.yaml"):
        Catalogue.load(path)


@pytest.mark.parametrize("name", ["credit", "fraud", "handbook_fraud", "lending_club", "taiwan_default"])
def test_every_use_case_has_reasons_for_its_features_and_rules(name: str, settings: Settings) -> None:
    use_case = load_use_case(name, settings)
    catalogue = Catalogue.load(FOLDER / "reasons" / f"{use_case.policy.reasons}.yaml")
    names = [feature.name for feature in features_of(use_case)]
    ReasonGiver(catalogue, names, baseline=[0.0] * len(names), protected=use_case.protected)
    assert all(catalogue.text(rule.code) for rule in use_case.policy.rules)


def test_a_reference_without_a_baseline_is_refused() -> None:
    with pytest.raises(ServingError, match="no baseline"):
        baseline_of({"n": 3}, ["amount"])
