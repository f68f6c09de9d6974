"""Which calibration: each kind is fitted and judged on rows apart, and a richer one has to be better beyond chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.evidence import metrics
from training.evidence.calibration import FITS, Calibration

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Method = Literal["auto", "platt", "beta", "isotonic"]

_STRETCHES = 10
"""Consecutive stretches of each part that the standard error comes from: neighbours in time are alike."""
_ALONE = 5
"""Parts that a single part is cut into."""
RULE = "the simpler one, unless the next is better by more than a standard error of the log loss on rows apart"


def choose_calibration(
    margins: Sequence[Array], labels: Sequence[Array], *, method: Method = "auto", rows: Sequence[Rows] | None = None
) -> tuple[Calibration, dict[str, Any]]:
    """A calibration fitted on all parts, and how the kinds compare when each part is judged by a fit on the others.

    margins, labels: out-of-fold log-odds and labels, one array a fold, rows in order of time where there is one. rows:
    positions, needed where a row stands in several parts (repeated folds): it is left out of all of them. The
    comparison has asked, chosen, rule, rows, positives, parts, and compared: for each kind, with `none` for the margin
    as it is, method, log_loss, brier, ece, gain (of log loss a row, over `none`) and standard_error of that gain.
    `auto` goes through the kinds in this order, from no number to many.
    """
    pieces = list(zip(margins, labels, rows or _apart(margins), strict=True))
    if len(pieces) == 1:
        pieces = list(zip(*(np.array_split(each, _ALONE) for each in pieces[0]), strict=True))
    y = np.concatenate([label for _, label, _ in pieces])
    held_out = {name: np.concatenate(list(held_out_probabilities(pieces, name))) for name in FITS}
    stretch = _stretches([len(label) for _, label, _ in pieces])
    chosen = _chosen(y, held_out, stretch) if method == "auto" else method
    compared = [{"method": name} | _figures(y, p, held_out["none"], stretch) for name, p in held_out.items()]
    fitted = FITS[chosen](np.concatenate(list(margins)), np.concatenate(list(labels)))
    about = {"rows": len(y), "positives": int(y.sum()), "parts": len(pieces)}
    return fitted, {"asked": method, "chosen": chosen, "rule": RULE} | about | {"compared": compared}


def held_out_probabilities(pieces: Sequence[tuple[Array, Array, Rows]], method: str) -> Iterator[Array]:
    """Probabilities of each part (margins, labels, positions), calibrated on the rows that aren't in it."""
    margin, label, row = (np.concatenate(each) for each in zip(*pieces, strict=True))
    for own, _, part in pieces:
        outside = ~np.isin(row, part)
        yield FITS[method](margin[outside], label[outside]).probability(own)


def _apart(margins: Sequence[Array]) -> list[Rows]:
    ends = np.cumsum([len(margin) for margin in margins])
    return np.split(np.arange(ends[-1]), ends[:-1])


def _stretches(lengths: Sequence[int]) -> Rows:
    """The stretch of each row, over all parts."""
    places = [np.arange(length) * _STRETCHES // max(length, 1) for length in lengths]
    return np.concatenate([place + number * _STRETCHES for number, place in enumerate(places)])


def _chosen(y: Array, held_out: dict[str, Array], stretch: Rows) -> str:
    best, *richer = FITS
    for name in richer:
        gain, error = _gain(_log_loss(y, held_out[best]) - _log_loss(y, held_out[name]), stretch)
        best = name if gain > error else best
    return best


def _gain(difference: Array, stretch: Rows) -> tuple[float, float]:
    """Mean of a difference by row, and its standard error from the totals of stretches (a ratio of means)."""
    totals, counts = np.bincount(stretch, weights=difference), np.bincount(stretch)
    mean, used = float(difference.mean()), int((counts > 0).sum())
    spread = np.sum((totals - counts * mean) ** 2) * used / max(used - 1, 1)
    return mean, float(np.sqrt(spread) / len(difference))


def _log_loss(y: Array, p: Array) -> Array:
    return -np.log(np.where(y == 1, p, 1 - p))


def _figures(y: Array, p: Array, base: Array, stretch: Rows) -> dict[str, float]:
    gain, error = _gain(_log_loss(y, base) - _log_loss(y, p), stretch)
    figures = {"log_loss": float(_log_loss(y, p).mean()), "brier": metrics.brier(y, p), "ece": metrics.ece(y, p)}
    return figures | {"gain": gain, "standard_error": error}
