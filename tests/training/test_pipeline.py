"""Training end to end: from a table to a filed candidate, against a champion, and through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import training.cli
from configs.console import application
from configs.errors import RiskError, TrainingError
from configs.loading import parse
from configs.settings import Settings
from configs.use_case import Rule, TimeSplit, UseCase
from training import pipeline
from training.governance.approvals import approve
from training.governance.ledger import Filing, Ledger
from training.governance.registry import Registry, Submission
from training.governance.release import current_release
from training.pipeline import TrainedVersion, train

USE_CASE = """
name: tiny
title: Tiny loans
kind: credit
description: Decides about tiny loans.
owner: tests
tables:
  loans: {path: loans.parquet, time: at}
entities: {person: person_id}
event: {table: loans, id: loan_id, time: at}
label: {column: bad, maturity: 30d}
request:
  amount: {min: 0, nullable: false, description: amount}
  income: {min: 0, description: income}
protected:
  sex: {type: category}
split:
  by: time
  train: {start: 2024-01-01, end: 2024-07-01}
  test: {start: 2024-08-01, end: 2024-10-01}
  folds: 1
training: {learners: [lightgbm], trials: 2, seconds: 20}
gates: {minimum: {auc: 0.6}, maximum: {ece: 0.2, score_psi: 0.5}, fairness_ratio: 0.5}
policy:
  bands: [{decision: approve, below: 0.5}, {decision: decline}]
  fallback: decline
  reasons: credit
  adverse: [decline]
rehearsal:
  drift: {kind: feature_shift, column: income, factor: 0.5}
