"""What a simulated world hands over: its tables, and what the best possible model could achieve on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.simulators.columns import Bools, Floats

TRUTH = ("true_probability", "fraud_scenario", "legacy_decision")
"""Columns of the event tables that belong to the answer: never features."""


@dataclass(frozen=True)
class World:
    """Tables of one world by name. The event table holds history and then `live_rows` live events, in time order."""

    tables: dict[str, pa.Table]
    events: str
    label: str
    live_rows: int
    bound: str
    """What `true_probability` is conditioned on, in a few words."""


def best_auc(events: pa.Table, *, label: str) -> float | None:
    """AUC of `true_probability` on the labelled rows, the best that a model seeing the same can do."""
    truth = events.column("true_probability").to_numpy()
    labels = events.column(label).to_numpy(zero_copy_only=False).astype(float)
    known = ~np.isnan(labels)
    return auc(labels[known] == 1, truth[known])


def auc(positive: Bools, score: Floats) -> float | None:
    """Probability that a positive row scores above a negative one, ties counting half; None with one class only.

    Mann-Whitney U over the two counts (Hanley and McNeil 1982).

    >>> auc(np.array([False, True, True]), np.array([0.1, 0.1, 0.9]))
    0.75
    """
    ups = int(positive.sum())
    downs = positive.size - ups
    if not ups or not downs:
        return None
    _, tie, counts = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(counts) - (counts - 1) / 2
    return float((mean_rank[tie][positive].sum() - ups * (ups + 1) / 2) / (ups * downs))
