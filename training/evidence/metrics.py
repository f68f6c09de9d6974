"""Performance figures with their field-standard definitions, from labels of 0 and 1 and scores (higher: riskier).

With one class a figure is undefined: functions return NaN, and `compute` leaves the figure out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from configs.use_case import UseCase

Array = NDArray[np.float64]

ALERTS = 100
"""Cards a day that investigators can look at, in `card_precision_at_100`."""


def compute(use_case: UseCase, y: Array, p: Array, events: pd.DataFrame) -> dict[str, float]:
    """Every figure of a use case on scored rows; `events` has the rows' `event_time` and entity columns."""
    found = {
        "auc": auc(y, p),
        "gini": gini(y, p),
        "ks": ks(y, p),
        "average_precision": average_precision(y, p),
        "brier": brier(y, p),
        "ece": ece(y, p),
        "recall_at_1pct_fpr": recall_at_fpr(y, p, 0.01),
    }
    if use_case.kind == "fraud" and use_case.event.time and use_case.entities:
        found[f"card_precision_at_{ALERTS}"] = card_precision_at(
            y, p, day_of(events), events[alert_entity(use_case)].to_numpy(), k=ALERTS
        )
    return {name: value for name, value in found.items() if not np.isnan(value)}


def alert_entity(use_case: UseCase) -> str:
    """Whose alerts are counted a day: the entity of `drop_known`, or else the first one."""
    known = getattr(use_case.split, "drop_known", None)
    return str(known or next(iter(use_case.entities)))


def day_of(events: pd.DataFrame) -> NDArray[np.int64]:
    """UTC day of each event, as days since 1970."""
    days: NDArray[np.int64] = events["event_time"].dt.as_unit("us").astype("int64").to_numpy() // 86_400_000_000
    return days


def _curve(y: Array, p: Array) -> tuple[Array, Array]:
    """True and false positives at each distinct score, from the highest down, starting at (0, 0)."""
    order = np.argsort(-p, kind="stable")
    last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1) if len(p) else np.array([], dtype=np.int64)
    hits = np.cumsum(y[order])
    return np.append(0.0, hits[last]), np.append(0.0, last + 1 - hits[last])


def _one_class(y: Array) -> bool:
    return bool(y.sum() in (0, len(y)))


def auc(y: Array, p: Array) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half (Hanley & McNeil 1982).

    >>> auc(np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.1, 0.9]))
    0.75
    """
    if _one_class(y):
        return float("nan")
    tp, fp = _curve(y, p)
    return float(np.sum(np.diff(fp) * (tp[1:] + tp[:-1]) / 2) / (tp[-1] * fp[-1]))


def gini(y: Array, p: Array) -> float:
    """Gini coefficient (accuracy ratio): 2 AUC - 1."""
    return 2 * auc(y, p) - 1


def ks(y: Array, p: Array) -> float:
    """Kolmogorov-Smirnov statistic: the greatest distance between true and false positive rate."""
    if _one_class(y):
        return float("nan")
    tp, fp = _curve(y, p)
    return float(np.max(tp / tp[-1] - fp / fp[-1]))


def average_precision(y: Array, p: Array) -> float:
    """Sum over thresholds of precision x gain in recall, without interpolation (the definition of scikit-learn)."""
    if _one_class(y):
        return float("nan")
    tp, fp = _curve(y, p)
    return float(np.sum(np.diff(tp) / tp[-1] * tp[1:] / (tp[1:] + fp[1:])))


def brier(y: Array, p: Array) -> float:
    """Mean squared error of the probability (Brier 1950)."""
    return float(np.mean((p - y) ** 2)) if len(y) else float("nan")


def ece(y: Array, p: Array, *, bins: int = 10) -> float:
    """Expected calibration error: mean |observed rate - mean probability| over bins of equal size (Nixon et al. 2019).

    Equal-size bins, because nearly all probabilities of a fraud model fall into the first of equal-width bins.
    """
    if not len(y):
        return float("nan")
    parts = np.array_split(np.argsort(p, kind="stable"), min(bins, len(y)))
    return float(sum(len(part) * abs(y[part].mean() - p[part].mean()) for part in parts) / len(y))


def recall_at_fpr(y: Array, p: Array, rate: float) -> float:
    """Share of the positives above the lowest threshold whose false-positive rate is at most `rate`."""
    if _one_class(y):
        return float("nan")
    tp, fp = _curve(y, p)
    return float(tp[np.searchsorted(fp / fp[-1], rate, side="right") - 1] / tp[-1])


def card_precision_at(y: Array, p: Array, day: NDArray[np.int64], card: NDArray[Any], *, k: int) -> float:
    """Card precision top-k (Fraud Detection Handbook, chapter 4): the mean of `daily_card_precision` over days."""
    daily = daily_card_precision(y, p, day, card, k=k)
    return float(np.mean(daily)) if len(daily) else float("nan")


def daily_card_precision(y: Array, p: Array, day: NDArray[np.int64], card: NDArray[Any], *, k: int) -> Array:
    """Compromised cards among the k cards with a day's highest scores, over k: one figure a day, in order of days.

    A card's score and label of a day are the greatest of its events; a card found compromised is left out on the
    following days. Rows without a card are left out.
    """
    import pandas as pd

    table = pd.DataFrame({"day": day, "card": card, "p": p, "y": y}).dropna(subset=["card"])
    daily = table.groupby(["day", "card"], sort=True)[["p", "y"]].max().reset_index()
    found: set[Any] = set()
    precisions = []
    for _, cards in daily.groupby("day", sort=True):
        top = cards[~cards["card"].isin(found)].sort_values("p", ascending=False, kind="stable").head(k)
        hits = top.loc[top["y"] == 1, "card"]
        found.update(hits)
        precisions.append(len(hits) / k)
    return np.array(precisions)


def psi(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    """Population stability index of counts over the same bins: sum (a - e) ln(a / e); empty bins count half a row."""
    e, a = (np.maximum(counts, 0.5) / max(counts.sum(), 1) for counts in (expected.astype(float), actual.astype(float)))
    return float(np.sum((a - e) * np.log(a / e)))


def score_psi(before: Array, after: Array, *, bins: int = 10, weight: Array | None = None) -> float:
    """PSI of scores over the deciles of `before`; `weight` counts the rows of `after`."""
    edges = np.unique(np.quantile(before, np.arange(1, bins) / bins))
    places = [np.searchsorted(edges, part, side="right") for part in (before, after)]
    counts = [
        np.bincount(place, weights=each, minlength=len(edges) + 1)
        for place, each in zip(places, (None, weight), strict=True)
    ]
    return psi(*counts)


OBJECTIVES: dict[str, Callable[[Array, Array], float]] = {"auc": auc, "average_precision": average_precision}
"""What `training.objective` may name."""
