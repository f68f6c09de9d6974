"""Trials on several threads, beside other processes that may work on the same search."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from training.search.bench import Wanted
from training.search.claims import Claims
from training.search.plan import Plan
from training.search.schedule import ready
from training.search.study import Record
from training.search.trials import Trial

POLL = 0.1
"""Seconds between two looks at what other processes have finished."""


@dataclass(frozen=True)
class Stage:
    """The trials of a rung: their numbers, which of them may be tried now, what each is, and when the time is up.

    The first number is finished whatever the time.
    """

    rung: int
    numbers: Sequence[int]
    ready: Callable[[Mapping[int, Trial]], list[int]]
    wanted: Callable[[int, Mapping[int, Trial]], Wanted]
    end: float


def opening(plan: Plan, total: int, end: float) -> Stage:
    """Every trial once, on a share of the rows where there are enough."""
    window = plan.task.window
    return Stage(0, range(total), lambda done: ready(done, total=total, window=window), plan.wanted, end)


def final(plan: Plan, trials: Mapping[int, Trial], promoted: Sequence[int], end: float) -> Stage:
    """The trials that go on to all rows, the best first."""

    def again(number: int, _done: Mapping[int, Trial]) -> Wanted:
        return Wanted(number, trials[number].learner, trials[number].params, trials[number].left_out)

    rung = len(plan.bench.rungs) - 1
    return Stage(rung, promoted, lambda done: [each for each in promoted if each not in done], again, end)


@dataclass
class Runner:
    """Tries the trials of stages. `report` gets the finished trials of a stage whenever one was added.

    `over` says when to stop for another reason than the time.
    """

    plan: Plan
    record: Record
    claims: Claims
    threads: int
    report: Callable[[int, Mapping[int, Trial]], None]
    over: Callable[[], bool] = lambda: False
    _running: set[int] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _failed: bool = False

    def run(self, stage: Stage) -> None:
        """Return when nothing is left to do in a stage. Raises what a trial raised, after the others have ended."""
        with ThreadPoolExecutor(max_workers=self.threads) as pool:
            for each in [pool.submit(self._work, stage) for _ in range(self.threads)]:
                each.result()

    def wait(self, name: str) -> Any:
        """What the leading process notes under a name; None when it is over before that."""
        while (found := self.record.fact(name)) is None and not self.over():
            with self._changed:
                self._changed.wait(POLL)
        return found

    def _work(self, stage: Stage) -> None:
        try:
            while (number := self._next(stage)) is not None:
                self._try(stage, number)
        except BaseException:
            with self._changed:
                self._failed = True
                self._changed.notify_all()
            raise

    def _try(self, stage: Stage, number: int) -> None:
        try:
            wanted = stage.wanted(number, self.record.trials(stage.rung))
            trial = self.plan.bench.run(wanted, stage.rung, end=None if number == stage.numbers[0] else stage.end)
            if trial is not None:
                self.record.add(trial, stage.rung)  # durable before this thread starts another
        finally:
            self.claims.release(_claim(stage, number))
            with self._changed:
                self._running.discard(number)
                self._changed.notify_all()
        self.report(stage.rung, self.record.trials(stage.rung))

    def _next(self, stage: Stage) -> int | None:
        """The first trial that may be tried and that nobody has; waits while others must finish before."""
        with self._changed:
            while not self._failed and not self.over():
                done = self.record.trials(stage.rung)
                if all(number in done for number in stage.numbers):
                    return None
                if stage.numbers[0] in done and time.monotonic() > stage.end:
                    return None
                for number in stage.ready(done):
                    if number not in self._running and self._take(stage, number):
                        self._running.add(number)
                        return number
                self._changed.wait(POLL if self.claims.shared else None)
            return None

    def _take(self, stage: Stage, number: int) -> bool:
        """Claim a trial, unless another process has finished it since we looked."""
        claim = _claim(stage, number)
        if not self.claims.take(claim):
            return False
        if self.claims.shared and number in self.record.trials(stage.rung):
            self.claims.release(claim)
            return False
        return True


def _claim(stage: Stage, number: int) -> int:
    """A number of its own for every trial at every rung."""
    return 2 * number + min(stage.rung, 1)
