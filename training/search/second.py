"""The second objective of a search: how evenly groups are selected, and which columns to leave out first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from configs.errors import TrainingError
from training.evidence.groups import Groups
from training.evidence.metrics import auc
from training.folds import Rows
from training.learners.protocol import Array, Column
from training.search.trials import Against

LEAST = 30
"""Rows that a group needs to be compared, unless the caller says otherwise."""
SHARES = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15)
"""Against features: shares of the columns that trials choose from. Few, so that trials share their bins."""
PROXIES = (0, 1, 2, 4, 8)
"""Against unfairness: numbers of the strongest proxies that trials do without."""


def selection_ratio(
    scores: Sequence[Array],
    labels: Sequence[Array],
    rows: Sequence[Rows],
    protected: Mapping[str, Groups],
    *,
    least: int,
) -> float:
    """The least ratio of selection rates (lowest over highest group) of any attribute, in [0, 1].

    scores, labels, rows: by fold, of the validation rows; a higher score is a higher risk. As many rows are refused in
    a fold as it has positives, those with the highest scores: before a policy is set, the only share that is not made
    up. Groups with fewer than `least` rows over all folds are left out; no two groups left for any attribute: 1.
    """
    selected = np.concatenate([score <= _bar(score, y) for score, y in zip(scores, labels, strict=True)])
    places = np.concatenate(rows)
    ratios = [1.0]
    for groups in protected.values():
        members = [own[places] for own in groups.values()]
        rates = [float(selected[own].mean()) for own in members if own.sum() >= least]
        if len(rates) > 1 and max(rates) > 0:
            ratios.append(min(rates) / max(rates))
    return min(ratios)


def _bar(score: Array, y: Array) -> float:
    return float(np.quantile(score, 1 - float(y.mean()), method="lower"))


def proxy_strength(X: Array, columns: Sequence[Column], protected: Mapping[str, Groups]) -> dict[str, float]:
    """How well each column alone tells a group from the others: the greatest |AUC - 1/2| over all groups, in [0, 1/2].

    Labels of a category are ordered by their share of the group; a missing value stands below all others.
    """
    groups = [own for attribute in protected.values() for own in attribute.values() if 0 < own.sum() < len(own)]
    return {
        column.name: max((_strength(X[:, place], column, own) for own in groups), default=0.0)
        for place, column in enumerate(columns)
    }


def _strength(x: Array, column: Column, own: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    member, known = own.astype(np.float64), ~np.isnan(x)
    value = np.where(known, x, -np.inf)
    if column.labels:
        code = np.where(known, x, len(column.labels)).astype(np.int64)
        counts = np.bincount(code, minlength=len(column.labels) + 1)
        value = (np.bincount(code, weights=member, minlength=len(counts)) / np.maximum(counts, 1))[code]
    return abs(auc(member, value) - 0.5)


def kept_counts(columns: int, against: Against) -> tuple[int, ...]:
    """Numbers of columns that trials choose from, all of them first; at least one, and half against unfairness."""
    if against == "features":
        return tuple(dict.fromkeys(max(1, round(share * columns)) for share in SHARES))
    return tuple(columns - gone for gone in PROXIES if gone <= columns // 2)


def require_groups(protected: Mapping[str, Groups] | None, *, least: int) -> Mapping[str, Groups]:
    """The groups, of which some attribute must have two that are large enough."""
    found = protected or {}
    if not any(sum(int(own.sum()) >= least for own in groups.values()) > 1 for groups in found.values()):
        raise TrainingError(
            "a search against unfairness without two groups to compare",
            expected=f"a protected attribute with at least two groups of {least} training rows",
            fix="declare it in `protected`, or remove `training.against`",
        )
    return found
