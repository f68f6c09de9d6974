"""Reject inference by hand, and the check that says yes only where it helps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from configs.validation import Rejects
from training.evidence.metrics import auc
from training.folds import Fold
from training.learners.protocol import Column
from training.rejects.check import rejects_evidence
from training.rejects.inference import (
    MOST_WEIGHT,
    Applicants,
    Beliefs,
    beliefs,
    choice_fit,
    fuzzy,
    infer,
    observed,
    parcelling,
    reweighting,
)

COLUMNS = tuple(Column(f"x{index}") for index in range(3))


def logistic(X: np.ndarray, y: np.ndarray, weight: np.ndarray):
    return LogisticRegression(C=10.0).fit(X, y, sample_weight=weight).decision_function


def by_hand(accepted: int = 40, refused: int = 60) -> Applicants:
    y = (np.arange(accepted) % 4 == 0).astype(float)
    return Applicants(np.zeros((accepted, 1)), y, np.ones((refused, 1)))


def test_fuzzy_gives_each_refused_row_the_weight_of_one_split_by_its_probability() -> None:
    applicants = by_hand(4, 2)
    found = fuzzy(applicants, Beliefs(np.array([0.1, 0.1, 0.1, 0.1, 0.25, 0.5]), np.zeros(6)))
    assert found.rows.tolist() == [0, 1, 2, 3, 4, 5, 4, 5]
    assert found.y.tolist() == [1, 0, 0, 0, 1, 1, 0, 0]
    assert found.weight.tolist() == [1, 1, 1, 1, 0.25, 0.5, 0.75, 0.5]


def test_parcelling_makes_a_bands_refused_rows_bad_as_often_as_its_accepted_times_the_uplift() -> None:
    applicants = by_hand()
    one_band = Beliefs(np.full(100, 0.3), np.zeros(100))
    for uplift, bads in ((1.0, 15), (2.0, 30), (9.0, 60)):
        found = parcelling(applicants, one_band, seed=1, uplift=uplift)
        assert (found.y[40:].sum(), len(found.rows), set(found.weight)) == (bads, 100, {1.0})
        assert found.y[:40].tolist() == applicants.y.tolist()


def test_parcelling_takes_the_predictions_of_a_band_that_nobody_was_accepted_in() -> None:
    applicants = by_hand(40, 50)
    believed = Beliefs(np.concatenate([np.linspace(0.1, 0.2, 40), np.full(50, 0.6)]), np.zeros(90))
    assert parcelling(applicants, believed, seed=1, uplift=1.0).y[40:].sum() == 30


def test_reweighting_lets_accepted_rows_stand_for_the_refused_of_their_band() -> None:
    """Two bands of refusal: 30 accepted of 40, and 10 of 60, so weights of 4/3 and 6 before scaling to mean 1."""
    applicants = by_hand()
    refused = np.concatenate([np.full(30, 0.2), np.full(10, 0.8), np.full(10, 0.2), np.full(50, 0.8)])
    found = reweighting(applicants, Beliefs(np.zeros(100), refused))
    assert found.weight.mean() == pytest.approx(1.0)
    assert found.weight[35] / found.weight[0] == pytest.approx(6 / (4 / 3))
    assert found.rows.tolist() == list(range(40))


def test_reweighting_joins_a_band_without_accepted_rows_and_bounds_the_weights() -> None:
    applicants = by_hand(400, 600)
    refused = np.concatenate([np.linspace(0.01, 0.3, 399), [0.9], np.linspace(0.85, 0.95, 300), np.full(300, 0.99)])
    weight = reweighting(applicants, Beliefs(np.zeros(1000), refused)).weight
    assert weight.argmax() == 399
    assert weight.max() / weight.min() <= MOST_WEIGHT
    assert weight.mean() == pytest.approx(1.0)


def test_own_weights_multiply() -> None:
    applicants = Applicants(np.zeros((2, 1)), np.array([1.0, 0.0]), np.ones((1, 1)), np.array([2.0, 3.0, 5.0]))
    seen: list[np.ndarray] = []

    def fit(X: np.ndarray, y: np.ndarray, weight: np.ndarray):
        seen.append(weight)
        return lambda rows: np.zeros(len(rows))

    fuzzy(applicants, Beliefs(np.array([0.0, 0.0, 0.4]), np.zeros(3))).fitted(applicants, fit)
    assert seen[0] == pytest.approx([2.0, 3.0, 2.0, 3.0])


def world(seed: int, *, kinked: bool, n: int = 6000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, outcome and refusal; both depend on x0. Kinked: risk falls a little, and rises steeply where most are refused.

    A straight line through the accepted gets that wrong; one through all applications does not.
    """
    generator = np.random.default_rng(seed)
    X = generator.normal(size=(n, 3))
    x = X[:, 0]
    slope = np.where(x < 0.3, -0.5 * (x - 0.3), 2.5 * (x - 0.3)) if kinked else 0.8 * x
    y = (generator.random(n) < 1 / (1 + np.exp(1.5 - slope - 0.5 * X[:, 1]))).astype(float)
    return X, y, generator.random(n) < 1 / (1 + np.exp(-2.0 * (x - 0.5)))


