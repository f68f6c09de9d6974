"""Statistics of one column against a label."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from training.leaks.statistics import (
    FOLDS,
    auc,
    auc_error,
    dealt,
    least_auc,
    least_rate,
    normal_ranks,
    out_of_fold_auc,
    profile,
    rank_auc,
)


def labelled(n: int = 3000, *, rate: float = 0.2, seed: int = 5) -> tuple[np.random.Generator, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator, (generator.random(n) < rate).astype(float)


def test_a_profile_counts_each_value_and_its_positives_with_missing_first() -> None:
    counted = profile(np.array([3.0, np.nan, 3.0, -1.0, np.nan]), np.array([1.0, 1.0, 0.0, 0.0, 0.0]))
    assert np.isnan(counted.values[0]) and counted.values[1:].tolist() == [-1.0, 3.0]
    assert counted.rows.tolist() == [2, 1, 2] and counted.ones.tolist() == [1, 0, 1]
    assert counted.place.tolist() == [2, 0, 2, 1, 0]
    assert (counted.missing, counted.distinct) == (2, 2)


def test_codes_are_counted_as_any_other_numbers() -> None:
    generator, y = labelled()
    codes = generator.integers(0, 9, len(y)).astype(float)
    counted, shifted = profile(codes, y), profile(codes - 0.5, y)
    assert counted.rows.tolist() == shifted.rows.tolist() and counted.place.tolist() == shifted.place.tolist()


def test_the_auc_is_that_of_scikit_learn_with_ties_and_missing_lowest() -> None:
    generator, y = labelled()
    values = np.round(generator.normal(size=len(y)) + y, 1)
    assert auc(values, y) == pytest.approx(roc_auc_score(y, values), abs=1e-12)
    values[::7] = np.nan
    assert rank_auc(profile(values, y)) == pytest.approx(roc_auc_score(y, np.nan_to_num(values, nan=-99.0)), abs=1e-12)


def test_folds_deal_each_class_evenly() -> None:
    _, y = labelled(997)
    homes = dealt(y)
    for value in (0, 1):
        counts = np.bincount(homes[y == value], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


def test_a_category_of_many_rare_levels_gains_nothing_out_of_fold() -> None:
    generator, y = labelled()
    codes = generator.integers(0, 1500, len(y)).astype(float)
    in_sample = np.bincount(codes.astype(int), weights=y) / np.maximum(np.bincount(codes.astype(int)), 1)
    assert roc_auc_score(y, in_sample[codes.astype(int)]) > 0.85
    assert out_of_fold_auc(profile(codes, y), y, dealt(y), ordered=False) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("decimals", [0, 9], ids=["few values", "binned"])
def test_a_number_that_tells_in_its_middle_is_seen_out_of_fold(decimals: int) -> None:
    generator, y = labelled()
    values = np.round(np.where(y == 1, generator.normal(0, 0.3, len(y)), generator.normal(0, 6, len(y))), decimals)
    counted = profile(values, y)
    assert rank_auc(counted) == pytest.approx(0.5, abs=0.05)
    assert out_of_fold_auc(counted, y, dealt(y), ordered=True) > 0.85


def test_the_error_of_an_auc_is_what_drawing_again_gives_for_the_distribution_it_assumes() -> None:
    generator = np.random.default_rng(1)
    y = np.repeat([1.0, 0.0], [60, 1000])
    drawn = [auc(generator.exponential(1 + 2 * y), y) for _ in range(500)]
    assert auc_error(float(np.mean(drawn)), 60, 1000) == pytest.approx(np.std(drawn), rel=0.1)
    assert least_auc(0.25, y) == least_auc(0.75, y) < 0.75


def test_the_least_rate_is_the_end_of_wilsons_interval() -> None:
    found = stats.binomtest(45, 50).proportion_ci(confidence_level=0.9, method="wilson").low
    assert least_rate(45, 50) == pytest.approx(found, abs=1e-3)
    assert least_rate(0, 0) == 0.0


def test_one_class_has_no_auc() -> None:
    y = np.zeros(50)
    values = np.arange(50.0)
    assert np.isnan(auc(values, y)) and np.isnan(least_auc(0.7, y)) and np.isnan(auc_error(0.7, 0, 50))
    assert np.isnan(out_of_fold_auc(profile(values, y), y, dealt(y), ordered=True))


def test_normal_scores_keep_order_and_put_missing_values_at_the_median() -> None:
    values = np.array([[5.0, 1.0], [1e9, 1.0], [np.nan, 1.0], [-3.0, 1.0]])
    scores = normal_ranks(values)
    assert np.argsort(scores[:, 0]).tolist() == [3, 2, 0, 1] or scores[2, 0] == pytest.approx(scores[0, 0], abs=1e-9)
    assert scores[:, 0].mean() == pytest.approx(0) and scores[:, 0].std() == pytest.approx(1)
    assert not scores[:, 1].any()
