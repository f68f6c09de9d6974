"""From drift and performance evidence to alarms with a severity and plain words. Pure.

A column raises an alarm only when its PSI is too large to be chance at the window's size (with the false-discovery rate
held over all columns) and large enough to matter (`monitoring.psi`). In a column the model hardly uses it is a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, sqrt
from statistics import NormalDist
from typing import Literal

from configs.use_case import Monitoring
from monitoring.drift import ColumnDrift, benjamini_hochberg
from monitoring.performance import Performance

Severity = Literal["info", "medium", "high"]
Kind = Literal["volume", "feature", "score", "decision", "fallback", "performance"]

SEVERE = 2.5
"""A PSI this many times `monitoring.psi` is severe: 0.25 for the usual 0.1 (Siddiqi 2006)."""
FALLBACK_SHARE = 0.05
"""Share of decisions made without the model that is an alarm; a quarter is severe."""
FALLBACK_SEVERE = 0.25
USED = 0.5
"""A column counts as used when it carries at least this part of an equal share of the importance."""


@dataclass(frozen=True)
class Alarm:
    """Something a person should know about a window: `value` stood against `threshold`."""

    kind: Kind
    subject: str
    severity: Severity
    text: str
    value: float
    threshold: float


def raise_alarms(
    drifts: Sequence[ColumnDrift],
    *,
    rows: int,
    fallbacks: int,
    performance: Performance | None,
    rules: Monitoring,
) -> tuple[Alarm, ...]:
    """All alarms of one window, the severest first. Under `min_rows` a note stands instead of the drift alarms."""
    found = list(performance_alarms(performance, rules) if performance else ())
    if rows < rules.min_rows:
        text = f"{rows:,} decisions in the window: drift is reported, not judged, under {rules.min_rows:,}"
        found.append(Alarm("volume", "decisions", "info", text, rows, rules.min_rows))
    else:
        found += drift_alarms(drifts, rules) + fallback_alarms(rows, fallbacks, rules)
    return tuple(sorted(found, key=lambda alarm: ("high", "medium", "info").index(alarm.severity)))


def drift_alarms(drifts: Sequence[ColumnDrift], rules: Monitoring) -> list[Alarm]:
    """One alarm for each column that moved beyond chance and beyond `monitoring.psi`."""
    beyond_chance = benjamini_hochberg([drift.psi_p for drift in drifts], alpha=rules.alpha)
    features = sum(drift.subject == "feature" for drift in drifts)
    return [
        Alarm(
            drift.subject,
            drift.name,
            _severity(drift, rules.psi, features),
            describe(drift, rules.psi),
            drift.psi,
            rules.psi,
        )
        for drift, real in zip(drifts, beyond_chance, strict=True)
        if real and drift.psi > rules.psi
    ]


def is_used(drift: ColumnDrift, features: int) -> bool:
    """Whether the model leans on the column: at least half of an equal share. Unknown importance counts as used."""
    return drift.importance is None or drift.importance >= USED / max(features, 1)


def _severity(drift: ColumnDrift, psi: float, features: int) -> Severity:
    if drift.subject == "feature" and not is_used(drift, features):
        return "info"
    return "high" if drift.psi >= SEVERE * psi else "medium"


def describe(drift: ColumnDrift, threshold: float) -> str:
    """What changed, in words: the PSI, the likeliest cause, and how much the model leans on the column."""
    parts = [f"PSI {drift.psi:.2f} on {drift.rows:,} rows (threshold {threshold:g})", _cause(drift)]
    if drift.subject == "feature" and drift.importance is not None:
        parts.append(f"carries {drift.importance:.1%} of the model's importance")
    return "; ".join(parts)


def _cause(drift: ColumnDrift) -> str:
    before, now, name = drift.reference[drift.largest], drift.current[drift.largest], drift.bins[drift.largest]
    change = f"{now:.1%} of rows, {before:.1%} in the reference"
    if name == "missing":
        return f"missing in {change}"
    if name == "other":
        return f"other or unknown categories in {change}"
    return f"largest change at {name}: {change}"


def fallback_alarms(rows: int, fallbacks: int, rules: Monitoring) -> list[Alarm]:
    """An alarm when the share decided without the model is above `FALLBACK_SHARE` beyond sampling error."""
    share, least = fallbacks / rows, wilson_lower(fallbacks, rows, alpha=rules.alpha)
    if least <= FALLBACK_SHARE:
        return []
    text = (
        f"{share:.1%} of {rows:,} decisions fell back to the policy's default (at most {FALLBACK_SHARE:.0%} is usual)"
    )
    return [
        Alarm(
            "fallback", "fallback share", "high" if share >= FALLBACK_SEVERE else "medium", text, share, FALLBACK_SHARE
        )
    ]


def wilson_lower(successes: int, trials: int, *, alpha: float) -> float:
    """Lower end of the one-sided Wilson interval of a share (Wilson 1927); 0 without trials.

    >>> round(wilson_lower(50, 100, alpha=0.025), 3)
    0.404
    """
    if not trials:
        return 0.0
    z = NormalDist().inv_cdf(1 - alpha)
    share, square = successes / trials, z * z / trials
    return max(
        0.0, (share + square / 2 - z * sqrt(share * (1 - share) / trials + square / (4 * trials))) / (1 + square)
    )


def performance_alarms(performance: Performance, rules: Monitoring) -> list[Alarm]:
    """An alarm when the objective lost more than `monitoring.drop` and its whole interval is below the test's value."""
    result = performance.objective
    if result is None or isnan(result.value):
        return []
    if not result.lost_more_than(rules.drop):
        return []
    text = (
        f"{result.name} {result.value:.3f} [{result.low:.3f}, {result.high:.3f}] on {performance.outcomes:,} matured "
        f"outcomes, {result.baseline:.3f} on the release's test period: {result.loss:.3f} lost, {rules.drop:g} allowed"
    )
    return [Alarm("performance", result.name, "high", text, result.loss, rules.drop)]
