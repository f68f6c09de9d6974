from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pandas as pd
import pytest

from configs.errors import MonitoringError
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import RandomSplit, TimeSplit, UseCase
from monitoring.retrain import SERVICE, event_rows, export_matured, moved_split, only_job, retrain
from monitoring.windows import Span, read_window
from serving.decisions import Decision, DecisionLog, KnownOutcome

DAY = datetime(2024, 3, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
MATURE = DAY + YEAR + timedelta(days=3)


def fill(log: DecisionLog, decide: Callable[..., Decision], days: int = 3) -> None:
    """One decision a day, the last one without an outcome."""
    for day in range(days):
        log.append(
            decide(
                f"e{day}", DAY + timedelta(days=day), {"amount": 10.5 + day, "purpose": "car", "annual_income": None}
            )
        )
    log.record_outcomes(
        "credit", [KnownOutcome(f"e{day}", day % 2, DAY + YEAR + timedelta(days=day)) for day in range(days - 1)]
    )


def test_matured_decisions_become_rows_of_the_event_table(
    log: DecisionLog, credit: UseCase, settings: Settings, decide: Callable[..., Decision]
) -> None:
    fill(log, decide)
    export = export_matured(credit, settings, log, as_of=MATURE)
    assert export.path is not None
    assert export.path.parent == settings.home / "accrued" / "credit"
    assert export.path.name == "20240301T000000000000_20240302T000000000000.parquet"
    rows = pd.read_parquet(export.path)
    assert list(rows["application_id"]) == ["e0", "e1"]
    assert list(rows["applicant_id"]) == ["Ae0", "Ae1"]
    assert list(rows["amount"]) == [10.5, 11.5]
    assert rows["annual_income"].isna().all()
    assert list(rows["defaulted"]) == [0, 1]
    assert str(rows["applied_at"].dtype) == str(rows["outcome_at"].dtype) == "datetime64[us, UTC]"
    assert (export.rows, export.newest) == (2, DAY + timedelta(days=1))


def test_times_in_the_file_are_utc_microseconds(
    log: DecisionLog, credit: UseCase, settings: Settings, decide: Callable[..., Decision]
) -> None:
    fill(log, decide)
    path = export_matured(credit, settings, log, as_of=MATURE).path
    types_of = dict(duckdb.sql(f"SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM '{path}')").fetchall())
    assert types_of["applied_at"] == types_of["outcome_at"] == "TIMESTAMP WITH TIME ZONE"


def test_younger_decisions_are_not_exported_though_their_outcome_is_known(
    log: DecisionLog, credit: UseCase, settings: Settings, decide: Callable[..., Decision]
) -> None:
    log.append(decide("early", DAY, {"amount": 1.0}))
    log.record_outcomes("credit", [KnownOutcome("early", 1, DAY + timedelta(days=40))])
    assert export_matured(credit, settings, log, as_of=DAY + timedelta(days=60)).rows == 0
    assert not (settings.home / "accrued").exists()


def test_a_later_export_takes_the_place_of_the_ones_it_covers(
    log: DecisionLog, credit: UseCase, settings: Settings, decide: Callable[..., Decision]
) -> None:
    fill(log, decide)
    first = export_matured(credit, settings, log, as_of=MATURE - timedelta(days=2, hours=12))
    second = export_matured(credit, settings, log, as_of=MATURE)
    assert (first.rows, second.rows) == (1, 2)
    assert list((settings.home / "accrued" / "credit").iterdir()) == [second.path]
    assert export_matured(credit, settings, log, as_of=MATURE) == second


def test_field_types_survive_the_export(log: DecisionLog, settings: Settings, decide: Callable[..., Decision]) -> None:
    lending = load_use_case("lending_club", settings)
    fields = {"loan_amnt": 1000, "earliest_cr_line": "1999-05-01T00:00:00Z", "emp_length": "2 years", "dti": None}
    request = {"event_id": "e", "entities": {"loan": None}, "fields": fields}
    for key in ("e", "f"):
        log.append(decide(key, DAY, {}, use_case="lending_club", request=request | {"event_id": key}))
    log.record_outcomes("lending_club", [KnownOutcome("e", 1, DAY), KnownOutcome("f", 0, DAY)])
    rows = event_rows(lending, read_window(log, lending, Span(DAY, DAY + YEAR, DAY + YEAR)).with_outcome())
    assert str(rows["earliest_cr_line"].dtype) == "datetime64[us, UTC]"
    assert rows["loan_amnt"].dtype == rows["dti"].dtype == "float64"
    assert list(rows["emp_length"]) == ["2 years"] * 2
    assert list(rows["charged_off"]) == [1, 0]
    assert list(rows["loan_id"]) == ["e", "f"]


@pytest.mark.parametrize(("positive", "negative"), [(1, 0), (0, 1), (True, False), ("bad", "not bad")])
def test_labels_are_written_in_the_raw_tables_terms(
    log: DecisionLog, credit: UseCase, decide: Callable[..., Decision], positive: Any, negative: Any
) -> None:
    fill(log, decide)
    use_case = credit.model_copy(update={"label": credit.label.model_copy(update={"positive": positive})})
    rows = event_rows(use_case, read_window(log, credit, Span(DAY, MATURE, MATURE)).with_outcome())
    assert list(rows["defaulted"]) == [negative, positive]


def test_the_test_moves_to_the_newest_matured_event_and_training_grows(credit: UseCase) -> None:
    newest = datetime(2024, 2, 1, 12, tzinfo=UTC)
    moved = moved_split(credit.split, newest)
    assert isinstance(moved, TimeSplit)
    assert isinstance(credit.split, TimeSplit)
    assert moved.test.end.replace(tzinfo=UTC) == newest + timedelta(microseconds=1)
    assert moved.test.end - moved.test.start == credit.split.test.end - credit.split.test.start
    assert moved.test.start - moved.train.end == credit.split.test.start - credit.split.train.end
    assert moved.train.start == credit.split.train.start
    assert moved.folds == credit.split.folds


@pytest.mark.parametrize("newest", [None, datetime(2023, 5, 1, tzinfo=UTC)])
def test_the_split_stays_when_nothing_newer_has_matured(credit: UseCase, newest: datetime | None) -> None:
    assert moved_split(credit.split, newest) == credit.split


def test_a_random_split_stays(settings: Settings) -> None:
    split = load_use_case("taiwan_default", settings).split
    assert isinstance(split, RandomSplit)
    assert moved_split(split, MATURE) == split


def test_one_job_at_a_time(settings: Settings) -> None:
    busy = pytest.raises(MonitoringError, match="already running")
    with only_job("credit", settings), only_job("fraud", settings), busy, only_job("credit", settings):
        pytest.fail("two jobs at once")
    with only_job("credit", settings):
        pass


def test_a_killed_job_frees_the_lock(settings: Settings) -> None:
    code = (
        "import os, sys; from configs.settings import Settings; from monitoring.retrain import only_job\n"
        "with only_job('credit', Settings()): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with only_job("credit", settings):
        pass


def test_training_gets_the_service_as_author_and_the_moved_split(
    log: DecisionLog,
    credit: UseCase,
    settings: Settings,
    decide: Callable[..., Decision],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(log, decide)
    seen: dict[str, Any] = {}
    monkeypatch.setattr("training.pipeline.train", lambda *_, **options: seen.update(options))
    retrain(credit, settings, log, as_of=MATURE, reason="drift of income")
    assert (seen["author"], seen["reason"]) == (SERVICE, "drift of income")
    assert seen["split"].test.end.replace(tzinfo=UTC) == DAY + timedelta(days=1, microseconds=1)
