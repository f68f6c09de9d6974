"""The rows that figures are reported on: what every module of evidence is given, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from configs.use_case import UseCase

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tested:
    """Scored rows of the test, n in all, in the order of the frame.

    With repeated folds a row stands more than once; the tables' index says which row of the frame it is.
    events: `event_time`, `label`, one column an entity, protected attributes and outcomes. features: every feature of
    the use case, as the frame has them. y: 1 or 0. probability: calibrated, in (0, 1). blocks: what a bootstrap draws
    whole, as integers: days, or the entity of `split.group`, or rows. parts: metrics are means over these parts (one,
    or one for each fold).
    """

    __test__ = False  # no class of tests, whatever its name says
    use_case: UseCase
    events: pd.DataFrame
    features: pd.DataFrame
    y: Array
    probability: Array
    blocks: NDArray[np.int64]
    parts: tuple[slice, ...]
    seed: int
