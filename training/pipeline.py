"""From raw tables to a filed candidate: frame, search, test, comparison with the champion, gates, registry, audit."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.console import Ticker
from configs.errors import TrainingError
from configs.loading import reason_codes
from configs.settings import Settings
from configs.use_case import RandomSplit, TimeSplit, UseCase
from features.expressions import compile_rules
from features.intake.privacy import tokenizer_of
from features.sources import table_path
from features.store import FeatureStore
from training.candidate import STEPS as CANDIDATE_STEPS
from training.candidate import Candidate, build_candidate
from training.evidence import metrics as figures_of
from training.evidence.data import table_digests
from training.evidence.fairness import selection_rates
from training.evidence.paired import paired_difference
from training.governance.gates import Verdict, judge
from training.governance.ledger import Filing, Ledger
from training.governance.registry import CANDIDATE, Registry, SourceTable, Submission
from training.governance.release import Release, current_release, current_version, folder_digest
from training.report.writing import write_report
from training.search.task import Warm

if TYPE_CHECKING:
    from features.frame import Frame

STEPS = CANDIDATE_STEPS + 2
"""Steps that `train` advances a ticker by, beside the trials of the search."""


@dataclass(frozen=True)
class TrainedVersion:
    """A registered candidate. `folder` holds a copy of what was registered; `seconds` is the wall-clock time."""

    use_case: str
    version: int
    run_id: str
    verdict: Verdict
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    seconds: float
    folder: Path


@dataclass(frozen=True)
class Comparison:
    """The champion's metrics to hold a candidate against. `basis` says which rows they come from.

    paired: candidate less champion on the same rows (`paired_difference`); None where they can't be scored on them.
    """

    version: int
    metrics: dict[str, float]
    basis: str
    paired: dict[str, Any] | None = None


def train(
    use_case: UseCase,
    settings: Settings,
    *,
    author: str,
    reason: str = "requested",
    split: TimeSplit | RandomSplit | None = None,
    workers: int = 1,
    ticker: Ticker | None = None,
) -> TrainedVersion:
    """Train, judge and register one candidate; the version it becomes gets the alias `@candidate` and an audit row.

    `split` replaces the use case's own, for a retraining on later data; the search starts from the champion's
    parameters, and `workers` processes share it. Whatever fails leaves no folder behind, and no
    version that could be approved.
    """
    started_at, started = datetime.now(UTC), time.monotonic()
    _require_policy(use_case)
    champion = current_release(use_case.name, settings) if current_version(use_case.name, settings) else None
    champion = champion and champion.upgraded(tokenizer_of(use_case, settings))
    frame = _frame(use_case, settings, split or use_case.split, ticker)
    warm = _parameters(champion) if champion else ()
    candidate = build_candidate(use_case, frame, settings, period=split, warm=warm, workers=workers, ticker=ticker)
    try:
        registry, ledger = Registry(settings), Ledger(settings)
        verdict = _judged(use_case, candidate, champion, earlier=_earlier_readings(use_case, candidate, settings))
        write_report(candidate.folder)
        tables = _tables(use_case, settings)
        _note(ticker, "registering")
        tags = _tags(use_case, candidate, verdict, author, reason)
        registry.sweep(use_case.name, filed={filing.run_id for filing in ledger.filings(use_case.name).values()})
        made = registry.register(_submission(use_case, candidate, tags, tables, started_at))
        with registry.withdrawn_unless_filed(made):
            ledger.file(
                Filing(
                    use_case=use_case.name,
                    version=made.version,
                    author=author,
                    run_id=made.run_id,
                    verdict=verdict,
                    metrics=_finite(candidate.metrics),
                    digest=folder_digest(candidate.folder),
                    reason=reason,
                    lineage=tags | {"tables": [vars(table) for table in tables]},
                )
            )
    except BaseException:
        shutil.rmtree(candidate.folder, ignore_errors=True)
        raise
    registry.set_alias(use_case.name, CANDIDATE, made.version)
    folder = _kept(candidate.folder, settings.home / "candidates" / f"{use_case.name}-{made.version}")
    _step(ticker, f"version {made.version} {'passed' if verdict.passed else 'did not pass'} its gates")
    seconds = time.monotonic() - started
    return TrainedVersion(
        use_case.name,
        made.version,
        made.run_id,
        verdict,
        candidate.metrics,
        candidate.intervals,
        seconds,
        folder,
    )


def _parameters(champion: Release) -> list[Warm]:
    """The learner and parameters of the champion, as its evidence has them."""
    chosen = json.loads((champion.folder / "evidence.json").read_text(encoding="utf-8"))["chosen"]
    return [(str(chosen["learner"]), dict(chosen["params"]))]


def compare(use_case: UseCase, champion: Release, candidate: Candidate) -> Comparison:
    """Score the champion on the candidate's test rows.

    Two cases can't be compared on the same rows, and take the metrics the champion was approved with: folds by chance,
    whose rows the champion was fitted on, and a champion that needs features which the use case no longer defines.
    """
    released = {name: float(value) for name, value in champion.manifest["metrics"].items() if value is not None}
    if candidate.evidence["split"]["by"] == "random":
        return Comparison(
            champion.version, released, "as approved: folds by chance hold rows the champion was fitted on"
        )
    tested = candidate.tested
    try:
        encoded = champion.model.encode(tested.features)
    except TrainingError:
        return Comparison(champion.version, released, "as approved: its features are no longer defined")
    theirs = champion.model.probability(encoded)
    found = figures_of.compute(use_case, tested.y, theirs, tested.events)
    paired = paired_difference(
        tested.y, tested.probability, theirs, tested.blocks, use_case.training.objective, seed=tested.seed
    )
    return Comparison(champion.version, found, "the candidate's test rows", paired)


def _require_policy(use_case: UseCase) -> None:
    """Rules that scoring can't evaluate or explain are found here, not in a release that is already approved."""
    compile_rules(use_case)
    codes = reason_codes(use_case.policy.reasons)
    for rule in use_case.policy.rules:
        if rule.code not in codes:
            raise TrainingError(
                f"policy.rules, {rule.name}: the catalogue {use_case.policy.reasons!r} has no code {rule.code!r}",
                expected=f"one of {', '.join(codes)}",
                fix="correct the rule, or add the code to the catalogue",
            )


