from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from monitoring.performance import measure
from monitoring.windows import Span, Window, read_window
from serving.decisions import Decision, DecisionLog, KnownOutcome
from training.evidence import metrics

DAY = datetime(2024, 3, 1, tzinfo=UTC)
LATER = DAY + timedelta(days=1)
SPAN = Span(DAY, LATER, LATER + timedelta(days=400))
Scored = Callable[..., Window]


@pytest.fixture
def scored(log: DecisionLog, credit: UseCase, decide: Callable[..., Decision]) -> Scored:
    """A window of decisions with these probabilities and outcomes."""

    def build(probability: np.ndarray, label: np.ndarray) -> Window:
        for position, value in enumerate(probability):
            log.append(decide(str(position), DAY, {"amount": 1.0}, probability=float(value)))
        log.record_outcomes("credit", [KnownOutcome(str(at), int(each), LATER) for at, each in enumerate(label)])
        return read_window(log, credit, SPAN).with_outcome()

    return build


def drawn(rows: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(2)
    probability = generator.random(rows)
    return probability, (generator.random(rows) < probability).astype(int)


def test_metrics_are_the_trainings_own_with_interval_and_baseline(scored: Scored, credit: UseCase) -> None:
    probability, label = drawn()
    found = measure(credit, scored(probability, label), baseline={"auc": 0.9}, decisions=320)
    auc = found.objective
    assert auc is not None
    assert auc.value == pytest.approx(metrics.auc(label.astype(float), probability))
    assert auc.low < auc.value < auc.high
    assert auc.loss == pytest.approx(0.9 - auc.value)
    assert (found.decisions, found.outcomes, found.positives) == (320, 300, label.sum())


def test_a_metric_without_a_baseline_is_shown_without_a_loss(scored: Scored, credit: UseCase) -> None:
    found = measure(credit, scored(*drawn()), baseline={}, decisions=300)
    assert {metric.name for metric in found.metrics} >= {"auc", "ks", "brier", "ece"}
    assert all(np.isnan(metric.baseline) and not metric.lost_more_than(0.0) for metric in found.metrics)


def test_no_outcomes_are_reported(scored: Scored, credit: UseCase) -> None:
    found = measure(credit, scored(np.array([]), np.array([])), baseline={"auc": 0.9}, decisions=7)
    assert (found.metrics, found.objective) == ((), None)
    assert "no outcome is known for the 7 matured decisions" in found.note


def test_no_matured_decisions_are_reported(scored: Scored, credit: UseCase) -> None:
    found = measure(credit, scored(np.array([]), np.array([])), baseline={}, decisions=0)
    assert "no matured decision" in found.note


@pytest.mark.parametrize("value", [0, 1])
def test_one_class_leaves_out_the_ranking_metrics(scored: Scored, credit: UseCase, value: int) -> None:
    found = measure(credit, scored(np.array([0.1, 0.2, 0.3]), np.full(3, value)), baseline={"auc": 0.9}, decisions=3)
    names = {metric.name for metric in found.metrics}
    assert "brier" in names
    assert not names & {"auc", "average_precision", "ks"}
    assert found.objective is None
    assert "one class" in found.note


def test_a_handful_of_the_rarer_class_is_reported_and_not_judged(scored: Scored, credit: UseCase) -> None:
    label = np.zeros(100, dtype=int)
    label[:5] = 1
    found = measure(credit, scored(np.linspace(0.9, 0.1, 100), label), baseline={"auc": 0.5}, decisions=100)
    assert found.metrics
    assert found.objective is None
    assert "not judged" in found.note


def test_fraud_counts_compromised_cards_a_day(
    log: DecisionLog, settings: Settings, decide: Callable[..., Decision]
) -> None:
    fraud = load_use_case("fraud", settings)
    for position in range(4):
        request = {"event_id": str(position), "entities": {"card": f"C{position}"}, "fields": {}}
        made = decide(str(position), DAY, {"amount": 1.0}, use_case="fraud", request=request, probability=position / 4)
        log.append(made)
    log.record_outcomes("fraud", [KnownOutcome(str(position), position // 3, LATER) for position in range(4)])
    window = read_window(log, fraud, SPAN).with_outcome()
    found = {metric.name: metric.value for metric in measure(fraud, window, baseline={}, decisions=4).metrics}
    assert found["card_precision_at_100"] == pytest.approx(1 / 100)
