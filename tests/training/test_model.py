"""The bundle on disk and in memory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from configs.errors import TrainingError
from features.vector import Feature
from training.encoding import Encoder
from training.evidence.calibration import Platt
from training.learners.choice import learner
from training.learners.protocol import Column, Sample
from training.model import Model

FEATURES = (Feature("a", "number", "request", "first"), Feature("b", "category", "derived", "second", ("x", "y")))
ENCODER = Encoder(FEATURES, {"b": ("x", "y", "other")})
COLUMNS = (Column("a"), Column("b", ("x", "y", "other")))


def model(bags: int = 1) -> Model:
    generator = np.random.default_rng(3)
    X = np.column_stack([generator.normal(size=800), generator.integers(0, 2, 800)]).astype(float)
    y = (X[:, 0] + X[:, 1] + generator.normal(size=800) > 0.8).astype(float)
    kind = learner("lightgbm")
    params = dict(kind.default) | {"trees": 10}
    boosters = tuple(kind.fit(Sample(X, y, COLUMNS), params, seed=bag, threads=1) for bag in range(bags))
    return Model("lightgbm", ENCODER, boosters, Platt(1.1, 0.2))


def test_bags_are_averaged_in_log_odds() -> None:
    whole, X = model(3), np.array([[0.1, 0.0], [np.nan, 1.0]])
    assert whole.margin(X) == pytest.approx(np.mean([booster.margin(X) for booster in whole.boosters], axis=0))
    assert whole.contributions(X).sum(axis=1) == pytest.approx(whole.margin(X))


def test_a_round_trip_keeps_features_vocabularies_bags_and_calibration(tmp_path: Path) -> None:
    whole = model(2)
    whole.save(tmp_path)
    loaded = Model.load(tmp_path)
    assert (loaded.features, loaded.vocabularies, loaded.calibration) == (
        whole.features,
        whole.vocabularies,
        whole.calibration,
    )
    assert [booster.dump() for booster in loaded.boosters] == [booster.dump() for booster in whole.boosters]


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no model in"):
        Model.load(tmp_path)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    model().save(tmp_path)
    raw = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(raw | {"format": 99}))
    with pytest.raises(TrainingError, match="format 99"):
        Model.load(tmp_path)


def test_a_damaged_description_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(TrainingError, match="not readable JSON"):
        Model.load(tmp_path)
