"""Rebuilding a registered model: bit-identical, or what differs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from typer.testing import CliRunner

from configs.console import application
from configs.errors import FeatureError, GovernanceError
from configs.loading import parse
from configs.settings import Settings
from configs.use_case import UseCase
from training import pipeline, reproduce_cli
from training.comparing import leaf_differences
from training.governance.ledger import Ledger
from training.governance.registry import Registry
from training.governance.release import folder_digest
from training.reproduce import Reproduction, reproduce

USE_CASE = """
name: tiny
title: Tiny loans
kind: credit
description: Decides about tiny loans.
owner: tests
tables:
  loans: {path: loans.parquet, time: at}
  payments: {path: payments.parquet, time: at}
entities: {person: person_id}
event: {table: loans, id: loan_id, time: at}
label: {column: bad, maturity: 30d}
request:
  amount: {min: 0, nullable: false, description: amount}
  income: {min: 0, description: income}
aggregates:
  - {entity: person, table: payments, column: paid, functions: [sum], windows: [90d]}
protected:
  sex: {type: category}
split:
  by: time
  train: {start: 2024-01-01, end: 2024-07-01}
  test: {start: 2024-08-01, end: 2024-10-01}
  folds: 1
training: {learners: [lightgbm, xgboost], trials: 4, seconds: 60, bags: 2}
policy:
  bands: [{decision: approve, below: 0.5}, {decision: decline}]
  fallback: decline
  reasons: credit
  adverse: [decline]
rehearsal:
  drift: {kind: feature_shift, column: income, factor: 0.5}
"""


def write_tables(folder: Path) -> None:
    generator = np.random.default_rng(3)
    amount, income = generator.gamma(2.0, 500.0, 1200), generator.gamma(3.0, 900.0, 1200)
    at = pd.date_range("2024-01-01", "2024-09-30", periods=1200, unit="us")
    person = [f"P{number % 500}" for number in range(1200)]
    loans = {"loan_id": [f"L{number}" for number in range(1200)], "person_id": person, "at": at}
    loans |= {"amount": amount, "income": income, "sex": generator.choice(["f", "m"], 1200)}
    loans["bad"] = (amount / 500 - income / 1500 + generator.normal(size=1200) > 1.0).astype(int)
    pd.DataFrame(loans).to_parquet(folder / "loans.parquet")
    payments = {"person_id": person, "at": at - pd.Timedelta("5D"), "paid": np.round(amount / 10, 2)}
    pd.DataFrame(payments).to_parquet(folder / "payments.parquet")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> tuple[UseCase, Settings]:
    """A home with one registered version, trained once; tests that change something work on a copy."""
    home, data = tmp_path_factory.mktemp("reproduced"), tmp_path_factory.mktemp("tables")
    write_tables(data)
    shutil.copyfile(migrated, home / "mlflow.db")
    settings = Settings(home=home, data=data, profile="test", mlflow_uri=None, database_url=None)
    use_case = parse(yaml.safe_load(USE_CASE))
    pipeline.train(use_case, settings, author="ada")
    return use_case, settings


def kinds(made: Reproduction) -> set[str]:
    """Kinds of differences but the code's, which may well be modified while tests run."""
    return {each.kind for each in made.differences} - {"code"}


def parts(made: Reproduction, kind: str) -> list[str]:
    return [each.part for each in made.differences if each.kind == kind]


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def tables(trained: tuple[UseCase, Settings], tmp_path: Path) -> Settings:
    """The same registry with tables that the test may change."""
    settings = trained[1]
    shutil.copytree(settings.data, tmp_path / "data")
    return settings.model_copy(update={"data": tmp_path / "data"})


def test_a_version_is_rebuilt_bit_by_bit_and_leaves_no_trace(trained: tuple[UseCase, Settings]) -> None:
    settings = trained[1]
    versions, before = Registry(settings).versions("tiny"), files(settings.home)
    made = reproduce("tiny", None, settings)
    assert (made.version, made.identical, kinds(made)) == (1, True, set())
    assert {"model/booster-0.txt", "model/model.json", "reference.json", "evidence.json"} <= {
        name.replace(".ubj", ".txt") for name, same in made.files.items() if same
    }
    assert "verdict.json" in made.not_rebuilt
    assert Registry(settings).versions("tiny") == versions
    new = files(settings.home) - before
    assert not [name for name in new if not Path(name).parts[1].startswith((".own-", ".lock"))]


def test_a_repeated_search_finds_the_same_model(trained: tuple[UseCase, Settings]) -> None:
    made = reproduce("tiny", 1, trained[1], search=True)
    assert (made.searched, kinds(made)) == (True, set())
    assert made.identical


def test_the_number_of_threads_changes_nothing(trained: tuple[UseCase, Settings]) -> None:
    assert reproduce("tiny", 1, trained[1].model_copy(update={"threads": 1})).identical


def test_changed_data_are_named_by_table_and_the_rebuild_goes_on(tables: Settings) -> None:
    path = tables.data / "payments.parquet"
    changed = pd.read_parquet(path)
    changed.assign(paid=changed["paid"].to_numpy()[::-1]).to_parquet(path)
    made = reproduce("tiny", 1, tables)
    assert not made.identical
    assert parts(made, "data") == ["table payments"]
    assert any(part.startswith("model/booster") for part in parts(made, "file"))
    assert "metrics.auc" in parts(made, "evidence")


