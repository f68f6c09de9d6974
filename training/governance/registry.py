"""The registry: runs, model versions and aliases in MLflow. The only module that imports mlflow, and only when used.

It keeps and shows; what may go live is decided by `approvals`, because anyone with access to MLflow can move an alias.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import threading
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from configs.errors import GovernanceError, TrainingError
from configs.settings import Settings, sqlalchemy_url
from training.governance.submission import CANDIDATE, CHAMPION, Alias, ModelVersion, SourceTable, Submission

__all__ = ["CANDIDATE", "CHAMPION", "Alias", "ModelVersion", "Registry", "SourceTable", "Submission"]

_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what its database refuses is told once, as our own error
}
_PROCESS = "process"
_PENDING = "pending"
"""Tag of a run that is no version yet: logging a native model ends the run in MLflow's eyes before all is there."""
_LOCK = threading.RLock()  # mlflow's model flavours know only one tracking address and one active run a process


class Registry:
    """MLflow on SQLite in `home`, on PostgreSQL, or on the server that `RISK_MLFLOW_URI` names."""

    def __init__(self, settings: Settings) -> None:
        self._uri = sqlalchemy_url(settings.mlflow_uri) if settings.mlflow_uri else settings.database("mlflow")
        self._artifacts = None if self._uri.startswith("http") else (settings.home / "mlartifacts").as_uri()

    def register(self, submission: Submission) -> ModelVersion:
        """Track a run with everything in it and make it a new version, without an alias.

        The version is created last and in one step: whatever fails or is interrupted before leaves a run marked
        FAILED, none of its files, and no version.
        """
        with self._client() as client:
            experiment = self._experiment(client, submission.use_case)
            _bury_dead_runs(client, experiment)
            started = int(submission.started_at.timestamp() * 1000)
            owner = {
                _PROCESS: f"{socket.gethostname()}:{os.getpid()}",
                _PENDING: "true",
                "mlflow.user": submission.tags.get("author", ""),
            }
            run = client.create_run(experiment, start_time=started, tags=dict(submission.tags) | owner)
            run_id = run.info.run_id
            try:
                _log_facts(client, run_id, submission)
                client.log_artifacts(run_id, str(submission.folder), CANDIDATE)
                source = _log_native(self._uri, run_id, submission) or f"{run.info.artifact_uri}/{CANDIDATE}"
                client.set_terminated(run_id, "FINISHED")
                made = _create_version(client, submission, run_id, source)
                client.delete_tag(run_id, _PENDING)
            except BaseException:
                with _told_first():
                    _bury(client, run)
                raise
        return self.version(submission.use_case, int(made.version))

    def withdraw(self, version: ModelVersion) -> None:
        """Take a version back that nobody could approve, because it was never filed: its run is marked FAILED."""
        with self._client() as client:
            client.delete_model_version(version.use_case, str(version.version))
            _bury(client, client.get_run(version.run_id))

    @contextmanager
    def withdrawn_unless_filed(self, version: ModelVersion) -> Iterator[None]:
        """For filing a version: should that fail, the version is withdrawn, and the error goes on."""
        try:
            yield
        except BaseException:
            with _told_first():
                self.withdraw(version)
            raise

    def sweep(self, use_case_name: str, *, filed: Container[str]) -> list[int]:
        """Withdraw versions whose process on this machine was killed before it filed them; returns their numbers.

        `filed`: run ids of the versions that were filed. A version of a living process may still be filed.
        """
        unfiled = [each for each in self.versions(use_case_name) if each.run_id not in filed]
        with self._client() as client:
            dead = [each for each in unfiled if _of_dead_process(client.get_run(each.run_id))]
        for version in dead:
            self.withdraw(version)
        return [version.version for version in dead]

    def versions(self, use_case_name: str) -> list[ModelVersion]:
        """All versions, newest first; none for a use case that was never trained."""
        with self._client() as client:
            found = client.search_model_versions(f"name = '{use_case_name}'", max_results=1000)
            aliases = _aliases(client, use_case_name) if found else {}
        versions = [_model_version(each, aliases) for each in found]
        return sorted(versions, key=lambda each: each.version, reverse=True)

    def version(self, use_case_name: str, which: int | Alias) -> ModelVersion:
        """One version by number or alias. Raises `GovernanceError` with the versions there are."""
        versions = self.versions(use_case_name)
        for each in versions:
            if which == each.version or which in each.aliases:
                return each
        known = ", ".join(str(each.version) for each in versions)
        raise GovernanceError(
            f"{use_case_name!r} has no version {which}"
            if isinstance(which, int)
            else f"{use_case_name!r} has no {which}",
            expected=f"one of the versions {known}" if known else "a registered version",
            fix=f"see `risk models {use_case_name}`" if known else f"risk train {use_case_name}",
        )

    def aliased(self, use_case_name: str, alias: Alias) -> ModelVersion | None:
        """The version that an alias names, if it names one."""
        return next((each for each in self.versions(use_case_name) if alias in each.aliases), None)

    def download(self, version: ModelVersion, destination: Path) -> Path:
        """Copy the candidate folder of a version to below `destination` and return it."""
        with self._client() as client:
            destination.mkdir(parents=True, exist_ok=True)
            return Path(client.download_artifacts(version.run_id, CANDIDATE, str(destination)))

    def set_alias(self, use_case_name: str, alias: Alias, version: int) -> None:
        """Let an alias name this version, and no other."""
        with self._client() as client:
            client.set_registered_model_alias(use_case_name, alias, str(version))

    def drop_alias(self, use_case_name: str, alias: Alias, version: int) -> None:
        """Remove an alias where it names this version."""
        with self._client() as client:
            if _aliases(client, use_case_name).get(alias) == version:
                client.delete_registered_model_alias(use_case_name, alias)

    def tag(self, use_case_name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self._client() as client:
            for key, value in tags.items():
                client.set_model_version_tag(use_case_name, str(version), key, value)

    @contextmanager
    def _client(self) -> Iterator[Any]:
        os.environ.update(_ENVIRONMENT)
        import mlflow
        import sqlalchemy.exc

        try:
            with _LOCK, warnings.catch_warnings():
                # MLflow's own models use a loader strategy that SQLAlchemy 2.1 deprecates
                warnings.filterwarnings("ignore", "The ``noload`` loader strategy", DeprecationWarning)
                yield mlflow.MlflowClient(self._uri, self._uri)
        except (mlflow.exceptions.MlflowException, sqlalchemy.exc.SQLAlchemyError) as error:
            raise _told(str(error).splitlines()[0]) from error

    def _experiment(self, client: Any, name: str) -> str:
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name, artifact_location=self._artifacts))