"""


@pytest.fixture
def tiny(governed: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[UseCase, Settings]:
    """A use case with one table of 1,500 loans, as files, so that the command line finds it too."""
    generator = np.random.default_rng(3)
    amount, income = generator.gamma(2.0, 500.0, 1500), generator.gamma(3.0, 900.0, 1500)
    bad = amount / 500 - income / 1500 + generator.normal(size=1500) > 1.0
    table = pd.DataFrame(
        {
            "loan_id": [f"L{number}" for number in range(1500)],
            "person_id": [f"P{number % 700}" for number in range(1500)],
            "at": pd.date_range("2024-01-01", "2024-09-30", periods=1500, unit="us"),
            "amount": amount,
            "income": income,
            "sex": generator.choice(["f", "m"], 1500),
            "bad": bad.astype(int),
        }
    )
    table.to_parquet(tmp_path / "loans.parquet")
    (tmp_path / "tiny.yaml").write_text(USE_CASE)
    monkeypatch.setenv("RISK_CONFIGS", str(tmp_path))
    monkeypatch.setenv("RISK_DATA", str(tmp_path))
    import yaml

    return parse(yaml.safe_load(USE_CASE)), governed.model_copy(update={"data": tmp_path, "configs": tmp_path})


@pytest.fixture
def first(tiny: tuple[UseCase, Settings]) -> TrainedVersion:
    return train(*tiny, author="ada")


def test_training_files_a_candidate(tiny: tuple[UseCase, Settings], first: TrainedVersion) -> None:
    _, settings = tiny
    assert (first.version, first.verdict.passed) == (1, True)
    assert Registry(settings).version("tiny", "candidate").run_id == first.run_id
    filing = Ledger(settings).filings("tiny")[1]
    assert (filing.author, filing.status, filing.metrics["auc"]) == ("ada", "waiting", first.metrics["auc"])
    assert filing.lineage is not None
    assert filing.lineage["tables"][0]["rows"] == 1500
    assert json.loads((first.folder / "verdict.json").read_text())["selection_rates"]["sex"].keys() == {"f", "m"}


def test_a_later_candidate_is_held_against_the_champion_on_the_same_rows(
    tiny: tuple[UseCase, Settings], first: TrainedVersion
) -> None:
    use_case, settings = tiny
    approve(use_case, None, approver="grace", comment="sound", settings=settings)
    later = TimeSplit.model_validate(
        {
            "train": {"start": "2024-02-01", "end": "2024-08-01"},
            "test": {"start": "2024-09-01", "end": "2024-10-01"},
            "folds": 1,
        }
    )
    second = train(use_case, settings, author="retraining", reason="drift", split=later)
    comparison = json.loads((second.folder / "verdict.json").read_text())["champion"]
    assert (comparison["version"], comparison["basis"]) == (1, "the candidate's test rows")
    assert comparison["metrics"]["auc"] != first.metrics["auc"]
    assert "champion" in {gate.name for gate in second.verdict.gates}
    assert current_release("tiny", settings).version == 1


def test_a_champion_whose_features_are_gone_is_compared_as_it_was_approved(
    tiny: tuple[UseCase, Settings], first: TrainedVersion
) -> None:
    use_case, settings = tiny
    approve(use_case, None, approver="grace", comment="sound", settings=settings)
    without_income = {name: column for name, column in use_case.request.items() if name != "income"}
    second = train(use_case.model_copy(update={"request": without_income}), settings, author="ada")
    comparison = json.loads((second.folder / "verdict.json").read_text())["champion"]
    assert comparison["basis"].startswith("as approved")
    assert comparison["metrics"]["auc"] == pytest.approx(first.metrics["auc"])


def test_a_failed_registration_leaves_no_version_and_no_folder(
    tiny: tuple[UseCase, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_case, settings = tiny

    def unreachable(_: Registry, submission: Submission) -> None:
        raise TrainingError(f"MLflow is gone with {submission.use_case}")

    monkeypatch.setattr(Registry, "register", unreachable)
    with pytest.raises(TrainingError, match="MLflow is gone"):
        train(use_case, settings, author="ada")
    assert Ledger(settings).filings("tiny") == {}
    assert [path for path in (settings.home / "candidates").rglob("*") if path.name != ".lock" and path.is_file()] == []


def test_a_failed_filing_leaves_no_folder(tiny: tuple[UseCase, Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    use_case, settings = tiny

    def full(_: Ledger, filing: Filing) -> None:
        raise TrainingError(f"the disk is full for {filing.subject}")

    monkeypatch.setattr(Ledger, "file", full)
    with pytest.raises(TrainingError, match="disk is full"):
        train(use_case, settings, author="ada")
    assert [path for path in (settings.home / "candidates").rglob("*") if path.name != ".lock" and path.is_file()] == []
    assert Registry(settings).aliased("tiny", "candidate") is None


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"when": "amuont > 9", "code": "AMOUNT"}, "did you mean 'amount'"),
        ({"when": "amount > 9", "code": "AMUONT"}, "has no code 'AMUONT'"),
    ],
)
def test_a_rule_that_scoring_could_not_use_stops_training_before_it_starts(
    tiny: tuple[UseCase, Settings], monkeypatch: pytest.MonkeyPatch, rule: dict[str, str], message: str
) -> None:
    use_case, settings = tiny
    wrong = Rule.model_validate({"name": "large", "decision": "decline"} | rule)
    policy = use_case.policy.model_copy(update={"rules": (wrong,)})
    monkeypatch.setattr(pipeline, "build_candidate", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(RiskError, match=message):
        train(use_case.model_copy(update={"policy": policy}), settings, author="ada")


def test_an_untrusted_champion_stops_training_before_it_starts(
    tiny: tuple[UseCase, Settings], first: TrainedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_case, settings = tiny
    folder = approve(use_case, None, approver="grace", comment="sound", settings=settings)
    (folder / "reference.json").write_text("{}")
    monkeypatch.setattr(pipeline, "build_candidate", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(RiskError, match=r"reference\.json was changed"):
        train(use_case, settings, author="ada")


Command = Callable[..., str]


@pytest.fixture
def risk(tiny: tuple[UseCase, Settings]) -> Command:
    """Run a command as the front door would; errors are raised."""
    app: typer.Typer = application("test")
    training.cli.mount(app)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments))
        if isinstance(result.exception, RiskError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_the_commands_lead_from_training_to_a_release(risk: Command) -> None:
    made = json.loads(risk("train", "tiny", "--as", "ada", "--trials", "1", "--json"))
    assert (made["version"], made["verdict"]["passed"]) == (1, True)
    with pytest.raises(RiskError, match="is the author"):
        risk("approve", "tiny", "--as", "ada", "--comment", "mine")
    risk("approve", "tiny", "--as", "grace", "--comment", "sound")
    (row,) = json.loads(risk("models", "tiny", "--json"))
    assert (row["status"], row["author"], row["decided by"]) == ("champion", "ada", "grace")
    assert "minimum auc" in risk("models", "tiny", "1")
    assert json.loads(risk("audit", "verify", "--json")) == {"rows": 3, "named by releases": 1, "unbroken": True}
    assert [row["actor"] for row in json.loads(risk("audit", "show", "tiny/1", "--json"))] == ["ada", "grace", "grace"]
    risk("train", "tiny", "--as", "ada", "--trials", "1")
    risk("refuse", "tiny", "--as", "grace", "--comment", "no gain")
    assert [row["status"] for row in json.loads(risk("models", "--json"))] == ["refused", "champion"]
