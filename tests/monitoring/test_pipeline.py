from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import monitoring.cli
from configs.console import application
from configs.errors import GovernanceError, MonitoringError, RiskError
from configs.settings import Settings
from configs.use_case import UseCase
from monitoring.alarms import Alarm
from monitoring.history import History, Run
from monitoring.pipeline import expected_mix, monitor, reference_sample
from monitoring.triggers import RetrainVerdict
from monitoring.windows import Span
from serving.decisions import DecisionLog
from training.governance.release import Release

START = datetime(2024, 3, 1, tzinfo=UTC)
END = START + timedelta(days=30)
MATURE = END + timedelta(days=366)
Traffic = Callable[..., None]


def halved(features: pd.DataFrame) -> pd.DataFrame:
    return features.assign(annual_income=features["annual_income"] * 0.5)


def test_a_window_without_drift_raises_nothing_and_does_not_retrain(
    traffic: Traffic, credit: UseCase, settings: Settings
) -> None:
    traffic(400, START, END, known=END + timedelta(days=300))
    run = monitor(credit, settings, start=START, end=END, as_of=MATURE)
    assert run.alarms == ()
    assert not run.verdict.retrain
    assert run.evidence["performance"]["outcomes"] == 400
    assert run.evidence["performance"]["objective"]["name"] == "auc"


def test_a_drifted_feature_is_found_and_asks_for_training(
    traffic: Traffic, credit: UseCase, settings: Settings
) -> None:
    traffic(300, START, END, change=halved)
    run = monitor(credit, settings, start=START, end=END)
    assert ("feature", "annual_income", "high") in [(alarm.kind, alarm.subject, alarm.severity) for alarm in run.alarms]
    assert run.verdict.retrain


def test_lost_performance_asks_for_training_without_any_drift(
    traffic: Traffic, credit: UseCase, settings: Settings
) -> None:
    traffic(500, START, END, known=END + timedelta(days=300), flip=0.4)
    run = monitor(credit, settings, start=START, end=END, as_of=MATURE)
    assert [alarm.kind for alarm in run.alarms] == ["performance"]
    assert run.verdict.retrain


def test_the_defaults_look_at_the_newest_window(traffic: Traffic, credit: UseCase, settings: Settings) -> None:
    traffic(60, START - timedelta(days=60), END)
    run = monitor(credit, settings, report=False)
    assert run.span.end - run.span.start == credit.monitoring.window
    assert START - timedelta(days=2) < run.span.start < START
    assert run.alarms[0].kind == "volume"


@pytest.mark.parametrize("rows", [0, 3])
def test_an_empty_or_tiny_window_is_reported_not_an_error(
    traffic: Traffic, credit: UseCase, settings: Settings, rows: int
) -> None:
    traffic(rows, START, END)
    run = monitor(credit, settings, start=START, end=END, as_of=MATURE)
    assert (run.rows, [alarm.kind for alarm in run.alarms], run.verdict.retrain) == (rows, ["volume"], False)
    assert Path(str(run.report)).exists()


def test_a_column_that_went_missing_is_found_and_noted_in_the_report(
    traffic: Traffic, credit: UseCase, settings: Settings
) -> None:
    traffic(250, START, END, change=lambda features: features.assign(annual_income=np.nan))
    run = monitor(credit, settings, start=START, end=END)
    assert "missing in 100.0% of rows" in next(alarm.text for alarm in run.alarms if alarm.subject == "annual_income")
    assert "missing on one side: annual_income" in Path(str(run.report)).read_text()


def test_a_new_category_is_found(traffic: Traffic, credit: UseCase, settings: Settings) -> None:
    traffic(250, START, END, change=lambda features: features.assign(purpose=["boat", "car"] * 125))
    run = monitor(credit, settings, start=START, end=END, report=False)
    assert "other or unknown categories in 50.0% of rows" in next(
        alarm.text for alarm in run.alarms if alarm.subject == "purpose"
    )


def test_a_window_monitored_again_replaces_its_run(traffic: Traffic, credit: UseCase, settings: Settings) -> None:
    traffic(250, START, END, change=halved)
    runs = [monitor(credit, settings, start=START, end=END, report=False) for _ in range(2)]
    history = History(settings)
    kept = history.runs("credit")
    assert len(kept) == 1
    assert (kept[0]["window_start"], kept[0]["window_end"]) == (START, END)
    assert len(history.alarms("credit")) == len(runs[0].alarms)
    assert history.runs("fraud") == []
    history.close()


def test_a_recent_training_holds_the_next_one_back(traffic: Traffic, credit: UseCase, settings: Settings) -> None:
    traffic(250, START, END, change=halved)
    history = History(settings)
    history.record_training(
        "credit", as_of=END - timedelta(days=2), requested_by="retraining", reason="drift", version=2
    )
    history.close()
    run = monitor(credit, settings, start=START, end=END, report=False)
    assert (run.verdict.retrain, run.verdict.reasons[0][:11]) == (False, "in cooldown")
    assert monitor(credit, settings, start=START, end=END, report=False, requested_by="ada").verdict.retrain


