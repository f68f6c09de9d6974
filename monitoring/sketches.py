"""A window as counts over the release's frozen bins. Counts add up: a day's sketches sum to the month's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd

from monitoring.drift import ColumnDrift, Counts, compare, importance_shares
from training.encoding import OTHER
from training.evidence.reference import bin_counts

Reference = Mapping[str, Any]
"""What `training.evidence.reference.build_reference` wrote into the release."""


@dataclass(frozen=True)
class Sketch:
    """Counts of one or more windows over the bins of one reference.

    `features` has a vector for each feature, `score` one for the probability of the decisions the release's model made,
    `decisions` their mix; `fallbacks` of `rows` decisions were made without the model.
    """

    rows: int
    fallbacks: int
    features: Mapping[str, Counts]
    score: Counts
    decisions: Mapping[str, int]

    def __add__(self, other: Self) -> Sketch:
        """The sketch of both windows together."""
        return Sketch(
            rows=self.rows + other.rows,
            fallbacks=self.fallbacks + other.fallbacks,
            features={name: counts + other.features[name] for name, counts in self.features.items()},
            score=self.score + other.score,
            decisions=Counter(self.decisions) + Counter(other.decisions),
        )


def sketch(
    reference: Reference, features: pd.DataFrame, *, rows: int, fallbacks: int, probability: Any, decisions: Any
) -> Sketch:
    """Count one window. A feature that the window's rows lack altogether counts as missing in every row."""
    return Sketch(
        rows=rows,
        fallbacks=fallbacks,
        features={
            name: bin_counts(spec, _values(features, name, rows)) for name, spec in reference["features"].items()
        },
        score=bin_counts(reference["score"], np.asarray(probability, dtype=np.float64)),
        decisions=Counter(str(each) for each in decisions),
    )


def _values(features: pd.DataFrame, name: str, rows: int) -> Any:
    return features[name].to_numpy() if name in features.columns else np.full(rows, np.nan)


def drifts(reference: Reference, current: Sketch, *, decisions: Mapping[str, int] | None) -> tuple[ColumnDrift, ...]:
    """Drift of every feature by importance, then of the score and (where a reference mix is given) the decisions."""
    shares = importance_shares(reference["features"])
    found = [
        _column(name, spec, current.features[name], importance=shares[name])
        for name, spec in reference["features"].items()
    ]
    found.sort(key=lambda drift: (-(drift.importance or 0), drift.name))
    found.append(_score(reference["score"], current.score))
    if decisions:
        names = sorted(decisions.keys() | current.decisions.keys())
        before, now = ([mix.get(name, 0) for name in names] for mix in (decisions, current.decisions))
        found.append(compare("decision", before, now, bins=names, subject="decision"))
    return tuple(found)


def _column(name: str, spec: Mapping[str, Any], counts: Counts, *, importance: float | None) -> ColumnDrift:
    labels = bin_labels(spec)
    other = labels.index(OTHER) if spec["kind"] == "category" else None
    missing = len(labels) - 1
    return compare(name, spec["counts"], counts, bins=labels, importance=importance, missing=missing, other=other)


def _score(spec: Mapping[str, Any], counts: Counts) -> ColumnDrift:
    labels = bin_labels(spec)
    return compare("score", spec["counts"], counts, bins=labels, subject="score", missing=len(labels) - 1)


def bin_labels(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Words for the bins of a reference column, in the order of `bin_counts`; the last is `missing`.

    >>> bin_labels({"kind": "number", "edges": [1.0, 2.5]})
    ('under 1', '1 to 2.5', '2.5 and more', 'missing')
    """
    if spec["kind"] == "category":
        return (*spec["categories"], "missing")
    edges = [f"{edge:,.0f}" if abs(edge) >= 1000 else f"{edge:.4g}" for edge in spec["edges"]]
    if not edges:
        return ("any value", "missing")
    between = (f"{low} to {high}" for low, high in pairwise(edges))
    return (f"under {edges[0]}", *between, f"{edges[-1]} and more", "missing")
