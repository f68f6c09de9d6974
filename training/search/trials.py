"""What a search has tried, and what it chooses: plain data and pure functions over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np

from training.learners.protocol import Params

Against = Literal["fairness", "features"]
"""Second objective: the least ratio of selection rates (more is better), or the number of features (less is better)."""

TOLERANCE = 0.005
"""Loss of the objective that a better second objective may cost, unless the caller says otherwise."""


@dataclass(frozen=True)
class Trial:
    """One set of parameters and the objective on each tuning fold.

    params: of a complete trial, what to fit all rows with: boosters get more trees for them than the folds had (see
    `training.search.bench.trees_for`). scores: by fold, fitted on all its rows; empty unless complete. rungs: the mean
    objective at each rung that was reached, on a share of the rows and then on all; only equal rungs can be compared.
    left_out: columns that this trial did not see. second: the second objective at the last rung reached, if there is
    one. seconds: over all rungs.
    """

    number: int
    learner: str
    params: Params
    scores: tuple[float, ...]
    state: Literal["complete", "pruned"]
    seconds: float
    rungs: tuple[float, ...] = ()
    left_out: tuple[str, ...] = ()
    second: float | None = None

    @property
    def value(self) -> float:
        """Mean of the objective over the folds; undefined (NaN) unless complete."""
        return float(np.mean(self.scores)) if self.scores else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Plain data, for the evidence; `value` is None where it is undefined."""
        lists = {name: list(getattr(self, name)) for name in ("scores", "rungs", "left_out")}
        value = self.value if self.scores else None
        return asdict(self) | lists | {"params": dict(self.params), "value": value, "seconds": round(self.seconds, 3)}

    @classmethod
    def of_json(cls, raw: Mapping[str, Any]) -> Trial:
        """The trial that `as_json` gave, with its seconds rounded; older records have fewer fields."""
        lists = {name: tuple(raw.get(name, ())) for name in ("scores", "rungs", "left_out")}
        return cls(**{name: value for name, value in raw.items() if name != "value"} | lists)


@dataclass(frozen=True)
class Dropped:
    """A category with many labels, and a learner's mean objective with and without it."""

    learner: str
    column: str
    labels: int
    with_it: float
    without_it: float

    @property
    def left_out(self) -> bool:
        """Whether all trials of the learner did without it."""
        return self.without_it > self.with_it


@dataclass(frozen=True)
class Search:
    """All trials in order, and the chosen one: overall and of each learner.

    ablation: what was found out about categories with many labels before the first trial. notes: for the report.
    """

    trials: tuple[Trial, ...]
    objective: str = "auc"
    against: Against | None = None
    tolerance: float = TOLERANCE
    ablation: tuple[Dropped, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> tuple[Trial, ...]:
        """Trials that were fitted on all rows of all folds: the only ones that are comparable by `value`."""
        return tuple(trial for trial in self.trials if trial.state == "complete")

    @property
    def reached(self) -> tuple[int, int]:
        """How many trials were finished, and how many of them on all rows: `most` of a search that repeats this one."""
        return len(self.trials), len(self.complete)

    @property
    def best(self) -> Trial:
        """The complete trial with the greatest value; with a second objective, the best there within the tolerance."""
        return choose(self.complete, against=self.against, tolerance=self.tolerance)

    @property
    def best_by_learner(self) -> dict[str, Trial]:
        """The chosen trial of each learner that has a complete one."""
        names = dict.fromkeys(trial.learner for trial in self.complete)
        own = {name: [trial for trial in self.complete if trial.learner == name] for name in names}
        return {name: choose(own[name], against=self.against, tolerance=self.tolerance) for name in names}

    @property
    def front(self) -> tuple[Trial, ...]:
        """Complete trials that no other betters in one objective without a loss in the other; none without a second."""
        if self.against is None:
            return ()
        kept = pareto_front([(trial.value, gain(trial, self.against)) for trial in self.complete])
        return tuple(self.complete[place] for place in kept)

    def as_json(self) -> dict[str, Any]:
        """Plain data: trials, against, tolerance (None without `against`), front (numbers), ablation, notes."""
        return {
            "trials": [trial.as_json() for trial in self.trials],
            "against": self.against,
            "tolerance": self.tolerance if self.against else None,
            "front": [trial.number for trial in self.front],
            "ablation": [asdict(each) | {"left_out": each.left_out} for each in self.ablation],
            "notes": list(self.notes),
        }

    @classmethod
    def of_json(cls, raw: Mapping[str, Any], objective: str) -> Search:
        """The search that `as_json` gave."""
        names = [each.name for each in fields(Dropped)]
        return cls(
            tuple(Trial.of_json(trial) for trial in raw["trials"]),
            objective,
            raw["against"],
            TOLERANCE if raw["tolerance"] is None else raw["tolerance"],
            tuple(Dropped(**{name: each[name] for name in names}) for each in raw["ablation"]),
            tuple(raw["notes"]),
        )


def gain(trial: Trial, against: Against) -> float:
    """The second objective, turned so that more is better."""
    second = float("-inf") if trial.second is None else trial.second
    return -second if against == "features" else second


def choose(trials: Sequence[Trial], *, against: Against | None, tolerance: float = TOLERANCE) -> Trial:
    """The trial with the greatest value, the earlier one of equals.

    With a second objective: of the trials that lose at most `tolerance` against the greatest value, the one with the
    best second objective; of equals the one with the greater value.
    """
    best = max(trials, key=lambda trial: trial.value)
    if against is None:
        return best
    near = [trial for trial in trials if trial.value >= best.value - tolerance]
    return max(near, key=lambda trial: (gain(trial, against), trial.value))


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Places of the points that no other dominates, in both coordinates more being better; of equal points the first.

    >>> pareto_front([(0.7, 1.0), (0.8, 0.5), (0.6, 0.9), (0.8, 0.4)])
    [0, 1]
    """
    order = sorted(range(len(points)), key=lambda place: (-points[place][0], -points[place][1], place))
    kept, reached = list[int](), float("-inf")
    for place in order:
        if points[place][1] > reached:
            kept.append(place)
            reached = points[place][1]
    return sorted(kept)
