"""The seal on the test: its labels are out of reach until every choice was made, and are read once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError

if TYPE_CHECKING:
    from features.frame import Frame
    from training.splits import Split


class Holdout:
    """The test labels of a time split. A second `read` is an error: whoever looks twice has tuned on the test."""

    def __init__(self, labels: NDArray[np.float64]) -> None:
        self._labels: NDArray[np.float64] | None = labels

    def read(self) -> NDArray[np.float64]:
        """Labels of the test rows (1 or 0), in the order of `Split.test`. Raises `TrainingError` the second time."""
        if self._labels is None:
            raise TrainingError(
                "the test labels were read a second time",
                expected="one reading, after every choice was made",
                fix="keep what the first reading gave; to choose, use the tuning folds",
            )
        labels, self._labels = self._labels, None
        return labels


def seal(frame: Frame, split: Split) -> tuple[Frame, Holdout]:
    """The frame without the labels of the test rows (NaN), and the holdout that has them. Features aren't copied.

    Where folds were drawn by chance every row is trained on, and there is nothing to seal: the frame comes back as it
    is, with an empty holdout.
    """
    if split.by == "random":
        return frame, Holdout(np.empty(0))
    labels = frame.events["label"].to_numpy(dtype=np.float64).copy()
    holdout = Holdout(labels[split.test].copy())
    labels[split.reference] = np.nan
    return replace(frame, events=frame.events.assign(label=labels)), holdout
