"""A small hand-made candidate, and a home in which it can be registered without waiting for MLflow's migrations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.vector import features_of
from training.encoding import Encoder
from training.evidence.calibration import Platt
from training.governance.gates import GateResult, Verdict
from training.governance.ledger import Filing, Ledger
from training.governance.registry import ModelVersion, Registry, SourceTable, Submission
from training.governance.release import folder_digest
from training.learners.choice import learner
from training.learners.protocol import Sample, columns_of
from training.model import Model

PASSED = Verdict(True, (GateResult("minimum auc", True, 0.8, 0.65, "found 0.8"),))
FAILED = Verdict(False, (GateResult("minimum auc", False, 0.6, 0.65, "found 0.6; asked: auc at least 0.65"),))
NUMBERS = ("amount", "annual_income", "employment_years")


@pytest.fixture
def credit(settings: Settings) -> UseCase:
    return load_use_case("credit", settings)


@pytest.fixture(scope="session")
def candidate_folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Candidate folder by learner name; each is fitted once a session."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = _candidate(name, tmp_path_factory.mktemp(name))
        return made[name]

    return folder


def _candidate(name: str, folder: Path) -> Path:
    use_case = load_use_case("credit", Settings())
    generator = np.random.default_rng(7)
    X = generator.normal(size=(600, len(NUMBERS)))
    y = (X[:, 0] + generator.normal(size=600) > 0.5).astype(np.float64)
    encoder = Encoder(tuple(feature for feature in features_of(use_case) if feature.name in NUMBERS), {})
    kind = learner(name)
    params = dict(kind.default) | ({"trees": 5} if "trees" in kind.default else {})
    fitted = kind.fit(Sample(X, y, columns_of(encoder, {})), params, seed=1, threads=1)
    Model(name, encoder, (fitted,), Platt()).save(folder / "model")
    (folder / "use_case.json").write_text(json.dumps(use_case.as_json()))
    (folder / "reference.json").write_text(json.dumps({"n": 600}))
    (folder / "evidence.json").write_text(json.dumps({"data_hash": "d", "seed": 7}))
    (folder / "figures").mkdir()
    (folder / "figures" / "roc.png").write_bytes(b"\x89PNG")
    return folder


@pytest.fixture
def candidate(candidate_folders: Callable[[str], Path], tmp_path: Path) -> Path:
    """A LightGBM candidate that the test may change."""
    return shutil.copytree(candidate_folders("lightgbm"), tmp_path / "candidate")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; making one takes seconds."""
    home = tmp_path_factory.mktemp("mlflow")
    Registry(Settings(home=home, mlflow_uri=None, database_url=None)).versions("nothing")
    return home / "mlflow.db"


@pytest.fixture
def governed(settings: Settings, migrated: Path) -> Settings:
    """Settings whose MLflow database is ready."""
    settings.home.mkdir(parents=True)
    shutil.copyfile(migrated, settings.home / "mlflow.db")
    return settings


def submission(folder: Path, *, learner_name: str = "lightgbm") -> Submission:
    return Submission(
        use_case="credit",
        folder=folder,
        learner=learner_name,
        features=NUMBERS,
        params={"trees": 5, learner_name: {"lambda_l2": 10.0}},
        metrics={"auc": 0.8, "ece": 0.01, "undefined": float("nan")},
        tags={"author": "ada", "data_hash": "d"},
        tables=(SourceTable("applications", "/data/applications.parquet", 600, "ab" * 32),),
        started_at=datetime.now(UTC),
    )


@pytest.fixture
def submit() -> Callable[..., Submission]:
    return submission


@pytest.fixture
def file_candidate(governed: Settings, candidate: Path) -> Callable[..., ModelVersion]:
    """Register and file a candidate of author `ada`, as training does."""

    def filed(*, verdict: Verdict = PASSED, settings: Settings = governed) -> ModelVersion:
        registry = Registry(settings)
        made = registry.register(submission(candidate, learner_name="none"))  # MLflow's own flavours take a second
        digest = folder_digest(candidate)
        Ledger(settings).file(Filing("credit", made.version, "ada", made.run_id, verdict, {"auc": 0.8}, digest))
        registry.set_alias("credit", "candidate", made.version)
        return made

    return filed


@pytest.fixture
def failed_verdict() -> Verdict:
    return FAILED
