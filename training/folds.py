"""Folds for tuning: forward in time with the label delay, or stratified by chance; a group never straddles a fold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Rows = NDArray[np.int64]
"""Positions, ascending."""

ENOUGH_POSITIVES = 50
"""Positives that a tuning fold must keep for the label delay to be applied inside it."""


@dataclass(frozen=True)
class Fold:
    """Rows to fit on and rows to score."""

    train: Rows
    valid: Rows


@dataclass(frozen=True)
class Moments:
    """When training rows happened and when their outcome was known (microseconds), and their label (1 or 0): [n]."""

    time: NDArray[np.int64]
    known: NDArray[np.int64]
    label: NDArray[np.float64]


def group_codes(keys: pd.Series[Any]) -> Rows:
    """An integer for each key; a missing key is a group of its own: [n]."""
    import pandas as pd

    codes, found = pd.factorize(keys)
    absent = codes < 0
    return np.where(absent, len(found) + np.cumsum(absent), codes).astype(np.int64)


def rolling_folds(
    rows: Moments, *, folds: int, maturity: timedelta, seed: int, groups: Rows | None = None
) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    """Rolling-origin folds: `folds + 1` stretches with about equally many rows; each but the first is validated once.

    Every fold fits on the rows whose outcome had matured, and was known, before its stretch, and whose group (if given)
    has no row in it. Where the delay would leave a fold with fewer than `ENOUGH_POSITIVES` positives, it is dropped in
    all folds (they stay in order of time), and a note says so.
    """
    bounds, settled = _bounds(rows.time, folds), np.maximum(rows.time + _micros(maturity), rows.known)
    gapped = tuple(_fold(rows.time, settled, bounds, index, groups) for index in range(folds))
    if all(np.sum(rows.label[fold.train] == 1) >= ENOUGH_POSITIVES and _usable(fold, rows.label) for fold in gapped):
        return gapped, ()
    plain = tuple(_fold(rows.time, None, bounds, index, groups) for index in range(folds))
    usable = tuple(fold for fold in plain if _usable(fold, rows.label))
    notes = [
        f"tuning folds ignore the label delay of {maturity}: with it a fold had fewer than {ENOUGH_POSITIVES} positives"
    ]
    if len(usable) < folds:
        notes.append(f"{folds - len(usable)} of {folds} tuning folds left out: one class only")
    if usable:
        return usable, tuple(notes if maturity or len(usable) < folds else ())
    notes = ["tuning used stratified folds instead of folds in time: every fold in time had one class only"]
    return stratified_folds(rows.label, folds=max(2, folds), seed=seed, groups=groups), tuple(notes)


def _bounds(time: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Start of each validation stretch and the end of the last; on UTC midnights where that leaves no stretch empty."""
    edges = np.quantile(time, np.arange(1, folds + 1) / (folds + 1), method="nearest").astype(np.int64)
    day = _micros(timedelta(days=1))
    midnights = (edges + day // 2) // day * day
    if np.all(np.diff([time.min(), *midnights, time.max()]) > 0):
        edges = midnights
    return np.append(edges, time.max() + 1)


def _fold(
    time: NDArray[np.int64],
    settled: NDArray[np.int64] | None,
    bounds: NDArray[np.int64],
    index: int,
    groups: Rows | None,
) -> Fold:
    start, end = bounds[index], bounds[index + 1]
    before, valid = time < start, (time >= start) & (time < end)
    if settled is not None:
        before &= settled <= start
    if groups is not None:
        before &= ~np.isin(groups, groups[valid])
    return Fold(np.flatnonzero(before), np.flatnonzero(valid))


def _usable(fold: Fold, label: NDArray[np.float64]) -> bool:
    return all(np.sum(label[part] == value) >= 2 for part in (fold.train, fold.valid) for value in (0, 1))


def stratified_folds(
    label: NDArray[np.float64], *, folds: int, seed: int, groups: Rows | None = None
) -> tuple[Fold, ...]:
    """Folds of equal class shares: each class is shuffled and dealt round. Groups stay whole: nearly equal."""
    if groups is not None:
        from sklearn.model_selection import StratifiedGroupKFold

        dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(label, label.astype(int), groups)
        return tuple(Fold(np.sort(train).astype(np.int64), np.sort(valid).astype(np.int64)) for train, valid in dealt)
    generator, home = np.random.default_rng(seed), np.empty(len(label), dtype=np.int64)
    for value in (0, 1):
        rows = generator.permutation(np.flatnonzero(label == value))
        home[rows] = np.arange(len(rows)) % folds
    return tuple(Fold(np.flatnonzero(home != fold), np.flatnonzero(home == fold)) for fold in range(folds))


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
