"""One use case on its way through the whole loop, from raw tables to a candidate that a drift has earned.

Everything goes through what users use: the feature store, the training pipeline, the approval by a second identity, the
served Bento over HTTP, the decision log. The rehearsal itself puts the drift into the second half of the live traffic.
"""

from __future__ import annotations

import json
import statistics
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.console import Ticker, progress
from configs.settings import Settings
from configs.use_case import TimeSplit, UseCase
from features.request import rfc3339
from features.store import FeatureStore
from monitoring.traffic import Traffic, live_traffic, send

if TYPE_CHECKING:
    from monitoring.history import Run
    from training.pipeline import TrainedVersion

SCIENTIST, APPROVER = "dana.scientist", "ben.approver"
"""The two demo identities: nobody approves their own work."""


@dataclass
class Rehearsal:
    """The steps, to be taken in this order: `prepare`, then with a running service `go_live`, then `watch`.

    `figures` collects what the closing table shows.
    """

    use_case: UseCase
    settings: Settings
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._store = FeatureStore(self.use_case, self.settings)
        self._traffic: Traffic | None = None

    @property
    def traffic(self) -> Traffic:
        """The live events, read once (after the tables are there)."""
        if self._traffic is None:
            self._traffic = live_traffic(self.use_case, self._store)
        return self._traffic

    def prepare(self) -> None:
        """Simulate or find the tables, build features, train as one identity and approve as another."""
        self._simulate()
        with self._step("features: registry, back-fill") as ticker:
            self._store.apply()
            self._store.backfill(ticker=ticker)
        with self._step("features: online store") as ticker:
            self._store.materialize(until=self.traffic.start if self.use_case.event.time else None, ticker=ticker)
        self._train_and_approve()

    def _simulate(self) -> None:
        if not self.use_case.simulator:
            return
        from features.simulators.world import best_auc_between, simulate

        folder = self.settings.home / "raw" / self.use_case.name
        with self._step("simulating") as ticker:
            report = simulate(self.use_case, folder, ticker=ticker)
        self.figures["rows of history"] = sum(report.rows.values())
        if isinstance(self.use_case.split, TimeSplit):
            best = best_auc_between(self.use_case, folder, self.use_case.split.test)
            self.figures["best achievable AUC, test period"] = best

    def _train_and_approve(self) -> None:
        from training.governance.approvals import approve
        from training.pipeline import train

        with self._step(f"training, as {SCIENTIST}") as ticker:
            trained = train(self.use_case, self.settings, author=SCIENTIST, reason="first model", ticker=ticker)
        with self._step(f"approving, as {APPROVER}"):
            approve(self.use_case, trained.version, approver=APPROVER, comment="rehearsal", settings=self.settings)
        self.figures |= tested(self.use_case, trained)

    def go_live(self, url: str) -> None:
        """Send the traffic over HTTP, the second half drifted, and turn in what became of it."""
        from serving.client import Client
        from serving.turnin import turn_in

        with Client(url, self.use_case.name) as client:
            with self._step("live traffic over HTTP", total=len(self.traffic.scored)) as ticker:
                seconds = send(self.traffic, client, self._store, self.use_case, self.settings, ticker=ticker)
            rows = [
                {"event_id": request.event_id, "label": outcome.label, "known_at": rfc3339(outcome.known)}
                for request, outcome in self.traffic.scored
                if outcome.label is not None and outcome.known is not None
            ]
            with self._step("outcomes", total=len(rows)) as ticker:
                turn_in(client, rows, ticker=ticker)
        self.figures["decisions"] = len(seconds)
        self.figures["p50 ms"] = statistics.median(seconds) * 1000
        self.figures["p99 ms"] = float(np.quantile(seconds, 0.99)) * 1000

    def watch(self) -> None:
        """Judge the calm half and the drifted half, and train again on what the drifted one says."""
        from monitoring.pipeline import monitor

        first, middle, last = self.traffic.start, self.traffic.middle, self.traffic.end
        known = [outcome.known for _, outcome in self.traffic.scored if outcome.known]
        as_of = max([last + self.use_case.label.maturity, *known]) + timedelta(seconds=1)
        with self._step("monitoring the calm half") as ticker:
            calm = monitor(self.use_case, self.settings, start=first, end=middle, as_of=as_of, ticker=ticker)
        with self._step("monitoring the drifted half") as ticker:
            run = monitor(self.use_case, self.settings, start=middle, end=last, as_of=as_of, ticker=ticker)
        self.figures["alarms in the calm half"] = ", ".join(alarmed(calm)) or "none"
        self.figures["alarms in the drifted half"] = ", ".join(alarmed(run)) or "none"
        self.figures["report"] = run.report
        self._retrain(run)

    def _retrain(self, run: Run) -> None:
        from monitoring.pipeline import retrain_on

        if not run.verdict.retrain:
            self.figures["candidate"] = "none: " + "; ".join(run.verdict.reasons)
            return
        with self._step("retraining") as ticker:
            trained = retrain_on(run, self.use_case, self.settings, ticker=ticker)
        failed = ", ".join(gate.name for gate in trained.verdict.failed)
        waits = "waits for approval" if trained.verdict.passed else f"can't be approved, failed gates: {failed}"
        self.figures["candidate"] = f"version {trained.version} {waits}"

    def _step(self, what: str, total: float | None = None) -> AbstractContextManager[Ticker]:
        return progress(f"{self.use_case.name}: {what}", total=total)


def tested(use_case: UseCase, trained: TrainedVersion) -> dict[str, Any]:
    """What a training had to learn from, and how good it was on rows it had never seen."""
    split = json.loads((trained.folder / "evidence.json").read_text(encoding="utf-8"))["split"]
    unseen = "out-of-time" if isinstance(use_case.split, TimeSplit) else "out-of-fold"
    names = ("auc", "average_precision") if use_case.kind == "fraud" else ("auc", "ks")
    metrics = {f"{unseen} {name}": trained.metrics[name] for name in names}
    return {"rows to train": split["train"]["rows"], "rows to test": split["test"]["rows"], **metrics}


def alarmed(run: Run) -> list[str]:
    """What the alarms of a run are about, notes left out."""
    return [alarm.subject for alarm in run.alarms if alarm.severity != "info"]
