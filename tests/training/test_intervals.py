"""Block bootstrap intervals of every metric."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from configs.loading import load_use_case
from configs.settings import Settings
from training.evidence import metrics
from training.evidence.intervals import intervals
from training.evidence.resampling import WeightedFigures
from training.evidence.tested import Tested


def made(settings: Settings, *, days: int = 30, each: int = 200, shared: float = 0.0) -> Tested:
    """Payments whose days have an effect of size `shared` in common that the score doesn't know."""
    n, generator = days * each, np.random.default_rng(6)
    day = np.repeat(np.arange(days), each)
    logit = generator.normal(-2, 1, n)
    truth = 1 / (1 + np.exp(-logit - shared * generator.normal(size=days)[day]))
    y, p = (generator.random(n) < truth).astype(float), 1 / (1 + np.exp(-logit))
    time = pd.Series(pd.Timestamp("2025-06-01", tz="UTC") + pd.to_timedelta(day, unit="D")).dt.as_unit("us")
    events = pd.DataFrame({"event_time": time, "card": [f"c{i}" for i in generator.integers(0, 300, n)]})
    use_case = load_use_case("fraud", settings)
    return Tested(use_case, events, pd.DataFrame(index=events.index), y, p, day, (slice(None),), 3)


def found(scored: Tested) -> dict[str, float]:
    return metrics.compute(scored.use_case, scored.y, scored.probability, scored.events)


def test_every_reported_metric_has_an_interval_around_it(settings: Settings) -> None:
    scored = made(settings)
    trained = np.random.default_rng(1).beta(1, 6, 4000)
    values = found(scored) | {"score_psi": metrics.score_psi(trained, scored.probability)}
    bounds = intervals(scored, values, trained=trained)
    assert bounds.keys() == values.keys()
    for name, value in values.items():
        low, high = bounds[name]
        assert low <= value <= high


def test_the_same_seed_gives_the_same_intervals(settings: Settings) -> None:
    scored = made(settings)
    values = found(scored)
    assert intervals(scored, values) == intervals(scored, values)


def test_what_days_share_widens_the_interval_and_rows_alone_would_hide_it(settings: Settings) -> None:
    scored = made(settings, shared=1.0)
    rows = Tested(**vars(scored) | {"blocks": np.arange(len(scored.y))})
    wide, narrow = (np.diff(intervals(each, found(each))["brier"])[0] for each in (scored, rows))
    assert wide > 2 * narrow


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """95 % intervals of a mean squared error whose expectation is known: 0.1 x 0.9."""
    from training.evidence.resampling import Resamples, interval

    generator, hits = np.random.default_rng(2), 0
    for seed in range(100):
        y = (generator.random(400) < 0.1).astype(float)
        figures = WeightedFigures(y, np.full(400, 0.1))
        draws = Resamples.of(None, n=400, seed=seed)
        low, high = interval(np.array([figures.brier(weight) for weight in draws.weights()])) or (0, 0)
        hits += low <= 0.09 <= high
    assert 88 <= hits <= 99


@pytest.mark.parametrize("name", ["auc", "average_precision", "ks", "brier", "ece"])
def test_unit_weights_give_the_figure_itself(settings: Settings, name: str) -> None:
    scored = made(settings)
    figures = WeightedFigures(scored.y, scored.probability)
    weighted = getattr(figures, name)(np.ones(len(scored.y)))
    assert weighted == pytest.approx(getattr(metrics, name)(scored.y, scored.probability), abs=1e-12)


def test_whole_weights_are_repeated_rows(settings: Settings) -> None:
    scored = made(settings, days=6, each=50)
    weight = np.random.default_rng(3).integers(0, 4, len(scored.y))
    rows = np.repeat(np.arange(len(scored.y)), weight)
    figures, y, p = WeightedFigures(scored.y, scored.probability), scored.y[rows], scored.probability[rows]
    for name in ("auc", "average_precision", "ks", "brier"):
        assert getattr(figures, name)(weight.astype(float)) == pytest.approx(getattr(metrics, name)(y, p))
    assert figures.recall_at_fpr(weight.astype(float), 0.1) == pytest.approx(metrics.recall_at_fpr(y, p, 0.1))


def test_figures_of_folds_are_means_over_the_folds_in_every_draw(settings: Settings) -> None:
    scored = made(settings)
    half = len(scored.y) // 2
    shifted = scored.probability.copy()
    shifted[half:] /= 10  # the folds' scores are on different scales: pooled, they would rank badly
    folds = Tested(**vars(scored) | {"probability": shifted, "parts": (slice(0, half), slice(half, None))})
    low, high = intervals(folds, {"auc": 0.7})["auc"]
    mean = np.mean([metrics.auc(scored.y[part], shifted[part]) for part in folds.parts])
    assert low < mean < high and low > metrics.auc(scored.y, shifted)


def test_one_class_has_no_interval_of_ranking_figures(settings: Settings) -> None:
    scored = made(settings)
    assert intervals(Tested(**vars(scored) | {"y": np.zeros(len(scored.y))}), {"auc": 0.5, "brier": 0.1}).keys() == {
        "brier"
    }