def _told(message: str) -> TrainingError:
    """What MLflow or its database says, with what to do about it."""
    if re.search("disk is full|disk I/O error|No space left|could not extend", message):
        return TrainingError(
            f"MLflow's database can't be written: {message}",
            expected="space on its disk",
            fix="free space on the disk of RISK_HOME, or of the database of RISK_MLFLOW_URI or RISK_DATABASE_URL",
        )
    return TrainingError(
        f"MLflow can't do that: {message}",
        expected="a SQLite or PostgreSQL database of this MLflow version, or a reachable tracking server",
        fix="check RISK_MLFLOW_URI and RISK_DATABASE_URL; after an upgrade: mlflow db upgrade <address>",
    )


def _log_facts(client: Any, run_id: str, submission: Submission) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    now = int(datetime.now(UTC).timestamp() * 1000)
    metrics = [Metric(key, float(value), now, 0) for key, value in submission.metrics.items() if math.isfinite(value)]
    client.log_batch(run_id, metrics=metrics)
    params = [Param(key, str(value)[:6000]) for key, value in _flat(submission.params)]
    for start in range(0, len(params), 100):
        client.log_batch(run_id, params=params[start : start + 100])
    tags = [InputTag("mlflow.data.context", "training")]
    inputs = [
        DatasetInput(
            Dataset(
                name=table.name,
                digest=table.digest[:36],  # MLflow's limit; the whole hash is in the tags
                source_type="local",
                source=json.dumps({"uri": table.path}),
                profile=None if table.rows is None else json.dumps({"num_rows": table.rows}),
            ),
            tags,
        )
        for table in submission.tables
    ]
    client.log_inputs(run_id, datasets=inputs)


