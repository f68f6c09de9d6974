"""Does the model see every segment alike: importance and performance by declared categories and sizes of amount."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.evidence import metrics
from training.evidence.bins import Bins
from training.explanation.refits import correlation, ranks
from training.explanation.summary import Summary

if TYPE_CHECKING:
    from training.evidence.tested import Tested
    from training.model import Model

Array = NDArray[np.float64]

MOST_LABELS = 12
"""Labels of a category that is cut into segments."""
LEAST = 50
"""Rows of a segment in the sample, from which its importance is more than chance."""
SHOWN = 5
QUARTERS = 4


def segments(summary: Summary, model: Model, tested: Tested) -> list[dict[str, Any]]:
    """By feature that segments (`by`): categories with few labels in the request, and quarters of the amount.

    by, and segments: segment, rows (tested), positives, auc, observed and predicted rate on the tested rows, sample
    (rows whose contributions are averaged), importance (the `SHOWN` first: feature, share of the segment's mean
    |contribution|), rank_correlation (Spearman, of the segment's importance with the whole sample's). Segments with
    fewer than `LEAST` sampled rows have no importance: both are None. Protected attributes are no features, and so
    never segment.
    """
    X = model.encode(tested.features)
    return [
        {"by": name, "segments": list(_parts(summary, tested, bins, summary.values[:, place], X[:, place]))}
        for place, name, bins in _cuts(model, tested, X)
    ]


def _cuts(model: Model, tested: Tested, X: Array) -> Iterator[tuple[int, str, Bins]]:
    money = tested.use_case.money
    for place, feature in enumerate(model.features):
        labels = model.vocabularies.get(feature.name, ())
        if feature.kind == "category" and feature.origin == "request" and len(labels) <= MOST_LABELS:
            yield place, feature.name, Bins.of(X[:, place], labels)
        elif money and feature.name == money.amount:
            yield place, feature.name, Bins.of(X[:, place], bins=QUARTERS)


def _parts(summary: Summary, tested: Tested, bins: Bins, sampled: Array, values: Array) -> Iterator[Mapping[str, Any]]:
    inside, place, whole = bins.place(sampled), bins.place(values), ranks(summary.sizes)
    for number, label in enumerate(bins.names):
        rows, drawn = np.flatnonzero(place == number), np.flatnonzero(inside == number)
        if not len(rows):
            continue
        y, p = tested.y[rows], tested.probability[rows]
        area = metrics.auc(y, p)
        yield {
            "segment": label,
            "rows": len(rows),
            "positives": int(y.sum()),
            "auc": None if np.isnan(area) else area,
            "observed": float(y.mean()),
            "predicted": float(p.mean()),
            "sample": len(drawn),
            **_importance(summary, drawn, whole),
        }


def _importance(summary: Summary, rows: NDArray[np.int64], whole: Array) -> dict[str, Any]:
    if len(rows) < LEAST:
        return {"importance": None, "rank_correlation": None}
    sizes = np.abs(summary.contributions[rows]).mean(axis=0)
    total, rank = float(sizes.sum()), correlation(ranks(sizes), whole)
    leading = np.argsort(-sizes, kind="stable")[:SHOWN]
    return {
        "importance": [
            {"feature": summary.names[index], "share": float(sizes[index] / total) if total else None}
            for index in leading
        ],
        "rank_correlation": rank if np.isfinite(rank) else None,
    }
