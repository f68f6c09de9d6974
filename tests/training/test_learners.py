"""Vocabularies, directions and the scorecard's table."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from configs.errors import TrainingError
from configs.use_case import Points
from features.vector import Feature
from training.encoding import MIN_COUNT, Encoder, learn_vocabulary
from training.learners.choice import learner
from training.learners.protocol import Column, Sample, columns_of
from training.learners.scorecard import FittedScorecard

PURPOSE = Feature("purpose", "category", "request", "")
AMOUNT = Feature("amount", "number", "request", "")


def test_a_learned_vocabulary_is_sorted_folds_rare_labels_and_ends_in_other() -> None:
    values = pd.Series(["b"] * MIN_COUNT + ["a"] * MIN_COUNT + ["rare"] + [None], dtype=object)
    assert learn_vocabulary(PURPOSE, values) == ("a", "b", "other")


def test_a_declared_vocabulary_keeps_its_order_whatever_the_data_says() -> None:
    declared = Feature("purpose", "category", "request", "", ("z", "other", "y"))
    assert learn_vocabulary(declared, pd.Series(["q"] * 100, dtype=object)) == ("z", "y", "other")


def test_encoding_gives_unseen_labels_the_code_of_other_and_missing_nan() -> None:
    encoder = Encoder((PURPOSE, AMOUNT), {"purpose": ("car", "other")})
    found = encoder.table(pd.DataFrame({"purpose": ["car", "boat", None], "amount": [1.5, np.nan, 2.0]}))
    assert np.array_equal(found, [[0, 1.5], [1, np.nan], [np.nan, 2.0]], equal_nan=True)


def test_an_absent_feature_is_named() -> None:
    with pytest.raises(TrainingError, match="amount"):
        Encoder((AMOUNT,), {}).table(pd.DataFrame({"x": [1.0]}))


def test_a_monotone_direction_on_a_category_is_an_error_before_anything_is_trained() -> None:
    with pytest.raises(TrainingError, match="monotone direction on the category purpose"):
        columns_of(Encoder((PURPOSE,), {"purpose": ("car", "other")}), {"purpose": "increasing"})


def test_a_direction_of_an_excluded_feature_has_no_effect() -> None:
    assert columns_of(Encoder((AMOUNT,), {}), {"gone": "increasing"}) == (Column("amount"),)


def scorecard() -> tuple[FittedScorecard, np.ndarray]:
    generator = np.random.default_rng(6)
    X = np.column_stack([generator.normal(size=3000), generator.integers(0, 4, 3000)]).astype(float)
    X[::10, 0] = np.nan
    risk = -1 + np.nan_to_num(X[:, 0]) + (X[:, 1] == 2)
    y = (generator.random(3000) < 1 / (1 + np.exp(-risk))).astype(float)
    kind = learner("scorecard")
    fitted = kind.fit(
        Sample(X, y, (Column("x"), Column("g", ("a", "b", "c", "d", "other")))), kind.default, seed=1, threads=1
    )
    assert isinstance(fitted, FittedScorecard)
    return fitted, X


def test_the_points_table_reproduces_the_score() -> None:
    fitted, X = scorecard()
    scale, raw = Points(), json.loads(fitted.dump())
    points = {(row["feature"], row["bin"]): row["points"] for row in fitted.points(scale)}
    edges = np.array(raw["columns"][0]["edges"])
    names = [row["bin"] for row in fitted.points(scale) if row["feature"] == "x"]
    label = dict(enumerate(("a", "b", "c", "d")))
    groups = [row["bin"] for row in fitted.points(scale) if row["feature"] == "g"]
    for row, margin in zip(X[:100], fitted.margin(X[:100]), strict=True):
        number = "missing" if np.isnan(row[0]) else names[int(np.searchsorted(edges, row[0], side="right"))]
        group = next(name for name in groups if label[int(row[1])] in name.split(", "))
        expected = scale.base - scale.double / np.log(2) * (np.log(scale.odds) + margin)
        assert points["x", number] + points["g", group] == pytest.approx(expected)


def test_scoring_a_saved_scorecard_needs_no_training_library() -> None:
    code = (
        "import sys; from training.learners.choice import learner; import numpy as np;"
        "fitted = learner('scorecard').load(sys.stdin.buffer.read());"
        "print(float(fitted.margin(np.array([[0.3, 1.0]]))[0]), {'sklearn', 'optbinning', 'scipy'} & set(sys.modules))"
    )
    fitted, _ = scorecard()
    out = subprocess.run(
        [sys.executable, "-c", code], input=fitted.dump(), capture_output=True, check=True
    ).stdout.decode()
    assert out.split() == [str(float(fitted.margin(np.array([[0.3, 1.0]]))[0])), "set()"]


def test_loading_a_booster_leaves_scikit_learn_out() -> None:
    kind = learner("lightgbm")
    generator = np.random.default_rng(1)
    X = generator.normal(size=(300, 2))
    fitted = kind.fit(
        Sample(X, (X[:, 0] > 0).astype(float), (Column("a"), Column("b"))),
        dict(kind.default) | {"trees": 3},
        seed=1,
        threads=1,
    )
    code = (
        "import sys; from training.learners.choice import learner;"
        "learner('lightgbm').load(sys.stdin.buffer.read());"
        "print([name for name in ('sklearn', 'shap', 'optuna', 'mlflow', 'optbinning') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], input=fitted.dump(), capture_output=True, check=True
    ).stdout.decode()
    assert out.strip() == "[]"


def test_an_unknown_learner_is_named() -> None:
    with pytest.raises(TrainingError, match="'forest'"):
        learner("forest")
