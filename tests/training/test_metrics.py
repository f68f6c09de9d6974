"""Figures agree with scikit-learn and with the Handbook's own code."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as peer

from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import Metric
from training.evidence import metrics


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    y = (generator.random(4000) < 0.08).astype(float)
    return y, np.round(np.clip(0.08 + 0.1 * y + generator.normal(0, 0.1, 4000), 0, 1), 2)


def test_auc_average_precision_and_brier_match_scikit_learn_with_ties(scored: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = scored
    assert metrics.auc(y, p) == pytest.approx(peer.roc_auc_score(y, p), abs=1e-12)
    assert metrics.average_precision(y, p) == pytest.approx(peer.average_precision_score(y, p), abs=1e-12)
    assert metrics.brier(y, p) == pytest.approx(peer.brier_score_loss(y, p), abs=1e-12)
    assert metrics.gini(y, p) == pytest.approx(2 * peer.roc_auc_score(y, p) - 1)


def test_ks_and_recall_match_the_roc_curve(scored: tuple[np.ndarray, np.ndarray]) -> None:
    y, p = scored
    fpr, tpr, _ = peer.roc_curve(y, p, drop_intermediate=False)
    assert metrics.ks(y, p) == pytest.approx(np.max(tpr - fpr))
    assert metrics.recall_at_fpr(y, p, 0.01) == pytest.approx(tpr[fpr <= 0.01].max())


def test_one_class_is_undefined() -> None:
    y, p = np.zeros(5), np.linspace(0, 1, 5)
    assert all(np.isnan(figure(y, p)) for figure in (metrics.auc, metrics.ks, metrics.average_precision, metrics.gini))


def test_ece_is_zero_for_observed_rates_and_the_gap_for_a_constant_offset() -> None:
    y = np.tile([1.0, 0.0, 0.0, 0.0], 100)
    assert metrics.ece(y, np.full(400, 0.25)) == pytest.approx(0.0, abs=1e-12)
    assert metrics.ece(y, np.full(400, 0.35)) == pytest.approx(0.1)


def handbook_card_precision(table: pd.DataFrame, k: int) -> float:
    """The book's `card_precision_top_k`, shortened."""
    detected: list[str] = []
    values = []
    for day in sorted(table["day"].unique()):
        cards = table[(table["day"] == day) & ~table["card"].isin(detected)].drop(columns="day").groupby("card").max()
        top = cards.sort_values("p", ascending=False).head(k)
        detected += list(top.index[top["y"] == 1])
        values.append((top["y"] == 1).sum() / k)
    return float(np.mean(values))


def test_card_precision_is_the_handbooks() -> None:
    generator = np.random.default_rng(8)
    n = 3000
    table = pd.DataFrame({"day": generator.integers(0, 7, n), "card": [f"c{i}" for i in generator.integers(0, 400, n)]})
    table["y"] = (generator.random(n) < 0.1).astype(float)
    table["p"] = generator.random(n) + 0.5 * table["y"]
    found = metrics.card_precision_at(
        table["y"].to_numpy(), table["p"].to_numpy(), table["day"].to_numpy(), table["card"].to_numpy(), k=20
    )
    assert found == pytest.approx(handbook_card_precision(table, 20))


def test_psi_is_zero_for_equal_scores_and_large_for_a_shift() -> None:
    scores = np.random.default_rng(1).normal(size=5000)
    assert metrics.score_psi(scores, scores) == pytest.approx(0.0)
    assert metrics.score_psi(scores, scores + 0.5) == pytest.approx(0.235, abs=0.05)


def test_gates_may_name_exactly_the_figures_that_a_candidate_has(
    settings: Settings, scored: tuple[np.ndarray, np.ndarray]
) -> None:
    use_case, (y, p) = load_use_case("fraud", settings), scored
    events = pd.DataFrame({"event_time": pd.Timestamp("2025-06-01", tz="UTC"), "card": np.arange(len(y))})
    found = metrics.compute(use_case, y, p, events.assign(event_time=events["event_time"].dt.as_unit("us")))
    assert {*found, "score_psi"} == set(get_args(Metric))
