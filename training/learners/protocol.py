"""What every learner offers. Learners see numbers only; names, vocabularies and calibration stay with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from training.encoding import Encoder

Array = NDArray[np.float64]
Params = Mapping[str, float | int]

MAX_LEAVES = 12_800
"""Leaves of a whole model (bags x trees x leaves): keeps the native contributions of one row near 2 ms."""


@dataclass(frozen=True)
class Column:
    """How a learner must read one column of X. `labels` makes it a category of codes; `direction` is -1, 0 or 1."""

    name: str
    labels: tuple[str, ...] = ()
    direction: int = 0


@dataclass(frozen=True, eq=False)  # compared by identity, so that what is derived from one can be kept with it
class Sample:
    """Rows to fit on: X float64 [n, f] with NaN for missing, y float64 [n] of 0 and 1.

    weight: [n], finite and at least 0; None: 1 for every row. A row of weight k counts like k rows, so keep the mean
    near 1 where regularization shall mean what it means without weights. Bad weights are a `TrainingError`.
    """

    X: Array
    y: Array
    columns: tuple[Column, ...]
    weight: Array | None = None

    def __post_init__(self) -> None:
        weight = self.weight
        if weight is None:
            return
        if weight.shape != self.y.shape or not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
            wrong = int((~(weight >= 0)).sum())
            raise TrainingError(
                f"weights of shape {weight.shape} for {len(self.y)} rows, {wrong} of them negative or missing",
                expected="one finite weight of at least 0 for each row, and not all of them 0",
                fix="correct the column that `training.weight` names",
            )

    @property
    def counted(self) -> Sample:
        """The rows that weigh anything; learners count rows too, in least leaf sizes, and must not count the others."""
        if self.weight is None or self.weight.all():
            return self
        kept = self.weight > 0
        return Sample(self.X[kept], self.y[kept], self.columns, self.weight[kept])


@dataclass(frozen=True)
class Range:
    """Where the search looks for one parameter, both ends included."""

    low: float
    high: float
    log: bool = False
    integer: bool = False


class Fitted(Protocol):
    """A fitted learner, rebuilt exactly by its learner's `load` from `dump`."""

    def margin(self, X: Array) -> Array:
        """Log-odds of the positive class, [n]."""
        ...

    def contributions(self, X: Array) -> Array:
        """Log-odds by column, [n, f + 1]; the last column is the base, and each row sums to its margin."""
        ...

    def dump(self) -> bytes:
        """The content of its file."""
        ...


class Learner(Protocol):
    """A way to fit. `default` is a careful choice that is always tried first, `space` is what the search varies."""

    @property
    def suffix(self) -> str:
        """Ending of the file `dump` fills."""
        ...

    @property
    def default(self) -> Params:
        """Parameters tried first: strongly regularized, since few positives are the rule."""
        ...

    @property
    def space(self) -> Mapping[str, Range]:
        """Parameters the search varies."""
        ...

    @property
    def in_rows(self) -> frozenset[str]:
        """Parameters that are weighed against sums over rows: a share of the rows wants that share of them."""
        ...

    def fit(self, sample: Sample, params: Params, *, seed: int, threads: int) -> Fitted:
        """Fit; the same seed and threads give the same bytes."""
        ...

    def load(self, content: bytes) -> Fitted:
        """Rebuild from `dump`."""
        ...

    def leaves(self, params: Params) -> int:
        """Upper bound of the leaves of one fit, 0 where it has none."""
        ...


def columns_of(encoder: Encoder, monotone: Mapping[str, str]) -> tuple[Column, ...]:
    """The learner's view of the features.

    A monotone direction on a category is a `TrainingError`; one on an excluded feature has no effect.
    """
    names = {feature.name for feature in encoder.features if feature.kind == "category"}
    wrong = sorted(names & monotone.keys())
    if wrong:
        raise TrainingError(
            f"a monotone direction on the category {', '.join(wrong)}",
            expected="monotone directions on numbers only: the codes of a category have no order",
            fix="remove it from `monotone`, or derive a number from the category",
        )
    signs = {"increasing": 1, "decreasing": -1}
    return tuple(
        Column(
            feature.name,
            tuple(encoder.vocabularies.get(feature.name, ())),
            signs.get(monotone.get(feature.name, ""), 0),
        )
        for feature in encoder.features
    )


def canonical_order(columns: Sequence[Column]) -> NDArray[np.intp]:
    """Places of the columns by name, [f].

    Learners fit in this order: ties between columns, and draws of columns, then don't depend on the order in which a
    use case lists its features.
    """
    return np.array(sorted(range(len(columns)), key=lambda place: columns[place].name), dtype=np.intp)


def directions(columns: Sequence[Column]) -> list[int]:
    """Monotone directions by column, as the boosting libraries take them."""
    return [column.direction for column in columns]
