"""What the leak guard found: one finding a column and kind, with its evidence; what a person overruled; what blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from configs.errors import TrainingError
from configs.use_case import UseCase
from configs.validation import DUPLICATES, Leaks

Kind = Literal[
    "gives_away",
    "one_class",
    "after_event",
    "same_record",
    "accrues",
    "target_echo",
    "id_like",
    "unavailable",
    "duplicates",
]
MEANINGS: Mapping[Kind, str] = {
    "gives_away": "tells the classes apart by itself",
    "one_class": "has another value than its usual one in one class only",
    "after_event": "holds times after the event",
    "same_record": "was written with the outcome, like other columns of the table",
    "accrues": "grows with the time since the event",
    "target_echo": "repeats outcomes that were not known yet",
    "id_like": "numbers or names the rows",
    "unavailable": "is not there when an event is scored",
    "duplicates": "rows of training come back in the test",
}
Evidence = Mapping[str, float | int | str | None]


@dataclass(frozen=True)
class Finding:
    """One suspicion with what it rests on.

    column: a feature, a request field, or `duplicates`. reason: a sentence, never with a value of the data. evidence:
    finite numbers by name (the module that makes the finding documents them). blocks: whether training stops for it;
    otherwise it is for the report. accepted: why a person overruled it (`leaks.accept`), none if nobody did.
    """

    column: str
    kind: Kind
    reason: str
    evidence: Evidence
    blocks: bool = True
    accepted: str | None = None

    @property
    def stops(self) -> bool:
        """Whether training may not go on."""
        return self.blocks and self.accepted is None


def overruled(findings: Iterable[Finding], leaks: Leaks) -> tuple[Finding, ...]:
    """The findings with the reasons of those that a person accepted: by column, whatever the kind."""
    return tuple(replace(each, accepted=leaks.accept.get(each.column)) for each in findings)


def require_clean(use_case: UseCase, findings: Iterable[Finding]) -> None:
    """Raise `TrainingError` with every finding that blocks and isn't accepted under `leaks.accept`."""
    stopping = [each for each in overruled(findings, use_case.leaks) if each.stops]
    if not stopping:
        return
    columns = list(dict.fromkeys(each.column for each in stopping))
    one = next((name for name in columns if name != DUPLICATES), DUPLICATES)
    raise TrainingError(
        f"{len(columns)} suspected {'leak' if len(columns) == 1 else 'leaks'}:\n" + "\n".join(map(_line, stopping)),
        expected="features known at the event that tell nothing which only the outcome could",
        fix="take each column out of the use case, or put it under `training.exclude`; if it is no leak, overrule the "
        f"finding with a reason, which the report will show: leaks: {{accept: {{{one}: why it is none}}}}",
    )


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Plain data for evidence.json, in the order found.

    Each has column, kind, meaning (of the kind), reason, evidence (numbers or None by name), blocks, accepted (the
    overruling reason or None) and stops.
    """
    return [
        {
            "column": each.column,
            "kind": each.kind,
            "meaning": MEANINGS[each.kind],
            "reason": each.reason,
            "evidence": dict(each.evidence),
            "blocks": each.blocks,
            "accepted": each.accepted,
            "stops": each.stops,
        }
        for each in findings
    ]


def numbers(evidence: Evidence) -> str:
    """Evidence as one line.

    >>> numbers({"auc": 0.98123, "rows": 40})
    'auc 0.981, rows 40'
    """
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in evidence.items()
    )


def _line(finding: Finding) -> str:
    return f"  {finding.column} ({finding.kind}): {finding.reason} [{numbers(finding.evidence)}]"
