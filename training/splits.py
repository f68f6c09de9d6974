"""Which rows are trained on, tuned on and tested on: pure functions of times, labels and the use case's split."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from configs.use_case import RandomSplit, TimeSplit

if TYPE_CHECKING:
    import pandas as pd

Rows = NDArray[np.int64]
"""Positions in the frame, ascending."""

ENOUGH_POSITIVES = 50
"""Positives that a tuning fold must keep for the label delay to be applied inside it."""


@dataclass(frozen=True)
class Fold:
    """Rows to fit on and rows to score."""

    train: Rows
    valid: Rows


@dataclass(frozen=True)
class Split:
    """The rows of one training run.

    train: what the final model is fitted on. test: labelled rows that the reported metrics come from.
    reference: every row of the test period, labelled or not, which monitoring compares live traffic with.
    tuning: folds inside the training rows. outer: only for a random split, folds whose `valid` parts tile `test`.
    """

    by: Literal["time", "random"]
    train: Rows
    test: Rows
    reference: Rows
    tuning: tuple[Fold, ...]
    outer: tuple[Fold, ...] = ()
    notes: tuple[str, ...] = ()


def split_events(events: pd.DataFrame, period: TimeSplit | RandomSplit, *, maturity: timedelta, seed: int) -> Split:
    """Split a frame's events (`event_time`, `known`, `label`, one column per entity) as the use case says.

    Raises `TrainingError` when a part is empty or has fewer than two rows of either class.
    """
    if isinstance(period, TimeSplit):
        return _by_time(events, period, maturity, seed)
    return _by_chance(events, period, seed)


def _by_time(events: pd.DataFrame, period: TimeSplit, maturity: timedelta, seed: int) -> Split:
    time, label = _microseconds(events["event_time"]), events["label"].to_numpy(dtype=np.float64)
    train = _training_rows(events, period, maturity)
    within = (time >= _stamp(period.test.start)) & (time < _stamp(period.test.end))
    test = within & ~np.isnan(label)
    if period.drop_known:
        test &= ~known_compromised(events, period.drop_known, since=period.train.start, maturity=maturity)
    for name, rows, part in (("training", train, period.train), ("test", np.flatnonzero(test), period.test)):
        _require(label[rows], f"the {name} period {part.start:%Y-%m-%d} to {part.end:%Y-%m-%d}", events)
    known = _microseconds(events["known"])
    tuning, notes = rolling_folds(time, known, label, train, folds=period.folds, maturity=maturity, seed=seed)
    return Split("time", train, np.flatnonzero(test), np.flatnonzero(within), tuning, notes=notes)


def _training_rows(events: pd.DataFrame, period: TimeSplit, maturity: timedelta) -> Rows:
    """Rows of the training period whose outcome had matured, and was known, when the test period starts.

    Both conditions are needed: positives are often known early, so `known` alone would keep too many of them.
    """
    time, known = _microseconds(events["event_time"]), _microseconds(events["known"])
    cut, delay = _stamp(period.test.start), _micros(maturity)
    rows = (time >= _stamp(period.train.start)) & (time < _stamp(period.train.end)) & (time + delay <= cut)
    return np.flatnonzero(rows & events["label"].notna().to_numpy() & (known <= cut))


def known_compromised(events: pd.DataFrame, entity: str, *, since: datetime, maturity: timedelta) -> NDArray[np.bool_]:
    """Rows whose `entity` had a positive event at least a day more than `maturity` ago, counted in UTC days.

    The rule of the Fraud Detection Handbook (chapter 3): on day D an investigator knows the positives of
    [since, D - maturity), so their cards are blocked and no longer part of the problem.
    """
    day = events["event_time"].dt.floor("D")
    positive = (events["label"] == 1) & (_microseconds(events["event_time"]) >= _stamp(since))
    first = day[positive].groupby(events.loc[positive, entity]).min()
    known: NDArray[np.bool_] = (events[entity].map(first) < day - maturity).to_numpy(dtype=bool)
    return known


def rolling_folds(
    time: NDArray[np.int64],
    known: NDArray[np.int64],
    label: NDArray[np.float64],
    train: Rows,
    *,
    folds: int,
    maturity: timedelta,
    seed: int,
) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    """Rolling-origin folds: `folds + 1` stretches with about equally many rows; each but the first is validated once.

    Every fold fits on the rows whose outcome had matured, and was known, before its stretch. Where the delay would
    leave a fold with fewer than `ENOUGH_POSITIVES` positives, it is dropped in all folds (they stay in order of time),
    and a note says so.
    """
    whole, bounds = time[train], _bounds(time[train], folds)
    settled = np.maximum(whole + _micros(maturity), known[train])
    gapped = tuple(_fold(whole, settled, train, bounds, index) for index in range(folds))
    if all(np.sum(label[fold.train] == 1) >= ENOUGH_POSITIVES and _usable(fold, label) for fold in gapped):
        return gapped, ()
    plain = tuple(_fold(whole, None, train, bounds, index) for index in range(folds))
    usable = tuple(fold for fold in plain if _usable(fold, label))
    notes = [
        f"tuning folds ignore the label delay of {maturity}: with it a fold had fewer than {ENOUGH_POSITIVES} positives"
    ]
    if len(usable) < folds:
        notes.append(f"{folds - len(usable)} of {folds} tuning folds left out: one class only")
    if usable:
        return usable, tuple(notes if maturity or len(usable) < folds else ())
    stratified = stratified_folds(label[train], folds=max(2, folds), seed=seed)
    notes = ["tuning used stratified folds instead of folds in time: every fold in time had one class only"]
    return tuple(Fold(train[fold.train], train[fold.valid]) for fold in stratified), tuple(notes)


def _bounds(time: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Start of each validation stretch and the end of the last; on UTC midnights where that leaves no stretch empty."""
    edges = np.quantile(time, np.arange(1, folds + 1) / (folds + 1), method="nearest").astype(np.int64)
    day = _micros(timedelta(days=1))
    midnights = (edges + day // 2) // day * day
    if np.all(np.diff([time.min(), *midnights, time.max()]) > 0):
        edges = midnights
    return np.append(edges, time.max() + 1)


def _fold(
    time: NDArray[np.int64], settled: NDArray[np.int64] | None, rows: Rows, bounds: NDArray[np.int64], index: int
) -> Fold:
    start, end = bounds[index], bounds[index + 1]
    before = time < start if settled is None else (time < start) & (settled <= start)
    return Fold(rows[before], rows[(time >= start) & (time < end)])


def _usable(fold: Fold, label: NDArray[np.float64]) -> bool:
    return all(np.sum(label[part] == value) >= 2 for part in (fold.train, fold.valid) for value in (0, 1))


def _by_chance(events: pd.DataFrame, period: RandomSplit, seed: int) -> Split:
    label = events["label"].to_numpy(dtype=np.float64)
    rows = np.flatnonzero(~np.isnan(label))
    _require(label[rows], "the table", events, least=period.folds)
    outer = tuple(
        Fold(rows[fold.train], rows[fold.valid])
        for repeat in range(period.repeats)
        for fold in stratified_folds(label[rows], folds=period.folds, seed=seed + repeat)
    )
    inner = outer[0].train
    tuning = tuple(
        Fold(inner[fold.train], inner[fold.valid])
        for fold in stratified_folds(label[inner], folds=min(3, period.folds), seed=seed)
    )
    note = (
        "time was not tested: the table has no time, so the metrics come from stratified random folds; "
        "parameters were chosen inside the training part of the first fold"
    )
    return Split("random", rows, rows, np.arange(len(events)), tuning, outer, (note,))


def stratified_folds(label: NDArray[np.float64], *, folds: int, seed: int) -> tuple[Fold, ...]:
    """Folds of equal class shares: each class is shuffled and dealt round."""
    generator, home = np.random.default_rng(seed), np.empty(len(label), dtype=np.int64)
    for value in (0, 1):
        rows = generator.permutation(np.flatnonzero(label == value))
        home[rows] = np.arange(len(rows)) % folds
    return tuple(Fold(np.flatnonzero(home != fold), np.flatnonzero(home == fold)) for fold in range(folds))


def _require(label: NDArray[np.float64], where: str, events: pd.DataFrame, *, least: int = 2) -> None:
    positives, negatives = int(np.sum(label == 1)), int(np.sum(label == 0))
    if positives >= least and negatives >= least:
        return
    time = events["event_time"]
    span = f"events from {time.min():%Y-%m-%d} to {time.max():%Y-%m-%d}" if len(events) else "no events at all"
    if not positives + negatives:
        raise TrainingError(
            f"no labelled row in {where}; the data has {span}",
            expected="rows whose outcome is known",
            fix="move the periods of `split` onto the data, or check `label.column` and `label.maturity`",
        )
    raise TrainingError(
        f"{positives} positive and {negatives} negative rows in {where}",
        expected=f"at least {least} rows of each class",
        fix="check `label.column` and `label.positive`, or lengthen the period",
    )


def _microseconds(times: pd.Series[Any]) -> NDArray[np.int64]:
    stamps: NDArray[np.int64] = times.dt.as_unit("us").astype("int64").to_numpy()
    return stamps


def _stamp(moment: datetime) -> int:
    """A use case's moment (naive means UTC) in microseconds since 1970."""
    return _micros((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC))


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
