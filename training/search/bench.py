"""What every trial is measured on: the folds at each rung, binned once for each learner and shared by all trials."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from configs.use_case import Training
from training.evidence.groups import Groups
from training.folds import Fold, Rows
from training.learners.binned import Prepared, prepare
from training.learners.choice import learner
from training.learners.protocol import MAX_LEAVES, Array, Column, Params, Sample
from training.learners.weights import balanced
from training.search.rows import MAX_ROWS, RARE, objective, scored, share_of, thinned
from training.search.schedule import rungs
from training.search.second import LEAST, selection_ratio
from training.search.trials import Trial

RATE = 0.05
"""Learning rate of every booster. It is not searched: smaller steps with more trees lose nothing (Friedman 2001,
section 5), and larger ones rank trials by luck. Over 80 random trials on `lending_club.parquet` the rank correlation
with the AUC of a later year was 0.80 on an eighth of the rows at this rate, 0.71 on all rows at 0.1, and 0.61 on an
eighth at 0.2.
"""
MOST = 400
"""Trees at most."""


@dataclass(frozen=True)
class Pace:
    """Trees between two looks at the objective, and without a gain until growing stops."""

    every: int
    patience: int


SHARE, WHOLE = Pace(5, 30), Pace(10, 60)
"""On a share of the rows, and on all of them, where the number of trees counts."""
FEW_BINS = 63
"""Bins of a number on a share of the rows: they rank parameters as well as the usual 255, in less time."""


@dataclass(frozen=True)
class Grown:
    """The objective by fold at a number of trees, and the scores of the validation rows behind it."""

    scores: tuple[float, ...]
    trees: int
    margins: tuple[Array, ...]

    @property
    def value(self) -> float:
        """Mean over the folds."""
        return float(np.mean(self.scores))


def smoothed(looks: Sequence[Grown]) -> Grown:
    """The middle one of three looks with the mean scores of all: a single peak of a rough curve is mostly luck."""
    middle = looks[len(looks) // 2]
    scores = np.mean([look.scores for look in looks], axis=0)
    return Grown(tuple(float(score) for score in scores), middle.trees, middle.margins)


@dataclass(frozen=True)
class Wanted:
    """A trial to run: parameters without the learning rate and the number of trees."""

    number: int
    learner: str
    params: Params
    left_out: tuple[str, ...] = ()


_Key = tuple[str, int, tuple[str, ...]]


@dataclass(frozen=True)
class _Part:
    prepared: Prepared
    rows: Rows
    y: Array
    stands_for: float


@dataclass(frozen=True)
class Bench:
    """Encoded rows X [n, f], labels y [n] and weights [n], the folds, and what is made of them once and for all."""

    X: Array
    y: Array
    columns: tuple[Column, ...]
    folds: tuple[Fold, ...]
    training: Training
    weight: Array | None = None
    protected: Mapping[str, Groups] = field(default_factory=dict)
    least: int = LEAST
    _made: dict[_Key, tuple[_Part, ...]] = field(default_factory=dict)
    _locks: dict[_Key, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def rungs(self) -> tuple[float, ...]:
        """Shares of the training rows, ascending to 1."""
        rows = [self._trained(fold) for fold in self.folds]
        positives, total = sum(int(self.y[own].sum()) for own in rows), sum(map(len, rows))
        return rungs(total, positives, rare=positives / total < RARE)

    def run(self, wanted: Wanted, rung: int, *, end: float | None = None) -> Trial | None:
        """Score one set of parameters at a rung; None when the monotonic clock passes `end` before it is done."""
        start = time.monotonic()
        grown = self.grow(wanted.learner, wanted.params, rung, left_out=wanted.left_out, end=end)
        if grown is None:
            return None
        second, seconds = self._second(wanted, rung, grown), time.monotonic() - start
        found = Trial(
            wanted.number, wanted.learner, wanted.params, (), "pruned", seconds, (grown.value,), wanted.left_out, second
        )
        if rung + 1 < len(self.rungs):
            return found
        return replace(found, params=self._params(wanted, grown), scores=grown.scores, state="complete")

    def grow(
        self, name: str, params: Params, rung: int, *, left_out: tuple[str, ...] = (), end: float | None = None
    ) -> Grown | None:
        """Grow a booster on every fold, all in step, until the mean objective has stopped to rise; the best on the way.

        The objective is smoothed over three looks. None when the monotonic clock passes `end`.
        """
        parts = self._parts(name, rung, left_out)
        native = shrunk(name, params, self.rungs[rung]) | ({"learning_rate": RATE} if _boosts(name) else {})
        fits = [part.prepared.start(native, seed=self.training.seed) for part in parts]
        pace = WHOLE if self.rungs[rung] == 1 else SHARE
        looks, best = list[Grown](), Grown((), 0, ())
        for trees in _stops(name, params, pace.every):
            for fit in fits:
                if end is not None and time.monotonic() > end:
                    return None
                fit.grow(pace.every)
            margins = tuple(fit.score() for fit in fits)
            looks = [*looks[-2:], Grown(tuple(map(self._scored, parts, margins)), trees, margins)]
            found = smoothed(looks)
            if not best.scores or found.value > best.value:
                best = found
            elif trees - best.trees > pace.patience:
                break
        return best

    def forget(self, name: str, left_out: tuple[str, ...]) -> None:
        """Release the rows of a learner that were made without these columns."""
        for key in [key for key in self._made if (key[0], key[2]) == (name, left_out)]:
            del self._made[key]

    def forget_rung(self, rung: int) -> None:
        """Release the rows of a rung, when no trial climbs it any more."""
        for key in [key for key in self._made if key[1] == rung]:
            del self._made[key]

    def importance(self, *, rows: int) -> Array:
        """Mean |contribution| of each column in the last fold, [f], to a default booster of the first learner."""
        name, fold = self.training.learners[0], self.folds[-1]
        own = share_of(self.y, self._trained(fold), self.rungs[0], seed=self.training.seed)
        sample = self._sample(own, range(len(self.columns)))
        fitted = learner(name).fit(sample, learner(name).default, seed=self.training.seed, threads=1)
        drawn = np.random.default_rng(self.training.seed).permutation(fold.valid)[:rows]
        found: Array = np.abs(fitted.contributions(self.X[drawn])[:, :-1]).mean(axis=0)
        return found

    def _params(self, wanted: Wanted, grown: Grown) -> dict[str, float | int]:
        """The parameters to fit all rows with: see `trees_for`."""
        if not _boosts(wanted.learner):
            return dict(wanted.params)
        fitted = float(np.mean([_minority(self.y[self._trained(fold)]) for fold in self.folds]))
        trees = trees_for(_minority(self.y), fitted, grown.trees)
        return {**wanted.params, "learning_rate": RATE, "trees": min(trees, _most(wanted.learner, wanted.params))}

    def _scored(self, part: _Part, margin: Array) -> float:
        return objective(self.training.objective, part.y, margin, stands_for=part.stands_for)

    def _second(self, wanted: Wanted, rung: int, grown: Grown) -> float | None:
        if self.training.against == "features":
            return float(len(self.columns) - len(wanted.left_out))
        if self.training.against == "fairness":
            parts = self._parts(wanted.learner, rung, wanted.left_out)
            labels, rows = [part.y for part in parts], [part.rows for part in parts]
            return selection_ratio(grown.margins, labels, rows, self.protected, least=self.least)
        return None

    def _trained(self, fold: Fold) -> Rows:
        return thinned(self.y, fold.train, most=MAX_ROWS, seed=self.training.seed)

    def _parts(self, name: str, rung: int, left_out: tuple[str, ...]) -> tuple[_Part, ...]:
        """The folds of a rung, made by the first thread that asks."""
        key = (name, rung, left_out)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._made:
                self._made[key] = tuple(self._part(name, rung, left_out, fold) for fold in self.folds)
            return self._made[key]

    def _part(self, name: str, rung: int, left_out: tuple[str, ...], fold: Fold) -> _Part:
        kept = [place for place, column in enumerate(self.columns) if column.name not in left_out]
        share, seed = self.rungs[rung], self.training.seed
        rows = share_of(self.y, self._trained(fold), share, seed=seed)
        valid, stands_for = scored(self.y, fold.valid, share, seed=seed)
        if self.training.against == "fairness":
            valid, stands_for = fold.valid, 1.0  # rates of selection are those of all rows
        sample = self._sample(rows, kept)
        prepared = prepare(name, sample, _taken(self.X, valid, kept), bins=None if share == 1 else FEW_BINS)
        return _Part(prepared, valid, self.y[valid], stands_for)

    def _sample(self, rows: Rows, kept: Sequence[int]) -> Sample:
        weight = None if self.weight is None else self.weight[rows] / self.weight[rows].mean()
        columns = tuple(self.columns[place] for place in kept)
        sample = Sample(_taken(self.X, rows, kept), self.y[rows], columns, weight)
        return balanced(sample)[0] if self.training.imbalance == "weighted" else sample


def shrunk(name: str, params: Params, share: float) -> dict[str, float | int]:
    """Parameters for a share of the rows: those that are weighed against sums over rows shrink with them.

    Without that, a small sample ranks parameters by how weakly they regularize, and not by what they give on all rows.
    """
    counted = learner(name).in_rows
    return {
        key: (max(1, round(value * share)) if isinstance(value, int) else value * share) if key in counted else value
        for key, value in params.items()
    }


def trees_for(rows: float, fitted: float, trees: int) -> int:
    """Trees for a fit on more rows of the rarer class than the folds were fitted on, where `trees` were best.

    More rows bear more trees: on `lending_club.parquet`, twice the rows took 1.4 to 1.75 times the trees, with which
    the AUC of a later year was 0.001 to 0.002 higher. The square root of the ratio is taken, as in the error of a mean.

    >>> trees_for(4000, 2000, 200)
    283
    """
    return max(trees, round(trees * math.sqrt(rows / fitted)))


def _minority(y: Array) -> int:
    positives = int(np.sum(y == 1))
    return min(positives, len(y) - positives)


def _boosts(name: str) -> bool:
    return "trees" in learner(name).default


def _stops(name: str, params: Params, every: int) -> Sequence[int]:
    """Numbers of trees at which the objective is looked at: one only for a learner without trees."""
    if not _boosts(name):
        return (0,)
    return range(every, max(_most(name, params), every) + 1, every)


def _most(name: str, params: Params) -> int:
    """Trees at most: also as many as `MAX_LEAVES` allows."""
    return min(MOST, MAX_LEAVES // learner(name).leaves({**params, "trees": 1}))


def _taken(X: Array, rows: Rows, kept: Sequence[int]) -> Array:
    """Rows and columns of X, without a copy of all columns on the way."""
    return X[rows] if len(kept) == X.shape[1] else X[rows[:, None], np.array(kept)]
