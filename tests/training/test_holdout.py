"""The test's labels: out of reach, and read once."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from configs.errors import TrainingError
from configs.use_case import Period, RandomSplit, TimeSplit
from features.frame import Frame
from training.holdout import seal
from training.splits import split_events

DAY = timedelta(days=1)


def frame() -> Frame:
    n, generator = 2000, np.random.default_rng(4)
    time = pd.Series(pd.date_range("2024-01-01", periods=n, freq="30min", tz="UTC")).dt.as_unit("us")
    label = (generator.random(n) < 0.3).astype(float)
    label[::9] = np.nan
    events = pd.DataFrame(
        {"event_id": [str(i) for i in range(n)], "event_time": time, "known": time, "label": label, "loss": label * 100}
    )
    return Frame(events, pd.DataFrame({"x": generator.normal(size=n)}), "data", "definition")


SPLIT = TimeSplit(
    train=Period(start=datetime(2024, 1, 1), end=datetime(2024, 1, 25)),
    test=Period(start=datetime(2024, 2, 1), end=datetime(2024, 2, 8)),
)


def test_outcomes_of_the_test_are_sealed_and_those_of_training_are_not() -> None:
    made = frame()
    split = split_events(made.events, SPLIT, maturity=DAY, seed=1)
    sealed, _ = seal(made, split, outcomes=("loss",))
    assert sealed.events[["label", "loss"]].iloc[split.reference].isna().all(axis=None)
    assert sealed.events["label"].iloc[split.train].equals(made.events["label"].iloc[split.train])
    assert made.events["label"].iloc[split.test].notna().all()
    assert sealed.features is made.features


def test_the_test_is_read_once_and_a_second_reading_is_an_error() -> None:
    made = frame()
    split = split_events(made.events, SPLIT, maturity=DAY, seed=1)
    _, holdout = seal(made, split)
    assert holdout.read().equals(made.events.iloc[split.test])
    with pytest.raises(TrainingError, match="read a second time"):
        holdout.read()


def test_folds_by_chance_have_nothing_to_seal() -> None:
    made = frame()
    split = split_events(made.events, RandomSplit(by="random"), maturity=DAY, seed=1)
    sealed, holdout = seal(made, split)
    assert sealed is made and not len(holdout.read())
