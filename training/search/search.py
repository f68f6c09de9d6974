"""The search over learners and parameters: what callers use.

Every trial is scored on a share of the rows first, and the best of them on all rows. Boosters stop by the objective on
the folds, so that the number of trees is found, not searched. Each trial runs on one thread: two single-threaded fits
finish sooner than two that share two threads, don't stall on a busy machine, and give the same bytes anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from configs.errors import TrainingError
from configs.use_case import Training
from training.evidence.groups import Groups
from training.folds import Fold
from training.learners.binned import load_libraries
from training.learners.protocol import Array, Column
from training.search.ablation import ablate
from training.search.bench import Bench
from training.search.claims import Alone, Claims, advisory, only_process
from training.search.plan import Plan, rank
from training.search.rows import require_both_classes
from training.search.runner import Runner, final, opening
from training.search.schedule import WINDOW, promoted, unbroken
from training.search.second import LEAST, require_groups
from training.search.study import LOST, Record, in_file, in_memory, in_postgresql
from training.search.task import Task, Warm
from training.search.trials import TOLERANCE, Dropped, Search, Trial
from training.search.workers import PROMOTED, Workers

if TYPE_CHECKING:
    from configs.console import Ticker
    from configs.settings import Settings

OPENING = 0.6
"""Share of the time that trials on a share of the rows may use; the rest is for the best of them on all rows."""


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
    settings: Settings | None = None,
    weight: Array | None = None,
    warm: Sequence[Warm] = (),
    protected: Mapping[str, Groups] | None = None,
    least: int = LEAST,
    tolerance: float = TOLERANCE,
    workers: int = 1,
    most: tuple[int, int] | None = None,
) -> Search:
    """Look for the best mean objective over `folds`, until `training.trials` or `seconds` are used up.

    X: [n, f], y: [n] of 0 and 1, weight: [n] or None; folds are positions in them. `warm` trials come first (a
    learner and parameters such as the champion's), then each learner's default. At least one trial is finished,
    whatever the time. The same arguments give the same trials, on any number of threads; only how many are finished
    depends on the time, and `most` repeats a search that ran out of it: what that one has `reached`.

    With `settings` every finished trial is durable before the next one starts, in `home/searches` or in PostgreSQL, and
    the same call after a kill goes on from there to the same result. A search that returns removes its record, so a
    deliberate repetition searches anew, and finds the same. `workers` processes share the search, on PostgreSQL only;
    each has its share of the threads.

    training.against: `fairness` needs `protected` (attribute -> group -> its rows [n]; groups of fewer than `least`
    rows don't count). The chosen trial then loses at most `tolerance` against the best objective.

    Advances `ticker` by `training.trials`. Raises `TrainingError` when a fold has one class, when there are no groups
    to be fair to, when another process searches the same, and when the database is lost.
    """
    start = time.monotonic()
    require_both_classes(y, folds)
    groups = require_groups(protected, least=least) if training.against == "fairness" else {}
    window = max(WINDOW, workers)
    task = Task(X, y, columns, tuple(folds), training, window, weight, groups, least, tuple(warm), tolerance)
    with _errors(), _opened(task, settings, workers) as (record, claims):
        plan, progress = planned(task, record, threads=threads), _Progress(ticker, training)
        total, several = min(training.trials, most[0] if most else training.trials), len(plan.bench.rungs) > 1
        ends = start + (OPENING if several else 1) * seconds, start + seconds
        runner = Runner(plan, record, claims, max(1, threads // workers), progress.report)
        with Workers(task, settings, count=workers - 1, ends=ends, total=total, threads=runner.threads) as helpers:
            if record.fact(PROMOTED) is None:
                runner.run(opening(plan, total, ends[0]))
            finished, chosen = record.once(PROMOTED, lambda: _promoted(record, training, total, most))
            trials = [record.trials(0)[number] for number in range(finished)]
            if several:
                plan.bench.forget_rung(0)
                runner.run(final(plan, dict(enumerate(trials)), chosen, ends[1]))
        whole = unbroken(record.trials(len(plan.bench.rungs) - 1), chosen if several else range(finished))
        progress.close()
        record.remove()
    merged = {trial.number: _risen(trial, trials[trial.number]) if several else trial for trial in whole}
    notes = (*helpers.notes, *_unfinished(finished, total, len(whole), len(chosen) if several else finished))
    return Search(
        tuple(merged.get(trial.number, trial) for trial in trials),
        training.objective,
        training.against,
        tolerance,
        plan.ablation,
        notes,
    )


def _promoted(record: Record, training: Training, total: int, most: tuple[int, int] | None) -> tuple[int, list[int]]:
    """How many trials count, and the numbers of those that go on; noted once, for all processes and after a kill."""
    trials = unbroken(record.trials(0), range(total))
    numbers = promoted(trials, training.against)
    return len(trials), numbers[: most[1]] if most else numbers


def _risen(trial: Trial, before: Trial) -> Trial:
    return replace(trial, rungs=(*before.rungs, *trial.rungs), seconds=before.seconds + trial.seconds)


def planned(task: Task, record: Record, *, threads: int) -> Plan:
    """The plan of a search; what was found out before its first trial is found out once."""
    load_libraries(task.training.learners)
    bench = Bench(task.X, task.y, task.columns, task.folds, task.training, task.weight, task.protected, task.least)
    ablation = record.once("ablation", lambda: [asdict(each) for each in ablate(bench, threads=threads)])
    ranking = record.once("ranking", lambda: list(rank(bench))) if task.training.against else []
    return Plan(task, bench, tuple(Dropped(**each) for each in ablation), tuple(ranking))


@contextmanager
def _opened(task: Task, settings: Settings | None, workers: int) -> Iterator[tuple[Record, Claims]]:
    """The record of the search and this process's claims, as the only process that leads it."""
    if workers > 1 and (settings is None or not settings.database_url):
        raise TrainingError(
            f"{workers} worker processes without a database",
            expected="PostgreSQL, through which they share the search",
            fix="set RISK_DATABASE_URL=postgresql://..., or search with one process",
        )
    with ExitStack() as stack:
        if settings is None:
            yield in_memory(), Alone()
        elif settings.database_url:
            url = settings.database("search")
            claims = stack.enter_context(advisory(url, task.name, owner=True))
            yield stack.enter_context(closing(in_postgresql(url, task.name))), claims
        else:
            folder = settings.home / "searches"
            stack.enter_context(only_process(folder / f"{task.name}.owner"))
            yield in_file(folder / f"{task.name}.journal"), Alone()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except LOST as error:
        raise TrainingError(
            f"the database of the search can't be used: {type(error).__name__}",
            expected="a PostgreSQL server that answers, at the address RISK_DATABASE_URL",
            fix="start it, and give the same command again: the trials that were finished are kept",
        ) from error


def _unfinished(finished: int, total: int, whole: int, promoted: int) -> tuple[str, ...]:
    notes = []
    if finished < total:
        notes.append(f"the time was up after {finished} of {total} trials")
    if whole < promoted:
        notes.append(f"the time was up when {whole} of the {promoted} best trials had been fitted on all rows")
    return tuple(notes)


class _Progress:
    """The ticker's note: trials finished, the best so far and whose it is, and how many were pruned."""

    def __init__(self, ticker: Ticker | None, training: Training) -> None:
        self._ticker, self._training, self._shown = ticker, training, 0

    def report(self, rung: int, done: Mapping[int, Trial]) -> None:
        """Show what is finished at a rung."""
        if self._ticker is None or not done:
            return
        if rung == 0:
            self._ticker.advance(max(0, len(done) - self._shown))
            self._shown = max(self._shown, len(done))
        best = max(done.values(), key=lambda trial: trial.rungs[-1])
        text = f"best {self._training.objective} {best.rungs[-1]:.4f} ({best.learner})"
        where = f"trial {len(done)}/{self._training.trials}" if rung == 0 else f"{len(done)} on all rows"
        pruned = 0 if rung == 0 else self._shown - len(done)
        self._ticker.note(f"{where}, {text}, {pruned} pruned")

    def close(self) -> None:
        """Advance by the trials there was no time for."""
        if self._ticker is not None:
            self._ticker.advance(max(0, self._training.trials - self._shown))
