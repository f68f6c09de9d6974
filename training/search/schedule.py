"""Whose turn it is, on how many rows trials start, and which go on: pure functions of what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from configs.use_case import LearnerName, Training
from training.learners.protocol import Params, Range
from training.search.trials import Against, Trial, gain, pareto_front

WINDOW = 3
"""Trials in flight at most. A trial is suggested by those at least so many places before it, so that it is the same on
any number of threads, and of processes up to this many."""
SCORECARD_TRIALS = 3
"""Trials of the scorecard at most: it has few parameters and serves as the benchmark."""

SHARES = (1 / 8, 1 / 3)
"""Shares of the training rows on which trials may start; the first that says something is taken."""
LEAST_ROWS, LEAST_POSITIVES = 3_000, 300
"""Over all folds together, below which a share of the rows would rank trials by chance."""
KEPT, KEPT_OF_TWO, LEAST_KEPT = 1 / 8, 1 / 3, 3
"""Share of the trials that go on to all rows, with one objective and with two, and how many do at least."""


def next_learner(done: Sequence[str], best: Mapping[str, float], training: Training) -> LearnerName:
    """Whose turn it is: each learner once, then by turns, and in the second half the leader; the scorecard gets few."""
    counts = {name: list(done).count(name) for name in training.learners}
    untried = [name for name, count in counts.items() if not count]
    if untried:
        return untried[0]
    rest = [name for name in training.learners if name != "scorecard"]
    if not rest or ("scorecard" in counts and counts["scorecard"] < min(SCORECARD_TRIALS, training.trials // 12)):
        return "scorecard"
    leader = max(rest, key=lambda name: best.get(name, -np.inf))
    return leader if len(done) >= training.trials // 2 else min(rest, key=lambda name: counts[name])


def turns(
    place: int, told: Mapping[int, Trial], training: Training, *, window: int, first: int = 0
) -> list[LearnerName]:
    """Learners of the trials from `first` to `place`, each by the results at least `window` places before it."""
    names: list[LearnerName] = []
    for each in range(first, place + 1):
        best: dict[str, float] = {}
        for number, trial in told.items():
            if number <= each - window:
                best[trial.learner] = max(trial.rungs[0], best.get(trial.learner, -np.inf))
        names.append(next_learner(names, best, training))
    return names


def known_before(place: int, done: Mapping[int, Trial], *, window: int) -> dict[int, Trial]:
    """The finished trials that the trial at `place` may know of, in order."""
    return {number: done[number] for number in sorted(done) if number <= place - window}


def ready(done: Mapping[int, Trial], *, total: int, window: int) -> list[int]:
    """Places that may be tried now: open, and with every trial finished that they are to know of."""
    first = next((place for place in range(total) if place not in done), total)
    return [place for place in range(first, min(total, first + window)) if place not in done]


def unbroken(done: Mapping[int, Trial], order: Sequence[int]) -> list[Trial]:
    """The trials up to the first one in order that isn't finished: what a search that went on would have had, too."""
    found = list[Trial]()
    for number in order:
        if number not in done:
            break
        found.append(done[number])
    return found


def rungs(rows: int, positives: int, *, rare: bool) -> tuple[float, ...]:
    """Shares of the rows: one that ranks trials, and all. All positives are in a share where they are `rare`."""
    for share in SHARES:
        if share * rows >= LEAST_ROWS and (positives if rare else share * positives) >= LEAST_POSITIVES:
            return share, 1.0
    return (1.0,)


def promoted(trials: Sequence[Trial], against: Against | None = None) -> list[int]:
    """Numbers of the trials that go on to all rows, the best first: successive halving (Jamieson & Talwalkar 2016).

    A share of them with the best scores, and the best of each learner, so that learners can be compared. With a second
    objective they are taken front by front (Deb et al. 2002), each front by score; against features the best of each
    number of features goes on too, since few rows bear fewer features than all rows do.
    """
    order = _ranked(trials, against)
    count = max(LEAST_KEPT, math.ceil((KEPT_OF_TWO if against else KEPT) * len(trials)))
    firsts: dict[object, int] = {}
    for place, trial in enumerate(order):
        firsts.setdefault(trial.learner, place)
        if against == "features":
            firsts.setdefault(trial.second, place)
    kept = {*range(min(count, len(order))), *firsts.values()}
    return [trial.number for place, trial in enumerate(order) if place in kept]


def _ranked(trials: Sequence[Trial], against: Against | None) -> list[Trial]:
    rest = sorted(trials, key=lambda trial: -trial.rungs[0])
    if against is None:
        return rest
    found = list[Trial]()
    while rest:
        front = pareto_front([(trial.rungs[0], gain(trial, against)) for trial in rest])
        found += [rest[place] for place in front]
        rest = [trial for place, trial in enumerate(rest) if place not in front]
    return found


def within(params: Mapping[str, float | int], space: Mapping[str, Range], default: Params) -> dict[str, float | int]:
    """Parameters of an older model as a trial of this search: unknown ones dropped, values moved into the space.

    What the space has and the older model had not gets the default.
    """
    found: dict[str, float | int] = {}
    for name, part in space.items():
        value = min(max(params.get(name, default[name]), part.low), part.high)
        found[name] = round(value) if part.integer else float(value)
    return found
