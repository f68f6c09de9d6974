"""Probabilities from margins, and the figures that say whether they are true."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.errors import TrainingError
from training.evidence.calibrating import choose_calibration, held_out_probabilities
from training.evidence.calibration import (
    FITS,
    Beta,
    Calibration,
    Isotonic,
    Platt,
    fit_beta,
    fit_isotonic,
    fit_platt,
)
from training.evidence.calibration_figures import calibration_evidence
from training.evidence.grades import grades, in_order
from training.evidence.metrics import auc
from training.evidence.reliability import (
    brier_parts,
    recalibration,
    reliability,
    spiegelhalter,
    wilson,
)
from training.evidence.tested import Tested
from training.model import Model

KINDS = pytest.mark.parametrize("name", ["platt", "beta", "isotonic"])


def sigmoid(margin: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-margin))


def sample(n: int = 20000, *, seed: int = 2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    margin = generator.normal(-2, 1.5, n)
    return margin, (generator.random(n) < sigmoid(0.6 * margin + 0.8)).astype(float)


def curved(n: int = 40000) -> tuple[np.ndarray, np.ndarray]:
    """A staircase of true log-odds, which neither two nor three numbers can follow."""
    generator = np.random.default_rng(3)
    margin = generator.normal(0, 2, n)
    return margin, (generator.random(n) < sigmoid(np.floor(margin / 2) * 2.5)).astype(float)


def test_platt_finds_the_true_slope_and_intercept() -> None:
    found = fit_platt(*sample())
    assert (found.slope, found.intercept) == pytest.approx((0.6, 0.8), abs=0.06)


def test_platt_is_logistic_regression_on_smoothed_targets() -> None:
    from scipy.optimize import minimize

    margin, y = sample(3000)
    target = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))

    def loss(theta: np.ndarray) -> float:
        z = theta[0] * margin + theta[1]
        return float(np.sum(np.logaddexp(0, z) - target * z))

    found = fit_platt(margin, y)
    theirs = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-4})
    assert (found.slope, found.intercept) == pytest.approx(theirs.x, abs=1e-4)


def test_beta_finds_the_slopes_of_both_ends() -> None:
    generator = np.random.default_rng(4)
    margin = generator.normal(0, 3, 60000)
    truth = Beta(a=0.5, b=1.5, c=0.3)
    found = fit_beta(margin, (generator.random(60000) < truth.probability(margin)).astype(float))
    assert (found.a, found.b, found.c) == pytest.approx((0.5, 1.5, 0.3), abs=0.1)


def test_beta_is_the_logistic_regression_of_kull_silva_filho_and_flach() -> None:
    """On ln p and -ln(1 - p); its smoothed targets and ridge of one row move it by less than the tolerance."""
    from sklearn.linear_model import LogisticRegression

    margin, y = sample(40000)
    p = sigmoid(margin)
    theirs = LogisticRegression(C=1e8, tol=1e-9, max_iter=5000).fit(np.column_stack([np.log(p), -np.log1p(-p)]), y)
    found = fit_beta(margin, y)
    assert (found.a, found.b, found.c) == pytest.approx((*theirs.coef_[0], theirs.intercept_[0]), abs=0.02)


def test_beta_with_equal_slopes_is_platt_scaling() -> None:
    margin = np.linspace(-8, 8, 50)
    assert Beta(0.7, 0.7, -0.2).log_odds(margin) == pytest.approx(Platt(0.7, -0.2).log_odds(margin), abs=1e-12)


def test_beta_of_a_falling_upper_end_keeps_both_slopes_positive() -> None:
    generator = np.random.default_rng(4)
    margin = generator.normal(0, 3, 20000)
    y = (generator.random(20000) < sigmoid(np.minimum(margin, 0) - 0.3 * np.maximum(margin, 0))).astype(float)
    found = fit_beta(margin, y)
    assert found.a > 0.3 and found.b == pytest.approx(1e-3)


def test_isotonic_passes_through_the_block_means_of_scikit_learn() -> None:
    from sklearn.isotonic import IsotonicRegression

    margin, y = sample(20000)
    fitted = IsotonicRegression().fit_transform(margin, y)
    found, n = fit_isotonic(margin, y), [y.sum(), (1 - y).sum()]
    low, high = 1 / (n[1] + 2), (n[0] + 1) / (n[0] + 2)
    middle = range(2, len(found.margins) - 2)
    blocks = pd.DataFrame({"margin": margin, "rate": fitted}).groupby("rate").agg(m=("margin", "mean"))
    known = {round(m, 9): rate for rate, m in blocks["m"].items()}
    shared = [place for place in middle if round(found.margins[place], 9) in known]
    assert len(shared) > 5
    for place in shared:
        expected = low + (high - low) * known[round(found.margins[place], 9)]
        assert found.probability(np.array([found.margins[place]]))[0] == pytest.approx(expected, abs=1e-9)


def test_every_point_of_an_isotonic_calibration_rests_on_rows_of_both_classes() -> None:
    margin, y = sample(3000)
    found = fit_isotonic(margin, y)
    assert 3 < len(found.margins) <= y.sum() / 5
    assert np.all(np.diff(found.margins) > 0) and np.all(np.diff(found.values) > 0)


@KINDS
def test_ranking_is_kept_to_the_last_pair(name: str) -> None:
    margin, y = curved(5000)
    p = FITS[name](margin, y).probability(margin)
    assert np.all(np.diff(p[np.argsort(margin)]) > 0)
    assert auc(y, p) == auc(y, margin)


@KINDS
def test_calibrated_probabilities_match_observed_rates(name: str) -> None:
    margin, y = sample()
    assert all(
        row["low"] - 0.01 < row["predicted"] < row["high"] + 0.01
        for row in reliability(y, FITS[name](margin, y).probability(margin))
    )


@KINDS
def test_probabilities_stay_inside_zero_and_one_and_keep_the_order(name: str) -> None:
    found = FITS[name](*sample(2000))
    p = found.probability(np.array([-1e6, -50.0, -5.0, 0.0, 1.0, 50.0, 1e6]))
    assert np.all((p > 0) & (p < 1)) and np.all(np.diff(p) >= 0)


@KINDS
def test_a_separated_sample_gives_finite_numbers(name: str) -> None:
    found = FITS[name](np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    values = found.log_odds(np.array([-3.0, 0.0, 3.0]))
    assert np.isfinite(values).all() and np.all(np.diff(values) > 0) and np.abs(values).max() < 100


@KINDS
def test_one_class_gives_finite_increasing_numbers(name: str) -> None:
    values = FITS[name](np.linspace(-3, 0, 40), np.zeros(40)).log_odds(np.array([-3.0, 0.0, 3.0]))
    assert np.isfinite(values).all() and np.all(np.diff(values) > 0)


@KINDS
def test_a_reversed_margin_never_turns_the_ranking_round(name: str) -> None:
    margin, y = sample(2000)
    assert np.all(np.diff(FITS[name](-margin, y).log_odds(np.linspace(-4, 6, 30))) > 0)


@KINDS
def test_json_round_trip_is_exact(name: str) -> None:
    found = FITS[name](*sample(2000))
    assert Calibration.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(TrainingError, match="'spline'"):
        Calibration.from_json({"method": "spline"})


@KINDS
def test_one_row_gets_the_same_bits_as_a_batch(name: str) -> None:
    margin, y = sample(2000)
    found = FITS[name](margin, y)
    assert [found.probability(margin[place : place + 1])[0] for place in range(300)] == found.probability(margin)[
        :300
    ].tolist()


def test_a_model_of_format_1_still_loads(candidate_folders: Any, tmp_path: Path) -> None:
    model = Model.load(candidate_folders("scorecard") / "model")
    model.save(tmp_path)
    raw = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    raw.pop("offset")
    raw |= {"format": 1, "calibration": {"method": "platt", "slope": 0.5, "intercept": -1.0}}
    (tmp_path / "model.json").write_text(json.dumps(raw), encoding="utf-8")
    loaded = Model.load(tmp_path)
    assert (loaded.calibration, loaded.offset) == (Platt(0.5, -1.0), 0.0)


@pytest.mark.parametrize("calibration", [Beta(0.5, 1.5, 0.1), Isotonic((-1.0, 0.5), (-2.0, 1.0), 0.7)])
def test_a_saved_model_keeps_its_calibration_and_offset(
    calibration: Calibration, candidate_folders: Any, tmp_path: Path
) -> None:
    model = Model.load(candidate_folders("scorecard") / "model")
    changed = Model(model.learner, model.encoder, model.boosters, calibration, 1.25)
    changed.save(tmp_path)
    loaded, X = Model.load(tmp_path), np.zeros((2, len(model.names)))
    assert np.array_equal(loaded.margin(X), model.margin(X) - 1.25)
    assert np.array_equal(loaded.probability(X), changed.probability(X))


def parts_of(margin: np.ndarray, y: np.ndarray, parts: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return np.array_split(margin, parts), np.array_split(y, parts)


def test_platt_is_chosen_where_it_is_the_truth() -> None:
    found, table = choose_calibration(*parts_of(*sample(), 3))
    assert found == fit_platt(*sample()) and table["chosen"] == "platt" and table["asked"] == "auto"


def test_isotonic_is_chosen_for_a_staircase() -> None:
    found, table = choose_calibration(*parts_of(*curved(), 4))
    assert isinstance(found, Isotonic)
    rows = {row["method"]: row for row in table["compared"]}
    assert rows["isotonic"]["gain"] > rows["isotonic"]["standard_error"] > 0
    assert rows["isotonic"]["log_loss"] < rows["beta"]["log_loss"] < rows["none"]["log_loss"]


def test_beta_is_chosen_for_different_slopes_of_both_ends() -> None:
    generator = np.random.default_rng(4)
    margin = generator.normal(0, 3, 20000)
    y = (generator.random(20000) < Beta(0.3, 2.0, 0.0).probability(margin)).astype(float)
    assert isinstance(choose_calibration(*parts_of(margin, y, 3))[0], Beta)


def test_few_positives_of_a_staircase_get_a_simpler_one() -> None:
    margin, y = curved(300)
    assert choose_calibration(*parts_of(margin, y, 3))[1]["chosen"] in {"none", "platt"}


def test_margins_that_are_true_stay_as_they_are() -> None:
    margin = sample()[0]
    y = (np.random.default_rng(7).random(len(margin)) < sigmoid(margin)).astype(float)
    found, table = choose_calibration(*parts_of(margin, y, 3))
    assert found == Platt() and table["chosen"] == "none" and table["compared"][0]["gain"] == 0


def test_a_declared_method_is_used_and_compared_all_the_same() -> None:
    found, table = choose_calibration(*parts_of(*sample(3000), 3), method="isotonic")
    assert isinstance(found, Isotonic)
    assert [row["method"] for row in table["compared"]] == ["none", "platt", "beta", "isotonic"]
    assert (table["rows"], table["parts"], table["positives"]) == (3000, 3, int(sample(3000)[1].sum()))
    json.dumps(table, allow_nan=False)


def test_one_part_is_cut_into_five() -> None:
    margin, y = sample(3000)
    assert choose_calibration([margin], [y])[1]["parts"] == 5


def test_the_comparison_judges_each_part_by_a_fit_on_the_others() -> None:
    margins, labels = parts_of(*sample(3000), 3)
    first = fit_platt(np.concatenate(margins[1:]), np.concatenate(labels[1:])).probability(margins[0])
    places = np.split(np.arange(3000), [1000, 2000])
    pieces = list(zip(margins, labels, places, strict=True))
    assert np.array_equal(next(held_out_probabilities(pieces, "platt")), first)


def test_a_row_of_several_parts_is_left_out_of_all_of_them() -> None:
    margin, y = sample(3000)
    pieces = [(margin[:2000], y[:2000], np.arange(2000)), (margin[1000:], y[1000:], np.arange(1000, 3000))]
    first = fit_platt(margin[2000:], y[2000:]).probability(margin[:2000])
    assert np.array_equal(next(held_out_probabilities(pieces, "platt")), first)


def test_wilson_interval_of_no_positives_starts_at_zero() -> None:
    low, high = wilson(0, 100)
    assert low == 0.0 and high == pytest.approx(0.037, abs=0.001)


def test_the_parts_of_the_brier_score_add_up_to_it() -> None:
    from sklearn.metrics import brier_score_loss

    margin, y = sample(5003)
    p = sigmoid(margin)
    found = brier_parts(y, p)
    assert found is not None
    total = found["reliability"] - found["resolution"] + found["uncertainty"]
    total += found["within_variance"] - found["within_covariance"]
    assert total == pytest.approx(found["brier"], abs=1e-14)
    assert found["brier"] == pytest.approx(brier_score_loss(y, p))


def test_murphys_parts_of_a_forecast_with_two_values() -> None:
    """Ten rows at 0.2 with 3 positives, ten at 0.7 with 6: no variance inside a bin, and a total by hand."""
    p, y = np.repeat([0.2, 0.7], 10), np.concatenate([np.arange(10) < 3, np.arange(10) < 6]).astype(float)
    found = brier_parts(y, p, bins=2)
    assert found is not None
    assert found["reliability"] == pytest.approx((0.1**2 + 0.1**2) / 2)
    assert found["resolution"] == pytest.approx(0.15**2)
    assert found["uncertainty"] == pytest.approx(0.45 * 0.55)
    assert (found["within_variance"], found["within_covariance"]) == pytest.approx((0, 0), abs=1e-15)
    assert found["skill"] == pytest.approx(1 - (0.01 - 0.0225 + 0.2475) / 0.2475)


def test_slope_and_intercept_undo_a_known_distortion() -> None:
    generator = np.random.default_rng(5)
    truth = generator.normal(-2, 1.5, 50000)
    y = (generator.random(50000) < sigmoid(truth)).astype(float)
    slope, _ = recalibration(y, sigmoid(2 * truth + 1))
    _, intercept = recalibration(y, sigmoid(truth - 0.7))
    assert slope is not None and intercept is not None
    assert slope["low"] < 0.5 < slope["high"] and slope["high"] - slope["low"] < 0.05
    assert intercept["low"] < 0.7 < intercept["high"] and intercept["high"] - intercept["low"] < 0.1


def test_the_interval_of_the_slope_is_that_of_a_logistic_regressions_information() -> None:
    from sklearn.linear_model import LogisticRegression

    margin, y = sample(4000)
    slope, _ = recalibration(y, sigmoid(margin))
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(margin[:, None], y)
    p = theirs.predict_proba(margin[:, None])[:, 1]
    design = np.column_stack([margin, np.ones(4000)])
    error = np.sqrt(np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)[0, 0])
    assert slope is not None
    assert slope["value"] == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    assert slope["high"] - slope["value"] == pytest.approx(1.959964 * error, rel=1e-4)


def test_a_separated_test_has_no_slope_and_one_class_neither() -> None:
    p = np.array([0.1, 0.2, 0.8, 0.9])
    assert recalibration(np.array([0.0, 0, 1, 1]), p)[0] is None
    assert recalibration(np.array([1.0, 0, 1, 0]), np.full(4, 0.3))[0] is None
    assert recalibration(np.zeros(4), p) == (None, None)


def test_spiegelhalters_z_is_the_brier_scores_distance_from_its_expectation() -> None:
    margin, y = sample(2000)
    p = sigmoid(margin)
    expected, spread = np.mean(p * (1 - p)), np.sum((1 - 2 * p) ** 2 * p * (1 - p)) / 2000**2
    found = spiegelhalter(y, p)
    assert found is not None
    assert found["z"] == pytest.approx((np.mean((y - p) ** 2) - expected) / np.sqrt(spread))
    assert found["p_value"] == pytest.approx(math.erfc(abs(found["z"]) / math.sqrt(2)))
    assert spiegelhalter(np.array([1.0, 0.0]), np.array([0.5, 0.5])) is None


def test_spiegelhalters_test_alarms_at_its_level_when_every_probability_is_true() -> None:
    generator = np.random.default_rng(6)
    alarms = 0
    for _ in range(400):
        p = sigmoid(generator.normal(-2, 1, 500))
        found = spiegelhalter((generator.random(500) < p).astype(float), p)
        alarms += found is not None and found["p_value"] < 0.05
    assert 8 <= alarms <= 34  # 20 expected; 99.9 % of binomial(400, 0.05) lies within


def scored(y: np.ndarray, p: np.ndarray, *, rows: np.ndarray | None = None, credit_risk: Any = None) -> Tested:
    use_case: Any = SimpleNamespace(credit_risk=credit_risk)
    events = pd.DataFrame(index=np.arange(len(y)) if rows is None else rows)
    return Tested(use_case, events, pd.DataFrame(), y, p, np.arange(len(y)), (slice(None),), 1)


def test_grades_test_their_rates_with_exact_binomials() -> None:
    from scipy.stats import beta, binom

    p = np.concatenate([np.full(200, 0.01), np.full(100, 0.1), np.full(50, 0.4)])
    y = np.concatenate([np.arange(200) < 9, np.arange(100) < 10, np.arange(50) < 10]).astype(float)
    first, empty, third, last, everything = grades(scored(y, p), (0.02, 0.05, 0.2))
    assert (first["rows"], first["defaults"], first["rate"], first["mean_pd"]) == (200, 9, 0.045, pytest.approx(0.01))
    assert first["p_low"] == pytest.approx(binom.sf(8, 200, 0.01))
    assert first["p_high"] == pytest.approx(binom.cdf(9, 200, 0.01))
    assert first["jeffreys"] == pytest.approx(beta.cdf(0.01, 9.5, 191.5))
    outcomes = binom.pmf(np.arange(101), 100, 0.1)
    assert third["p_two_sided"] == pytest.approx(outcomes[outcomes <= outcomes[10] * (1 + 1e-7)].sum())
    assert [one["verdict"] for one in (first, empty, third, last)] == [
        "PD too low",
        "no rows",
        "in line",
        "PD too high",
    ]
    assert (everything["grade"], everything["rows"], everything["defaults"]) == ("all", 350, 29)
    assert (empty["mean_pd"], empty["from"], empty["below"], last["below"]) == (None, 0.02, 0.05, None)


def test_a_bound_belongs_to_the_grade_above() -> None:
    found = grades(scored(np.array([0.0, 1.0]), np.array([0.02, 0.019999])), (0.02,))
    assert [one["rows"] for one in found] == [1, 1, 2]
    assert [one["defaults"] for one in found] == [1, 0, 1]
    assert not in_order(found)


def test_repeated_folds_count_each_row_once() -> None:
    """Two repeats: the same four rows twice, in another order."""
    rows = np.array([4, 7, 5, 6, 7, 6, 5, 4])
    y, p = np.array([0.0, 1, 1, 0, 1, 0, 1, 0]), np.array([0.1, 0.6, 0.7, 0.2, 0.3, 0.3, 0.3, 0.3])
    found = grades(scored(y, p, rows=rows), (0.5,))
    assert found[-1]["rows"] == 4 and found[-1]["mean_pd"] == pytest.approx(0.4)


def test_the_evidence_is_plain_finite_data() -> None:
    margin, y = sample(2000)
    risk = SimpleNamespace(grades=(0.05, 0.1, 0.3, 0.999))
    found = calibration_evidence(scored(y, sigmoid(0.6 * margin + 0.8), credit_risk=risk))
    json.dumps(found, allow_nan=False)
    assert found["rows"] == 2000 and found["grades_in_order"] is True
    assert found["slope"]["low"] < 1 < found["slope"]["high"]
    assert len(found["reliability"]) == 10 and len(found["grades"]) == 6


def test_the_evidence_of_one_class_and_of_no_rows_is_none_where_undefined() -> None:
    one = calibration_evidence(scored(np.zeros(20), np.linspace(0.1, 0.4, 20)))
    none = calibration_evidence(scored(np.zeros(0), np.zeros(0), credit_risk=SimpleNamespace(grades=(0.1,))))
    json.dumps([one, none], allow_nan=False)
    assert (one["slope"], one["intercept"], one["grades"], one["brier"]["skill"]) == (None, None, None, None)
    assert (none["brier"], none["ece"], none["spiegelhalter"]) == (None, None, None)
    assert [grade["verdict"] for grade in none["grades"]] == ["no rows"] * 3
