from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from configs.errors import FeatureError
from features.online import OnlineFeatures, OnlineVector
from features.request import ScoringRequest
from serving.decisions import ConflictError, DecisionLog
from serving.replay import release_of, replay
from serving.scorer import Scorer

from .conftest import LIVE, Payments


class Flaky:
    """Online features whose recording can be broken; reads go to the real ones."""

    def __init__(self, real: OnlineFeatures) -> None:
        self.real, self.broken = real, False

    def read(self, request: ScoringRequest) -> OnlineVector:
        return self.real.read(request)

    def record(self, request: ScoringRequest) -> None:
        if self.broken:
            raise FeatureError("the store is down")
        self.real.record(request)

    def outcome(self, event_id: str, label: int, known: datetime | None = None) -> None:
        self.real.outcome(event_id, label, known)


@pytest.fixture
def log(payments: Payments, tmp_path: Path) -> Iterator[DecisionLog]:
    with DecisionLog(payments.settings.model_copy(update={"home": tmp_path})) as opened:
        yield opened


@pytest.fixture
def online(payments: Payments) -> Iterator[Flaky]:
    real = OnlineFeatures(payments.use_case, payments.settings)
    yield Flaky(real)
    real.close()


@pytest.fixture
def scorer(payments: Payments, online: Flaky, log: DecisionLog) -> Scorer:
    return Scorer(payments.release, online, log)


def test_a_small_payment_is_allowed_without_reasons(scorer: Scorer, payments: Payments) -> None:
    made = scorer.decide(payments.request(amount=5.0)).decision
    assert (made.decision, made.grade, made.reasons, made.fallback) == ("allow", 1, [], None)
    assert made.release_digest == payments.release.digest


def test_a_risky_payment_is_reviewed_with_its_reasons(scorer: Scorer, payments: Payments) -> None:
    made = scorer.decide(payments.request(amount=900.0, channel="online")).decision
    assert made.decision == "review"
    assert made.reasons[0]["code"] in {"AMOUNT", "PROFILE", "MERCHANT"}
    assert all(reason["contribution"] > 0 for reason in made.reasons)


def test_the_margin_and_probability_are_the_models(scorer: Scorer, payments: Payments) -> None:
    made = scorer.decide(payments.request(amount=300.0)).decision
    model = payments.release.model
    row = model.encode_row(made.features)[None, :]
    assert made.margin == model.margin(row)[0]
    assert made.probability == model.probability(row)[0]


def test_a_rule_overrides_and_leads_the_reasons(scorer: Scorer, payments: Payments) -> None:
    made = scorer.decide(payments.request(amount=6000.0)).decision
    assert (made.decision, made.rule) == ("block", "very_large")
    assert made.reasons[0] == {
        "code": "LIMIT",
        "text": "Amount above a limit",
        "contribution": None,
        "features": ["amount"],
    }


def test_a_retry_gets_the_stored_decision(scorer: Scorer, payments: Payments, log: DecisionLog) -> None:
    request = payments.request()
    first, second = scorer.decide(request), scorer.decide(request)
    assert (first.created, second.created) == (True, False)
    assert first.decision == second.decision
    assert len(log.recent("payments", limit=10)) == 1


def test_the_same_event_with_other_content_is_a_conflict(scorer: Scorer, payments: Payments) -> None:
    request = payments.request()
    scorer.decide(request)
    with pytest.raises(ConflictError):
        scorer.decide(dataclasses.replace(request, fields={**request.fields, "amount": 21.0}))


def test_another_key_is_another_decision(scorer: Scorer, payments: Payments) -> None:
    request = payments.request()
    first, second = scorer.decide(request), scorer.decide(request, idempotency_key="again")
    assert first.decision.decision_id != second.decision.decision_id


def test_a_missing_view_means_fallback_without_reasons(scorer: Scorer, payments: Payments) -> None:
    made = scorer.decide(payments.request(customer="nobody", amount=900.0)).decision
    assert (made.decision, made.fallback, made.reasons) == ("review", "missing: profile", [])
    assert 0 < made.probability < 1


def test_a_stale_view_means_fallback(scorer: Scorer, payments: Payments) -> None:
    made = scorer.decide(payments.request(event_time=LIVE + timedelta(days=365))).decision
    assert (made.decision, made.fallback) == ("review", "stale: profile")


def test_an_event_counts_for_the_next_one_of_its_card(scorer: Scorer, payments: Payments) -> None:
    first = payments.request(amount=10.0)
    card = first.entities["card"]
    scorer.decide(first)
    second = payments.request(card=card, amount=30.0, event_time=LIVE + timedelta(minutes=1))
    made = scorer.decide(second).decision
    assert (made.features["card_amount_count_1d"], made.features["card_amount_mean_1d"]) == (2.0, 20.0)


def test_an_event_that_could_not_be_recorded_is_retried_and_flagged(
    scorer: Scorer, payments: Payments, online: Flaky
) -> None:
    online.broken = True
    scorer.decide(payments.request())
    made = scorer.decide(payments.request()).decision
    assert (made.fallback, made.decision) == ("activity: 1 events behind", "review")
    online.broken = False
    assert scorer.settle() == 0
    assert scorer.decide(payments.request()).decision.fallback is None
    assert scorer.failures > 0


def test_after_a_restart_the_last_events_are_recorded_again(
    scorer: Scorer, payments: Payments, online: Flaky, log: DecisionLog
) -> None:
    online.broken = True
    first = payments.request(amount=10.0)
    scorer.decide(first)
    online.broken = False
    restarted = Scorer(payments.release, online, log)
    restarted.recover()
    second = payments.request(card=first.entities["card"], event_time=LIVE + timedelta(minutes=1))
    assert restarted.decide(second).decision.features["card_amount_count_1d"] == 2.0


def test_a_store_that_is_down_decides_nothing(payments: Payments, log: DecisionLog) -> None:
    class Down(Flaky):
        def read(self, request: ScoringRequest) -> OnlineVector:
            raise FeatureError(f"the store is down for {request.event_id}")

    real = OnlineFeatures(payments.use_case, payments.settings)
    with pytest.raises(FeatureError):
        Scorer(payments.release, Down(real), log).decide(payments.request())
    real.close()
    assert log.recent("payments", limit=1) == []


@pytest.mark.parametrize("changes", [{"amount": 5.0}, {"amount": 900.0}, {"amount": 6000.0}, {"customer": "nobody"}])
def test_a_logged_decision_replays_to_the_last_bit(
    scorer: Scorer, payments: Payments, log: DecisionLog, changes: dict[str, object]
) -> None:
    made = scorer.decide(payments.request(**changes)).decision
    logged = log.get(made.decision_id)
    assert logged is not None
    assert replay(logged, release_of(logged, payments.settings)) == []


def test_a_replay_names_the_field_that_differs(scorer: Scorer, payments: Payments) -> None:
    made = scorer.decide(payments.request(amount=900.0)).decision
    other = "allow" if made.decision != "allow" else "block"
    edited = dataclasses.replace(made, margin=made.margin + 1e-12, decision=other)
    different = replay(edited, payments.release)
    assert [one.field for one in different] == ["margin", "decision"]


def test_times_are_utc_and_ids_sort_by_time(scorer: Scorer, payments: Payments) -> None:
    first, second = (scorer.decide(payments.request()).decision for _ in range(2))
    assert first.decided_at.tzinfo is UTC
    assert first.decision_id[:12] <= second.decision_id[:12]
