"""Probabilities from margins."""

from __future__ import annotations

import json

import numpy as np
import pytest

from training.evidence.calibration import Calibration, fit_platt, reliability, wilson


def sample(n: int = 20000) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(2)
    margin = generator.normal(-2, 1.5, n)
    return margin, (generator.random(n) < 1 / (1 + np.exp(-(0.6 * margin + 0.8)))).astype(float)


def test_platt_finds_the_true_slope_and_intercept() -> None:
    found = fit_platt(*sample())
    assert (found.slope, found.intercept) == pytest.approx((0.6, 0.8), abs=0.06)


def test_calibrated_probabilities_match_observed_rates() -> None:
    margin, y = sample()
    assert all(
        row["low"] - 0.01 < row["predicted"] < row["high"] + 0.01
        for row in reliability(y, fit_platt(margin, y).probability(margin))
    )


def test_probabilities_stay_inside_zero_and_one_and_keep_the_order() -> None:
    p = Calibration(2.0, -1.0).probability(np.array([-1e6, -50.0, 0.0, 1.0, 50.0, 1e6]))
    assert np.all((p > 0) & (p < 1)) and np.all(np.diff(p) >= 0)


def test_a_separated_sample_gives_a_finite_slope() -> None:
    found = fit_platt(np.array([-2.0, -1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0, 1.0]))
    assert 0 < found.slope < 100 and np.isfinite(found.intercept)


def test_a_reversed_margin_never_turns_the_ranking_round() -> None:
    margin, y = sample(2000)
    assert fit_platt(-margin, y).slope > 0


def test_json_round_trip_is_exact() -> None:
    found = fit_platt(*sample(2000))
    assert Calibration.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_wilson_interval_of_no_positives_starts_at_zero() -> None:
    low, high = wilson(0, 100)
    assert low == 0.0 and high == pytest.approx(0.037, abs=0.001)
