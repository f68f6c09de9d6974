"""Three rows explained: a low, a middling and a high score. No id, and no value finer than its bin."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from training.evidence.bins import Bins
from training.explanation.summary import Summary
from training.model import Model

PLACES = {"low": 0.05, "median": 0.5, "high": 0.95}
"""Example -> quantile of the sample's scores."""
SHOWN = 8


def examples(summary: Summary, model: Model, *, withheld: Collection[str] = ()) -> list[dict[str, Any]]:
    """Keys: name (low, median, high), quantile, probability, margin and base (log-odds), contributions (`SHOWN`), rest.

    A contribution, the largest first, has feature, value and contribution (log-odds); rest is the sum of the others, so
    that base, contributions and rest sum to the margin. A number is given by the decile of the sample it lies in, a
    feature of `withheld` (personal columns) not at all: an id, or a rare combination of exact values, says whose row it
    is.
    """
    margin = model.margin(summary.values)
    order = np.argsort(margin, kind="stable")
    found = []
    for name, quantile in PLACES.items():
        row = int(order[round(quantile * (len(order) - 1))])
        own = summary.contributions[row]
        leading = np.argsort(-np.abs(own), kind="stable")[:SHOWN]
        found.append(
            {
                "name": name,
                "quantile": quantile,
                "probability": float(model.probability(summary.values[row : row + 1])[0]),
                "margin": float(margin[row]),
                "base": summary.base,
                "contributions": [
                    {
                        "feature": summary.names[index],
                        "value": _told(summary, model, row, int(index), withheld),
                        "contribution": float(own[index]),
                    }
                    for index in leading
                ],
                "rest": float(own.sum() - own[leading].sum()),
            }
        )
    return found


def _told(summary: Summary, model: Model, row: int, index: int, withheld: Collection[str]) -> str:
    name, values = summary.names[index], summary.values[:, index]
    if name in withheld:
        return "withheld"
    bins = Bins.of(values, model.vocabularies.get(name, ()))
    return bins.names[int(bins.place(values[row : row + 1])[0])]
