"""Frozen bins of features and scores, kept with a release, so that later data can be compared with the test period.

Only numpy: monitoring and scoring read it without anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.encoding import OTHER

if TYPE_CHECKING:
    import pandas as pd

    from training.model import Model

BINS = 10
"""Bins of a number: deciles."""
ROWS = 2000
"""Rows at most whose contributions are averaged."""
SAMPLE = 5000
"""Rows at most of the sample that reports draw distributions from."""


def build_reference(features: pd.DataFrame, probability: NDArray[np.float64], model: Model) -> dict[str, Any]:
    """Bins and counts of the model's features and of the score, with mean contributions.

    Keys: `n`; `score` and `features` (by name), each with kind, edges or categories, and counts (see `bin_counts`),
    features also with `importance` (mean |contribution|, log-odds) and `baseline` (mean contribution); `base`, the
    model's base log-odds.
    """
    rows = np.linspace(0, len(features) - 1, min(ROWS, len(features))).astype(np.int64)
    contributions = model.contributions(model.encode(features.iloc[rows]))
    importance, baseline = np.abs(contributions).mean(axis=0), contributions.mean(axis=0)
    found = {}
    for index, feature in enumerate(model.features):
        values = features[feature.name].to_numpy()
        spec = _categories(model.vocabularies[feature.name]) if feature.kind == "category" else _edges(values)
        counts = {"counts": bin_counts(spec, values).tolist()}
        found[feature.name] = (
            spec | counts | {"importance": float(importance[index]), "baseline": float(baseline[index])}
        )
    score = _edges(probability)
    score["counts"] = bin_counts(score, probability).tolist()
    return {"n": len(features), "features": found, "score": score, "base": float(baseline[-1])}


def reference_sample(features: pd.DataFrame, probability: NDArray[np.float64], model: Model) -> pd.DataFrame:
    """Evenly spaced reference rows with the model's features and `probability`: for drawing only."""
    rows = np.linspace(0, len(features) - 1, min(SAMPLE, len(features))).astype(np.int64)
    return features.iloc[rows][list(model.names)].assign(probability=probability[rows])


def bin_counts(spec: Mapping[str, Any], values: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
    """Rows in each bin of `spec`, for any new data.

    Numbers: bin i holds edges[i-1] <= x < edges[i]; the last count is of missing values (None or NaN), so there are
    `len(edges) + 2`. Categories: one count a label in order, where unseen labels count as `other`, and then missing.
    """
    if spec["kind"] == "number":
        numbers = np.asarray(values, dtype=np.float64)
        edges = np.asarray(spec["edges"], dtype=np.float64)
        place = np.where(np.isnan(numbers), len(edges) + 1, np.searchsorted(edges, numbers, side="right"))
        return np.bincount(place, minlength=len(edges) + 2)
    codes = {label: code for code, label in enumerate(spec["categories"])}
    missing, other = len(codes), codes[OTHER]
    place = np.fromiter(
        (missing if _absent(value) else codes.get(value, other) for value in values), dtype=np.int64, count=len(values)
    )
    return np.bincount(place, minlength=len(codes) + 1)


def _absent(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _categories(labels: Sequence[str]) -> dict[str, Any]:
    return {"kind": "category", "categories": list(labels)}


def _edges(values: NDArray[Any]) -> dict[str, Any]:
    """Interior deciles without repeats: a value that fills several gets one bin, and a constant one edge at itself."""
    numbers = np.asarray(values, dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    cuts = np.quantile(known, np.arange(1, BINS) / BINS, method="lower") if len(known) else np.array([])
    return {"kind": "number", "edges": np.unique(cuts).tolist()}
