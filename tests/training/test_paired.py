"""The paired difference of two models on the same rows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from training.evidence.paired import paired_difference
from training.evidence.resampling import Resamples

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]


def scored(n: int = 600, *, seed: int = 4, gain: float = 0.0) -> Arrays:
    """Labels, and two noisy readings of one signal; `gain` makes the first one clearer."""
    generator = np.random.default_rng(seed)
    y = (generator.random(n) < 0.3).astype(float)
    signal = y + generator.normal(0, 1, n)
    new, old = (signal + generator.normal(0, 0.5, n) + extra * y for extra in (gain, 0.0))
    return y, new, old


def delong(y: np.ndarray, new: np.ndarray, old: np.ndarray) -> float:
    """Standard error of a difference of AUCs, by placements (DeLong, DeLong & Clarke-Pearson 1988)."""
    placements = []
    for p in (new, old):
        wins = (p[y == 1][:, None] > p[y == 0]) + 0.5 * (p[y == 1][:, None] == p[y == 0])
        placements.append((wins.mean(axis=1), wins.mean(axis=0)))
    positives, negatives = (placements[0][side] - placements[1][side] for side in (0, 1))
    return float(np.sqrt(positives.var(ddof=1) / len(positives) + negatives.var(ddof=1) / len(negatives)))


@pytest.mark.parametrize(
    ("objective", "peer"), [("auc", roc_auc_score), ("average_precision", average_precision_score)]
)
def test_every_draw_is_the_figure_of_the_blocks_it_drew(objective: str, peer: object) -> None:
    y, new, old = scored(120)
    new, old = np.round(new, 1), np.round(old, 1)  # ties
    blocks = np.arange(120) % 9
    counts = Resamples.of(blocks, n=120, seed=1, draws=50).counts
    rows = [np.repeat(np.arange(120), draw[blocks]) for draw in counts]
    differences = [peer(y[each], new[each]) - peer(y[each], old[each]) for each in rows]  # type: ignore[operator]
    found = paired_difference(y, new, old, blocks, objective, seed=1, draws=50)
    assert found["difference"] == pytest.approx(peer(y, new) - peer(y, old))  # type: ignore[operator]
    assert found["low"] == pytest.approx(np.quantile(differences, 0.05))
    assert found["interval"] == pytest.approx(np.quantile(differences, [0.025, 0.975]).tolist())
    assert (found["draws"], found["units"]) == (50, 9)


def test_the_bound_lies_as_far_below_as_delong_says() -> None:
    y, new, old = scored(1500)
    found = paired_difference(y, new, old, None, "auc", seed=2)
    expected = found["difference"] - stats.norm.ppf(0.95) * delong(y, new, old)
    assert found["low"] == pytest.approx(expected, abs=0.15 * delong(y, new, old))


def test_pairing_makes_the_difference_narrower_than_two_intervals_would() -> None:
    y, new, old = scored(1500)
    paired = paired_difference(y, new, old, None, "auc", seed=2)
    alone = paired_difference(y, new, np.zeros_like(y), None, "auc", seed=2)  # of a constant score: always 0.5
    assert np.diff(paired["interval"])[0] < 0.7 * np.sqrt(2) * np.diff(alone["interval"])[0]


def test_of_two_equal_models_one_in_twenty_bounds_lies_above_zero() -> None:
    lows = [paired_difference(*scored(300, seed=seed), None, "auc", seed=seed, draws=200)["low"] for seed in range(200)]
    assert 0.01 <= np.mean(np.array(lows) > 0) <= 0.1


def test_a_model_is_not_worse_than_itself() -> None:
    y, new, _ = scored()
    found = paired_difference(y, new, new, np.arange(600) % 20, "average_precision", seed=3)
    assert (found["difference"], found["low"], found["interval"], found["worse"]) == (0.0, 0.0, [0.0, 0.0], 0.0)


def test_a_better_model_is_never_below_in_any_draw() -> None:
    found = paired_difference(*scored(1500, gain=2.0), np.arange(1500) % 30, "auc", seed=3)
    assert found["low"] > 0.05
    assert found["worse"] == 0.0


def test_figures_of_several_parts_are_means_over_them() -> None:
    y, new, old = scored()
    parts = (slice(0, 300), slice(300, 600))
    found = paired_difference(y, new, old, None, "auc", seed=3, parts=parts)
    assert found["new"] == pytest.approx(np.mean([roc_auc_score(y[part], new[part]) for part in parts]))
    assert found["low"] < found["difference"] < found["interval"][1]


def test_one_class_gives_no_difference_and_plain_data() -> None:
    y, new, old = scored()
    found = paired_difference(np.zeros_like(y), new, old, None, "auc", seed=3)
    assert (found["difference"], found["low"], found["interval"], found["draws"]) == (None, None, None, 0)
    json.dumps(found, allow_nan=False)


def test_the_same_seed_gives_the_same_bound() -> None:
    y, new, old = scored()
    first, again = (paired_difference(y, new, old, None, "auc", seed=3) for _ in range(2))
    assert first == again
