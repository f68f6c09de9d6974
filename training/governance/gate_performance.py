"""Gates on how well a candidate scores: bars on metrics, calibration, and the champion it would replace."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from configs.use_case import UseCase
from training.governance.verdict import GateResult, inapplicable, measured

DEFAULT_MAXIMUM = {"ece": 0.1, "score_psi": 0.25}
"""Bars that hold where a use case states none: calibration error, and the customary PSI of a shifted score."""

NAMES = {"ece": "calibration", "score_psi": "stability"}
"""Metrics whose bar is known by what it protects."""


def minimum_gates(use_case: UseCase, metrics: Mapping[str, float], evidence: Mapping[str, Any]) -> Iterator[GateResult]:
    """One gate for each of `gates.minimum`, on the value or on the lower end of its interval (`minimum_of`)."""
    low_wanted = use_case.gates.minimum_of == "low"
    for name, bar in use_case.gates.minimum.items():
        value, bounds = finite(metrics.get(name)), _bounds(evidence, name)
        found = (bounds[0] if bounds else None) if low_wanted else value
        what = f"lower end of the interval of {name}" if low_wanted else name
        yield measured(
            f"minimum {name}",
            passed=found is not None and found >= bar,
            found=found,
            bar=bar,
            asked=f"{what} at least {bar:g}",
            evidence={"value": value, "interval": bounds},
        )


def maximum_gates(use_case: UseCase, metrics: Mapping[str, float], evidence: Mapping[str, Any]) -> Iterator[GateResult]:
    """One gate for each of `gates.maximum` and the defaults, calibration error and PSI of the score among them."""
    for name, bar in (DEFAULT_MAXIMUM | use_case.gates.maximum).items():
        found = finite(metrics.get(name))
        yield measured(
            NAMES.get(name, f"maximum {name}"),
            passed=found is not None and found <= bar,
            found=found,
            bar=bar,
            asked=f"{name} at most {bar:g}",
            evidence={"interval": _bounds(evidence, name)},
        )


def calibration_test_gate(use_case: UseCase, evidence: Mapping[str, Any]) -> GateResult:
    """Spiegelhalter's (1986) test that every probability is true, if `gates.calibration_alpha` asks for it."""
    alpha, name = use_case.gates.calibration_alpha, "calibration test"
    if not alpha:
        return inapplicable(name, "gates.calibration_alpha is 0")
    figures = (evidence.get("calibration") or {}).get("tested") or {}
    test = figures.get("spiegelhalter") or {}
    found = finite(test.get("p_value"))
    return measured(
        name,
        passed=found is not None and found >= alpha,
        found=found,
        bar=alpha,
        asked=f"p-value of Spiegelhalter's test at least {alpha:g}",
        evidence={"z": finite(test.get("z"))} | {key: figures.get(key) for key in ("slope", "intercept")},
    )


def champion_gate(
    use_case: UseCase,
    metrics: Mapping[str, float],
    champion: Mapping[str, float] | None,
    paired: Mapping[str, Any] | None,
) -> GateResult:
    """Not worse than the champion: the test of non-inferiority with the margin `gates.champion_margin`.

    On the same rows (`paired`, see `training.evidence.paired`) it passes if the one-sided 95 % lower bound of candidate
    less champion is above -margin: "worse by the margin or more" is rejected at 5 % (Piaggio et al. 2012). So a test
    that is too small to tell does not pass. Where both can't be scored on the same rows, the values are compared.
    """
    objective, margin = use_case.training.objective, use_case.gates.champion_margin
    if champion is None:
        return inapplicable("champion", "there is none")
    if paired is not None:
        found = finite(paired.get("low"))
        return measured(
            "champion",
            passed=found is not None and found >= -margin,
            found=found,
            bar=-margin,
            asked=f"lower 95 % bound of the difference of {objective} to the champion on the same test rows "
            f"at least {-margin:g}",
            evidence=dict(paired),
        )
    value, theirs = finite(metrics.get(objective)), finite(champion.get(objective))
    bar = None if theirs is None else theirs - margin
    return measured(
        "champion",
        passed=value is not None and bar is not None and value >= bar,
        found=value,
        bar=bar,
        asked=f"{objective} at most {margin:g} below the champion's, without an interval: not on the same rows",
        evidence={"new": value, "old": theirs},
    )


def finite(value: float | None) -> float | None:
    """A number, or None for what is none."""
    return float(value) if value is not None and math.isfinite(value) else None


def _bounds(evidence: Mapping[str, Any], name: str) -> list[float] | None:
    bounds = (evidence.get("intervals") or {}).get(name)
    return [float(bound) for bound in bounds] if bounds else None
