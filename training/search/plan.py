"""What each trial is: its learner, parameters and columns, by the trials it may know of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.learners.choice import learner
from training.search.ablation import left_out_by
from training.search.bench import Bench, Wanted
from training.search.schedule import known_before, turns, within
from training.search.second import kept_counts, proxy_strength
from training.search.study import LEVEL, Columns, suggest
from training.search.task import Task, Warm
from training.search.trials import Dropped, Trial

RANKED_ROWS = 500
"""Validation rows whose contributions rank the columns."""


@dataclass(frozen=True)
class Plan:
    """The trials of a task, one by one. Pure: the same trials known, the same trial wanted."""

    task: Task
    bench: Bench
    ablation: tuple[Dropped, ...] = ()
    ranking: tuple[str, ...] = ()

    @cached_property
    def warm(self) -> tuple[Warm, ...]:
        """Trials to begin with, moved into the search's space; those of learners that aren't asked for are left out."""
        found: list[Warm] = []
        for name, params in self.task.warm:
            if name in self.task.training.learners:
                kind = learner(name)
                start = (name, within(params, kind.space, kind.default))
                if start not in found and start != (name, _default(name)):
                    found.append(start)
        return tuple(found[: max(0, self.task.training.trials - 1)])

    def wanted(self, number: int, done: Mapping[int, Trial]) -> Wanted:
        """The trial `number`, by those it may know of: warm ones, then each learner's default, then suggestions."""
        training, known = self.task.training, known_before(number, done, window=self.task.window)
        if number < len(self.warm):
            name, params = self.warm[number]
            return Wanted(number, name, params, left_out_by(self.ablation, name))
        names = turns(number, known, training, window=self.task.window, first=len(self.warm))
        name = str(names[-1])
        if names.count(names[-1]) == 1:
            return Wanted(number, name, _default(name), left_out_by(self.ablation, name))
        columns = Columns(len(self.bench.columns), self._counts(name))
        params = suggest(name, number, known, seed=training.seed, against=training.against, columns=columns)
        return Wanted(number, name, params, self._left_out(name, int(params.pop(LEVEL, 0))))

    def _counts(self, name: str) -> tuple[int, ...]:
        against = self.task.training.against
        kept = len(self.bench.columns) - len(left_out_by(self.ablation, name))
        return kept_counts(kept, against) if against else ()

    def _left_out(self, name: str, level: int) -> tuple[str, ...]:
        """Columns a trial does without: those of the ablation, and the last of the ranking beyond its number."""
        dropped, counts = left_out_by(self.ablation, name), self._counts(name)
        ranked = [column for column in self.ranking if column not in dropped]
        return (*dropped, *(ranked[counts[level] :] if counts else ()))


def rank(bench: Bench) -> tuple[str, ...]:
    """Columns in the order in which a second objective keeps them.

    Against features: by mean |contribution| in the last fold, the greatest first. Against unfairness: by how little
    they tell of the protected groups.
    """
    names = [column.name for column in bench.columns]
    if bench.training.against == "features":
        strength = -bench.importance(rows=RANKED_ROWS)
    else:
        found = proxy_strength(bench.X, bench.columns, bench.protected)
        strength = np.array([found[name] for name in names])
    return tuple(names[place] for place in np.argsort(strength, kind="stable"))


def _default(name: str) -> dict[str, float | int]:
    kind = learner(name)
    return within({}, kind.space, kind.default)
