"""One monitored window from the decision log to evidence, alarms, a verdict, a report and a row in the history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from configs.settings import Settings
from configs.use_case import UseCase
from features.intake.privacy import Tokenizer, tokenizer_of
from monitoring.alarms import Alarm, raise_alarms
from monitoring.drift import ColumnDrift
from monitoring.history import History, Run
from monitoring.performance import Performance, measure
from monitoring.publish import publish
from monitoring.retrain import SERVICE, retrain
from monitoring.sketches import Sketch, drifts, sketch
from monitoring.triggers import PERSISTENT, Evidence, RetrainVerdict, judge
from monitoring.windows import Span, Window, read_window, span, upgraded_table
from serving.decisions import DecisionLog
from serving.policy import DecisionPolicy
from training.governance.release import Release, current_release

if TYPE_CHECKING:
    from configs.console import Ticker
    from training.pipeline import TrainedVersion

_NEWEST = 500
"""Last decisions looked at to find the newest event time: concurrent callers don't arrive in order of event time."""


def monitor(
    use_case: UseCase,
    settings: Settings,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    as_of: datetime | None = None,
    requested_by: str | None = None,
    report: bool = True,
    ticker: Ticker | None = None,
) -> Run:
    """Judge one window against the release in force, write its report and keep it. Again for the same window: replaced.

    The window is `monitoring.window` long and ends at `end`, else `as_of`, else just after the newest decision. Drift
    is judged on the window; performance on the window if its outcomes are mature at `as_of`, else on the newest span of
    the same length that is. `requested_by` names a person who wants training in any case.
    Raises `GovernanceError` without a release and `MonitoringError` for an impossible window.
    """
    tokenizer = tokenizer_of(use_case, settings)
    release = current_release(use_case.name, settings).upgraded(tokenizer)
    say = ticker.note if ticker else _silent
    with DecisionLog(settings, readonly=True) as log:
        part = span(use_case, newest=newest_event(log, use_case.name), start=start, end=end, as_of=as_of)
        say("reading decisions")
        window = read_window(log, use_case, part).upgraded(tokenizer)
        matured = read_window(log, use_case, part.matured(use_case.label.maturity))
    say("comparing with the reference")
    sample = reference_sample(release, tokenizer)
    counts = count(release, window)
    found = drifts(release.reference, counts, decisions=expected_mix(release, sample))
    performance = matured_performance(release, matured)
    with closing(History(settings)) as history:
        alarms = raise_alarms(
            found, rows=counts.rows, fallbacks=counts.fallbacks, performance=performance, rules=use_case.monitoring
        )
        run = Run(
            use_case=use_case.name,
            span=part,
            release_version=release.version,
            rows=counts.rows,
            alarms=alarms,
            verdict=_verdict(use_case, release, history, part, alarms, requested_by=requested_by),
            evidence=_evidence(found, performance, counts),
        )
        if report:
            say("writing the report")
            run = publish(
                run, window, release, sample,
                drifts=found, performance=performance, rules=use_case.monitoring, settings=settings,
            )  # fmt: skip
        history.record(run)
    return run


def retrain_on(
    run: Run, use_case: UseCase, settings: Settings, *, requested_by: str | None = None, ticker: Ticker | None = None
) -> TrainedVersion:
    """Train the candidate that a run's verdict asks for, and remember it, so that the cooldown starts.

    Who asked for it (`requested_by`) is the author, else the service identity `retraining`.
    """
    author = requested_by or SERVICE
    with DecisionLog(settings, readonly=True) as log:
        trained = retrain(
            use_case, settings, log, as_of=run.span.as_of, reason=_reason(run), author=author, ticker=ticker
        )
    with closing(History(settings)) as history:
        history.record_training(
            use_case.name,
            as_of=run.span.as_of,
            requested_by=author,
            reason="; ".join(run.verdict.reasons),
            version=trained.version,
        )
    return trained


def _reason(run: Run) -> str:
    """The first reasons of the verdict: the registry's tags are limited, and the history has them all."""
    first, more = run.verdict.reasons[:3], len(run.verdict.reasons) - 3
    return "; ".join(first) + (f"; and {more} more" if more > 0 else "")


def _silent(_text: str) -> None:
    pass


def newest_event(log: DecisionLog, name: str) -> datetime | None:
    """The newest event time among the last decisions; None for an empty log."""
    return max((decision.event_time for decision in log.recent(name, limit=_NEWEST)), default=None)


def count(release: Release, window: Window) -> Sketch:
    """The window as counts over the release's bins; the score's are of the decisions this release's model made."""
    scored = window.scored_by(release.version)
    return sketch(
        release.reference,
        window.features,
        rows=window.rows,
        fallbacks=window.fallbacks,
        probability=scored.decisions["probability"],
        decisions=scored.decisions["decision"],
    )


def reference_sample(release: Release, tokenizer: Tokenizer | None = None) -> pd.DataFrame | None:
    """Scored rows of the release's test period (used features and `probability`), if the release keeps some."""
    path = release.folder / "reference_sample.parquet"
    return upgraded_table(pd.read_parquet(path), tokenizer) if path.exists() else None


def expected_mix(release: Release, sample: pd.DataFrame | None) -> Mapping[str, int] | None:
    """How often the release's policy gives each decision on the reference sample; None without one.

    Rules see the features only: one over a field that is no feature holds for no row of the sample.
    """
    if sample is None or sample.empty:
        return None
    policy = DecisionPolicy(release.use_case)
    probabilities = sample["probability"].to_numpy(dtype=float)
    rows = sample.drop(columns="probability").to_dict("records")
    return Counter(
        policy.decide(float(probability), {str(name): _present(value) for name, value in row.items()}).decision
        for probability, row in zip(probabilities, rows, strict=True)
    )


def _present(value: Any) -> Any:
    return None if pd.isna(value) else value


def matured_performance(release: Release, matured: Window) -> Performance:
    """Performance of the release's own model; decisions of earlier releases and fallbacks say nothing about it."""
    own = matured.scored_by(release.version)
    baseline = {name: float(value) for name, value in release.manifest["metrics"].items()}
    return measure(release.use_case, own.with_outcome(), baseline=baseline, decisions=own.rows)


def _verdict(
    use_case: UseCase,
    release: Release,
    history: History,
    part: Span,
    alarms: tuple[Alarm, ...],
    *,
    requested_by: str | None,
) -> RetrainVerdict:
    evidence = Evidence(
        alarms=alarms,
        earlier=history.alarms_before(
            use_case.name, part.start, windows=PERSISTENT - 1, release_version=release.version
        ),
        requested_by=requested_by,
        as_of=part.as_of,
        last=history.last_training(use_case.name),
    )
    return judge(evidence, use_case.monitoring)


def _evidence(found: tuple[ColumnDrift, ...], performance: Performance, counts: Sketch) -> dict[str, Any]:
    return {
        "drift": [asdict(drift) for drift in found],
        "performance": asdict(performance),
        "decisions": dict(counts.decisions),
        "fallbacks": counts.fallbacks,
    }
