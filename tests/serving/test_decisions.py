from __future__ import annotations

import dataclasses
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from configs.errors import ServingError
from configs.settings import Settings
from features.request import ScoringRequest
from serving.decisions import ConflictError, Decision, DecisionLog, LogError, digest_of, new_decision_id
from serving.outcomes import KnownOutcome

DAY = datetime(2025, 7, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def stored(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return settings.model_copy(update={"database_url": request.getfixturevalue("postgres_url")})


@pytest.fixture
def log(stored: Settings) -> Iterator[DecisionLog]:
    with DecisionLog(stored) as opened:
        yield opened


def decision(event_id: str = "e1", **changes: Any) -> Decision:
    time = changes.pop("event_time", DAY)
    request = ScoringRequest(event_id, time, {"card": "K1"}, {"amount": 0.1 + 0.2})
    made = Decision(
        decision_id=new_decision_id(), use_case="fraud", caller="local", idempotency_key=event_id,
        request_digest=digest_of(request), event_id=event_id, event_time=time, decided_at=DAY + timedelta(seconds=1),
        release_version=3, release_digest="d" * 64, policy_hash="p" * 64, request=request.wire(),
        features={"amount": 0.1 + 0.2, "channel": "online", "count": None},
        feature_times={"profile": "2025-01-01T00:00:00Z"},
        margin=-1.234567890123456, probability=0.225, points=500, grade=2, decision="review", rule=None,
        reasons=[{"code": "AMOUNT", "text": "金额", "contribution": 0.5, "features": ["amount"]}],
        fallback=None, latency_ms=1.5,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def frame(log: DecisionLog, *, as_known: datetime) -> Any:
    return log.frame("fraud", DAY, DAY + timedelta(days=1), as_known=as_known)


def test_a_decision_comes_back_as_it_was_written(log: DecisionLog) -> None:
    made = log.append(decision())
    assert log.get(made.decision_id) == made


def test_the_same_key_and_request_give_the_stored_decision(log: DecisionLog) -> None:
    made = log.append(decision())
    assert log.find("fraud", "e1", caller="local", digest=made.request_digest) == made


def test_the_same_key_with_another_request_is_a_conflict(log: DecisionLog) -> None:
    log.append(decision())
    with pytest.raises(ConflictError, match="used before with another request"):
        log.find("fraud", "e1", caller="local", digest="0" * 64)


def test_a_writer_that_was_overtaken_gets_the_first_decision(log: DecisionLog) -> None:
    first, second = decision(), decision()
    log.append(first)
    assert log.append(second) == first
    assert len(log.recent("fraud", limit=10)) == 1


def test_after_a_failed_write_nothing_is_acknowledged_until_a_restart(settings: Settings) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"  # type: ignore[misc]

    def fail(*_: object) -> None:
        raise error

    with DecisionLog(settings) as log:
        event.listen(log._engine, "do_execute", fail)
        with pytest.raises(LogError):
            log.append(decision())
        event.remove(log._engine, "do_execute", fail)
        for again in (lambda: log.append(decision()), log.ping, lambda: log.record_outcomes("fraud", [])):
            with pytest.raises(LogError, match="failed a write"):
                again()
        assert log.broken
    with DecisionLog(settings) as log:
        assert log.append(decision()).event_id == "e1"


def test_keys_are_scoped_to_use_case_and_caller(log: DecisionLog) -> None:
    log.append(decision())
    log.append(decision(use_case="credit"))
    log.append(decision(caller="another"))
    assert log.find("fraud", "e2", caller="local", digest="") is None


def test_the_digest_ignores_the_order_of_fields() -> None:
    one = ScoringRequest("e", DAY, {"a": "1", "b": "2"}, {"x": 1.0, "y": None})
    other = ScoringRequest("e", DAY, {"b": "2", "a": "1"}, {"y": None, "x": 1.0})
    assert digest_of(one) == digest_of(other)


def test_recent_decisions_come_newest_first(log: DecisionLog) -> None:
    for second in range(3):
        log.append(decision(f"e{second}", decided_at=DAY + timedelta(seconds=second)))
    assert [one.event_id for one in log.recent("fraud", limit=2)] == ["e2", "e1"]


def test_outcomes_are_stored_and_repeated_ones_change_nothing(log: DecisionLog) -> None:
    log.append(decision())
    first, late = KnownOutcome("e1", 1, DAY + timedelta(days=2)), KnownOutcome("e1", 1, DAY + timedelta(days=9))
    assert log.record_outcomes("fraud", [first]).stored == (first,)
    report = log.record_outcomes("fraud", [late])
    assert (report.accepted, report.duplicates, report.stored) == (1, 1, ())
    assert [row["known_at"] for row in log.outcomes("fraud", "e1")] == [first.known_at]


def test_a_contradiction_becomes_a_reported_revision(log: DecisionLog) -> None:
    log.append(decision())
    turned_in = [KnownOutcome("e1", 0, DAY + timedelta(days=2)), KnownOutcome("e1", 1, DAY + timedelta(days=5))]
    assert log.record_outcomes("fraud", turned_in).contradictions == (1,)
    assert [(row["revision"], row["label"]) for row in log.outcomes("fraud", "e1")] == [(1, 0), (2, 1)]


def test_an_outcome_of_an_undecided_event_is_rejected(log: DecisionLog) -> None:
    report = log.record_outcomes("fraud", [KnownOutcome("nobody", 1, DAY)])
    assert report.rejected == ((0, "no decision was made on this event"),)


def test_an_outcome_known_before_its_event_is_rejected(log: DecisionLog) -> None:
    log.append(decision())
    report = log.record_outcomes("fraud", [KnownOutcome("e1", 1, DAY - timedelta(seconds=1))])
    assert report.rejected == ((0, "known_at lies before the event"),)


def test_a_frame_tells_labels_as_they_were_known(log: DecisionLog) -> None:
    log.append(decision())
    turned_in = [KnownOutcome("e1", 0, DAY + timedelta(days=2)), KnownOutcome("e1", 1, DAY + timedelta(days=5))]
    log.record_outcomes("fraud", turned_in)
    assert frame(log, as_known=DAY + timedelta(days=1)).decisions["label"].isna().all()
    assert frame(log, as_known=DAY + timedelta(days=2)).decisions["label"].tolist() == [0.0]
    assert frame(log, as_known=DAY + timedelta(days=5)).decisions["label"].tolist() == [1.0]


def test_a_frame_holds_typed_features_and_requests(log: DecisionLog) -> None:
    log.append(decision("e2", event_time=DAY + timedelta(hours=2)))
    log.append(decision("e1", event_time=DAY + timedelta(hours=1)))
    found = frame(log, as_known=DAY)
    assert found.decisions["event_id"].tolist() == ["e1", "e2"]
    assert str(found.decisions["event_time"].dtype) == "datetime64[us, UTC]"
    assert found.features["amount"].tolist() == [0.1 + 0.2] * 2
    assert found.features["count"].isna().all()
    assert found.features["channel"].tolist() == ["online"] * 2
    assert [request["event_id"] for request in found.requests] == ["e1", "e2"]


def test_a_frame_without_decisions_is_empty(log: DecisionLog) -> None:
    found = frame(log, as_known=DAY)
    assert found.decisions.empty
    assert "label" in found.decisions
    assert found.features.empty


def test_a_reader_sees_what_the_writer_committed(stored: Settings, log: DecisionLog) -> None:
    made = log.append(decision())
    with DecisionLog(stored, readonly=True) as reader:
        assert reader.get(made.decision_id) == made


def test_a_reader_can_open_a_log_that_was_closed(settings: Settings) -> None:
    with DecisionLog(settings) as writer:
        made = writer.append(decision())
    with DecisionLog(settings, readonly=True) as reader:
        assert reader.get(made.decision_id) == made


def test_a_reader_cannot_write_to_sqlite(settings: Settings) -> None:
    DecisionLog(settings).close()
    with DecisionLog(settings, readonly=True) as reader, pytest.raises(ServingError, match="OperationalError"):
        reader.append(decision())


def test_a_log_that_does_not_exist_is_named(settings: Settings) -> None:
    with pytest.raises(ServingError, match=r"no decision log .*decisions\.db"):
        DecisionLog(settings, readonly=True)


def test_sqlite_has_one_writing_process(settings: Settings) -> None:
    with DecisionLog(settings), pytest.raises(ServingError, match="another process writes"):
        DecisionLog(settings)
    DecisionLog(settings).close()


def test_errors_of_the_log_hold_no_values(log: DecisionLog) -> None:
    with pytest.raises(ServingError) as caught:
        log.append(decision(margin=None, event_id="personal-4711"))
    assert "personal-4711" not in f"{caught.value} {caught.value.__cause__}"


def test_a_decision_survives_the_death_of_its_process(settings: Settings) -> None:
    code = (
        "import os, sys; sys.path.insert(0, 'tests/serving'); import test_decisions as t; "
        "from configs.settings import Settings; from serving.decisions import DecisionLog; "
        "made = DecisionLog(Settings()).append(t.decision()); "
        "print(made.decision_id, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == -9
    with DecisionLog(settings) as log:
        assert log.get(done.stdout.strip()) is not None
