"""`risk validation`, on a version that was registered and filed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from configs.errors import GovernanceError
from configs.settings import Settings
from training.governance.gates import Verdict
from training.governance.ledger import Filing, Ledger
from training.governance.registry import Registry, Submission
from training.governance.release import folder_digest
from training.report.cli import validation


@pytest.fixture
def registered(whole: Path, governed: Settings) -> Settings:
    submission = Submission("credit", whole, "none", (), {}, {"auc": 0.7}, {"author": "ada"}, (), datetime.now(UTC))
    made = Registry(governed).register(submission)
    verdict = json.loads((whole / "verdict.json").read_text())
    found = Verdict.from_json({key: verdict[key] for key in ("passed", "gates")})
    Ledger(governed).file(Filing("credit", made.version, "ada", made.run_id, found, {"auc": 0.7}, folder_digest(whole)))
    return governed


@pytest.fixture
def app() -> typer.Typer:
    found = typer.Typer()
    found.command()(validation)
    return found


def test_a_registered_version_is_reported_with_its_author(
    registered: Settings, app: typer.Typer, tmp_path: Path
) -> None:
    done = CliRunner().invoke(app, ["credit", "--output", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["version"] == 1
    assert Path(facts["report.html"]) == tmp_path / "out" / "report.html"
    assert "credit/1, filed" in (tmp_path / "out" / "report.html").read_text()
    assert "by ada" in (tmp_path / "out" / "card.html").read_text()


def test_without_an_output_it_comes_into_the_home_folder(registered: Settings, app: typer.Typer) -> None:
    assert CliRunner().invoke(app, ["credit", "1"]).exit_code == 0
    assert (registered.home / "reports" / "credit-1" / "report.html").exists()


def test_files_that_were_changed_are_not_reported(registered: Settings, app: typer.Typer) -> None:
    (stored,) = (registered.home / "mlartifacts").rglob("evidence.json")
    changed = json.loads(stored.read_text())
    changed["metrics"]["auc"] = 0.99
    stored.write_text(json.dumps(changed))
    done = CliRunner().invoke(app, ["credit", "1"])
    assert isinstance(done.exception, GovernanceError)
    assert not (registered.home / "reports").exists()
