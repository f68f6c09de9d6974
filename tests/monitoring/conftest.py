"""A small release of `credit` on three features, and a decision log that its model fills."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.request import ScoringRequest
from features.vector import features_of
from serving.decisions import Decision, DecisionLog, KnownOutcome, digest_of, new_decision_id
from training.encoding import Encoder
from training.evidence import metrics
from training.evidence.calibration import Platt
from training.evidence.reference import build_reference
from training.governance.release import Provenance, Release, current_release, make_current, write_release
from training.learners.choice import learner
from training.learners.protocol import Sample, columns_of
from training.model import Model

USED = ("amount", "purpose", "annual_income")
DAY = datetime(2024, 3, 1, tzinfo=UTC)


def population(rows: int, *, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Applications and their defaults: low income against a high amount defaults, `purpose` matters little."""
    generator = np.random.default_rng(seed)
    amount, income = generator.lognormal(9, 0.5, rows), generator.lognormal(10.4, 0.5, rows)
    income[generator.random(rows) < 0.1] = np.nan
    purpose = generator.choice(["car", "home", "medical"], rows, p=[0.5, 0.3, 0.2])
    log_odds = -1.2 + 1.5 * np.log(amount / np.nan_to_num(income, nan=25_000.0)) + 1.4
    label = (generator.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(float)
    return pd.DataFrame({"amount": amount, "purpose": purpose.astype(object), "annual_income": income}), label


@pytest.fixture
def credit(settings: Settings) -> UseCase:
    return load_use_case("credit", settings)


@pytest.fixture(scope="session")
def _candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candidate")
    use_case = load_use_case("credit", Settings())
    features, label = population(4000, seed=1)
    encoder = Encoder.learned([feature for feature in features_of(use_case) if feature.name in USED], features)
    kind = learner("lightgbm")
    sample = Sample(encoder.table(features), label, columns_of(encoder, {}))
    fitted = kind.fit(sample, dict(kind.default) | {"trees": 40}, seed=1, threads=1)
    model = Model("lightgbm", encoder, (fitted,), Platt())
    tested, outcome = population(3000, seed=2)
    probability = model.probability(model.encode(tested))
    model.save(folder / "model")
    found = {"auc": metrics.auc(outcome, probability), "brier": metrics.brier(outcome, probability)}
    contents = {
        "use_case": use_case.as_json(),
        "reference": build_reference(tested, probability, model),
        "evidence": {"metrics": found},
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    tested[list(USED)].assign(probability=probability).to_parquet(folder / "reference_sample.parquet", index=False)
    return folder


@pytest.fixture
def release(_candidate: Path, settings: Settings) -> Release:
    """A signed release in force, with `reference_sample.parquet`."""
    found = json.loads((_candidate / "evidence.json").read_text())["metrics"]
    provenance = Provenance("credit", 1, "ada", "grace", "fine", DAY.isoformat(), "run", found, "0" * 64, {})
    write_release(_candidate, provenance, settings)
    make_current("credit", 1, settings)
    return current_release("credit", settings)


@pytest.fixture
def log(settings: Settings) -> Iterator[DecisionLog]:
    with DecisionLog(settings) as opened:
        yield opened


def decision(event_id: str, when: datetime, values: dict[str, Any], **changes: Any) -> Decision:
    fields = {"term_months": 36.0, "channel": "online", **values}
    request = ScoringRequest(event_id, when, {"applicant": f"A{event_id}"}, fields)
    made: dict[str, Any] = {
        "decision_id": new_decision_id(), "use_case": "credit", "caller": "local", "idempotency_key": event_id,
        "request_digest": digest_of(request), "event_id": event_id, "event_time": when, "decided_at": when,
        "release_version": 1, "release_digest": "d" * 64, "policy_hash": "p" * 64, "request": request.wire(),
        "features": values, "feature_times": {}, "margin": 0.0, "probability": 0.15, "points": 500, "grade": 2,
        "decision": "refer", "rule": None, "reasons": [], "fallback": None, "latency_ms": 1.5,
    }  # fmt: skip
    return Decision(**(made | changes))


@pytest.fixture
def decide() -> Callable[..., Decision]:
    """One decision of `credit`, made from an id, a time, feature values and changes."""
    return decision


Traffic = Callable[..., None]


@pytest.fixture
def traffic(log: DecisionLog, release: Release) -> Traffic:
    """Sends `rows` applications through the release's model into the log, evenly over `[start, end)`.

    `change` is applied to the features first; `known` turns in every outcome at that time, of which `flip` are wrong.
    """

    def send(
        rows: int,
        start: datetime,
        end: datetime,
        *,
        seed: int = 3,
        change: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
        known: datetime | None = None,
        flip: float = 0.0,
    ) -> None:
        features, label = population(rows, seed=seed)
        features = change(features) if change else features
        probability = release.model.probability(release.model.encode(features))
        flipped = np.random.default_rng(seed).random(rows) < flip
        ids = [f"{seed}-{position}" for position in range(rows)]
        records = features.astype(object).where(features.notna(), None).to_dict("records")
        for position, values in enumerate(records):
            when = start + (end - start) * position / rows
            score = float(probability[position])
            verdict = "approve" if score < 0.1 else "refer" if score < 0.2 else "decline"
            row = {str(name): value for name, value in values.items()}
            log.append(decision(ids[position], when, row, probability=score, decision=verdict))
        if known:
            outcomes = np.where(flipped, 1 - label, label).astype(int)
            log.record_outcomes(
                "credit", [KnownOutcome(each, int(value), known) for each, value in zip(ids, outcomes, strict=True)]
            )

    return send
