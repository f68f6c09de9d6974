"""Whether to train a new candidate: a pure decision from evidence to a verdict with its reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from configs.use_case import Monitoring
from monitoring.alarms import Alarm

PERSISTENT = 3
"""A medium alarm of the same column in this many windows in a row counts like a severe one."""


@dataclass(frozen=True)
class Evidence:
    """What is known when the decision is made. Times are event time, so that a replay decides as the live run did.

    `earlier`: alarms of the preceding windows, newest first; `requested_by`: a person who asked for training (or None);
    `last`: `as_of` of the latest automatic training.
    """

    alarms: tuple[Alarm, ...]
    earlier: Sequence[Sequence[Alarm]] = ()
    requested_by: str | None = None
    as_of: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True)
class RetrainVerdict:
    """Whether to train, and why (or why not)."""

    retrain: bool
    reasons: tuple[str, ...]


def judge(evidence: Evidence, rules: Monitoring) -> RetrainVerdict:
    """Train when matured performance was lost, an important drift is severe or persists, or a person asks.

    A shift in a column the model does not use, a note about a small window, fallbacks and a changed decision mix never
    train: a new model would not mend them. During the cooldown only a person's request trains.
    """
    if evidence.requested_by:
        return RetrainVerdict(True, (f"requested by {evidence.requested_by}", *_reasons(evidence)))
    reasons = _reasons(evidence)
    if not reasons:
        return RetrainVerdict(False, ("no lost performance, and no severe or persistent drift of a column in use",))
    until = _cooling(evidence, rules.cooldown)
    if until:
        return RetrainVerdict(False, (f"in cooldown until {until:%Y-%m-%d %H:%M} UTC", *reasons))
    return RetrainVerdict(True, reasons)


def _reasons(evidence: Evidence) -> tuple[str, ...]:
    lost = [
        f"performance: {alarm.text}"
        for alarm in evidence.alarms
        if alarm.kind == "performance" and alarm.severity == "high"
    ]
    moved = [alarm for alarm in evidence.alarms if alarm.kind in ("feature", "score") and alarm.severity != "info"]
    severe = [f"severe drift of {alarm.subject}: PSI {alarm.value:.2f}" for alarm in moved if alarm.severity == "high"]
    lasting = [
        f"drift of {alarm.subject} in {PERSISTENT} windows in a row: PSI {alarm.value:.2f} now"
        for alarm in moved
        if alarm.severity == "medium" and _persists(alarm, evidence.earlier)
    ]
    return (*lost, *severe, *lasting)


def _persists(alarm: Alarm, earlier: Sequence[Sequence[Alarm]]) -> bool:
    before = earlier[: PERSISTENT - 1]
    return len(before) == PERSISTENT - 1 and all(
        any(
            other.kind == alarm.kind and other.subject == alarm.subject and other.severity != "info" for other in window
        )
        for window in before
    )


def _cooling(evidence: Evidence, cooldown: timedelta) -> datetime | None:
    if evidence.last is None or evidence.as_of is None:
        return None
    until = evidence.last + cooldown
    return until if evidence.as_of < until else None
