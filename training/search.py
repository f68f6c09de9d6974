"""The search over learners and parameters. The only module that imports Optuna.

Every learner has a study of its own, seeded, in memory. Trials run in pairs, each on one thread: two single-threaded
fits finish sooner than two that share two threads, don't stall on a busy machine, and give the same bytes anywhere.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from configs.use_case import LearnerName, Training
from training.evidence.metrics import OBJECTIVES
from training.folds import Fold, Rows
from training.learners.choice import learner
from training.learners.protocol import Array, Column, Params, Range, Sample

with warnings.catch_warnings():  # in a notebook, of progress bars that are not used here
    warnings.filterwarnings("ignore", "IProgress not found")
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

if TYPE_CHECKING:
    from configs.console import Ticker

optuna.logging.set_verbosity(optuna.logging.WARNING)

PAIR = 2
"""Trials asked for before any of them is told. Fixed, so that the machine's threads don't change the search."""
MAX_ROWS = 60_000
"""Rows a tuning fold is fitted on at most: all positives and a fixed sample of negatives. Validation takes all rows."""
SCORECARD_TRIALS = 3
"""Trials of the scorecard at most: it has few parameters and serves as the benchmark."""


@dataclass(frozen=True)
class Trial:
    """One set of parameters and the objective on each tuning fold. Only complete trials can be compared by `value`."""

    number: int
    learner: str
    params: Params
    scores: tuple[float, ...]
    state: Literal["complete", "pruned", "late"]
    seconds: float

    @property
    def value(self) -> float:
        """Mean of the objective over the folds that were scored."""
        return float(np.mean(self.scores)) if self.scores else float("nan")

    def as_json(self) -> dict[str, Any]:
        """Plain data, for the evidence."""
        return asdict(self) | {"value": self.value, "scores": list(self.scores), "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class Search:
    """All trials in order, and the best complete one: overall and of each learner."""

    trials: tuple[Trial, ...]
    objective: str = "auc"

    @property
    def best(self) -> Trial:
        """The complete trial with the greatest value; the earlier one of equals."""
        return max((trial for trial in self.trials if trial.state == "complete"), key=lambda trial: trial.value)

    @property
    def best_by_learner(self) -> dict[str, Trial]:
        """The best complete trial of each learner that has one."""
        names = dict.fromkeys(trial.learner for trial in self.trials)
        found = {name: Search(tuple(trial for trial in self.trials if trial.learner == name)) for name in names}
        return {
            name: part.best for name, part in found.items() if any(trial.state == "complete" for trial in part.trials)
        }


def search(
    X: Array,
    y: Array,
    columns: tuple[Column, ...],
    folds: Sequence[Fold],
    training: Training,
    *,
    seconds: float,
    threads: int = 1,
    ticker: Ticker | None = None,
) -> Search:
    """Look for the best mean objective over `folds`, until `training.trials` or `seconds` are used up.

    Each learner's default comes first. At least one trial is finished, whatever the budget.
    """
    end = time.monotonic() + seconds
    bench = _Bench(
        X, y, tuple(folds), tuple(_sample(X, y, columns, fold, seed=training.seed) for fold in folds), training
    )
    studies = {name: _study(name, training.seed + index) for index, name in enumerate(training.learners)}
    trials: list[Trial] = []
    with ThreadPoolExecutor(max_workers=min(PAIR, threads)) as pool:
        while len(trials) < training.trials and (not trials or time.monotonic() < end):
            asked = _ask(studies, trials, training)
            ends = [end if trials or place else None for place in range(len(asked))]
            runs = [
                pool.submit(bench.run, trial, name, number=len(trials) + place, end=ends[place])
                for place, (name, _, trial) in enumerate(asked)
            ]
            for (_, study, trial), run in zip(asked, runs, strict=True):
                trials.append(run.result())
                _tell(study, trial, trials[-1])
                _report(ticker, trials, training)
    return Search(tuple(trials), training.objective)


@dataclass(frozen=True)
class _Bench:
    """What every trial is measured on."""

    X: Array
    y: Array
    folds: tuple[Fold, ...]
    samples: tuple[Sample, ...]
    training: Training

    def run(self, trial: optuna.Trial, name: str, *, number: int, end: float | None) -> Trial:
        """Score one set of parameters fold by fold; stop early when it lags behind the median, or when time is up."""
        start, scores = time.monotonic(), list[float]()
        state: Literal["complete", "pruned", "late"] = "complete"
        for step, (sample, fold) in enumerate(zip(self.samples, self.folds, strict=True)):
            if end is not None and time.monotonic() > end:
                state = "late"
                break
            fitted = learner(name).fit(sample, trial.params, seed=self.training.seed, threads=1)
            scores.append(OBJECTIVES[self.training.objective](self.y[fold.valid], fitted.margin(self.X[fold.valid])))
            trial.report(float(np.mean(scores)), step)
            if step + 1 < len(self.folds) and trial.should_prune():
                state = "pruned"
                break
        return Trial(number, name, dict(trial.params), tuple(scores), state, time.monotonic() - start)


def _sample(X: Array, y: Array, columns: tuple[Column, ...], fold: Fold, *, seed: int) -> Sample:
    rows = thinned(y, fold.train, most=MAX_ROWS, seed=seed)
    return Sample(X[rows], y[rows], columns)


def thinned(y: Array, rows: Rows, *, most: int, seed: int) -> Rows:
    """At most `most` of the rows: every positive, and negatives drawn without replacement (as many at least)."""
    positives, negatives = rows[y[rows] == 1], rows[y[rows] == 0]
    keep = max(most - len(positives), len(positives))
    if len(rows) <= most or keep >= len(negatives):
        return rows
    drawn = np.random.default_rng(seed).choice(negatives, size=keep, replace=False)
    return np.sort(np.concatenate([positives, drawn]))


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


def _study(name: LearnerName, seed: int) -> optuna.Study:
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5)
    pruner = optuna.pruners.PercentilePruner(50.0, n_startup_trials=3)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.enqueue_trial(dict(learner(name).default))
    return study


def _ask(
    studies: Mapping[LearnerName, optuna.Study], trials: Sequence[Trial], training: Training
) -> list[tuple[LearnerName, optuna.Study, optuna.Trial]]:
    done, asked = [trial.learner for trial in trials], []
    best = {name: trial.value for name, trial in Search(tuple(trials)).best_by_learner.items()}
    for _ in range(min(PAIR, training.trials - len(trials))):
        name = next_learner(done, best, training)
        done.append(name)
        space = {key: _distribution(part) for key, part in learner(name).space.items()}
        asked.append((name, studies[name], studies[name].ask(space)))
    return asked


def _distribution(part: Range) -> BaseDistribution:
    if part.integer:
        return IntDistribution(int(part.low), int(part.high), log=part.log)
    return FloatDistribution(part.low, part.high, log=part.log)


def _tell(study: optuna.Study, trial: optuna.Trial, done: Trial) -> None:
    if done.state == "complete":
        study.tell(trial, done.value)
    else:
        study.tell(
            trial, state=optuna.trial.TrialState.PRUNED if done.state == "pruned" else optuna.trial.TrialState.FAIL
        )


def _report(ticker: Ticker | None, trials: Sequence[Trial], training: Training) -> None:
    if ticker is None:
        return
    ticker.advance()
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        return
    best = Search(tuple(complete)).best
    ticker.note(f"trial {len(trials)}/{training.trials}, best {training.objective} {best.value:.4f} ({best.learner})")
