from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from configs.use_case import Monitoring
from monitoring.alarms import Alarm
from monitoring.triggers import Evidence, judge

RULES = Monitoring.model_validate({"cooldown": "7d"})
NOW = datetime(2025, 6, 1, tzinfo=UTC)


def alarm(severity: str = "high", kind: str = "feature", subject: str = "income") -> Alarm:
    return Alarm(kind, subject, severity, "what happened", 0.4, 0.1)  # type: ignore[arg-type]


def test_nothing_found_does_not_retrain_and_says_why() -> None:
    verdict = judge(Evidence(()), RULES)
    assert not verdict.retrain
    assert "no lost performance" in verdict.reasons[0]


@pytest.mark.parametrize("kind", ["performance", "feature", "score"])
def test_a_severe_loss_or_drift_retrains(kind: str) -> None:
    verdict = judge(Evidence((alarm(kind=kind),)), RULES)
    assert verdict.retrain
    assert ("what happened" if kind == "performance" else "severe drift of income: PSI 0.40") in verdict.reasons[0]


@pytest.mark.parametrize(
    "harmless",
    [alarm("info"), alarm("medium"), alarm(kind="fallback"), alarm(kind="decision"), alarm("info", "volume")],
)
def test_harmless_findings_do_not_retrain(harmless: Alarm) -> None:
    assert not judge(Evidence((harmless,)), RULES).retrain


def test_a_medium_drift_that_persists_retrains() -> None:
    again = alarm("medium")
    assert judge(Evidence((again,), earlier=[[again], [alarm("high")]]), RULES).retrain


@pytest.mark.parametrize(
    "earlier",
    [
        [],
        [[alarm("medium")]],
        [[alarm("medium")], []],
        [[alarm("medium")], [alarm("info")]],
        [[alarm("medium")], [alarm("medium", subject="amount")]],
    ],
)
def test_a_medium_drift_with_a_gap_does_not(earlier: list[list[Alarm]]) -> None:
    assert not judge(Evidence((alarm("medium"),), earlier=earlier), RULES).retrain


def test_the_cooldown_holds_training_back_and_keeps_the_reasons() -> None:
    recent = Evidence((alarm(),), as_of=NOW, last=NOW - timedelta(days=3))
    verdict = judge(recent, RULES)
    assert not verdict.retrain
    assert verdict.reasons[0] == "in cooldown until 2025-06-05 00:00 UTC"
    assert "income" in verdict.reasons[1]


def test_after_the_cooldown_training_starts() -> None:
    assert judge(Evidence((alarm(),), as_of=NOW, last=NOW - timedelta(days=7)), RULES).retrain


def test_a_person_retrains_without_alarms_and_in_the_cooldown() -> None:
    verdict = judge(Evidence((), requested_by="ada", as_of=NOW, last=NOW), RULES)
    assert (verdict.retrain, verdict.reasons) == (True, ("requested by ada",))
