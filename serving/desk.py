"""The scoring process: verified releases, one thread that decides in order, and what it counts. Knows no HTTP."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from configs.errors import RiskError, ServingError
from configs.settings import Settings
from features.intake.privacy import Tokenizer, tokenizer_of
from features.intake.token_mark import keys_held
from features.online import OnlineFeatures
from features.request import ScoringRequest
from serving.contract import RequestContract
from serving.decisions import Decision, DecisionLog
from serving.metrics import Metrics
from serving.outcomes import KnownOutcome, OutcomeReport
from serving.releases import serving_releases
from serving.scorer import Answer, Scorer

T = TypeVar("T")

_PIECE = 20
"""Outcomes that enter the aggregates before the next waiting decision is made."""


@dataclass(frozen=True)
class Window:
    """Where one use case is served: its contract, its scorer, and the tokenizer (None: nothing is personal)."""

    contract: RequestContract
    scorer: Scorer
    online: OnlineFeatures
    tokenizer: Tokenizer | None

    def read(self, body: bytes) -> ScoringRequest:
        """The request in a body, checked; behind this line no personal value is left in it."""
        request = self.contract.read(body)
        return self.tokenizer.request(request) if self.tokenizer else request


class Desk:
    """All use cases of one process. One thread touches the stores: one decision after another."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.windows: dict[str, Window] = {}
        self.trouble: RiskError | None = ServingError("the service is starting", expected="loaded releases")
        self._lane = ThreadPoolExecutor(1, thread_name_prefix="decisions")
        self._log: DecisionLog | None = None
        self._held = ExitStack()

    def open(self) -> None:
        """Verify and load the releases and open the stores. What goes wrong is kept in `trouble`."""
        try:
            self._lane.submit(self._open).result()
            self.trouble = None
        except RiskError as error:
            self.trouble = error
        gc.collect()
        gc.freeze()  # what was loaded lives as long as the process: the collector need not look at it in a request

    def close(self) -> None:
        """Finish the decision that is being made, then give the stores back."""
        self._lane.submit(self._close).result()
        self._lane.shutdown()

    @property
    def alive(self) -> bool:
        """Whether going on makes sense: after the log's disk failed a write only a new start helps."""
        return self._log is None or not self._log.broken

    async def ready(self) -> bool:
        """Whether releases are loaded and the log and the online store answer within two seconds."""
        if self.trouble is not None:
            return False
        try:
            await asyncio.wait_for(self._run(self._ping), timeout=2)
        except (RiskError, TimeoutError):
            return False
        return True

    def window(self, use_case: str) -> Window:
        """The window of a use case. Raises `ServingError` when it isn't served, and `trouble` when nothing is."""
        self._untroubled()
        if use_case not in self.windows:
            raise UnknownError("no such use case is served", expected=f"one of {', '.join(self.windows)}")
        return self.windows[use_case]

    async def decide(self, use_case: str, body: bytes, *, key: str | None) -> Answer:
        """Read a request and decide on it."""
        window = self.window(use_case)
        request = window.read(body)
        with self.metrics.latency.labels(use_case).time():
            answer = await self._run(lambda: window.scorer.decide(request, idempotency_key=key))
        if answer.created:
            decision = answer.decision
            fallback = "yes" if decision.fallback else "no"
            self.metrics.decisions.labels(use_case, decision.decision, fallback).inc()
        return answer

    async def settle(self, use_case: str) -> None:
        """Let the decided event enter the activity; run after the reply. What fails is counted and tried again."""
        scorer = self.window(use_case).scorer
        before = scorer.failures
        await self._run(scorer.settle)
        if scorer.failures > before:
            self.metrics.activity_failures.labels(use_case).inc(scorer.failures - before)

    async def outcomes(self, use_case: str, turned_in: list[KnownOutcome]) -> OutcomeReport:
        """Store outcomes, and let them enter the aggregates over labels, a few at a time between decisions.

        Outcomes that were known before enter again, which changes nothing unless an earlier attempt broke off.
        """
        window = self.window(use_case)
        report = await self._run(lambda: self._opened().record_outcomes(use_case, turned_in))
        for start in range(0, len(report.in_force), _PIECE):
            piece = report.in_force[start : start + _PIECE]
            await self._run(partial(_enter, window, piece))
        count = self.metrics.outcomes
        count.labels(use_case, "stored").inc(len(report.stored))
        count.labels(use_case, "duplicate").inc(report.duplicates)
        count.labels(use_case, "contradiction").inc(len(report.contradictions))
        count.labels(use_case, "rejected").inc(len(report.rejected))
        return report

    async def find(self, decision_id: str) -> Decision:
        """A decision by its id. Raises `UnknownError` when there is none."""
        self._untroubled()
        decision = await self._run(lambda: self._opened().get(decision_id))
        if decision is None:
            raise UnknownError("no such decision", expected="the decision_id of a reply")
        return decision

    def _untroubled(self) -> None:
        if self.trouble is not None:
            raise self.trouble.with_traceback(None)  # else each refusal would add its frames, bodies and all

    def _open(self) -> None:
        releases = serving_releases(self.settings)
        tokenizers = [tokenizer_of(release.use_case, self.settings) for release in releases]
        if any(tokenizers):
            self._held.enter_context(keys_held(self.settings))
        self._log = DecisionLog(self.settings)
        for release, tokenizer in zip(releases, tokenizers, strict=True):
            online = OnlineFeatures(release.use_case, self.settings)
            scorer = Scorer(release, online, self._log, tokenizer=tokenizer)
            scorer.recover()
            contract = RequestContract(release.use_case)
            self.windows[release.use_case.name] = Window(contract, scorer, online, tokenizer)

    def _close(self) -> None:
        for window in self.windows.values():
            window.scorer.settle()
            window.online.close()
        if self._log is not None:
            self._log.close()
        self._held.close()

    def _ping(self) -> None:
        self._opened().ping()
        for window in self.windows.values():
            window.online.ping()

    def _opened(self) -> DecisionLog:
        if self._log is None:
            raise ServingError("the decision log is not open", expected="an opened desk")
        return self._log

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._lane, work)


def _enter(window: Window, outcomes: Sequence[KnownOutcome]) -> None:
    for outcome in outcomes:
        window.online.outcome(outcome.event_id, outcome.label, outcome.known_at)


class UnknownError(ServingError):
    """Something that was asked for by name and isn't there."""