def _frame(use_case: UseCase, settings: Settings, period: TimeSplit | RandomSplit, ticker: Ticker | None) -> Frame:
    _note(ticker, "building the training frame")
    start, end = (period.train.start, period.test.end) if isinstance(period, TimeSplit) else (None, None)
    frame = FeatureStore(use_case, settings).training_frame(start=start, end=end, ticker=ticker)
    _step(ticker, f"{len(frame.events):,} rows")
    return frame


def _earlier_readings(use_case: UseCase, candidate: Candidate, settings: Settings) -> list[int]:
    """Versions that were tested on the same rows before: whoever picks among them has, by hand, tuned on the test."""
    test = _tested_on(candidate.evidence)
    filings = Ledger(settings).filings(use_case.name)
    return [number for number, filing in sorted(filings.items()) if (filing.lineage or {}).get("test") == test]


def _tested_on(evidence: Mapping[str, Any]) -> str:
    """Which rows the test were: the data and the period, or the folds."""
    declared = evidence["split"]["declared"]
    part = (
        declared["test"] if declared["by"] == "time" else {"folds": declared["folds"], "repeats": declared["repeats"]}
    )
    return f"{evidence['data_hash'][:12]} {json.dumps(part, sort_keys=True)}"


def _judged(use_case: UseCase, candidate: Candidate, champion: Release | None, *, earlier: list[int]) -> Verdict:
    """The verdict, which is also written into the candidate's folder with what it was compared with."""
    comparison = compare(use_case, champion, candidate) if champion else None
    rates = selection_rates(use_case, candidate.tested.events, candidate.tested.probability)
    verdict = judge(
        use_case,
        candidate.metrics,
        candidate.evidence,
        champion_metrics=comparison.metrics if comparison else None,
        selection_rates=rates,
        paired=comparison.paired if comparison else None,
    )
    content = verdict.to_json() | {
        "champion": vars(comparison) if comparison else None,
        "selection_rates": rates,
        "tested_before": earlier,
    }
    (candidate.folder / "verdict.json").write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
    return verdict


def _submission(
    use_case: UseCase,
    candidate: Candidate,
    tags: Mapping[str, str],
    tables: tuple[SourceTable, ...],
    started_at: datetime,
) -> Submission:
    bounds = {
        f"{name}.{end}": value
        for name, pair in candidate.intervals.items()
        for end, value in zip(("low", "high"), pair, strict=True)
    }
    return Submission(
        use_case=use_case.name,
        folder=candidate.folder,
        learner=candidate.model.learner,
        features=candidate.model.names,
        params=candidate.params,
        metrics=candidate.metrics | bounds,
        tags=tags,
        tables=tables,
        started_at=started_at,
    )


def _tags(use_case: UseCase, candidate: Candidate, verdict: Verdict, author: str, reason: str) -> dict[str, str]:
    return {
        "author": author,
        "reason": reason,
        "kind": use_case.kind,
        "verdict": "passed" if verdict.passed else "failed",
        "data_hash": str(candidate.evidence["data_hash"]),
        "definition_hash": str(candidate.evidence["definition_hash"]),
        "seed": str(candidate.evidence["seed"]),
        "code": code_version(),
        "test": _tested_on(candidate.evidence),
    }


def _tables(use_case: UseCase, settings: Settings) -> tuple[SourceTable, ...]:
    from pyarrow.parquet import read_metadata

    found = []
    for name, digest in table_digests(use_case, settings).items():
        table = use_case.tables.get(name)
        path = table_path(use_case, name, settings) if table else None
        known = path is not None and path.is_file() and path.suffix == ".parquet"
        rows = read_metadata(path).num_rows if known else None
        found.append(SourceTable(name, table.url if table and table.url else str(path or name), rows, digest))
    return tuple(found)


def code_version() -> str:
    """The git commit of this code, with `-modified` if files differ from it; without git, the package's version."""
    git = shutil.which("git")
    here = Path(__file__).parent
    commands = [["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
    if git:
        runs = [
            subprocess.run([git, "-C", str(here), *each], capture_output=True, text=True, check=False)  # noqa: S603  # no input
            for each in commands
        ]
        if all(run.returncode == 0 for run in runs):
            return runs[0].stdout.strip() + ("-modified" if runs[1].stdout.strip() else "")
    try:
        return f"risk-platform {metadata.version('risk-platform')}"
    except metadata.PackageNotFoundError:
        return "unknown"


def _kept(folder: Path, final: Path) -> Path:
    """The candidate's folder under the name of its version."""
    shutil.rmtree(final, ignore_errors=True)
    return folder.rename(final)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}


def _note(ticker: Ticker | None, text: str) -> None:
    if ticker is not None:
        ticker.note(text)


def _step(ticker: Ticker | None, text: str) -> None:
    if ticker is not None:
        ticker.advance()
        ticker.note(text)
