"""Which rows are trained on, tuned on and tested on: pure functions of times, labels and the use case's split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from configs.use_case import Period, RandomSplit, TimeSplit
from training.folds import Fold, Moments, Rows, group_codes, rolling_folds, stratified_folds

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Split:
    """The rows of one training run: positions in the frame, and folds of positions in `train`.

    train: what the final model is fitted on. test: labelled rows that the reported metrics come from.
    reference: every row of the test period, labelled or not, which monitoring compares live traffic with.
    rejects: rows of the training period whose outcome had time to mature and never came: an older policy's rejects.
    tuning: folds that choices are made on. outer: only for a random split, where test and training rows are the same:
    folds whose `valid` parts tile them, once for each repeat. group: the entity that never straddles a fold.
    """

    by: Literal["time", "random"]
    train: Rows
    test: Rows
    reference: Rows
    tuning: tuple[Fold, ...]
    rejects: Rows
    outer: tuple[Fold, ...] = ()
    notes: tuple[str, ...] = ()
    group: str | None = None


FEWEST = 50
"""Rows of either class that training needs: below that, no figure on a fold says anything."""


def split_events(
    events: pd.DataFrame,
    period: TimeSplit | RandomSplit,
    *,
    maturity: timedelta,
    seed: int,
    entities: Sequence[str] = (),
) -> Split:
    """Split a frame's events (`event_time`, `known`, `label`, one column for each of `entities`) as the use case says.

    Random folds keep the rows of one entity together where its keys repeat: the group that `period` names, or else the
    first of `entities` that repeats. Raises `TrainingError` when a part is empty, when the training rows have fewer
    than `FEWEST` rows of either class, or the test rows fewer than two.
    """
    if isinstance(period, TimeSplit):
        return _by_time(events, period, maturity, seed)
    return _by_chance(events, period, seed, entities)


def _by_time(events: pd.DataFrame, period: TimeSplit, maturity: timedelta, seed: int) -> Split:
    time, label = _microseconds(events["event_time"]), events["label"].to_numpy(dtype=np.float64)
    matured = _matured(events, period, maturity)
    train = matured[~np.isnan(label[matured])]
    within = (time >= _stamp(period.test.start)) & (time < _stamp(period.test.end))
    test, notes = within & ~np.isnan(label), list[str]()
    if period.drop_known:
        test &= ~known_compromised(events, period.drop_known, since=period.train.start, maturity=maturity)
    if period.group:
        known = events[period.group].isin(events[period.group].iloc[train].dropna()).to_numpy(dtype=bool)
        notes.append(
            f"{int((test & known).sum())} test rows left out: their {period.group} stands in the training rows"
        )
        test &= ~known
    _require(label[train], f"the training period {_span(period.train)}", events, least=FEWEST)
    _require(label[test], f"the test period {_span(period.test)}", events)
    moments = Moments(time[train], _microseconds(events["known"])[train], label[train])
    keys = group_codes(events[period.group].iloc[train]) if period.group else None
    tuning, more = rolling_folds(moments, folds=period.folds, maturity=maturity, seed=seed, groups=keys)
    return Split(
        "time",
        train,
        np.flatnonzero(test),
        np.flatnonzero(within),
        tuning,
        matured[np.isnan(label[matured])],
        notes=(*notes, *more),
        group=period.group,
    )


def _matured(events: pd.DataFrame, period: TimeSplit, maturity: timedelta) -> Rows:
    """Rows of the training period whose outcome had matured, and was known if it came, when the test period starts.

    Both conditions are needed: positives are often known early, so `known` alone would keep too many of them.
    """
    time, known = _microseconds(events["event_time"]), _microseconds(events["known"])
    cut, delay = _stamp(period.test.start), _micros(maturity)
    rows = (time >= _stamp(period.train.start)) & (time < _stamp(period.train.end)) & (time + delay <= cut)
    return np.flatnonzero(rows & ((known <= cut) | events["label"].isna().to_numpy()))


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


def _span(period: Period) -> str:
    return f"{period.start:%Y-%m-%d} to {period.end:%Y-%m-%d}"


def _by_chance(events: pd.DataFrame, period: RandomSplit, seed: int, entities: Sequence[str]) -> Split:
    label = events["label"].to_numpy(dtype=np.float64)
    rows = np.flatnonzero(~np.isnan(label))
    _require(label[rows], "the table", events, least=max(FEWEST, period.folds))
    group = period.group or next((name for name in entities if events[name].iloc[rows].duplicated().any()), None)
    keys = group_codes(events[group].iloc[rows]) if group else None
    if keys is not None and len(np.unique(keys)) < period.folds:
        raise TrainingError(
            f"the rows have {len(np.unique(keys))} different keys of {group}, which folds keep together",
            expected=f"at least {period.folds} keys for {period.folds} folds",
            fix="check the entity's key column, or name another entity as `split.group`",
        )
    outer = tuple(
        fold
        for repeat in range(period.repeats)
        for fold in stratified_folds(label[rows], folds=period.folds, seed=seed + repeat, groups=keys)
    )
    inner = outer[0].train
    parts = stratified_folds(
        label[rows][inner], folds=min(3, period.folds), seed=seed, groups=None if keys is None else keys[inner]
    )
    tuning = tuple(Fold(inner[fold.train], inner[fold.valid]) for fold in parts)
    notes = [
        "time was not tested: the table has no time, so the metrics come from stratified random folds; "
        "parameters were chosen inside the training part of the first fold"
    ]
    if group:
        notes.append(f"folds keep all rows of one {group} together")
    everything = np.arange(len(events))
    return Split("random", rows, rows, everything, tuning, np.setdiff1d(everything, rows), outer, tuple(notes), group)


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
