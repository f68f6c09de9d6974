"""The gates: pure functions from metrics and evidence to a frozen verdict, each bar with what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from configs.errors import GovernanceError
from configs.use_case import UseCase

DEFAULT_MAXIMUM = {"ece": 0.1, "score_psi": 0.25}
"""Bars that hold where a use case states none: calibration error, and the customary PSI of a shifted score."""

NAMES = {"ece": "calibration", "score_psi": "stability"}
"""Metrics whose bar is known by what it protects."""

REQUIRED_EVIDENCE = ("data_hash", "definition_hash", "seed")
"""Without these, no number of the candidate could be recomputed."""


@dataclass(frozen=True)
class GateResult:
    """One bar: what was found (None: could not be measured), what was asked for, and why it passed or not."""

    name: str
    passed: bool
    found: float | None
    bar: float | None
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Whether anyone may approve the candidate: all gates have passed."""

    passed: bool
    gates: tuple[GateResult, ...]

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """The gates that did not pass."""
        return tuple(gate for gate in self.gates if not gate.passed)

    def to_json(self) -> dict[str, Any]:
        """Plain data for the registry, the audit chain and reports."""
        return {"passed": self.passed, "gates": [asdict(gate) for gate in self.gates]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote. Raises `GovernanceError` where it isn't a verdict or contradicts its own gates."""
        try:
            verdict = cls(bool(data["passed"]), tuple(GateResult(**gate) for gate in data["gates"]))
        except (KeyError, TypeError) as error:
            raise GovernanceError(f"not a verdict: {error!r}", expected="`passed` and a list of `gates`") from None
        if verdict.passed != all(gate.passed for gate in verdict.gates):
            raise GovernanceError("the verdict contradicts its own gates", expected="passed only if all gates passed")
        return verdict


def judge(
    use_case: UseCase,
    metrics: Mapping[str, float],
    evidence: Mapping[str, Any],
    champion_metrics: Mapping[str, float] | None = None,
    selection_rates: Mapping[str, Mapping[str, float]] | None = None,
) -> Verdict:
    """Hold a candidate against every gate of its use case.

    metrics: of the out-of-time test. champion_metrics: the champion's on the same rows; None without a champion.
    selection_rates: attribute -> group -> share of the group's test rows that got no adverse decision.
    A metric that is missing or undefined (NaN) fails its gate: what can't be measured is not good.
    """
    gates = (
        *_minimum(use_case, metrics),
        *_maximum(use_case, metrics),
        *_champion(use_case, metrics, champion_metrics),
        *_fairness(use_case, selection_rates or {}),
        _documentation(use_case, evidence),
    )
    return Verdict(all(gate.passed for gate in gates), gates)


def selection_ratio(rates: Mapping[str, float]) -> float:
    """Least selection rate over the greatest: the four-fifths rule asks for 0.8 (EEOC, 29 CFR 1607.4 D).

    1.0 with fewer than two groups or if no group is ever selected, where nobody is treated differently.
    """
    greatest = max(rates.values(), default=0.0)
    return min(rates.values()) / greatest if greatest > 0 else 1.0


def _minimum(use_case: UseCase, metrics: Mapping[str, float]) -> Iterator[GateResult]:
    for name, bar in use_case.gates.minimum.items():
        found = _finite(metrics.get(name))
        yield _measured(f"minimum {name}", found is not None and found >= bar, found, bar, f"{name} at least {bar:g}")


def _maximum(use_case: UseCase, metrics: Mapping[str, float]) -> Iterator[GateResult]:
    for name, bar in (DEFAULT_MAXIMUM | use_case.gates.maximum).items():
        found = _finite(metrics.get(name))
        passed = found is not None and found <= bar
        yield _measured(NAMES.get(name, f"maximum {name}"), passed, found, bar, f"{name} at most {bar:g}")


def _champion(
    use_case: UseCase, metrics: Mapping[str, float], champion: Mapping[str, float] | None
) -> Iterator[GateResult]:
    if champion is None:
        return
    objective, margin = use_case.training.objective, use_case.gates.champion_margin
    found, theirs = _finite(metrics.get(objective)), _finite(champion.get(objective))
    bar = None if theirs is None else theirs - margin
    passed = found is not None and bar is not None and found >= bar
    asked = f"{objective} at most {margin:g} below the champion's on the same test rows"
    yield _measured("champion", passed, found, bar, asked)


def _fairness(use_case: UseCase, selection_rates: Mapping[str, Mapping[str, float]]) -> Iterator[GateResult]:
    bar = use_case.gates.fairness_ratio
    if not bar:
        return
    for attribute in use_case.protected:
        rates = selection_rates.get(attribute)
        found = selection_ratio(rates) if rates else None
        asked = f"ratio of selection rates between groups at least {bar:g}"
        yield _measured(f"fairness {attribute}", found is not None and found >= bar, found, bar, asked)


def _documentation(use_case: UseCase, evidence: Mapping[str, Any]) -> GateResult:
    undescribed = [name for name, description in _declared(use_case) if not (description or "").strip()]
    absent = [
        *(key for key in ("title", "description", "owner") if not getattr(use_case, key).strip()),
        *(f"evidence {key}" for key in REQUIRED_EVIDENCE if evidence.get(key) in (None, "")),
        *(f"description of {name}" for name in undescribed),
    ]
    reason = f"missing: {_some(absent)}" if absent else "purpose, owner, features and provenance are documented"
    return GateResult("documentation", not absent, float(len(absent)), 0.0, reason)


def _declared(use_case: UseCase) -> Iterator[tuple[str, str | None]]:
    """(name, description) of everything a person declared; aggregates describe themselves."""
    yield from ((name, column.description) for name, column in use_case.request.items())
    for view_name, view in use_case.views.items():
        yield from ((f"{view_name}.{name}", column.description) for name, column in view.columns.items())
    yield from ((name, derived.description) for name, derived in use_case.derived.items())


def _measured(name: str, passed: bool, found: float | None, bar: float | None, asked: str) -> GateResult:
    seen = "not measured" if found is None else f"found {found:.4g}"
    return GateResult(name, passed, found, bar, f"{seen}; asked: {asked}")


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
