"""The registry: runs, model versions and aliases in MLflow. The only module that imports mlflow, and only when used.

It keeps and shows; what may go live is decided by `approvals`, because anyone with access to MLflow can move an alias.
"""

from __future__ import annotations

import json
import math
import os
import socket
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from configs.errors import GovernanceError, TrainingError
from configs.settings import Settings, sqlalchemy_url

CANDIDATE: Final = "candidate"
"""Folder of a run's artifacts with the candidate, and the alias of the latest one."""

CHAMPION: Final = "champion"
Alias = Literal["candidate", "champion"]

_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
    "MLFLOW_MODEL_CATALOG_URI": "",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_PROCESS = "process"
_LOCK = threading.RLock()  # mlflow's model flavours know only one tracking address and one active run a process


@dataclass(frozen=True)
class SourceTable:
    """A raw table that a candidate was trained on, for lineage. `digest`: SHA-256 over the data, hexadecimal."""

    name: str
    path: str
    rows: int | None
    digest: str


@dataclass(frozen=True)
class Submission:
    """A candidate to be registered: its folder, and what is tracked about it."""

    use_case: str
    folder: Path
    learner: str
    features: tuple[str, ...]
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    tables: tuple[SourceTable, ...]
    started_at: datetime


@dataclass(frozen=True)
class ModelVersion:
    """A registered version as MLflow knows it."""

    use_case: str
    version: int
    run_id: str
    created_at: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the out-of-time test, as registered."""
        return dict(json.loads(self.tags.get("metrics", "{}")))


class Registry:
    """MLflow on SQLite in `home`, on PostgreSQL, or on the server that `RISK_MLFLOW_URI` names."""

    def __init__(self, settings: Settings) -> None:
        self._uri = sqlalchemy_url(settings.mlflow_uri) if settings.mlflow_uri else settings.database("mlflow")
        self._artifacts = None if self._uri.startswith("http") else (settings.home / "mlartifacts").as_uri()

    def register(self, submission: Submission) -> ModelVersion:
        """Track a run with everything in it and make it a new version, without an alias.

        The version is created last and in one step: whatever fails or is interrupted before leaves a run marked
        FAILED and no version.
        """
        with self._client() as client:
            experiment = self._experiment(client, submission.use_case)
            _bury_dead_runs(client, experiment)
            started = int(submission.started_at.timestamp() * 1000)
            owner = {
                _PROCESS: f"{socket.gethostname()}:{os.getpid()}",
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
            except BaseException:
                client.set_terminated(run_id, "FAILED")
                raise
        return self.version(submission.use_case, int(made.version))

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
            raise TrainingError(
                f"MLflow can't do that: {str(error).splitlines()[0]}",
                expected="a SQLite or PostgreSQL database of this MLflow version, or a reachable tracking server",
                fix="check RISK_MLFLOW_URI and RISK_DATABASE_URL; after an upgrade: mlflow db upgrade <address>",
            ) from error

    def _experiment(self, client: Any, name: str) -> str:
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name, artifact_location=self._artifacts))


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
    """Mark runs FAILED whose process on this machine is gone: it was killed while it registered."""
    for run in client.search_runs([experiment], "attributes.status = 'RUNNING'"):
        host, _, process = run.data.tags.get(_PROCESS, "").rpartition(":")
        if host == socket.gethostname() and not _alive(int(process)):
            client.set_terminated(run.info.run_id, "FAILED")


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
