from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ServingError
from configs.loading import load_use_case, parse
from configs.settings import Settings
from configs.use_case import Points, UseCase
from serving.policy import DecisionPolicy, score_points


def changed(use_case: UseCase, **policy: Any) -> UseCase:
    raw = use_case.as_json()
    return parse(raw | {"policy": raw["policy"] | policy})


@pytest.fixture
def credit(settings: Settings) -> UseCase:
    return load_use_case("credit", settings)


@pytest.mark.parametrize(
    ("probability", "decision", "grade"),
    [(0.0, "approve", 1), (0.0999, "approve", 1), (0.1, "refer", 2), (0.2, "decline", 3), (1.0, "decline", 3)],
)
def test_bands_take_their_lower_bound(credit: UseCase, probability: float, decision: str, grade: int) -> None:
    verdict = DecisionPolicy(credit).decide(probability, {"amount": 1000.0, "bureau__months_on_file": 12.0})
    assert (verdict.decision, verdict.grade) == (decision, grade)


def test_points_have_their_base_at_the_declared_odds() -> None:
    assert score_points(1 / 51, Points()) == 600


def test_twice_the_odds_are_the_declared_points_more() -> None:
    points = Points(base=500, odds=20, double=40)
    assert score_points(1 / 41, points) - score_points(1 / 21, points) == 40


@given(st.floats(0, 1), st.floats(0, 1))
def test_points_never_rise_with_risk(low: float, high: float) -> None:
    low, high = sorted([low, high])
    assert score_points(low, Points()) >= score_points(high, Points())


def test_points_of_certainty_are_finite() -> None:
    assert math.isfinite(score_points(0.0, Points()))
    assert math.isfinite(score_points(1.0, Points()))


def test_a_rule_that_holds_overrides_the_band(credit: UseCase) -> None:
    verdict = DecisionPolicy(credit).decide(0.01, {"amount": 30000.0, "bureau__months_on_file": None})
    assert (verdict.decision, verdict.rule, verdict.code) == ("refer", "thin_file", "FILE")


def test_a_rule_that_is_unknown_does_not_hold(credit: UseCase) -> None:
    verdict = DecisionPolicy(credit).decide(0.01, {"amount": None, "bureau__months_on_file": None})
    assert (verdict.decision, verdict.rule) == ("approve", None)


def test_a_rule_may_read_the_probability(credit: UseCase) -> None:
    rule = {"name": "sure", "when": "probability > 0.9", "decision": "refer", "code": "FILE"}
    policy = DecisionPolicy(changed(credit, rules=[rule]))
    assert policy.decide(0.95, {}).decision == "refer"
    assert policy.decide(0.85, {}).decision == "decline"


def test_the_first_rule_that_holds_wins(credit: UseCase) -> None:
    rules = [
        {"name": "first", "when": "amount > 1", "decision": "decline", "code": "AMOUNT"},
        {"name": "second", "when": "amount > 1", "decision": "refer", "code": "FILE"},
    ]
    assert DecisionPolicy(changed(credit, rules=rules)).decide(0.01, {"amount": 2.0}).rule == "first"


def test_a_rule_with_an_unknown_name_is_refused(credit: UseCase) -> None:
    rule = {"name": "typo", "when": "amuont > 1", "decision": "refer", "code": "FILE"}
    with pytest.raises(ServingError, match="typo"):
        DecisionPolicy(changed(credit, rules=[rule]))


def test_the_fallback_is_declared_and_ignores_rules(credit: UseCase) -> None:
    verdict = DecisionPolicy(credit).fall_back(0.99)
    assert (verdict.decision, verdict.rule, verdict.grade) == ("refer", None, 3)


def test_the_digest_follows_the_policy_alone(credit: UseCase) -> None:
    same, other = parse(credit.as_json() | {"title": "renamed"}), changed(credit, max_reasons=2)
    assert DecisionPolicy(same).digest == DecisionPolicy(credit).digest
    assert DecisionPolicy(other).digest != DecisionPolicy(credit).digest
