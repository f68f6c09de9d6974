"""The verdict on a candidate: frozen, with the evidence for each gate, and readable for as long as the audit chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from configs.errors import GovernanceError


@dataclass(frozen=True)
class GateResult:
    """One bar: what was found (None: could not be measured), what was asked for, and why it passed or not.

    applies: False where there is nothing to judge, such as without a champion; such a gate passes, and its reason says
    so. evidence: a few plain numbers and words that the judgement rests on.
    """

    name: str
    passed: bool
    found: float | None
    bar: float | None
    reason: str
    applies: bool = True
    evidence: Mapping[str, Any] = field(default_factory=dict)


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
        """Read what `to_json` wrote, also before gates had evidence.

        Raises `GovernanceError` where it isn't a verdict or contradicts its own gates.
        """
        try:
            verdict = cls(bool(data["passed"]), tuple(GateResult(**gate) for gate in data["gates"]))
        except (KeyError, TypeError) as error:
            raise GovernanceError(f"not a verdict: {error!r}", expected="`passed` and a list of `gates`") from None
        if verdict.passed != all(gate.passed for gate in verdict.gates):
            raise GovernanceError("the verdict contradicts its own gates", expected="passed only if all gates passed")
        return verdict


def measured(
    name: str,
    *,
    passed: bool,
    found: float | None,
    bar: float | None,
    asked: str,
    evidence: Mapping[str, Any] | None = None,
) -> GateResult:
    """A gate that was judged; one without a figure can't pass: what can't be measured is not good."""
    seen = "not measured" if found is None else f"found {found:.4g}"
    return GateResult(name, passed and found is not None, found, bar, f"{seen}; asked: {asked}", True, evidence or {})


def inapplicable(name: str, why: str) -> GateResult:
    """A gate with nothing to judge."""
    return GateResult(name, True, None, None, f"not applicable: {why}", applies=False)
