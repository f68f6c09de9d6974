"""Where alternatives are judged: the validation rows of the tuning folds, with groups, decisions and the same draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.use_case import UseCase
from training.evidence.calibration import fit_platt
from training.evidence.fairness import attribute_groups, selected_by
from training.evidence.groups import Groups, large
from training.evidence.resampling import Resamples, WeightedFigures
from training.folds import Fold
from training.learners.protocol import Array

if TYPE_CHECKING:
    import pandas as pd

NOWHERE = "__none__"
"""Group of the rows without a value."""
Weigh = Callable[[Array, NDArray[np.str_]], Array]
"""(labels, group of each row) -> weights with mean about 1."""


@dataclass(frozen=True)
class Ground:
    """The tuning folds' validation rows: y and parts (one a fold) of them all, groups by attribute, and the draws."""

    use_case: UseCase
    folds: tuple[Fold, ...]
    labels: Array
    y: Array
    parts: tuple[slice, ...]
    members: Mapping[str, Groups]
    groups: Mapping[str, Groups]
    resamples: Resamples

    @classmethod
    def of(
        cls, use_case: UseCase, events: pd.DataFrame, y: Array, folds: Sequence[Fold], *, blocks: NDArray[np.int64]
    ) -> Ground:
        """Of the rows that the folds' positions point into: their events, labels y, and blocks, [n].

        Blocks are drawn whole for the intervals. Only rows that stand in a fold are looked at.
        """
        valid = np.concatenate([fold.valid for fold in folds])
        used = np.unique(np.concatenate([valid, *(fold.train for fold in folds)]))
        members = {}
        for name, groups in attribute_groups(use_case, events.iloc[used]).items():
            members[name] = {group: _spread_out(rows, used, len(events)) for group, rows in groups.items()}
        ends = np.cumsum([0, *(len(fold.valid) for fold in folds)])
        compared = {
            name: large({group: rows[valid] for group, rows in groups.items()}, least=use_case.fairness.least, of=valid)
            for name, groups in members.items()
        }
        return cls(
            use_case,
            tuple(folds),
            y,
            y[valid],
            tuple(slice(int(start), int(end)) for start, end in pairwise(ends)),
            members,
            {name: groups for name, groups in compared.items() if len(groups) > 1},
            Resamples.of(blocks[valid], n=len(valid), seed=use_case.training.seed),
        )

    def judged(self, margins: Sequence[Array]) -> Judged:
        """Objective and ratios of one model: calibrated on these rows (two numbers), decided by the policy's bands."""
        margin = np.concatenate(list(margins))
        chosen = selected_by(self.use_case.policy, fit_platt(margin, self.y).probability(margin))
        rates = {name: self._rates(chosen, groups) for name, groups in self.groups.items()}
        return Judged(self._objective(margin), float(chosen.mean()), rates)

    def codes(self, attribute: str) -> NDArray[np.str_]:
        """Group of each row of the frame, `NOWHERE` without one."""
        groups = self.members[attribute]
        found = np.full(len(self.labels), NOWHERE, dtype=object)
        for group in self.groups[attribute]:
            found[groups[group]] = group
        return found.astype(np.str_)

    def weighed(self, attribute: str, weigh: Weigh) -> list[Array]:
        """Weights of each fold's training rows from their labels and groups; rows without a group weigh 1."""
        code, found = self.codes(attribute), []
        for fold in self.folds:
            weight, own = np.ones(len(fold.train)), code[fold.train] != NOWHERE
            rows = fold.train[own]
            if len(rows):
                weight[own] = weigh(self.labels[rows], code[rows])
            found.append(weight)
        return found

    def _rates(self, chosen: NDArray[np.bool_], groups: Groups) -> dict[str, Array]:
        found = {}
        for group, rows in groups.items():
            columns = np.column_stack([rows & chosen, rows]).astype(np.float64)
            totals = np.vstack([columns.sum(axis=0), self.resamples.totals(columns)])
            found[group] = np.divide(
                totals[:, 0], totals[:, 1], out=np.full(len(totals), np.nan), where=totals[:, 1] > 0
            )
        return found

    def _objective(self, margin: Array) -> Array:
        """Mean over the folds, as in the search: of the rows, and of each draw."""
        name = self.use_case.training.objective
        figures = [WeightedFigures(self.y[part], margin[part]) for part in self.parts]
        weights = (np.ones(len(self.y)), *self.resamples.weights())
        return np.array(
            [
                np.mean([one.figure(name, weight[part]) for one, part in zip(figures, self.parts, strict=True)])
                for weight in weights
            ]
        )


@dataclass(frozen=True)
class Judged:
    """objective: [1 + draws], of the rows and then of each draw. rates: attribute -> group -> the same of selection."""

    objective: Array
    selection_rate: float
    rates: Mapping[str, Mapping[str, Array]]

    def ratio(self, attribute: str) -> Array:
        """Least over greatest selection rate, [1 + draws]; 1 where nobody is selected."""
        rates = np.array(list(self.rates[attribute].values()))
        greatest = rates.max(axis=0)
        return np.where(greatest > 0, rates.min(axis=0) / np.where(greatest > 0, greatest, 1.0), 1.0)

    def gap(self, attribute: str) -> dict[str, float]:
        """Group -> its adverse rate less the overall one."""
        return {group: float(1 - rate[0] - (1 - self.selection_rate)) for group, rate in self.rates[attribute].items()}

    def ratios(self) -> dict[str, float]:
        """Attribute -> ratio."""
        return {name: float(self.ratio(name)[0]) for name in self.rates}


def _spread_out(rows: NDArray[np.bool_], used: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """A mask over the used rows as a mask over the frame."""
    found = np.zeros(n, dtype=bool)
    found[used[rows]] = True
    return found
