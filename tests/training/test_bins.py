"""Bins of encoded features."""

from __future__ import annotations

import numpy as np
import pytest

from training.evidence.bins import Bins, chance_psi
from training.evidence.metrics import psi


def test_every_value_lies_in_the_bin_that_its_name_says() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    bins = Bins.of(values, bins=2)
    assert bins.names == ("below 5", "from 5", "missing")
    assert bins.place(np.array([4.9, 5.0, 99.0, np.nan, -1.0])).tolist() == [0, 1, 1, 2, 0]


def test_a_least_value_that_fills_several_deciles_has_a_bin_of_its_own() -> None:
    values = np.array([0.0] * 80 + list(range(1, 21)))
    bins = Bins.of(values)
    assert bins.names == ("below 1", "1 to 10", "from 10", "missing")
    assert bins.counts(values).tolist() == [80, 9, 11, 0]


def test_a_constant_and_an_empty_feature_have_one_bin() -> None:
    for values in (np.full(5, 3.0), np.full(5, np.nan)):
        assert Bins.of(values).names == ("any value", "missing")
    assert Bins.of(np.full(5, np.nan)).counts(np.full(5, np.nan)).tolist() == [0, 5]


def test_categories_have_one_bin_a_label_and_codes_beyond_count_as_missing() -> None:
    bins = Bins.of(np.array([0.0, 1.0]), ("a", "b"))
    assert bins.counts(np.array([0.0, 1.0, 1.0, np.nan, 7.0])).tolist() == [1, 2, 2]


def test_the_psi_of_chance_holds_in_nineteen_of_twenty_draws() -> None:
    generator, n, m = np.random.default_rng(3), 4000, 1000
    bound = chance_psi(10, n, m)
    assert bound is not None
    draws = [psi(*(np.bincount(generator.integers(0, 10, size), minlength=10) for size in (n, m))) for _ in range(2000)]
    assert np.mean(np.array(draws) < bound) == pytest.approx(0.95, abs=0.015)


def test_without_rows_nothing_is_expected_of_chance() -> None:
    assert chance_psi(10, 0, 5) is None
    assert chance_psi(1, 10, 5) == 0