def test_a_table_that_is_gone_is_an_error(tables: Settings) -> None:
    (tables.data / "payments.parquet").unlink()
    with pytest.raises(FeatureError, match=r"no file .*payments\.parquet"):
        reproduce("tiny", 1, tables)


def test_events_that_came_later_are_left_out(trained: tuple[UseCase, Settings]) -> None:
    settings = trained[1]
    folder = settings.home / "accrued" / "tiny"
    folder.mkdir(parents=True)
    later = pd.read_parquet(settings.data / "loans.parquet").assign(bad=1)
    later.to_parquet(folder / "20240101_20240930.parquet")
    try:
        assert reproduce("tiny", 1, settings).identical
    finally:
        shutil.rmtree(settings.home / "accrued")


def refile(settings: Settings, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the registry give changed files, filed as they are."""
    download, filing = Registry.download, Ledger.filing

    def changed(self: Registry, version: Any, destination: Path) -> Path:
        folder = download(self, version, destination)
        change(folder)
        return folder

    def filed(self: Ledger, name: str, version: int) -> Any:
        found = filing(self, name, version)
        shutil.rmtree(settings.home / "looked", ignore_errors=True)
        folder = changed(Registry(settings), Registry(settings).version(name, version), settings.home / "looked")
        return type(found)(**vars(found) | {"digest": folder_digest(folder)})

    monkeypatch.setattr(Registry, "download", changed)
    monkeypatch.setattr(Ledger, "filing", filed)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "evidence.json"
    evidence = json.loads(path.read_text())
    change(evidence)
    path.write_text(json.dumps(evidence))


def test_other_parameters_give_another_model(
    trained: tuple[UseCase, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(evidence: dict[str, Any]) -> None:
        for trial in evidence["search"]["trials"]:
            trial["params"]["learning_rate"] *= 2

    refile(trained[1], lambda folder: rewrite(folder, change), monkeypatch)
    made = reproduce("tiny", 1, trained[1])
    assert not made.identical
    assert kinds(made) == {"file", "evidence"}
    assert any(part.startswith("model/booster") for part in parts(made, "file"))
    assert any(part.startswith("chosen.params.") for part in parts(made, "evidence"))


def test_other_code_and_libraries_are_named_and_are_no_difference_by_themselves(
    trained: tuple[UseCase, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(evidence: dict[str, Any]) -> None:
        evidence["libraries"]["lightgbm"] = "4.0.0"

    refile(trained[1], lambda folder: rewrite(folder, change), monkeypatch)
    monkeypatch.setattr("training.reproduce.code_version", lambda: "f00d")
    made = reproduce("tiny", 1, trained[1])
    assert made.identical
    found = {(each.kind, each.part): each.registered for each in made.differences}
    assert found == {("code", "version"): pipeline.code_version(), ("library", "lightgbm"): "4.0.0"}


def test_files_that_are_not_those_that_were_filed_are_refused(
    trained: tuple[UseCase, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    download = Registry.download

    def tampered(self: Registry, version: Any, destination: Path) -> Path:
        folder = download(self, version, destination)
        rewrite(folder, lambda evidence: evidence["metrics"].update(auc=0.99))
        return folder

    monkeypatch.setattr(Registry, "download", tampered)
    with pytest.raises(GovernanceError, match="not those that were filed"):
        reproduce("tiny", 1, trained[1])


def test_a_version_that_was_never_filed_is_an_error(trained: tuple[UseCase, Settings]) -> None:
    with pytest.raises(GovernanceError, match="no version 9"):
        reproduce("tiny", 9, trained[1])


def test_the_command_says_bit_identical_or_exits_with_2(
    trained: tuple[UseCase, Settings], tables: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app: typer.Typer = application("test")
    app.command()(reproduce_cli.reproduce)
    app.command(name="other")(lambda: None)
    monkeypatch.setenv("RISK_HOME", str(trained[1].home))
    monkeypatch.setenv("RISK_DATA", str(tables.data))
    monkeypatch.setenv("RISK_PROFILE", "test")
    result = CliRunner().invoke(app, ["reproduce", "tiny"])
    assert (result.exit_code, "bit-identical" in result.stdout) == (0, True), result.output
    loans = pd.read_parquet(tables.data / "loans.parquet")
    loans.iloc[::-1].to_parquet(tables.data / "loans.parquet")  # the same rows in another order
    result = CliRunner().invoke(app, ["reproduce", "tiny", "1", "--json"])
    said = json.loads(result.stdout)
    assert (result.exit_code, said["identical"]) == (2, False)
    assert [each["part"] for each in said["differences"] if each["kind"] == "data"] == ["table loans"]
    assert said["files"]["model/model.json"] is True


def test_differences_are_told_leaf_by_leaf() -> None:
    before = {"a": [1, {"b": 2.0}], "c": [1, 2], "d": None}
    after = {"a": [1, {"b": 2.5}], "c": [1], "e": 0}
    found = [(each.part, each.registered, each.rebuilt) for each in leaf_differences("evidence", before, after)]
    assert found == [("a.1.b", 2.0, 2.5), ("c", [1, 2], [1]), ("e", None, 0)]
