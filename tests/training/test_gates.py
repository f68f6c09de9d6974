"""The gates: each bar, what it rests on, and that what can't be measured doesn't pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from configs.errors import GovernanceError
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from training.governance.gates import GateResult, Verdict, judge, selection_ratio

METRICS = {"auc": 0.7, "ece": 0.01, "score_psi": 0.05}
EVIDENCE: dict[str, Any] = {
    "data_hash": "a",
    "definition_hash": "b",
    "seed": 7,
    "intervals": {"auc": [0.66, 0.74]},
    "calibration": {"tested": {"spiegelhalter": {"z": 1.28, "p_value": 0.2}, "slope": None, "intercept": None}},
    "stability": {"months": [{"month": "2024-08", "psi": 0.02, "rows": 900}]},
    "leaks": [],
    "explanation": {"refits": {"rank_correlation": 0.9, "top_overlap": 0.8, "refits": 5}},
    "latency": {"p50_ms": 1.0, "p99_ms": 2.0, "rows": 700},
}


def with_gates(use_case: UseCase, **gates: Any) -> UseCase:
    return use_case.model_copy(update={"gates": use_case.gates.model_copy(update=gates)})


def failed(verdict: Verdict) -> list[str]:
    return [gate.name for gate in verdict.failed]


def gate(verdict: Verdict, name: str) -> GateResult:
    return next(each for each in verdict.gates if each.name == name)


def test_a_sound_candidate_passes_every_gate(credit: UseCase) -> None:
    verdict = judge(credit, METRICS, EVIDENCE)
    assert verdict.passed
    assert [each.name for each in verdict.gates if each.applies] == [
        "minimum auc",
        "calibration",
        "stability",
        "stability over months",
        "leakage",
        "explanation rank correlation",
        "explanation top overlap",
        "latency",
        "documentation",
    ]


def test_what_there_is_nothing_to_judge_of_says_so(credit: UseCase) -> None:
    verdict = judge(credit, METRICS, EVIDENCE)
    reasons = {each.name: each.reason for each in verdict.gates if not each.applies}
    assert reasons == {
        "calibration test": "not applicable: gates.calibration_alpha is 0",
        "champion": "not applicable: there is none",
        "fairness": "not applicable: gates.fairness_ratio is 0",
    }


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


@pytest.mark.parametrize("part", ["stability", "leaks", "latency"])
def test_evidence_that_is_absent_fails_its_gate(credit: UseCase, part: str) -> None:
    name = {"stability": "stability over months", "leaks": "leakage"}.get(part, part)
    verdict = judge(credit, METRICS, {key: value for key, value in EVIDENCE.items() if key != part})
    assert failed(verdict) == [name]
    assert verdict.failed[0].reason.startswith("not measured")


def test_a_metric_that_was_not_computed_fails_its_gate(credit: UseCase) -> None:
    verdict = judge(with_gates(credit, minimum={"ks": 0.2}), METRICS, EVIDENCE)
    assert failed(verdict) == ["minimum ks"]
    assert verdict.failed[0].reason.startswith("not measured")


def test_a_bar_is_met_exactly(credit: UseCase) -> None:
    assert judge(with_gates(credit, minimum={"auc": 0.7}), METRICS, EVIDENCE).passed


def test_the_lower_end_of_the_interval_can_be_held_against_the_bar(credit: UseCase) -> None:
    verdict = judge(with_gates(credit, minimum={"auc": 0.68}, minimum_of="low"), METRICS, EVIDENCE)
    assert failed(verdict) == ["minimum auc"]
    assert gate(verdict, "minimum auc").evidence == {"value": 0.7, "interval": [0.66, 0.74]}
    without = EVIDENCE | {"intervals": {}}
    assert failed(judge(with_gates(credit, minimum_of="low"), METRICS, without)) == ["minimum auc"]


@pytest.mark.parametrize(("alpha", "passes"), [(0.1, True), (0.2, True), (0.5, False)])
def test_a_calibration_that_its_test_rejects_does_not_pass(credit: UseCase, alpha: float, passes: bool) -> None:
    found = gate(judge(with_gates(credit, calibration_alpha=alpha), METRICS, EVIDENCE), "calibration test")
    assert (found.found, found.evidence["z"], found.passed) == (0.2, 1.28, passes)


def test_a_calibration_test_that_could_not_be_made_does_not_pass(credit: UseCase) -> None:
    untested = EVIDENCE | {"calibration": {"tested": {"spiegelhalter": None}}}
    verdict = judge(with_gates(credit, calibration_alpha=0.01), METRICS, untested)
    assert failed(verdict) == ["calibration test"]


@pytest.mark.parametrize(("low", "passes"), [(-0.004, True), (-0.006, False), (0.02, True), (-0.005, True)])
def test_the_bound_of_the_difference_may_be_a_margin_below_the_champion(
    credit: UseCase, low: float, passes: bool
) -> None:
    paired = {"difference": low + 0.01, "low": low, "new": 0.7, "old": 0.69}
    verdict = judge(with_gates(credit, champion_margin=0.005), METRICS, EVIDENCE, {"auc": 0.9}, paired=paired)
    assert gate(verdict, "champion").passed is passes
    assert gate(verdict, "champion").evidence == paired


def test_a_test_too_small_to_tell_does_not_pass(credit: UseCase) -> None:
    paired = {"difference": 0.0, "low": -0.05, "new": 0.7, "old": 0.7}
    assert failed(judge(credit, METRICS, EVIDENCE, {"auc": 0.7}, paired=paired)) == ["champion"]


def test_an_undefined_difference_does_not_pass(credit: UseCase) -> None:
    paired = {"difference": None, "low": None, "new": None, "old": None}
    assert failed(judge(credit, METRICS, EVIDENCE, {"auc": 0.7}, paired=paired)) == ["champion"]


@pytest.mark.parametrize(("champion", "passes"), [(0.704, True), (0.706, False), (0.69, True)])
def test_without_the_same_rows_the_values_are_compared(credit: UseCase, champion: float, passes: bool) -> None:
    verdict = judge(with_gates(credit, champion_margin=0.005), METRICS, EVIDENCE, {"auc": champion})
    assert gate(verdict, "champion").passed is passes
    assert "without an interval" in gate(verdict, "champion").reason


def test_an_undefined_champion_metric_does_not_pass(credit: UseCase) -> None:
    assert failed(judge(credit, METRICS, EVIDENCE, {})) == ["champion"]


def months(*figures: tuple[float | None, int]) -> dict[str, Any]:
    listed = [{"month": f"2024-{index + 1:02}", "psi": psi, "rows": rows} for index, (psi, rows) in enumerate(figures)]
    return EVIDENCE | {"stability": {"months": listed}}


@pytest.mark.parametrize(
    ("figures", "passes"),
    [
        ([(0.1, 500), (0.3, 500)], False),
        ([(0.1, 500), (0.3, 99)], True),  # too few rows to be judged
        ([(0.1, 99)], False),  # nothing could be judged
        ([(0.1, 500), (None, 500)], False),
    ],
)
def test_no_month_may_shift_beyond_the_bar(
    credit: UseCase, figures: list[tuple[float | None, int]], passes: bool
) -> None:
    assert judge(credit, METRICS, months(*figures)).passed is passes


def test_the_worst_month_is_named(credit: UseCase) -> None:
    found = gate(judge(credit, METRICS, months((0.1, 500), (0.3, 500), (0.2, 500))), "stability over months")
    assert (found.found, found.evidence["month"], found.evidence["judged"]) == (0.3, "2024-02", 3)


def test_months_do_not_apply_to_a_table_without_a_time(settings: Settings) -> None:
    use_case = load_use_case("taiwan_default", settings)
    verdict = judge(use_case, METRICS | {"auc": 0.8}, EVIDENCE | {"stability": None})
    assert not gate(verdict, "stability over months").applies
    assert verdict.passed


def test_four_fifths_is_asked_of_every_protected_attribute(credit: UseCase) -> None:
    rates = {"sex": {"f": 0.5, "m": 0.7}, "age": {"under 40": 0.6, "40 and over": 0.6}}
    verdict = judge(with_gates(credit, fairness_ratio=0.8), METRICS, EVIDENCE, selection_rates=rates)
    assert failed(verdict) == ["fairness sex"]


def impact(of: str, value: float | None, interval: list[float] | None) -> dict[str, Any]:
    ratio = {"value": value, "interval": interval}
    return {"of": of, "lowest": "a", "reference": "b", "four_fifths": "met", "adverse_impact_ratio": ratio}


def test_the_least_ratio_of_an_attribute_counts_with_its_interval(credit: UseCase) -> None:
    attributes = {
        "sex": impact("sex", 0.9, [0.85, 0.95]),
        "age": impact("age", 0.9, [0.85, 0.95]),
        "age_62": impact("age", 0.82, [0.7, 0.94]),
    }
    verdict = judge(
        with_gates(credit, fairness_ratio=0.8), METRICS, EVIDENCE | {"fairness": {"attributes": attributes}}
    )
    assert verdict.passed
    age = gate(verdict, "fairness age")
    assert (age.found, age.evidence["groups"], age.evidence["interval"]) == (0.82, "age_62", [0.7, 0.94])
    assert "too few events to be sure" in age.reason
    assert "too few" not in gate(verdict, "fairness sex").reason


def test_fairness_that_was_not_measured_does_not_pass(credit: UseCase) -> None:
    asked = with_gates(credit, fairness_ratio=0.8)
    assert failed(judge(asked, METRICS, EVIDENCE)) == ["fairness sex", "fairness age"]
    undefined = {"sex": impact("sex", None, None)}
    verdict = judge(asked, METRICS, EVIDENCE | {"fairness": {"attributes": undefined}})
    assert failed(verdict) == ["fairness sex", "fairness age"]


@pytest.mark.parametrize(
    ("rates", "ratio"), [({"a": 0.4, "b": 0.8}, 0.5), ({"a": 0.0, "b": 0.0}, 1.0), ({"a": 0.3}, 1.0), ({}, 1.0)]
)
def test_selection_ratio(rates: dict[str, float], ratio: float) -> None:
    assert selection_ratio(rates) == ratio


def finding(*, stops: bool, accepted: str | None = None) -> dict[str, Any]:
    return {"column": "status", "kind": "after_event", "accepted": accepted, "stops": stops}


@pytest.mark.parametrize(
    ("found", "passes"),
    [
        (finding(stops=True), False),
        (finding(stops=False, accepted="known at the event"), True),
        (finding(stops=False), True),  # for the report only
    ],
)
def test_a_suspected_leak_that_nobody_accepted_does_not_pass(
    credit: UseCase, found: dict[str, Any], passes: bool
) -> None:
    verdict = judge(credit, METRICS, EVIDENCE | {"leaks": [found]})
    assert gate(verdict, "leakage").passed is passes
    assert passes or "status (after_event)" in verdict.failed[0].reason


@pytest.mark.parametrize(
    ("refits", "names"),
    [
        ({"rank_correlation": 0.3, "top_overlap": 0.8}, ["explanation rank correlation"]),
        ({"rank_correlation": 0.9, "top_overlap": 0.2}, ["explanation top overlap"]),
        ({}, ["explanation rank correlation", "explanation top overlap"]),
    ],
)
def test_an_explanation_that_changes_with_a_refit_does_not_pass(
    credit: UseCase, refits: dict[str, float], names: list[str]
) -> None:
    assert failed(judge(credit, METRICS, EVIDENCE | {"explanation": {"refits": refits}})) == names


def test_a_slow_model_does_not_pass(credit: UseCase) -> None:
    slow = EVIDENCE | {"latency": {"p50_ms": 2.0, "p99_ms": 51.0, "rows": 700}}
    assert failed(judge(credit, METRICS, slow)) == ["latency"]


@pytest.mark.parametrize("missing", ["data_hash", "definition_hash", "seed"])
def test_missing_provenance_fails_documentation(credit: UseCase, missing: str) -> None:
    assert failed(judge(credit, METRICS, EVIDENCE | {missing: None})) == ["documentation"]


def test_a_missing_description_fails_documentation(credit: UseCase) -> None:
    verdict = judge(credit.model_copy(update={"owner": " "}), METRICS, EVIDENCE)
    assert "owner" in verdict.failed[0].reason


def test_a_verdict_survives_json(credit: UseCase) -> None:
    verdict = judge(credit, METRICS | {"auc": 0.1}, EVIDENCE)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == verdict


def test_a_verdict_from_before_gates_had_evidence_is_read() -> None:
    old = {"name": "minimum auc", "passed": True, "found": 0.7, "bar": 0.65, "reason": "found 0.7"}
    verdict = Verdict.from_json({"passed": True, "gates": [old]})
    assert (verdict.gates[0].evidence, verdict.gates[0].applies) == ({}, True)


def test_a_verdict_that_contradicts_its_gates_is_refused(credit: UseCase) -> None:
    forged = judge(credit, METRICS | {"auc": 0.1}, EVIDENCE).to_json() | {"passed": True}
    with pytest.raises(GovernanceError, match="contradicts"):
        Verdict.from_json(forged)


def test_what_is_no_verdict_is_refused() -> None:
    with pytest.raises(GovernanceError, match="not a verdict"):
        Verdict.from_json({"passed": True, "gates": [{"name": "minimum auc", "approved": True}]})
