"""The seal on the test: what became of its events is out of reach until every choice was made, and is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from configs.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd

    from features.frame import Frame
    from training.splits import Split

LABEL = "label"


class Holdout:
    """The events of a test with their outcomes. A second `read` is an error: whoever looks twice tunes on the test."""

    def __init__(self, events: pd.DataFrame) -> None:
        self._events: pd.DataFrame | None = events

    def read(self) -> pd.DataFrame:
        """Events of the test rows, in the order of `Split.test`. Raises `TrainingError` the second time."""
        if self._events is None:
            raise TrainingError(
                "the test was read a second time",
                expected="one reading, after every choice was made",
                fix="keep what the first reading gave; to choose, use the tuning folds",
            )
        events, self._events = self._events, None
        return events


def seal(frame: Frame, split: Split, *, outcomes: Sequence[str] = ()) -> tuple[Frame, Holdout]:
    """The frame without the labels and `outcomes` of the test period (missing there), and the holdout that has them.

    Features aren't copied. Where folds were drawn by chance every row is trained on, and there is nothing to seal: the
    frame comes back as it is, with an empty holdout.
    """
    if split.by == "random":
        return frame, Holdout(frame.events.iloc[:0])
    hidden = np.zeros(len(frame.events), dtype=bool)
    hidden[split.reference] = True
    masked = {name: frame.events[name].mask(hidden) for name in (LABEL, *outcomes)}
    return replace(frame, events=frame.events.assign(**masked)), Holdout(frame.events.iloc[split.test])
