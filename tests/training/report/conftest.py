"""A candidate with every kind of evidence, made by the real parts on a small frame."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import Period, TimeSplit, UseCase
from features.frame import Frame
from features.vector import features_of
from training.candidate import build_candidate
from training.governance.gates import judge

START = pd.Timestamp("2021-01-01", tz="UTC")
ROWS = 2600


def use_case_of(settings: Settings) -> UseCase:
    full = load_use_case("credit", settings)
    first = START.to_pydatetime()
    period = TimeSplit(
        train=Period(start=first, end=first + timedelta(days=200)),
        test=Period(start=first + timedelta(days=230), end=first + timedelta(days=300)),
        folds=2,
    )
    changed = {
        "split": period,
        "training": full.training.model_copy(update={"learners": ("lightgbm",), "trials": 1, "seconds": 20}),
        "label": full.label.model_copy(update={"maturity": timedelta(days=30)}),
        "fairness": full.fairness.model_copy(update={"alternatives": 1, "below": 1.0}),
        "credit_risk": full.credit_risk and full.credit_risk.model_copy(update={"draws": 1000}),
    }
    return full.model_copy(update=changed)


def frame_of(use_case: UseCase) -> Frame:
    generator, n = np.random.default_rng(9), ROWS
    time = pd.Series(START + pd.to_timedelta(np.sort(generator.integers(0, 300 * 86400, n)), unit="s")).dt.as_unit("us")
    features = pd.DataFrame(
        {
            feature.name: generator.choice(np.array([*feature.vocabulary, None], dtype=object), n)
            if feature.kind == "category"
            else np.where(generator.random(n) < 0.1, np.nan, generator.lognormal(1, 0.5, n))
            for feature in features_of(use_case)
        }
    )
    risk = -2 + 0.8 * features["bureau__utilisation"].fillna(2) - 0.3 * features["annual_income"].fillna(2)
    label = (generator.random(n) < 1 / (1 + np.exp(-risk.to_numpy()))).astype(float)
    label[::7] = np.nan
    events = pd.DataFrame(
        {
            "event_id": [f"secret-{index}" for index in range(n)],
            "event_time": time,
            "known": time + timedelta(days=30),
            "label": label,
            "applicant": [f"person-{index}" for index in range(n)],
            "sex": generator.choice(["f", "m"], n),
            "age": generator.integers(18, 80, n).astype(float),
        }
    )
    return Frame(events, features, "ab" * 32, "cd" * 32)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a candidate that nothing is missing from."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), profile="test")
    use_case = use_case_of(settings)
    candidate = build_candidate(use_case, frame_of(use_case), settings)
    verdict = judge(use_case, candidate.metrics, candidate.evidence)
    content = verdict.to_json() | {"champion": None, "tested_before": [2]}
    (candidate.folder / "verdict.json").write_text(json.dumps(content))
    return candidate.folder


Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def changed(whole: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the whole candidate with one document changed."""

    def copy(change: Change, document: str = "evidence") -> Path:
        folder = shutil.copytree(whole, tmp_path / "changed", dirs_exist_ok=True)
        path = folder / f"{document}.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return folder

    return copy
