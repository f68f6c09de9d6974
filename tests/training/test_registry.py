"""The registry: what is tracked, and that nothing is half-registered."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lightgbm
import mlflow
import pytest

from configs.errors import GovernanceError, TrainingError
from configs.settings import Settings
from training.governance.registry import ModelVersion, Registry, Submission
from training.governance.release import folder_digest

Submit = Callable[..., Submission]


def client(settings: Settings) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(settings.database("mlflow"), settings.database("mlflow"))


def test_importing_the_registry_does_not_import_mlflow() -> None:
    code = "import sys, training.governance.registry; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_version_keeps_its_run_metrics_params_and_lineage(
    governed: Settings, candidate: Path, submit: Submit
) -> None:
    made = Registry(governed).register(submit(candidate))
    run = client(governed).get_run(made.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"auc": 0.8, "ece": 0.01}
    assert run.data.params["lightgbm.lambda_l2"] == "10.0"
    assert run.inputs.dataset_inputs[0].dataset.name == "applications"
    assert (made.version, made.tags["author"], made.metrics) == (1, "ada", {"auc": 0.8, "ece": 0.01})


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_boosters_load_through_mlflow_alone(
    governed: Settings, candidate_folders: Callable[[str], Path], submit: Submit, name: str
) -> None:
    registry = Registry(governed)
    made = registry.register(submit(candidate_folders(name), learner_name=name))
    registry.set_alias("credit", "champion", made.version)
    mlflow.set_tracking_uri(governed.database("mlflow"))
    flavour = {"lightgbm": mlflow.lightgbm, "xgboost": mlflow.xgboost}[name]
    booster = flavour.load_model("models:/credit@champion")
    assert type(booster).__name__ == "Booster"
    assert mlflow.models.get_model_info("models:/credit@champion").signature is not None


def test_a_scorecard_is_registered_from_its_folder(
    governed: Settings, candidate_folders: Callable[[str], Path], submit: Submit
) -> None:
    made = Registry(governed).register(submit(candidate_folders("scorecard"), learner_name="scorecard"))
    source = client(governed).get_model_version("credit", str(made.version)).source
    assert source.endswith(f"{made.run_id}/artifacts/candidate")


def test_no_pickle_is_stored(governed: Settings, candidate: Path, submit: Submit) -> None:
    Registry(governed).register(submit(candidate))
    names = [path.name for path in (governed.home / "mlartifacts").rglob("*") if path.is_file()]
    assert names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib", ".cloudpickle"))]


def test_the_candidate_comes_back_byte_for_byte(
    governed: Settings, candidate: Path, submit: Submit, tmp_path: Path
) -> None:
    registry = Registry(governed)
    folder = registry.download(registry.register(submit(candidate)), tmp_path / "back")
    assert folder_digest(folder) == folder_digest(candidate)


def test_versions_are_found_by_number_and_by_alias(governed: Settings, candidate: Path, submit: Submit) -> None:
    registry = Registry(governed)
    first, second = registry.register(submit(candidate)), registry.register(submit(candidate))
    registry.set_alias("credit", "champion", first.version)
    assert registry.version("credit", "champion").version == 1
    assert registry.version("credit", second.version).run_id == second.run_id
    assert [each.version for each in registry.versions("credit")] == [2, 1]


def test_an_alias_is_dropped_only_where_it_points(governed: Settings, candidate: Path, submit: Submit) -> None:
    registry = Registry(governed)
    for _ in range(2):
        registry.register(submit(candidate))
    registry.set_alias("credit", "candidate", 2)
    registry.drop_alias("credit", "candidate", 1)
    assert registry.version("credit", "candidate").version == 2
    registry.drop_alias("credit", "candidate", 2)
    assert registry.aliased("credit", "candidate") is None


def test_an_unknown_version_names_those_there_are(governed: Settings, candidate: Path, submit: Submit) -> None:
    registry = Registry(governed)
    with pytest.raises(GovernanceError, match="no candidate"):
        registry.version("credit", "candidate")
    registry.register(submit(candidate))
    with pytest.raises(GovernanceError, match="no version 9") as error:
        registry.version("credit", 9)
    assert error.value.expected == "one of the versions 1"


def test_a_failure_leaves_a_failed_run_and_no_version(governed: Settings, candidate: Path, submit: Submit) -> None:
    (candidate / "model" / "booster-0.txt").write_text("not a booster")
    registry = Registry(governed)
    with pytest.raises(lightgbm.basic.LightGBMError):
        registry.register(submit(candidate))
    experiment = client(governed).get_experiment_by_name("credit")
    runs = client(governed).search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FAILED"]
    assert registry.versions("credit") == []


def test_the_run_of_a_killed_process_is_marked_failed_by_the_next(
    governed: Settings, candidate: Path, submit: Submit
) -> None:
    registry = Registry(governed)
    registry.register(submit(candidate))
    mlflow_client = client(governed)
    experiment = mlflow_client.get_experiment_by_name("credit").experiment_id
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    killed = mlflow_client.create_run(experiment, tags={"process": f"{os.uname().nodename}:{gone.pid}"})
    registry.register(submit(candidate))
    assert mlflow_client.get_run(killed.info.run_id).info.status == "FAILED"


def test_a_failure_removes_what_it_had_written(governed: Settings, candidate: Path, submit: Submit) -> None:
    (candidate / "model" / "booster-0.txt").write_text("not a booster")
    with pytest.raises(lightgbm.basic.LightGBMError):
        Registry(governed).register(submit(candidate))
    assert [path for path in (governed.home / "mlartifacts").rglob("*") if path.is_file()] == []


def test_a_version_that_could_not_be_filed_is_withdrawn_and_the_error_goes_on(
    governed: Settings, candidate: Path, submit: Submit
) -> None:
    registry = Registry(governed)
    made = registry.register(submit(candidate))
    with pytest.raises(GovernanceError, match="no room"), registry.withdrawn_unless_filed(made):
        raise GovernanceError("no room")
    assert registry.versions("credit") == []
    assert client(governed).get_run(made.run_id).info.status == "FAILED"
    assert not list((governed.home / "mlartifacts").rglob("evidence.json"))


def of_dead_process(settings: Settings, version: ModelVersion) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    client(settings).set_tag(version.run_id, "process", f"{os.uname().nodename}:{gone.pid}")


def test_sweeping_withdraws_what_a_killed_process_did_not_file_and_nothing_else(
    governed: Settings, candidate: Path, submit: Submit
) -> None:
    registry = Registry(governed)
    filed, left, own = (registry.register(submit(candidate, learner_name="none")) for _ in range(3))
    of_dead_process(governed, filed)
    of_dead_process(governed, left)
    assert registry.sweep("credit", filed={filed.run_id}) == [left.version]
    assert [each.version for each in registry.versions("credit")] == [own.version, filed.version]
    assert len(list((governed.home / "mlartifacts").rglob("evidence.json"))) == 2


def test_sweeping_before_the_first_version_finds_nothing(governed: Settings) -> None:
    assert Registry(governed).sweep("credit", filed=set()) == []


def test_a_file_store_is_refused_with_advice(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="MLflow"):
        Registry(settings.model_copy(update={"mlflow_uri": f"file:{tmp_path}/mlruns"})).versions("credit")


def test_postgresql_holds_the_registry_too(
    settings: Settings, postgres_url: str, candidate: Path, submit: Submit
) -> None:
    registry = Registry(settings.model_copy(update={"database_url": postgres_url}))
    made = registry.register(submit(candidate))
    registry.set_alias("credit", "candidate", made.version)
    assert registry.version("credit", "candidate").version == 1
