"""The search over learners and parameters."""

from __future__ import annotations

import numpy as np
import pytest

from configs.use_case import Training
from training.learners.protocol import Column
from training.search import Search, Trial, next_learner, search, thinned
from training.folds import Fold


def data(n: int = 900) -> tuple[np.ndarray, np.ndarray, tuple[Column, ...], list[Fold]]:
    generator = np.random.default_rng(2)
    X = generator.normal(size=(n, 4))
    y = (X[:, 0] - X[:, 1] + generator.normal(size=n) > 1).astype(float)
    folds = [Fold(np.arange(0, 300), np.arange(300, 600)), Fold(np.arange(0, 600), np.arange(600, 900))]
    return X, y, tuple(Column(f"x{i}") for i in range(4)), folds


def run(trials: int, seconds: float = 60, threads: int = 2, **extra: object) -> Search:
    training = Training.model_validate({"trials": trials, "seed": 5} | extra)
    return search(*data(), training, seconds=seconds, threads=threads)


def without_times(found: Search) -> list[tuple[object, ...]]:
    return [(trial.number, trial.learner, dict(trial.params), trial.scores, trial.state) for trial in found.trials]


def test_every_learner_is_tried_with_its_default_first() -> None:
    found = run(3)
    assert [trial.learner for trial in found.trials] == ["lightgbm", "xgboost", "scorecard"]
    assert set(found.best_by_learner) == {"lightgbm", "xgboost", "scorecard"}


def test_the_same_seed_finds_the_same_on_any_number_of_threads() -> None:
    assert without_times(run(7, learners=["lightgbm"])) == without_times(run(7, threads=1, learners=["lightgbm"]))


def test_a_budget_that_is_too_small_still_finishes_one_trial() -> None:
    found = run(8, seconds=0)
    assert found.best.number == 0 and len(found.trials) <= 2


def test_the_best_is_the_greatest_complete_mean() -> None:
    trials = (
        Trial(0, "lightgbm", {}, (0.7, 0.8), "complete", 1.0),
        Trial(1, "lightgbm", {}, (0.99,), "pruned", 1.0),
        Trial(2, "xgboost", {}, (0.75, 0.8), "complete", 1.0),
    )
    assert Search(trials).best.number == 2


def test_the_leader_gets_the_second_half() -> None:
    training = Training(trials=10, learners=("lightgbm", "xgboost"))
    best = {"lightgbm": 0.7, "xgboost": 0.8}
    assert next_learner(["lightgbm", "xgboost"], best, training) == "lightgbm"
    assert next_learner(["lightgbm", "xgboost"] * 3, best, training) == "xgboost"


def test_a_scorecard_alone_gets_every_trial() -> None:
    assert (
        next_learner(["scorecard"] * 5, {"scorecard": 0.7}, Training(trials=10, learners=("scorecard",))) == "scorecard"
    )


def test_thinning_keeps_every_positive_and_is_repeatable() -> None:
    y = (np.arange(10_000) % 50 == 0).astype(float)
    rows = thinned(y, np.arange(10_000), most=1000, seed=1)
    assert len(rows) == 1000 and y[rows].sum() == 200
    assert np.array_equal(rows, thinned(y, np.arange(10_000), most=1000, seed=1))


@pytest.mark.parametrize("objective", ["auc", "average_precision"])
def test_the_objective_decides_what_trials_are_scored_by(objective: str) -> None:
    found = run(1, objective=objective, learners=["lightgbm"])
    assert found.objective == objective and 0.3 < found.best.value < 1