def applied(*, kinked: bool, seed: int = 1) -> Applicants:
    X, y, refused = world(seed, kinked=kinked)
    return Applicants(X[~refused], y[~refused], X[refused])


def checked(applicants: Applicants, settings: Rejects) -> dict[str, Any]:
    n, rows = len(applicants.y), np.arange(len(applicants.y))
    folds = [Fold(rows[: n // 2], rows[n // 2 : 3 * n // 4]), Fold(rows[: 3 * n // 4], rows[3 * n // 4 :])]
    choice = choice_fit(COLUMNS, seed=1)
    return rejects_evidence(
        applicants, folds, settings, objective="auc", fit=logistic, choice=choice, blocks=rows // 10, seed=3
    )


@pytest.fixture(scope="module")
def straight() -> dict[str, Any]:
    return checked(applied(kinked=False), Rejects())


@pytest.mark.parametrize("seed", [1, 2])
def test_inference_is_used_where_selection_misleads_the_model_and_it_is_right(seed: int) -> None:
    applicants = applied(kinked=True, seed=seed)
    found = checked(applicants, Rejects())
    assert found["use"] in {"reweighting", "parcelling"}
    assert found["methods"][found["use"]]["interval"][0] > 0
    X, y, _ = world(100 + seed, kinked=True)
    believed = beliefs(applicants, logistic, choice=choice_fit(COLUMNS, seed=1), seed=1)
    with_it = infer(found["use"], applicants, believed, seed=1, uplift=1.5).fitted(applicants, logistic)
    without = observed(applicants).fitted(applicants, logistic)
    assert auc(y, with_it(X)) > auc(y, without(X)) + 0.02


def test_inference_is_not_used_where_the_accepted_tell_it_all(straight: dict[str, Any]) -> None:
    assert straight["use"] is None
    assert straight["reason"].startswith("it did not help")
    assert all(abs(one["gain"]) < 0.01 for one in straight["methods"].values())


def test_hidden_rows_are_riskier_and_look_more_like_the_refused_than_the_accepted_do(straight: dict[str, Any]) -> None:
    for fold in straight["folds"]:
        assert fold["hidden_bads"] / fold["hidden"] > 1.4 * fold["left_bads"] / fold["left"]
        assert abs(fold["resemblance"] - 0.5) < 0.4 * (straight["selection_auc"] - 0.5)


def test_evidence_is_plain_data_and_the_same_again(straight: dict[str, Any]) -> None:
    assert json.loads(json.dumps(straight, allow_nan=False)) == straight
    assert checked(applied(kinked=False), Rejects()) == straight


def test_a_gain_below_the_bar_is_no_help() -> None:
    found = checked(applied(kinked=True), Rejects(methods=("reweighting",), gain=0.5))
    assert found["use"] is None
    assert found["methods"]["reweighting"]["interval"][0] > 0


def test_too_few_refused_or_too_few_outcomes_are_said() -> None:
    applicants = applied(kinked=False)
    few = Applicants(applicants.accepted, applicants.y, applicants.refused[:20])
    assert "20 refused rows" in checked(few, Rejects())["reason"]
    rows = np.concatenate([np.flatnonzero(applicants.y == 0)[:400], np.flatnonzero(applicants.y == 1)[:30]])
    thin = Applicants(applicants.accepted[rows], applicants.y[rows], applicants.refused)
    found = checked(thin, Rejects())
    assert (found["use"], found["methods"]) == (None, {})
    assert "can't be told" in found["reason"]
