"""The chapters of the report, in order, and why one has nothing to say; none ever vanishes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from training.report.documents import Documents

Absence = Callable[[Documents], str | None]
"""Why a chapter has no evidence, as one sentence; None where it has."""


@dataclass(frozen=True)
class Chapter:
    """One chapter: `key` is its template and its anchor. needs: part of the evidence without which it says why."""

    key: str
    title: str
    needs: str | None = None
    inapplicable: Absence | None = None
    appendix: bool = False

    def absence(self, documents: Documents) -> str | None:
        """Why the chapter has nothing to show; None where it has."""
        why = self.inapplicable(documents) if self.inapplicable else None
        if why is not None and not (self.needs and documents.evidence.get(self.needs)):
            return f"Not applicable: {why}."
        if self.needs and documents.evidence.get(self.needs) is None:
            return f"Not recorded: this candidate's evidence has no part {self.needs!r}."
        return None


def _protected(documents: Documents) -> str | None:
    return None if documents.use_case.protected else "the use case declares no protected attribute"


def _money(documents: Documents) -> str | None:
    return None if documents.use_case.money else "the use case declares no costs and earnings (`money`)"


def _credit_risk(documents: Documents) -> str | None:
    if documents.use_case.kind != "credit":
        return "expected loss and capital are figures of credit, and this use case is one of fraud"
    return None if documents.use_case.credit_risk else "the use case declares no `credit_risk`"


def _rejects(documents: Documents) -> str | None:
    if documents.use_case.kind != "credit":
        return "inference about rejected applications is a matter of credit, and this use case is one of fraud"
    return None if documents.use_case.rejects else "the use case doesn't ask for reject inference (`rejects`)"


def _points(documents: Documents) -> str | None:
    learner = documents.evidence["chosen"]["learner"]
    return None if learner == "scorecard" else f"a points table belongs to a scorecard, and {learner} was chosen"


CHAPTERS = (
    Chapter("summary", "Summary and verdict"),
    Chapter("purpose", "Purpose and use"),
    Chapter("data", "Data and lineage"),
    Chapter("sample", "Sample design"),
    Chapter("leaks", "Leak guard", needs="leaks"),
    Chapter("features", "Features", needs="features"),
    Chapter("search", "Candidates and search"),
    Chapter("performance", "Performance in and out of time"),
    Chapter("calibration", "Calibration", needs="calibration"),
    Chapter("stability", "Stability over time", needs="stability"),
    Chapter("explanation", "Explanation", needs="explanation"),
    Chapter("fairness", "Fairness", needs="fairness", inapplicable=_protected),
    Chapter("money", "Money", needs="money", inapplicable=_money),
    Chapter("credit_risk", "Credit risk", needs="credit_risk", inapplicable=_credit_risk),
    Chapter("rejects", "Reject inference", needs="rejects", inapplicable=_rejects),
    Chapter("limits", "Limits"),
    Chapter("monitoring", "Monitoring plan"),
    Chapter("sign_off", "Sign-off"),
    Chapter("reproduction", "How to reproduce, and parameters", appendix=True),
    Chapter("points", "Points table", needs="points", inapplicable=_points, appendix=True),
    Chapter("duties", "Duties, and where they are met", appendix=True),
)
