"""The gates: pure functions from metrics and evidence to a frozen verdict, each bar with what was found.

They read these parts of the evidence, and a part that is absent fails its gate:

- `intervals`: metric -> [low, high]; `calibration`: `tested` with `spiegelhalter`, `slope` and `intercept`;
- `stability`: `months`, each with `month`, `psi` of the score on frozen deciles, and `rows`;
- `fairness`: `attributes`, each with `of` and `adverse_impact_ratio` (`value`, `interval`), see `evidence.fairness`;
- `leaks`: findings with `column`, `kind`, `accepted` (the reason, or None) and `stops`;
- `explanation`: `refits` with `rank_correlation` and `top_overlap`; `latency`: `p50_ms`, `p99_ms`, `rows`;
- `data_hash`, `definition_hash`, `seed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from configs.use_case import UseCase
from training.governance.gate_performance import calibration_test_gate, champion_gate, maximum_gates, minimum_gates
from training.governance.gate_soundness import (
    documentation_gate,
    explanation_gates,
    fairness_gates,
    latency_gate,
    leakage_gate,
    months_gate,
    selection_ratio,
)
from training.governance.verdict import GateResult, Verdict

__all__ = ["GateResult", "Verdict", "judge", "selection_ratio"]


def judge(
    use_case: UseCase,
    metrics: Mapping[str, float],
    evidence: Mapping[str, Any],
    champion_metrics: Mapping[str, float] | None = None,
    selection_rates: Mapping[str, Mapping[str, float]] | None = None,
    *,
    paired: Mapping[str, Any] | None = None,
) -> Verdict:
    """Hold a candidate against every gate of its use case.

    metrics: of the out-of-time test. champion_metrics: the champion's; None without a champion. paired: candidate less
    champion on the same test rows (`training.evidence.paired.paired_difference`); None where they can't be scored on
    the same rows. selection_rates: attribute -> group -> share of the group's test rows that got no adverse decision,
    used where the evidence has no `fairness`. A figure that is missing or undefined fails its gate; a gate with nothing
    to judge says that it does not apply.
    """
    gates = (
        *minimum_gates(use_case, metrics, evidence),
        *maximum_gates(use_case, metrics, evidence),
        calibration_test_gate(use_case, evidence),
        champion_gate(use_case, metrics, champion_metrics, paired),
        months_gate(use_case, evidence),
        *fairness_gates(use_case, evidence, selection_rates or {}),
        leakage_gate(evidence),
        *explanation_gates(use_case, evidence),
        latency_gate(use_case, evidence),
        documentation_gate(use_case, evidence),
    )
    return Verdict(all(gate.passed for gate in gates), gates)