@pytest.mark.parametrize(
    ("lags", "release_version", "found"),
    [((1, 2), 1, 2), ((1, 1.5), 1, 1), ((1, 2), 2, 0)],
    ids=["one after another", "overlapping", "of another release"],
)
def test_only_separate_windows_of_the_same_release_come_before(
    settings: Settings, lags: tuple[float, ...], release_version: int, found: int
) -> None:
    day = timedelta(days=1)
    history = History(settings)
    alarm = Alarm("feature", "amount", "medium", "moved", 0.2, 0.1)
    for lag in lags:
        part = Span(END - lag * day, END - (lag - 1) * day, END)
        history.record(Run("credit", part, 1, 300, (alarm,), RetrainVerdict(False, ()), {}))
    earlier = history.alarms_before("credit", END, windows=2, release_version=release_version)
    assert earlier == [[alarm]] * found
    history.close()


def test_a_database_that_cannot_be_reached_is_one_clear_error(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://nobody:secret@127.0.0.1:1/x"})
    with pytest.raises(MonitoringError, match="can't be opened") as caught:
        History(away)
    assert "secret" not in str(caught.value)


def test_the_history_works_on_postgresql(
    postgres_url: str, settings: Settings, traffic: Traffic, credit: UseCase
) -> None:
    traffic(250, START, END, change=halved)
    run = monitor(credit, settings, start=START, end=END, report=False)
    history = History(settings.model_copy(update={"database_url": postgres_url}))
    for _ in range(2):
        history.record(run)
    history.record_training("credit", as_of=END, requested_by="ada", reason="asked", version=2)
    assert [row["window_end"] for row in history.runs()] == [END]
    assert history.alarms_before("credit", END, windows=3, release_version=1) == [list(run.alarms)]
    assert history.last_training("credit") == END
    history.close()


def test_the_reference_mix_is_the_policy_on_the_reference_sample(release: Release) -> None:
    sample = reference_sample(release)
    assert sample is not None
    mix = expected_mix(release, sample)
    assert mix is not None
    assert mix["approve"] == (sample["probability"] < 0.1).sum()
    assert sum(mix.values()) == len(sample)


def test_without_a_release_the_error_says_what_to_do(credit: UseCase, settings: Settings) -> None:
    with pytest.raises(GovernanceError, match="no approved release"):
        monitor(credit, settings)


def test_an_empty_log_is_a_clear_error(log: DecisionLog, release: Release, credit: UseCase, settings: Settings) -> None:
    with pytest.raises(MonitoringError, match="no decision of credit"):
        monitor(credit, settings)


def test_the_command_prints_json_and_alerts_lists_the_alarms(traffic: Traffic, settings: Settings) -> None:
    traffic(250, START, END, change=halved)
    app, runner = application("risk"), CliRunner()
    monitoring.cli.mount(app)
    found = runner.invoke(
        app, ["monitor", "credit", "--start", "2024-03-01", "--end", "2024-03-31", "--no-report", "--json"]
    )
    assert found.exit_code == 0, found.output
    run = json.loads(found.stdout)
    assert run["verdict"]["retrain"]
    assert run["span"]["start"] == "2024-03-01T00:00:00+00:00"
    rows = json.loads(runner.invoke(app, ["alerts", "credit", "--json"]).stdout)
    assert [row["subject"] for row in rows] == [alarm["subject"] for alarm in run["alarms"]]


def test_the_commands_print_tables_and_paths(traffic: Traffic, settings: Settings) -> None:
    traffic(250, START, END, change=halved)
    app, runner = application("risk"), CliRunner()
    monitoring.cli.mount(app)
    shown = runner.invoke(app, ["monitor", "credit", "--start", "2024-03-01", "--end", "2024-03-31"])
    assert shown.exit_code == 0, shown.output
    assert "annual_income" in shown.stdout
    paths = runner.invoke(app, ["report", "credit"]).stdout
    assert "drift.html\n" in paths
    assert "evidently ui --workspace" in paths
    assert "high" in runner.invoke(app, ["alerts"]).stdout


def test_a_retraining_without_reason_says_so(traffic: Traffic, settings: Settings) -> None:
    traffic(250, START, END)
    app = application("risk")
    monitoring.cli.mount(app)
    found = CliRunner().invoke(app, ["retrain", "credit", "--as-of", "2024-03-31", "--json"])
    assert json.loads(found.stdout)["retrained"] is False


@pytest.mark.parametrize(("force", "author"), [(False, "retraining"), (True, "ada")])
def test_training_is_started_remembered_and_authored(
    traffic: Traffic, settings: Settings, monkeypatch: pytest.MonkeyPatch, force: bool, author: str
) -> None:
    traffic(250, START, END, change=None if force else halved)
    seen: dict[str, Any] = {}

    def train(*_: object, **options: Any) -> SimpleNamespace:
        seen.update(options)
        return SimpleNamespace(version=2, verdict=SimpleNamespace(passed=True))

    monkeypatch.setattr("training.pipeline.train", train)
    monkeypatch.setenv("RISK_IDENTITY", "ada")
    app = application("risk")
    monitoring.cli.mount(app)
    command = ["retrain", "credit", "--as-of", "2024-03-31", "--json", *(["--force"] if force else [])]
    found = CliRunner().invoke(app, command)
    assert json.loads(found.stdout)["approve with"] == "risk approve credit 2 --as NAME --comment WHY"
    assert seen["author"] == author
    with closing(History(settings)) as history:
        assert history.last_training("credit") == END


def test_a_window_that_ends_before_it_starts_is_refused(traffic: Traffic, settings: Settings) -> None:
    traffic(3, START, END)
    app = application("risk")
    monitoring.cli.mount(app)
    found = CliRunner().invoke(app, ["monitor", "credit", "--start", "2024-03-31", "--end", "2024-03-01"])
    assert isinstance(found.exception, RiskError)
