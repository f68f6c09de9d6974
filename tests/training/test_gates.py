"""The gates: each bar, and that what can't be measured doesn't pass."""

from __future__ import annotations

from typing import Any

import pytest

from configs.errors import GovernanceError
from configs.use_case import UseCase
from training.governance.gates import Verdict, judge, selection_ratio

METRICS = {"auc": 0.7, "ece": 0.01, "score_psi": 0.05}
EVIDENCE = {"data_hash": "a", "definition_hash": "b", "seed": 7}


def with_gates(use_case: UseCase, **gates: Any) -> UseCase:
    return use_case.model_copy(update={"gates": use_case.gates.model_copy(update=gates)})


def failed(verdict: Verdict) -> list[str]:
    return [gate.name for gate in verdict.failed]


def test_a_sound_candidate_passes(credit: UseCase) -> None:
    verdict = judge(credit, METRICS, EVIDENCE)
    assert verdict.passed
    assert {gate.name for gate in verdict.gates} == {"minimum auc", "calibration", "stability", "documentation"}


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        ({"auc": 0.6}, "minimum auc"),
        ({"ece": 0.06}, "calibration"),
        ({"score_psi": 0.3}, "stability"),
        ({"auc": float("nan")}, "minimum auc"),
        ({"ece": float("inf")}, "calibration"),
    ],
)
def test_a_metric_beyond_its_bar_fails_its_gate(credit: UseCase, metrics: dict[str, float], name: str) -> None:
    assert failed(judge(credit, METRICS | metrics, EVIDENCE)) == [name]


def test_a_metric_that_was_not_computed_fails_its_gate(credit: UseCase) -> None:
    verdict = judge(with_gates(credit, minimum={"ks": 0.2}), METRICS, EVIDENCE)
    assert failed(verdict) == ["minimum ks"]
    assert verdict.failed[0].reason.startswith("not measured")


def test_a_bar_is_met_exactly(credit: UseCase) -> None:
    assert judge(with_gates(credit, minimum={"auc": 0.7}), METRICS, EVIDENCE).passed


@pytest.mark.parametrize(("champion", "passes"), [(0.704, True), (0.706, False), (0.69, True)])
def test_the_objective_may_be_a_margin_below_the_champion(credit: UseCase, champion: float, passes: bool) -> None:
    assert judge(credit, METRICS, EVIDENCE, {"auc": champion}).passed is passes


def test_an_undefined_champion_metric_does_not_pass(credit: UseCase) -> None:
    assert failed(judge(credit, METRICS, EVIDENCE, {})) == ["champion"]


def test_four_fifths_is_asked_of_every_protected_attribute(credit: UseCase) -> None:
    rates = {"sex": {"f": 0.5, "m": 0.7}, "age": {"under 40": 0.6, "40 and over": 0.6}}
    verdict = judge(with_gates(credit, fairness_ratio=0.8), METRICS, EVIDENCE, selection_rates=rates)
    assert failed(verdict) == ["fairness sex"]


def test_fairness_that_was_not_measured_does_not_pass(credit: UseCase) -> None:
    verdict = judge(with_gates(credit, fairness_ratio=0.8), METRICS, EVIDENCE)
    assert failed(verdict) == ["fairness sex", "fairness age"]


@pytest.mark.parametrize(
    ("rates", "ratio"), [({"a": 0.4, "b": 0.8}, 0.5), ({"a": 0.0, "b": 0.0}, 1.0), ({"a": 0.3}, 1.0), ({}, 1.0)]
)
def test_selection_ratio(rates: dict[str, float], ratio: float) -> None:
    assert selection_ratio(rates) == ratio


def test_missing_provenance_or_description_fails_documentation(credit: UseCase) -> None:
    assert failed(judge(credit, METRICS, {"seed": 7})) == ["documentation"]
    verdict = judge(credit.model_copy(update={"owner": " "}), METRICS, EVIDENCE)
    assert "owner" in verdict.failed[0].reason


def test_a_verdict_survives_json(credit: UseCase) -> None:
    verdict = judge(credit, METRICS | {"auc": 0.1}, EVIDENCE)
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_a_verdict_that_contradicts_its_gates_is_refused(credit: UseCase) -> None:
    forged = judge(credit, METRICS | {"auc": 0.1}, EVIDENCE).to_json() | {"passed": True}
    with pytest.raises(GovernanceError, match="contradicts"):
        Verdict.from_json(forged)
