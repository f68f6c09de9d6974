from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from configs.errors import MonitoringError
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from monitoring.windows import Span, read_window, span
from serving.decisions import Decision, DecisionLog, KnownOutcome

DAY = datetime(2024, 3, 1, tzinfo=UTC)
LATER = DAY + timedelta(days=1)


def test_a_window_defaults_to_the_use_cases_length_and_ends_after_the_newest_decision(credit: UseCase) -> None:
    found = span(credit, newest=DAY)
    assert found.end == DAY + timedelta(microseconds=1)
    assert found.end - found.start == credit.monitoring.window
    assert found.as_of == found.end


def test_as_of_ends_the_window_unless_an_end_is_given(credit: UseCase) -> None:
    assert span(credit, newest=None, as_of=LATER).end == LATER
    given = span(credit, newest=None, start=DAY, end=LATER, as_of=LATER + timedelta(days=9))
    assert (given.start, given.end, given.as_of) == (DAY, LATER, LATER + timedelta(days=9))


def test_times_without_a_zone_are_utc(credit: UseCase) -> None:
    assert span(credit, newest=None, end=datetime(2024, 3, 1)).end == DAY


def test_an_empty_log_says_how_to_fill_it(credit: UseCase) -> None:
    with pytest.raises(MonitoringError, match="no decision of credit"):
        span(credit, newest=None)


def test_a_window_that_ends_before_it_starts_is_refused(credit: UseCase) -> None:
    with pytest.raises(MonitoringError, match="end after the start"):
        span(credit, newest=None, start=LATER, end=DAY)
    with pytest.raises(MonitoringError, match="at or after the window's end"):
        span(credit, newest=None, start=DAY, end=LATER, as_of=DAY)


def test_performance_looks_at_the_window_itself_once_its_outcomes_are_mature() -> None:
    month = timedelta(days=30)
    young, old = Span(DAY, LATER, LATER), Span(DAY, LATER, LATER + month)
    assert old.matured(month) == old
    assert young.matured(month) == Span(DAY - month, LATER - month, LATER)


def test_a_window_holds_event_times_from_start_to_before_end(
    log: DecisionLog, credit: UseCase, decide: Callable[..., Decision]
) -> None:
    for name, when in (
        ("before", DAY - timedelta(seconds=1)),
        ("first", DAY),
        ("last", LATER - timedelta(seconds=1)),
        ("after", LATER),
    ):
        log.append(decide(name, when, {"amount": 1.0}))
    window = read_window(log, credit, Span(DAY, LATER, LATER))
    assert list(window.decisions["event_id"]) == ["first", "last"]
    assert [request["event_id"] for request in window.requests] == ["first", "last"]


def test_outcomes_count_only_if_they_were_known_then(
    log: DecisionLog, credit: UseCase, decide: Callable[..., Decision]
) -> None:
    for name in ("a", "b"):
        log.append(decide(name, DAY, {"amount": 1.0}))
    log.record_outcomes("credit", [KnownOutcome("a", 1, LATER), KnownOutcome("b", 0, LATER + timedelta(days=1))])
    window = read_window(log, credit, Span(DAY, LATER, LATER))
    assert list(window.with_outcome().decisions["event_id"]) == ["a"]
    assert read_window(log, credit, Span(DAY, LATER, LATER + timedelta(days=1))).with_outcome().rows == 2


def test_an_event_decided_twice_counts_once_with_its_newest_decision(
    log: DecisionLog, credit: UseCase, decide: Callable[..., Decision]
) -> None:
    log.append(decide("a", DAY, {"amount": 1.0}, probability=0.1))
    log.append(decide("a", DAY, {"amount": 1.0}, probability=0.9, idempotency_key="again", decided_at=LATER))
    log.record_outcomes("credit", [KnownOutcome("a", 1, LATER)])
    outcome = read_window(log, credit, Span(DAY, LATER, LATER)).with_outcome()
    assert list(outcome.decisions["probability"]) == [0.9]


def test_fallbacks_and_other_releases_are_left_out_of_the_models_own(
    log: DecisionLog, credit: UseCase, decide: Callable[..., Decision]
) -> None:
    log.append(decide("own", DAY, {"amount": 1.0}))
    log.append(decide("older", DAY, {"amount": 1.0}, release_version=0))
    log.append(decide("unsure", DAY, {"amount": None}, fallback="features are stale"))
    window = read_window(log, credit, Span(DAY, LATER, LATER))
    assert (window.rows, window.fallbacks) == (3, 1)
    assert list(window.scored_by(1).decisions["event_id"]) == ["own"]


@pytest.mark.parametrize("slip", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)])
def test_a_time_out_of_all_bounds_is_refused(credit: UseCase, slip: datetime) -> None:
    with pytest.raises(MonitoringError, match="a window from") as caught:
        span(credit, newest=DAY, start=min(slip, DAY), end=max(slip, DAY))
    assert "1900" in caught.value.expected


def test_a_window_without_rows_is_empty_and_not_an_error(log: DecisionLog, credit: UseCase) -> None:
    window = read_window(log, credit, Span(DAY, LATER, LATER))
    assert (window.rows, window.fallbacks, window.with_outcome().rows, window.scored_by(1).rows) == (0, 0, 0, 0)


def test_a_use_case_without_times_has_windows_over_the_times_of_its_requests(settings: Settings) -> None:
    taiwan = load_use_case("taiwan_default", settings)
    assert span(taiwan, newest=DAY).start == DAY + timedelta(microseconds=1) - taiwan.monitoring.window
