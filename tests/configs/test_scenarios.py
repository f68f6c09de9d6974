"""Scenario files: what is read, and how mistakes are reported."""

from __future__ import annotations

from typing import Any

import pytest

from configs.loading import FOLDER, UseCaseError, load_use_case, parse, read_yaml
from configs.scenarios import ScenarioError, load_scenarios, parse_scenarios
from configs.settings import Settings

FEATURES = ("income", "debt")


def raw() -> dict[str, Any]:
    return {
        "title": "t",
        "source": "s",
        "factors": {"unemployment": {"unit": "points", "pd": 0.1, "source": "s"}},
        "scenarios": {
            "bad": {"description": "d", "macro": {"unemployment": 2}, "features": {"income": {"factor": 0.9}}}
        },
    }


def problems(changed: dict[str, Any]) -> dict[str, tuple[str, str]]:
    with pytest.raises(ScenarioError) as caught:
        parse_scenarios(changed, features=FEATURES)
    assert caught.value.as_dict()["problems"]
    return {problem.path: (problem.expected, problem.nearest) for problem in caught.value.problems}


def test_a_scenario_file_is_read_with_its_defaults() -> None:
    found = parse_scenarios(raw(), features=FEATURES).scenarios["bad"]
    assert (found.lgd, found.ead, found.log_odds, found.features["income"].offset) == (0, 0, 0, 0)


def test_all_mistakes_are_reported_at_once_with_the_nearest_name() -> None:
    changed = raw()
    changed["titel"] = "x"
    changed["scenarios"]["bad"]["macro"] = {"unemploymnt": 2}
    changed["scenarios"]["bad"]["features"] = {"incom": {"factr": 0.9}}
    found = problems(changed)
    assert found["titel"][1] == "title"
    assert found["scenarios.bad.macro.unemploymnt"][1] == "unemployment"
    assert found["scenarios.bad.features.incom"][1] == "income"
    assert found["scenarios.bad.features.incom.factr"][1] == "factor"


def test_a_file_without_scenarios_is_a_mistake() -> None:
    changed = raw()
    changed["scenarios"] = {}
    assert "scenarios" in problems(changed)


def test_a_number_that_is_not_finite_is_a_mistake() -> None:
    changed = raw()
    changed["scenarios"]["bad"]["macro"]["unemployment"] = float("nan")
    assert "scenarios.bad.macro.unemployment" in problems(changed)


@pytest.mark.parametrize("name", ["credit", "lending_club", "taiwan_default"])
def test_every_shipped_use_case_finds_its_scenarios(name: str, settings: Settings) -> None:
    from features.vector import features_of

    use_case = load_use_case(name, settings)
    assert use_case.credit_risk is not None and use_case.credit_risk.scenarios is not None
    features = [feature.name for feature in features_of(use_case) if feature.kind == "number"]
    assert "baseline" in load_scenarios(use_case.credit_risk.scenarios, features=features).scenarios


def found_in(name: str, **sections: Any) -> dict[str, tuple[str, str]]:
    with pytest.raises(UseCaseError) as caught:
        parse(read_yaml(FOLDER / f"{name}.yaml") | sections)
    return {problem.path: (problem.expected, problem.nearest) for problem in caught.value.problems}


def test_a_use_case_that_names_no_scenario_file_is_told_the_nearest() -> None:
    assert found_in("credit", credit_risk={"scenarios": "credt"})["credit_risk.scenarios"][1] == "credit"


def test_mistakes_in_a_severity_carry_the_path_of_the_file() -> None:
    found = found_in("lending_club", credit_risk={"lgd": {"repayed": "x"}, "ead": {"repaid": "principal_repayd"}})
    assert found["credit_risk.lgd.repayed"][1] == "repaid"
    assert found["credit_risk.ead.repaid"][1] == "principal_repaid"


@pytest.mark.parametrize(
    ("lgd", "expected"),
    [
        ({"outcome": "lent", "repaid": "lent"}, "either `outcome`"),
        ({"recovered": "lent"}, "with the other sums"),
        ({"repaid": "lent", "fees": "lent"}, "`recovered` with `fees`"),
    ],
)
def test_a_severity_of_half_its_sums_is_a_mistake(lgd: dict[str, str], expected: str) -> None:
    assert expected in found_in("lending_club", credit_risk={"lgd": lgd})["credit_risk.lgd"][0]


@pytest.mark.parametrize(
    ("risk", "expected"),
    [
        ({"lgd": 1.2}, "`lgd` from 0 to 1"),
        ({"lgd": {"repaid": "lent"}}, "`repaid` and `recovered`"),
        ({"ead": {"repaid": "lent", "recovered": "lent"}}, "recoveries come after default"),
        ({"grades": [0.2, 0.1]}, "ascending"),
    ],
)
def test_severities_and_grades_that_make_no_sense_are_mistakes(risk: dict[str, Any], expected: str) -> None:
    assert expected in found_in("lending_club", credit_risk=risk)["credit_risk"][0]


def test_money_of_the_other_kind_and_credit_risk_of_fraud_are_mistakes() -> None:
    money = {"of": "credit", "amount": "amount", "margin": 0.1}
    found = found_in("fraud", money=money, credit_risk={"lgd": 0.5})
    assert found["money.of"][0].startswith("fraud") and "credit" in found["credit_risk"][0]


def test_a_reviewed_decision_that_no_band_gives_is_told_the_nearest() -> None:
    money = {"of": "fraud", "amount": "amount", "review": 1, "reviewed": ["revew"]}
    assert found_in("fraud", money=money)["money.reviewed.0"][1] == "review"
