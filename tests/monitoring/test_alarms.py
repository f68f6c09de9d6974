from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from configs.use_case import Monitoring
from monitoring.alarms import Alarm, fallback_alarms, raise_alarms
from monitoring.drift import ColumnDrift, compare
from monitoring.performance import Comparison, Performance
from monitoring.windows import Span

RULES = Monitoring.model_validate({"psi": 0.1, "alpha": 0.01, "min_rows": 200, "drop": 0.03})
BINS = ("low", "middle", "high", "missing")
BEFORE = [4000, 3000, 3000, 0]
START = datetime(2025, 1, 1, tzinfo=UTC)


def column(now: list[int], *, name: str = "income", importance: float | None = 0.5, **kind) -> ColumnDrift:
    return compare(name, BEFORE, now, bins=BINS, importance=importance, missing=3, **kind)


def alarms(*drifts: ColumnDrift, rows: int = 1000, fallbacks: int = 0, performance=None) -> tuple[Alarm, ...]:
    return raise_alarms(drifts, rows=rows, fallbacks=fallbacks, performance=performance, rules=RULES)


def test_a_large_shift_of_a_used_column_is_a_high_alarm_in_plain_words() -> None:
    (alarm,) = alarms(column([800, 100, 100, 0]))
    assert (alarm.kind, alarm.subject, alarm.severity) == ("feature", "income", "high")
    assert "largest change at low: 80.0% of rows, 40.0% in the reference" in alarm.text
    assert "50.0% of the model's importance" in alarm.text


def test_a_moderate_shift_is_medium() -> None:
    (alarm,) = alarms(column([560, 250, 190, 0]))
    assert alarm.severity == "medium"


def test_a_shift_of_a_column_the_model_hardly_uses_is_information() -> None:
    (alarm,) = alarms(
        column([800, 100, 100, 0], importance=0.01), column([400, 300, 300, 0], name="other", importance=0.99)
    )[:1]
    assert (alarm.subject, alarm.severity) == ("income", "info")


def test_a_shift_beyond_chance_but_under_the_threshold_is_no_alarm() -> None:
    drift = column([46_000, 30_000, 24_000, 0])
    assert drift.psi_p < 1e-6
    assert alarms(drift, rows=100_000) == ()


def test_a_psi_over_the_threshold_that_chance_explains_is_no_alarm() -> None:
    drift = compare("income", [30] * 10, [3, 4, 1, 2, 3, 2, 2, 5, 2, 1], bins=[str(each) for each in range(10)])
    assert drift.psi > RULES.psi
    assert alarms(drift) == ()


def test_missing_values_and_unknown_categories_are_named_as_the_cause() -> None:
    (missing,) = alarms(column([200, 150, 150, 500]))
    other = compare("purpose", [60, 40, 0], [300, 200, 500], bins=("car", "home", "other"), other=2)
    (unknown,) = alarms(other)
    assert "missing in 50.0% of rows, 0.0% in the reference" in missing.text
    assert "other or unknown categories in 50.0% of rows" in unknown.text


def test_a_small_window_is_reported_and_not_judged() -> None:
    (note,) = alarms(column([100, 0, 0, 0]), rows=100, fallbacks=100)
    assert (note.kind, note.severity) == ("volume", "info")
    assert "reported, not judged" in note.text


def test_an_empty_window_gives_one_note() -> None:
    (note,) = alarms(column([0, 0, 0, 0]), rows=0)
    assert note.kind == "volume"


def test_score_and_decision_mix_raise_alarms_of_their_own_kind() -> None:
    score = column([800, 100, 100, 0], name="score", subject="score", importance=None)
    mix = column([800, 100, 100, 0], name="decision", subject="decision", importance=None)
    assert [alarm.kind for alarm in alarms(score, mix)] == ["score", "decision"]


@pytest.mark.parametrize(("fallbacks", "severity"), [(60, None), (100, "medium"), (400, "high")])
def test_fallbacks_are_an_alarm_beyond_sampling_error(fallbacks: int, severity: str | None) -> None:
    assert [alarm.severity for alarm in fallback_alarms(1000, fallbacks, RULES)] == ([severity] if severity else [])


def performance(value: float, high: float, baseline: float = 0.8) -> Performance:
    auc = Comparison("auc", value, value - 0.02, high, baseline)
    return Performance(
        Span(START, START + timedelta(days=1), START + timedelta(days=9)), 900, 800, 100, (auc,), auc, ""
    )


@pytest.mark.parametrize(
    ("value", "high", "lost"),
    [
        (0.70, 0.74, True),
        (0.78, 0.79, False),
        (0.70, 0.81, False),
        (float("nan"), float("nan"), False),
        (0.85, 0.9, False),
    ],
)
def test_lost_performance_needs_both_the_drop_and_its_interval(value: float, high: float, lost: bool) -> None:
    found = alarms(performance=performance(value, high))
    assert [(alarm.kind, alarm.severity) for alarm in found] == ([("performance", "high")] if lost else [])


def test_performance_is_judged_in_a_small_window_too() -> None:
    found = alarms(rows=10, performance=performance(0.7, 0.74))
    assert [alarm.kind for alarm in found] == ["performance", "volume"]


def test_a_release_without_the_metric_raises_no_performance_alarm() -> None:
    assert alarms(performance=performance(0.7, 0.74, baseline=float("nan"))) == ()


def test_windows_without_drift_raise_almost_no_alarm() -> None:
    generator = np.random.default_rng(5)
    shares = np.full(10, 0.1)
    raised = 0
    for _ in range(200):
        drifts = [
            compare(str(name), generator.multinomial(5000, shares), generator.multinomial(250, shares), bins=[""] * 10)
            for name in range(20)
        ]
        raised += bool(alarms(*drifts, rows=250))
    assert raised <= 6  # 200 windows at a false-discovery rate of 1 %: two are expected