def _log_native(uri: str, run_id: str, submission: Submission) -> str | None:
    """Log the boosters in MLflow's own flavour, so that `mlflow` alone can load them; None for a learner without one.

    A scorecard is JSON already, and MLflow would wrap it in a pickle. Several boosters (bags) are logged each.
    """
    if submission.learner not in {"lightgbm", "xgboost"}:
        return None
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = [ColSpec("double", name) for name in submission.features]
    signature = ModelSignature(Schema([*columns]), Schema([ColSpec("double", "margin")]))
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    logged: list[str] = []
    with mlflow.start_run(run_id=run_id, nested=True):
        for index, (flavour, booster, packages) in enumerate(_boosters(submission)):
            name = f"model_{index}" if index else "model"
            info = flavour.log_model(booster, name=name, signature=signature, pip_requirements=packages)
            logged.append(info.model_uri)
    return logged[0]


def _boosters(submission: Submission) -> Iterator[tuple[Any, Any, list[str]]]:
    """(flavour, booster, requirements) of each native model file in the candidate folder."""
    folder = submission.folder / "model"
    if submission.learner == "lightgbm":
        import lightgbm
        import mlflow.lightgbm

        for path in sorted(folder.glob("*.txt")):
            yield mlflow.lightgbm, lightgbm.Booster(model_file=str(path)), _installed("lightgbm")
    else:
        import mlflow.xgboost
        import xgboost

        for path in sorted(folder.glob("*.ubj")):
            yield mlflow.xgboost, xgboost.Booster(model_file=str(path)), _installed("xgboost-cpu", "xgboost")


def _installed(*names: str) -> list[str]:
    """The requirement of the first of these distributions that is installed."""
    found = {dist.name.lower(): dist.version for name in names for dist in metadata.distributions(name=name)}
    return [f"{name}=={found[name]}" for name in names if name in found][:1]


def _create_version(client: Any, submission: Submission, run_id: str, source: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(submission.use_case)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    finite = {key: value for key, value in submission.metrics.items() if math.isfinite(value)}
    tags = dict(submission.tags) | {"metrics": json.dumps(finite), "learner": submission.learner}
    model_id = source.removeprefix("models:/") if source.startswith("models:/") else None
    return client.create_model_version(submission.use_case, source, run_id=run_id, tags=tags, model_id=model_id)


def _bury_dead_runs(client: Any, experiment: str) -> None:
    """Bury runs whose process on this machine is gone: it was killed while it registered."""
    for status in ("status = 'RUNNING'", f"status = 'FINISHED' AND tags.{_PENDING} = 'true'"):
        for run in client.search_runs([experiment], status):
            if _of_dead_process(run):
                _bury(client, run)


def _bury(client: Any, run: Any) -> None:
    """Mark a run FAILED and remove what it had written, so that a disk that filled has room again."""
    of_run = f"source_run_id = '{run.info.run_id}'"
    models = client.search_logged_models([run.info.experiment_id], filter_string=of_run)
    for place in (run.info.artifact_uri, *(model.artifact_location for model in models)):
        if place.startswith("file:"):  # a server's artifacts are its own to collect: `mlflow gc`
            shutil.rmtree(unquote(urlparse(place).path), ignore_errors=True)
    for model in models:
        client.delete_logged_model(model.model_id)
    client.set_terminated(run.info.run_id, "FAILED")


@contextmanager
def _told_first() -> Iterator[None]:
    """For cleaning up after an error: should that fail as well, as on a full disk, the first error is the one told.

    The run then stays RUNNING, and is buried by the next registration once this process has ended.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    with suppress(MlflowException, SQLAlchemyError, TrainingError, OSError):
        yield


def _of_dead_process(run: Any) -> bool:
    host, _, process = run.data.tags.get(_PROCESS, "").rpartition(":")
    return host == socket.gethostname() and not _alive(int(process))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _aliases(client: Any, name: str) -> dict[str, int]:
    return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}


def _model_version(found: Any, aliases: Mapping[str, int]) -> ModelVersion:
    number = int(found.version)
    return ModelVersion(
        use_case=found.name,
        version=number,
        run_id=found.run_id,
        created_at=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        aliases=tuple(sorted(alias for alias, version in aliases.items() if version == number)),
        tags=dict(found.tags),
    )


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
