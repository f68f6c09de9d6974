"""95 % block bootstrap intervals of every reported metric: blocks are drawn whole, and all figures share the draws."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.evidence import metrics
from training.evidence.resampling import DRAWS, Resamples, WeightedFigures, interval

if TYPE_CHECKING:
    from training.evidence.tested import Tested

Array = NDArray[np.float64]

DISTANCES = {"ece", "score_psi"}
"""Distances from 0: drawing rows anew adds to them, so their draws are centred on the figure itself."""

_FIGURES: dict[str, Callable[[WeightedFigures, Array], float]] = {
    "auc": WeightedFigures.auc,
    "gini": lambda figures, weight: 2 * figures.auc(weight) - 1,
    "ks": WeightedFigures.ks,
    "average_precision": WeightedFigures.average_precision,
    "brier": WeightedFigures.brier,
    "ece": WeightedFigures.ece,
    "recall_at_1pct_fpr": lambda figures, weight: figures.recall_at_fpr(weight, 0.01),
}


def intervals(
    tested: Tested, values: Mapping[str, float], *, trained: Array | None = None, draws: int = DRAWS
) -> dict[str, tuple[float, float]]:
    """Interval of each metric in `values` (the figures themselves) that is defined in at least half of the draws.

    Each draw is made of whole blocks; a figure of several parts is the mean over parts, as in `metrics`. `trained`:
    probabilities of the training rows, which `score_psi` compares with. Card precision is drawn by days, its unit.
    """
    resamples = Resamples.of(tested.blocks, n=len(tested.y), seed=tested.seed, draws=draws)
    found: dict[str, Array] = {name: _drawn(tested, resamples, _FIGURES[name]) for name in values if name in _FIGURES}
    for name in values:
        if match := re.fullmatch(r"card_precision_at_(\d+)", name):
            found[name] = _by_day(tested, k=int(match[1]), draws=draws)
        if name == "score_psi" and trained is not None:
            found[name] = np.array(
                [metrics.score_psi(trained, tested.probability, weight=weight) for weight in resamples.weights()]
            )
    for name in DISTANCES & found.keys():
        found[name] = np.maximum(found[name] - np.nanmean(found[name]) + values[name], 0)
    bounds = {name: interval(drawn) for name, drawn in found.items()}
    return {name: (pair[0], pair[1]) for name, pair in bounds.items() if pair}


def _drawn(tested: Tested, resamples: Resamples, figure: Callable[[WeightedFigures, Array], float]) -> Array:
    parts = [(part, WeightedFigures(tested.y[part], tested.probability[part])) for part in tested.parts]
    return np.array(
        [np.mean([figure(figures, weight[part]) for part, figures in parts]) for weight in resamples.weights()]
    )


def _by_day(tested: Tested, *, k: int, draws: int) -> Array:
    cards = tested.events[metrics.alert_entity(tested.use_case)].to_numpy()
    daily = metrics.daily_card_precision(tested.y, tested.probability, metrics.day_of(tested.events), cards, k=k)
    generator = np.random.default_rng(tested.seed)
    chosen = generator.integers(0, len(daily), (draws, len(daily)))
    means: Array = daily[chosen].mean(axis=1)
    return means
