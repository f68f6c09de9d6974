"""What each feature says by itself and whether it stays: information value, missing values, PSI, direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.evidence import metrics
from training.evidence.bins import Bins, chance_psi

if TYPE_CHECKING:
    from training.encoding import Encoder

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

STRENGTHS = ((0.02, "none"), (0.1, "weak"), (0.3, "medium"), (0.5, "strong"))
"""Information value below which a feature is called so; from 0.5 on it is suspicious (Siddiqi 2006)."""
_SMOOTH = 0.5
"""Rows added to each class in a bin, so that an empty one has a weight of evidence."""
_Z = 1.959964

Direction = Literal["increasing", "decreasing", "none"]


@dataclass(frozen=True)
class Labelled:
    """Encoded rows X [n, f] with their labels y [n] of 1 and 0."""

    X: Array
    y: Array


def feature_profiles(
    encoder: Encoder,
    train: Labelled,
    test: Labelled,
    *,
    monotone: Mapping[str, str],
    months: NDArray[np.str_] | None = None,
) -> list[dict[str, Any]]:
    """One entry a feature, the strongest first; bins are frozen on the training rows. months: of each test row.

    - feature, kind, origin, description; missing_train, missing_test: shares.
    - iv: information value on the training rows, sum (g - b) ln(g / b) over shares g of goods and b of bads in
      bins, half a row added to each class (Siddiqi 2006); iv_chance: what a feature without information has on average,
      (bins - 1)(1 / goods + 1 / bads); strength: none, weak, medium, strong or suspicious.
    - auc_train, auc_test: of the training bins' weight of evidence as a score; below 0.5 the relation turned round.
    - psi: training to test (CSI), psi_chance: its 95 % quantile if nothing moved; months: month, rows, psi; worst: the
      month with the greatest psi, or None.
    - expected: increasing, decreasing or None (`monotone`); observed: of the positives' rate with the value among the
      training rows (numbers; "none" where the interval of its AUC holds 0.5); agrees: None where either is unknown.
    - bins: label, rows and share of the training rows, bad_rate and woe (ln(g / b): above 0 is better than average).

    Undefined figures are None.
    """
    found = []
    for place, feature in enumerate(encoder.features):
        before, after = train.X[:, place], test.X[:, place]
        bins = Bins.of(before, encoder.vocabularies.get(feature.name, ()))
        then, now = bins.place(before), bins.place(after)
        observed = None if bins.labels else direction(before, train.y)
        found.append(
            {
                "feature": feature.name,
                "kind": feature.kind,
                "origin": feature.origin,
                "description": feature.description,
            }
            | _worth(bins, (then, train.y), (now, test.y))
            | _moved(bins, then, now, months)
            | _pointing(monotone.get(feature.name), observed)
        )
    return sorted(found, key=lambda one: -(one["iv"] or 0.0))


def _worth(bins: Bins, train: tuple[Codes, Array], test: tuple[Codes, Array]) -> dict[str, Any]:
    """What the bins say of the label: (places, labels) of training and test rows."""
    (then, y), (now, later) = train, test
    counts = _counted(then, bins, np.ones(len(then)))
    bads = _counted(then, bins, y)
    goods = counts - bads
    worth, value, used = woe(goods, bads), information_value(goods, bads), int(np.sum(counts > 0))
    return {
        "iv": value,
        "iv_chance": None if value is None else (used - 1) * float(1 / goods.sum() + 1 / bads.sum()),
        "strength": strength(value),
        "auc_train": _finite(metrics.auc(y, -worth[then])),
        "auc_test": _finite(metrics.auc(later, -worth[now])),
        "bins": [
            {
                "label": name,
                "rows": int(counts[index]),
                "share": _share(counts[index], len(then)),
                "bad_rate": float(bads[index] / counts[index]),
                "woe": float(worth[index]),
            }
            for index, name in enumerate(bins.names)
            if counts[index]
        ],
    }


def _moved(bins: Bins, then: Codes, now: Codes, months: NDArray[np.str_] | None) -> dict[str, Any]:
    """How the rows of the test lie in the bins of the training rows."""
    counts, later = (np.bincount(place, minlength=bins.size) for place in (then, now))
    by_month = _by_month(counts, now, months) if months is not None else []
    used = int(np.sum((counts > 0) | (later > 0)))
    return {
        "missing_train": _share(counts[-1], len(then)),
        "missing_test": _share(later[-1], len(now)),
        "psi": metrics.psi(counts, later) if len(then) and len(now) else None,
        "psi_chance": chance_psi(used, len(then), len(now)),
        "months": by_month,
        "worst": max(by_month, key=lambda one: float(one["psi"]))["month"] if by_month else None,
    }


def _pointing(expected: str | None, observed: Direction | None) -> dict[str, Any]:
    known = expected is not None and observed in {"increasing", "decreasing"}
    return {"expected": expected, "observed": observed, "agrees": observed == expected if known else None}


def information_value(goods: Array, bads: Array) -> float | None:
    """Information value of counts by bin; bins without a row add nothing. None with one class."""
    if not goods.sum() or not bads.sum():
        return None
    used = goods + bads > 0
    g, b = _shares(goods[used]), _shares(bads[used])
    return float(np.sum((g - b) * np.log(g / b)))


def woe(goods: Array, bads: Array) -> Array:
    """Weight of evidence of each bin: ln of its share of goods over its share of bads; 0 for a bin without a row."""
    used = goods + bads > 0
    found = np.zeros(len(goods))
    found[used] = np.log(_shares(goods[used]) / _shares(bads[used]))
    return found


def strength(value: float | None) -> str | None:
    """What an information value is called.

    >>> strength(0.01), strength(0.2), strength(0.7)
    ('none', 'medium', 'suspicious')
    """
    if value is None:
        return None
    return next((name for bound, name in STRENGTHS if value < bound), "suspicious")


def direction(values: Array, y: Array) -> Direction | None:
    """Whether positives have greater or smaller values: by the AUC's 95 % interval (Hanley & McNeil 1982).

    None with one class among the rows that have a value.
    """
    known = ~np.isnan(values)
    area, positives = metrics.auc(y[known], values[known]), float(y[known].sum())
    if np.isnan(area):
        return None
    negatives = float(known.sum()) - positives
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    if abs(area - 0.5) <= _Z * np.sqrt(spread / (positives * negatives)):
        return "none"
    return "increasing" if area > 0.5 else "decreasing"


def _by_month(counts: Codes, place: Codes, months: NDArray[np.str_]) -> list[dict[str, Any]]:
    names, code = np.unique(months, return_inverse=True)
    size = len(counts)
    table = np.bincount(code.reshape(-1) * size + place, minlength=len(names) * size).reshape(len(names), size)
    return [
        {"month": str(name), "rows": int(row.sum()), "psi": metrics.psi(counts, row)}
        for name, row in zip(names, table, strict=True)
    ]


def _counted(place: Codes, bins: Bins, weights: Array) -> Array:
    return np.asarray(np.bincount(place, weights=weights, minlength=bins.size), dtype=np.float64)


def _shares(counts: Array) -> Array:
    return np.asarray((counts + _SMOOTH) / np.sum(counts + _SMOOTH), dtype=np.float64)


def _share(part: float, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
