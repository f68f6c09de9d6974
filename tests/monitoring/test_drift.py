from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from monitoring.drift import (
    benjamini_hochberg,
    chi_square_p,
    compare,
    jensen_shannon,
    psi,
    psi_critical,
    psi_p,
)
from monitoring.sketches import bin_labels, drifts, sketch
from training.evidence.reference import bin_counts

SPEC = {
    "kind": "number",
    "edges": np.quantile(np.random.default_rng(0).normal(size=20_000), np.arange(1, 10) / 10).tolist(),
}
BEFORE = bin_counts(SPEC, np.random.default_rng(0).normal(size=20_000))


def after(values: np.ndarray) -> np.ndarray:
    return bin_counts(SPEC, values)


def test_psi_equals_the_sum_by_hand() -> None:
    before, now = np.array([400, 350, 200, 50]), np.array([300, 360, 240, 100])
    by_hand = sum((a / 1000 - e / 1000) * math.log(a / e) for e, a in zip(before, now, strict=True))
    assert psi(before, now) == pytest.approx(by_hand, abs=1e-12)


def test_psi_reads_a_half_sigma_shift_with_and_without_an_outlier() -> None:
    shifted = np.random.default_rng(1).normal(0.5, 1, size=20_000)
    plain, outlier = psi(BEFORE, after(shifted)), psi(BEFORE, after(np.append(shifted[1:], 1e9)))
    assert plain == pytest.approx(0.235, abs=0.02)
    assert outlier == pytest.approx(plain, abs=1e-3)


def test_psi_counts_missing_values_as_a_bin_of_their_own() -> None:
    values = np.random.default_rng(1).normal(size=20_000)
    values[::2] = np.nan
    assert psi(BEFORE, after(values)) > 4


def test_a_bin_that_is_empty_on_both_sides_changes_nothing() -> None:
    assert psi([50, 50, 0], [25, 75, 0]) == psi([50, 50], [25, 75])


@pytest.mark.parametrize("statistic", [psi, psi_p, jensen_shannon, chi_square_p])
def test_a_side_without_rows_has_no_statistics(statistic) -> None:
    assert math.isnan(statistic([5, 5], [0, 0]))
    assert math.isnan(statistic([0, 0], [5, 5]))


def test_jensen_shannon_runs_from_equal_to_disjoint() -> None:
    assert jensen_shannon([10, 20], [100, 200]) == pytest.approx(0)
    assert jensen_shannon([10, 0], [0, 7]) == pytest.approx(1)


def test_chi_square_p_equals_scipy() -> None:
    from scipy.stats import chi2_contingency

    before, now = [400, 350, 200, 50], [30, 36, 24, 20]
    assert chi_square_p([*before, 0], [*now, 0]) == pytest.approx(chi2_contingency([before, now]).pvalue, rel=1e-9)


@pytest.mark.parametrize(("rows", "reference"), [(300, 5_000), (2_000, 2_000)])
def test_without_drift_psi_follows_the_stated_distribution(rows: int, reference: int) -> None:
    generator = np.random.default_rng(4)
    shares = np.full(10, 0.1)
    draws = [(generator.multinomial(reference, shares), generator.multinomial(rows, shares)) for _ in range(4_000)]
    for level in (0.1, 0.01):
        observed = np.mean([psi_p(before, now) < level for before, now in draws])
        assert observed == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / 4_000))


def test_the_critical_psi_is_where_its_p_value_is_alpha() -> None:
    critical = psi_critical(500, 20_000, bins=10, alpha=0.01)
    assert critical == pytest.approx(21.666 * (1 / 500 + 1 / 20_000), rel=1e-4)
    assert math.isnan(psi_critical(0, 20_000, bins=10, alpha=0.01))


def test_benjamini_hochberg_takes_everything_up_to_the_last_that_passes() -> None:
    assert benjamini_hochberg([0.03, 0.01, 0.9], alpha=0.05) == (True, True, False)
    assert benjamini_hochberg([0.045, 0.04, 0.06], alpha=0.05) == (False, False, False)
    assert benjamini_hochberg([], alpha=0.05) == ()


def test_missing_and_unknown_categories_are_reported_as_shares() -> None:
    spec = {"kind": "category", "categories": ["car", "home", "other"]}
    now = bin_counts(spec, ["car", "boat", "boat", None])
    drift = compare("purpose", [60, 40, 0, 0], now, bins=bin_labels(spec), missing=3, other=2)
    assert (drift.other, drift.other_reference, drift.missing) == (0.5, 0.0, 0.25)
    assert drift.bins[drift.largest] == "other"


REFERENCE = {
    "features": {
        "x": SPEC | {"counts": BEFORE.tolist(), "importance": 3.0},
        "c": {"kind": "category", "categories": ["a", "b", "other"], "counts": [6, 4, 0, 0], "importance": 1.0},
    },
    "score": {"kind": "number", "edges": [0.2, 0.5], "counts": [5, 5, 5, 0]},
}


def window(rows: int, seed: int):
    generator = np.random.default_rng(seed)
    features = pd.DataFrame(
        {"x": generator.normal(size=rows), "c": generator.choice(np.array(["a", "b", "z", None], dtype=object), rows)}
    )
    return features, generator.random(rows), generator.choice(["approve", "decline"], rows)


def test_sketches_of_windows_add_up_to_the_sketch_of_all_rows() -> None:
    parts = [window(rows, seed) for rows, seed in ((50, 1), (1, 2), (0, 3), (120, 4))]
    sketches = [
        sketch(REFERENCE, features, rows=len(features), fallbacks=1, probability=p, decisions=mix)
        for features, p, mix in parts
    ]
    total = sketches[0] + sketches[1] + sketches[2] + sketches[3]
    features, probability, mix = (
        pd.concat([part[0] for part in parts]),
        *(np.concatenate(each) for each in list(zip(*parts, strict=True))[1:]),
    )
    whole = sketch(REFERENCE, features, rows=171, fallbacks=4, probability=probability, decisions=mix)
    assert drifts(REFERENCE, total, decisions={"approve": 1, "decline": 2}) == drifts(
        REFERENCE, whole, decisions={"approve": 1, "decline": 2}
    )
    assert (total.rows, total.fallbacks, total.decisions) == (whole.rows, whole.fallbacks, whole.decisions)


def test_columns_come_by_importance_then_score_then_decisions() -> None:
    features, probability, mix = window(40, 1)
    counted = sketch(REFERENCE, features, rows=40, fallbacks=0, probability=probability, decisions=mix)
    found = drifts(REFERENCE, counted, decisions={"approve": 3, "refer": 1})
    assert [(drift.name, drift.importance) for drift in found] == [
        ("x", 0.75),
        ("c", 0.25),
        ("score", None),
        ("decision", None),
    ]
    assert found[-1].bins == ("approve", "decline", "refer")


def test_a_column_that_the_window_lacks_counts_as_missing() -> None:
    features, probability, mix = window(40, 1)
    counted = sketch(
        REFERENCE, features.drop(columns="x"), rows=40, fallbacks=0, probability=probability, decisions=mix
    )
    assert drifts(REFERENCE, counted, decisions=None)[0].missing == 1.0


def test_a_window_without_rows_has_undefined_drift() -> None:
    counted = sketch(REFERENCE, pd.DataFrame(), rows=0, fallbacks=0, probability=[], decisions=[])
    assert all(math.isnan(drift.psi) and drift.rows == 0 for drift in drifts(REFERENCE, counted, decisions=None))
