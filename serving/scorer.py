"""The request path without HTTP: features, score, policy, reasons, and a decision on the disk before it is told."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from configs.errors import RiskError
from features.intake.privacy import Tokenizer
from features.online import OnlineVector
from features.request import ScoringRequest, rfc3339
from serving.decisions import Decision, DecisionLog, digest_of, new_decision_id
from serving.policy import DecisionPolicy, Verdict
from serving.reasons import Catalogue, Reason, ReasonGiver, baseline_of
from training.governance.release import Release

LOCAL = "local"
"""The caller, as long as callers have no identities."""


class Features(Protocol):
    """Where features come from: `features.online.OnlineFeatures`, or a fake in a test."""

    def read(self, request: ScoringRequest) -> OnlineVector:
        """The vector of an event."""

    def record(self, request: ScoringRequest) -> None:
        """Let the event enter the activity of its entities. Idempotent by event id."""

    def outcome(self, event_id: str, label: int, known: datetime | None = None) -> None:
        """Let what turned out enter the aggregates over labels."""


@dataclass(frozen=True)
class Score:
    """What a release makes of one event's features. `margin` is in log-odds."""

    margin: float
    probability: float
    verdict: Verdict
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Answer:
    """A decision, and whether it was made now (False: it was made before under the same key)."""

    decision: Decision
    created: bool


class Rules:
    """Everything a release says about scoring, compiled: the same code answers requests and replays them."""

    def __init__(self, release: Release) -> None:
        self.release, self.model = release, release.model
        self.policy = DecisionPolicy(release.use_case)
        names = [feature.name for feature in release.model.features]
        self.giver = ReasonGiver(
            Catalogue.load(release.folder / "reasons.yaml"),
            names,
            baseline=baseline_of(release.reference, names),
            protected=release.use_case.protected,
            most=release.use_case.policy.max_reasons,
        )
        for rule in release.use_case.policy.rules:
            self.giver.catalogue.text(rule.code)

    def score(self, request: ScoringRequest, values: Mapping[str, Any], *, fallback: str | None) -> Score:
        """Score `values`; with a `fallback` reason the declared decision is taken and reasons are withheld."""
        row = self.model.encode_row(values)[None, :]
        margin = self.model.margin(row)
        probability = float(self.model.calibration.probability(margin)[0])
        if fallback:
            return Score(float(margin[0]), probability, self.policy.fall_back(probability), ())
        facts = {**request.fields, **values, "event_time": request.event_time}
        verdict = self.policy.decide(probability, facts)
        if not self.policy.is_adverse(verdict.decision):
            return Score(float(margin[0]), probability, verdict, ())
        contributions = self.model.contributions(row)[0].tolist()
        if verdict.code is None:
            reasons = self.giver.reasons(contributions)
        else:
            names = [name for name in self.policy.features_of_rule(verdict.rule) if name in values]
            reasons = self.giver.by_rule(verdict.code, names, contributions)
        return Score(float(margin[0]), probability, verdict, reasons)


class Scorer:
    """Decides on the events of one use case. Not safe for threads: one thread calls it."""

    def __init__(
        self, release: Release, online: Features, log: DecisionLog, *, tokenizer: Tokenizer | None = None
    ) -> None:
        self._tokenizer, release = tokenizer, release.upgraded(tokenizer)
        self.release, self.use_case = release, release.use_case
        self.online, self.log = online, log
        self.rules = Rules(release)
        self._pending: deque[ScoringRequest] = deque()
        self.failures = 0

    def decide(self, request: ScoringRequest, *, idempotency_key: str | None = None, caller: str = LOCAL) -> Answer:
        """The decision on an event, committed to the log. The key (default: the event id) gives it back on a retry.

        The event enters the activity of its entities with `settle`, which the caller runs after replying; the next
        `decide` runs it in any case. Raises `ConflictError` for a key used with another request, `LogError` or
        `FeatureError` when a store is down: then nothing was decided.
        """
        start = time.perf_counter()
        key, digest = idempotency_key or request.event_id, digest_of(request)
        earlier = self.log.find(self.use_case.name, key, caller=caller, digest=digest, again=self._digest_again)
        if earlier is not None:
            return Answer(earlier, created=False)
        behind = self.settle()
        vector = self.online.read(request)
        fallback = _distrust(vector, behind)
        score = self.rules.score(request, vector.values, fallback=fallback)
        made = self._decision(
            request, vector, score, key=key, caller=caller, digest=digest, fallback=fallback, start=start
        )
        committed = self.log.append(made)
        self._pending.append(request)
        return Answer(committed, created=committed.decision_id == made.decision_id)

    def settle(self) -> int:
        """Let decided events enter the activity, in order; gives how many could not yet. Failures are counted."""
        while self._pending:
            try:
                self.online.record(self._pending[0])
            except (RiskError, OSError, sqlite3.Error):
                self.failures += 1
                break
            self._pending.popleft()
        return len(self._pending)

    def recover(self, *, most: int = 2_000) -> None:
        """After a start: let the last decided events enter the activity again, should a crash have come in between.

        A power cut can take back what SQLite wrote since its last checkpoint (`features.stores.connections`).
        """
        for decision in reversed(self.log.recent(self.use_case.name, limit=most)):
            self._pending.append(self._logged(decision.request))
        self.settle()

    def _logged(self, body: Mapping[str, Any]) -> ScoringRequest:
        """A request from the log, with the tokens that its values have today."""
        times = {name for name, column in self.use_case.request.items() if column.type == "time"}
        request = ScoringRequest.from_wire(body, times=times)
        return self._tokenizer.upgraded(request) if self._tokenizer else request

    def _digest_again(self, body: Mapping[str, Any]) -> str:
        """What `digest_of` gives a logged request today: a retry after a rotation of the keys is still a retry."""
        return digest_of(self._logged(body))

    def _decision(
        self, request: ScoringRequest, vector: OnlineVector, score: Score, *, key: str, caller: str, digest: str,
        fallback: str | None, start: float,
    ) -> Decision:  # fmt: skip
        return Decision(
            decision_id=new_decision_id(),
            use_case=self.use_case.name,
            caller=caller,
            idempotency_key=key,
            request_digest=digest,
            event_id=request.event_id,
            event_time=request.event_time,
            decided_at=datetime.now(UTC),
            release_version=self.release.version,
            release_digest=self.release.digest,
            policy_hash=self.rules.policy.digest,
            request=request.wire(),
            features=vector.values,
            feature_times={name: rfc3339(at) for name, at in vector.times.items()},
            margin=score.margin,
            probability=score.probability,
            points=score.verdict.points,
            grade=score.verdict.grade,
            decision=score.verdict.decision,
            rule=score.verdict.rule,
            reasons=[reason.as_json() for reason in score.reasons],
            fallback=fallback,
            latency_ms=round((time.perf_counter() - start) * 1000, 3),
        )


def _distrust(vector: OnlineVector, behind: int) -> str | None:
    """Why the features can't be trusted, or None."""
    causes = [
        vector.missing and f"missing: {', '.join(vector.missing)}",
        vector.stale and f"stale: {', '.join(vector.stale)}",
        behind and f"activity: {behind} events behind",
    ]
    return "; ".join(str(cause) for cause in causes if cause) or None
