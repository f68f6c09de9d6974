"""The ledger: candidates as filed and what was decided about them, read from the audit chain and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from configs.errors import GovernanceError
from configs.settings import Settings
from training.governance.audit import AuditLog, AuditRow
from training.governance.gates import Verdict

FILED, APPROVED, REFUSED, RELEASED = "candidate filed", "candidate approved", "candidate refused", "release in force"

Outcome = Literal["approved", "refused"]
Status = Literal["waiting", "failed gates", "refused", "approval interrupted", "approved"]


@dataclass(frozen=True)
class Decision:
    """Who decided what about a version, in which row of the chain. `effective_at`: when its release came into force."""

    outcome: Outcome
    approver: str
    comment: str
    at: str
    audit_seq: int
    audit_hash: str
    effective_at: str | None = None


@dataclass(frozen=True)
class Filing:
    """A candidate: its author, its verdict, the digest of its folder, and the decision about it, if there is one."""

    use_case: str
    version: int
    author: str
    run_id: str
    verdict: Verdict
    metrics: Mapping[str, float | None]
    digest: str
    reason: str = "requested"
    lineage: Mapping[str, Any] | None = None
    filed_at: str = ""
    decision: Decision | None = None

    @property
    def subject(self) -> str:
        """How audit rows name the version."""
        return f"{self.use_case}/{self.version}"

    @property
    def status(self) -> Status:
        """Where the version stands."""
        if self.decision is None:
            return "waiting" if self.verdict.passed else "failed gates"
        if self.decision.outcome == "refused":
            return "refused"
        return "approved" if self.decision.effective_at else "approval interrupted"


class Ledger:
    """Filings and decisions of all use cases."""

    def __init__(self, settings: Settings) -> None:
        self.audit = AuditLog(settings)

    def file(self, filing: Filing) -> None:
        """Write the row that a decision will rest on."""
        detail = {
            "run_id": filing.run_id,
            "reason": filing.reason,
            "digest": filing.digest,
            "verdict": filing.verdict.to_json(),
            "metrics": dict(filing.metrics),
            "lineage": dict(filing.lineage or {}),
        }
        self.audit.append(filing.author, FILED, filing.subject, detail)

    def filings(self, use_case_name: str) -> dict[int, Filing]:
        """Every filed version with its decision, by number."""
        return replayed(self.audit.rows(subject=use_case_name))

    def decide(self, filing: Filing, outcome: Outcome, *, approver: str, comment: str) -> Decision:
        """Record a decision, once. An unfinished approval that its approver repeats is returned as it stands."""
        with self.audit.writing() as connection:
            current = replayed(self.audit.rows(subject=filing.subject, within=connection)).get(filing.version, filing)
            if current.decision is not None:
                return _repeatable(current, current.decision, outcome, approver)
            detail = {"comment": comment, "digest": filing.digest, "author": filing.author}
            action = APPROVED if outcome == "approved" else REFUSED
            return _decision(self.audit.append(approver, action, filing.subject, detail, within=connection))

    def in_force(self, filing: Filing, decision: Decision, *, digest: str) -> None:
        """Record that the release of an approved version is in force."""
        self.audit.append(decision.approver, RELEASED, filing.subject, {"release": digest})

    def overtaken_by(self, filing: Filing, decision: Decision) -> int | None:
        """The version that was approved after this decision and is in force, if there is one."""
        others = [each for each in self.filings(filing.use_case).values() if each.status == "approved"]
        later = [each.version for each in others if each.decision and each.decision.audit_seq > decision.audit_seq]
        return max(later, default=None)

    def filing(self, use_case_name: str, version: int) -> Filing:
        """One filed version. Raises `GovernanceError` with the versions there are."""
        filings = self.filings(use_case_name)
        if version not in filings:
            known = ", ".join(map(str, filings))
            raise GovernanceError(
                f"{use_case_name!r} has no version {version}",
                expected=f"one of the versions {known}" if known else "a trained version",
                fix=f"see `risk models {use_case_name}`" if known else f"risk train {use_case_name}",
            )
        return filings[version]

    def use_cases(self) -> list[str]:
        """Names of all use cases with a filed version."""
        return sorted({row.subject.rpartition("/")[0] for row in self.audit.rows() if row.action == FILED})


def replayed(rows: Iterable[AuditRow]) -> dict[int, Filing]:
    """The state that a use case's audit rows, in order, lead to. Filing a number anew starts it anew."""
    filings: dict[int, Filing] = {}
    for row in rows:
        version = int(row.subject.rpartition("/")[2]) if row.action in {FILED, APPROVED, REFUSED, RELEASED} else 0
        if row.action == FILED:
            filings[version] = _filing(row, version)
        elif row.action in {APPROVED, REFUSED} and version in filings:
            filings[version] = replace(filings[version], decision=_decision(row))
        elif row.action == RELEASED and version in filings:
            decision = filings[version].decision
            if decision is not None:
                filings[version] = replace(filings[version], decision=replace(decision, effective_at=row.at))
    return filings


def _filing(row: AuditRow, version: int) -> Filing:
    facts = row.facts
    return Filing(
        use_case=row.subject.rpartition("/")[0],
        version=version,
        author=row.actor,
        run_id=facts["run_id"],
        verdict=Verdict.from_json(facts["verdict"]),
        metrics=facts["metrics"],
        digest=facts["digest"],
        reason=facts["reason"],
        lineage=facts["lineage"],
        filed_at=row.at,
    )


def _decision(row: AuditRow) -> Decision:
    outcome: Outcome = "approved" if row.action == APPROVED else "refused"
    return Decision(outcome, row.actor, row.facts["comment"], row.at, row.seq, row.hash)


def _repeatable(filing: Filing, existing: Decision, outcome: Outcome, approver: str) -> Decision:
    unfinished = filing.status == "approval interrupted"
    if unfinished and outcome == "approved" and existing.approver == approver:
        return existing
    again = f"let {existing.approver} repeat `risk approve`"
    raise GovernanceError(
        f"{filing.subject} was {existing.outcome} by {existing.approver} at {existing.at}"
        + (", but that was interrupted" if unfinished else ""),
        expected="a version that nobody has decided about",
        fix=again if unfinished else f"see `risk models {filing.use_case}`",
    )
