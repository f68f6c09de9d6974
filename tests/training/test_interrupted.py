"""Training that is killed, or whose disk is full: no version that could be approved, and nothing in the next run's way.

The processes are real, and so are their deaths (see `interrupted_training.py`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

USE_CASE = """
name: tiny
title: Tiny loans
kind: credit
description: Decides about tiny loans.
owner: tests
tables:
  loans: {path: loans.parquet, time: at}
event: {table: loans, id: loan_id, time: at}
label: {column: bad, maturity: 30d}
request:
  amount: {min: 0, nullable: false, description: amount}
  income: {min: 0, description: income}
split:
  by: time
  train: {start: 2024-01-01, end: 2024-07-01}
  test: {start: 2024-08-01, end: 2024-10-01}
  folds: 1
training: {learners: [lightgbm], trials: 1, seconds: 60}
policy:
  bands: [{decision: approve, below: 0.5}, {decision: decline}]
  fallback: decline
  reasons: credit
  adverse: [decline]
rehearsal:
  drift: {kind: feature_shift, column: income, factor: 0.5}
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILLED = ("search", "folder", "artifacts", "native", "version", "filing")
FULL = ("frame", "folder", "artifacts", "filing")


@pytest.fixture(scope="module")
def fates(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> dict[str, Any]:
    """What became of each training, and of the home folder after it."""
    home, data = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("tables")
    generator = np.random.default_rng(3)
    amount, income = generator.gamma(2.0, 500.0, 800), generator.gamma(3.0, 900.0, 800)
    table = {"loan_id": [f"L{number}" for number in range(800)], "amount": amount, "income": income}
    table["at"] = pd.date_range("2024-01-01", "2024-09-30", periods=800, unit="us")
    table["bad"] = (amount / 500 - income / 1500 + generator.normal(size=800) > 1.0).astype(int)
    pd.DataFrame(table).to_parquet(data / "loans.parquet")
    (data / "tiny.yaml").write_text(USE_CASE)
    shutil.copyfile(migrated, home / "mlflow.db")
    script, root = Path(__file__).with_name("interrupted_training.py"), Path(__file__).parents[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RISK_")}
    environment |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    run = subprocess.run(
        [sys.executable, str(script), str(home), str(data)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("moment", KILLED)
def test_a_training_that_is_killed_files_no_version(fates: dict[str, Any], moment: str) -> None:
    fate = fates[f"killed {moment}"]
    assert (fate["exit"], fate["filed"]) == (-signal.SIGKILL, [])


@pytest.mark.parametrize("moment", FULL)
def test_a_full_disk_is_told_in_one_message_and_files_no_version(fates: dict[str, Any], moment: str) -> None:
    fate = fates[f"full {moment}"]
    assert (fate["exit"], fate["filed"]) == (2, [])
    assert any(word in fates[f"told full {moment}"]["message"] for word in ("File too large", "disk"))


@pytest.mark.parametrize("moment", ["artifacts", "filing"])
def test_a_candidate_that_could_not_be_registered_is_removed_even_from_a_full_disk(
    fates: dict[str, Any], moment: str
) -> None:
    assert fates[f"full {moment}"]["cleaned"] == 1


def test_a_version_whose_filing_was_killed_stands_alone_and_cannot_be_approved(fates: dict[str, Any]) -> None:
    assert fates["killed version"]["versions"] == [1]
    assert fates["killed filing"]["filed"] == []


def test_a_training_that_is_killed_after_filing_has_registered_a_whole_version(fates: dict[str, Any]) -> None:
    fate = fates["killed alias"]
    assert fate["exit"] == -signal.SIGKILL
    assert fate["versions"] == fate["filed"]
    assert len(fate["filed"]) == 1
    assert fate["left"] >= 1


def test_the_next_training_sweeps_up_and_gets_through(fates: dict[str, Any]) -> None:
    following = fates["next"]
    assert following["versions"] == [following["version"], *fates["killed alias"]["filed"]]
    assert sorted(following["versions"]) == following["filed"]
    assert following["alias"] == following["version"]
    assert set(following["runs"]) == {"FAILED", "FINISHED"}
    assert following["runs"].count("FINISHED") == len(following["versions"])
    assert following["artifacts"] == len(following["versions"])  # those of the dead are gone
    assert following["left"] == 0
