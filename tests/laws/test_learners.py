"""What every learner must keep: the same bytes, exact reloading, true contributions, known labels, monotone scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.vector import Feature
from training.encoding import Encoder
from training.evidence.calibration import Calibration
from training.learners.choice import learner
from training.learners.protocol import Fitted, Learner, Sample, columns_of
from training.model import Model

LEARNERS = ("lightgbm", "xgboost", "scorecard")
FEATURES = (
    Feature("income", "number", "request", ""),
    Feature("arrears", "number", "request", ""),
    Feature("balance", "number", "request", ""),
    Feature("purpose", "category", "request", "", ("car", "home")),
    Feature("region", "category", "request", ""),
    Feature("unknown", "number", "request", ""),
)
MONOTONE = {"income": "decreasing", "arrears": "increasing"}


def table(n: int = 1500) -> tuple[pd.DataFrame, np.ndarray]:
    generator = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "income": generator.lognormal(10, 0.5, n),
            "arrears": generator.poisson(0.6, n).astype(float),
            "balance": np.where(generator.random(n) < 0.2, np.nan, generator.normal(0, 1, n)),
            "purpose": generator.choice(np.array(["car", "home", None], dtype=object), n),
            "region": generator.choice(np.array(["north", "south", "west"], dtype=object), n),
            "unknown": np.full(n, np.nan),
        }
    )
    risk = (
        -1.5
        - 0.8 * (np.log(frame["income"]) - 10)
        + 0.7 * frame["arrears"]
        + 0.5 * frame["balance"].fillna(0)
        + (frame["purpose"] == "car")
    )
    return frame, (generator.random(n) < 1 / (1 + np.exp(-risk.to_numpy()))).astype(float)


FRAME, LABEL = table()
ENCODER = Encoder.learned(FEATURES, FRAME)
COLUMNS = columns_of(ENCODER, MONOTONE)
X = ENCODER.table(FRAME)


def small(kind: Learner) -> dict[str, float | int]:
    return dict(kind.default) | ({"trees": 40} if "trees" in kind.default else {})


def fit(name: str, *, seed: int = 1, rows: slice = slice(None)) -> Fitted:
    kind = learner(name)
    return kind.fit(Sample(X[rows], LABEL[rows], COLUMNS), small(kind), seed=seed, threads=1)


@pytest.fixture(scope="module", params=LEARNERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Model:
    return Model(name, ENCODER, (fit(name),), Calibration(0.9, -0.1))


def test_the_same_seed_gives_the_same_bytes(name: str, model: Model) -> None:
    assert fit(name).dump() == model.boosters[0].dump()


def test_a_loaded_model_scores_and_explains_the_same_bits(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert np.array_equal(loaded.margin(X), model.margin(X))
    assert np.array_equal(loaded.probability(X), model.probability(X))
    assert np.array_equal(loaded.contributions(X[:50]), model.contributions(X[:50]))


def test_a_saved_model_is_plain_data(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    assert {path.suffix for path in (tmp_path / "model").iterdir()} <= {".json", ".txt", ".ubj"}


def test_one_row_scores_the_same_bits_as_a_batch(model: Model) -> None:
    batch, parts = model.margin(X[:200]), model.contributions(X[:50])
    assert [model.margin(row[None])[0] for row in X[:200]] == batch.tolist()
    assert np.array_equal(np.vstack([model.contributions(row[None]) for row in X[:50]]), parts)


def test_a_large_batch_scores_the_same_bits_as_a_small_one(model: Model) -> None:
    large = np.vstack([X, X, X])
    assert np.array_equal(model.margin(large)[: len(X)], model.margin(X))


def test_contributions_sum_to_the_margin(name: str, model: Model) -> None:
    error = np.abs(model.contributions(X).sum(axis=1) - model.margin(X)).max()
    assert error < (1e-5 if name == "xgboost" else 1e-12)


def test_an_encoded_row_is_the_row_of_the_table(model: Model) -> None:
    rows = [
        {key: None if pd.isna(value) else value for key, value in row.items()}
        for row in FRAME.head(100).to_dict("records")
    ]
    assert np.array_equal(np.vstack([model.encode_row(row) for row in rows]), X[:100], equal_nan=True)


def test_an_unseen_category_scores_like_other(model: Model) -> None:
    row = {"income": 20000.0, "arrears": 1.0, "balance": None, "purpose": "car", "region": "north", "unknown": None}
    scores = {
        label: model.margin(model.encode_row(row | {"region": label})[None])[0]
        for label in ("atlantis", "other", "lemuria")
    }
    assert len(set(scores.values())) == 1 and np.isfinite(scores["other"])


def test_a_row_with_nothing_known_scores(model: Model) -> None:
    empty = model.encode_row({})
    assert np.isnan(empty).all()
    assert 0 < model.probability(empty[None])[0] < 1


@pytest.mark.parametrize("feature", list(MONOTONE))
def test_monotone_directions_hold_everywhere(model: Model, feature: str) -> None:
    place = model.names.index(feature)
    grid = np.linspace(np.nanmin(X[:, place]), np.nanmax(X[:, place]), 60)
    for row in X[:40]:
        probes = np.tile(row, (60, 1))
        probes[:, place] = grid
        steps = np.diff(model.margin(probes))
        assert np.all(steps >= -1e-6) if MONOTONE[feature] == "increasing" else np.all(steps <= 1e-6)


def test_every_learner_finds_the_signal(name: str) -> None:
    from training.evidence.metrics import auc

    assert auc(LABEL[1000:], fit(name, rows=slice(0, 1000)).margin(X[1000:])) > 0.68


def test_seeds_change_boosters(name: str) -> None:
    if name == "scorecard":
        assert fit(name, seed=1).dump() == fit(name, seed=2).dump()
    else:
        assert not np.array_equal(fit(name, seed=1).margin(X), fit(name, seed=2).margin(X))
