"""What every learner must keep: the same bytes, exact reloading, true contributions, known labels, monotone scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.vector import Feature
from training.encoding import Encoder
from training.evidence.calibration import Platt
from training.evidence.directions import verify_monotone
from training.learners.choice import learner
from training.learners.protocol import Column, Fitted, Learner, Sample, columns_of
from training.learners.weights import balanced
from training.model import Model

LEARNERS = ("lightgbm", "xgboost", "scorecard")
FEATURES = (
    Feature("income", "number", "request", ""),
    Feature("arrears", "number", "request", ""),
    Feature("balance", "number", "request", ""),
    Feature("purpose", "category", "request", "", ("car", "home")),
    Feature("region", "category", "request", ""),
    Feature("unknown", "number", "request", ""),
    Feature("constant", "number", "request", ""),
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
            "constant": np.full(n, 3.0),
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
WEIGHT = np.random.default_rng(8).integers(0, 4, len(X)).astype(float)


def small(kind: Learner) -> dict[str, float | int]:
    return dict(kind.default) | ({"trees": 40} if "trees" in kind.default else {})


def fit(
    name: str,
    *,
    seed: int = 1,
    rows: slice | np.ndarray = slice(None),
    weight: np.ndarray | None = None,
    threads: int = 1,
) -> Fitted:
    kind = learner(name)
    sample = Sample(X[rows], LABEL[rows], COLUMNS, None if weight is None else weight[rows])
    return kind.fit(sample, small(kind), seed=seed, threads=threads)


@pytest.fixture(scope="module", params=LEARNERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Model:
    return Model(name, ENCODER, (fit(name),), Platt(0.9, -0.1))


def test_the_same_seed_gives_the_same_bytes(name: str, model: Model) -> None:
    assert fit(name).dump() == model.boosters[0].dump()


def test_the_same_seed_and_weights_give_the_same_bytes(name: str) -> None:
    assert fit(name, weight=WEIGHT).dump() == fit(name, weight=WEIGHT).dump() != fit(name).dump()


def test_threads_do_not_change_the_bytes(name: str, model: Model) -> None:
    assert fit(name, threads=2).dump() == model.boosters[0].dump()


def test_the_order_of_features_does_not_change_a_bit_of_a_score(name: str, model: Model) -> None:
    kind, order = learner(name), np.random.default_rng(9).permutation(len(COLUMNS))
    shuffled = Sample(X[:, order], LABEL, tuple(COLUMNS[place] for place in order))
    fitted = kind.fit(shuffled, small(kind), seed=1, threads=1)
    assert np.array_equal(fitted.margin(X[:, order]), model.margin(X))
    parts, whole = fitted.contributions(X[:50][:, order]), model.contributions(X[:50])
    assert np.array_equal(parts[:, :-1], whole[:, order])
    assert np.array_equal(parts[:, -1], whole[:, -1])


def test_a_row_of_weight_zero_is_left_out(name: str) -> None:
    assert fit(name, weight=WEIGHT).dump() == fit(name, weight=WEIGHT, rows=np.flatnonzero(WEIGHT)).dump()


def test_a_row_of_weight_k_counts_like_k_rows(name: str) -> None:
    """With nothing drawn, no least number of rows in a leaf, and a bin for each value: those count rows, not weight."""
    kind = learner(name)
    plain = {"lightgbm": {"min_data_in_leaf": 1, "bagging_fraction": 1.0, "feature_fraction": 1.0}}
    plain["xgboost"] = {"subsample": 1.0, "colsample_bytree": 1.0}
    few = np.round(np.column_stack([np.clip(X[:, 1], 0, 2), np.clip(X[:, 2] * 2, -3, 3)]))
    columns, repeat = (Column("arrears"), Column("balance")), WEIGHT.astype(int)
    params = small(kind) | plain.get(name, {})
    weighed = kind.fit(Sample(few, LABEL, columns, WEIGHT), params, seed=1, threads=1)
    repeated = Sample(np.repeat(few, repeat, axis=0), np.repeat(LABEL, repeat), columns)
    scores = kind.fit(repeated, params, seed=1, threads=1).margin(few)
    assert np.abs(weighed.margin(few) - scores).max() < (1e-9 if name == "scorecard" else 1e-4)


def test_balanced_weights_leave_the_mean_probability_near_the_base_rate(name: str) -> None:
    kind, rare = learner(name), np.flatnonzero((LABEL == 0) | (np.arange(len(LABEL)) % 4 == 0))
    sample, offset = balanced(Sample(X[rare], LABEL[rare], COLUMNS))
    model = Model(name, ENCODER, (kind.fit(sample, small(kind), seed=1, threads=1),), Platt(), offset)
    rate, found = LABEL[rare].mean(), model.probability(X[rare]).mean()
    assert offset > 1.5
    assert found == pytest.approx(rate, abs=0.25 * rate)
    assert replace(model, offset=0.0).probability(X[rare]).mean() > 2 * rate
    error = np.abs(model.contributions(X[:50]).sum(axis=1) - model.margin(X[:50])).max()
    assert error < (1e-5 if name == "xgboost" else 1e-12)


def test_the_fitted_model_follows_the_declared_directions(model: Model) -> None:
    found = verify_monotone(model, X, MONOTONE, seed=1)
    assert [one["greatest_violation"] for one in found["features"]] == [0.0, 0.0]
    assert all(one["spread"] > 0 for one in found["features"])


def test_a_constant_and_an_unknown_feature_contribute_nothing(model: Model) -> None:
    parts = model.contributions(X[:50])
    for feature in ("unknown", "constant"):
        assert np.all(parts[:, model.names.index(feature)] == 0)


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
    assert [model.probability(row[None])[0] for row in X[:200]] == model.probability(X[:200]).tolist()
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
