"""Replay: a past decision computed again from its logged facts and its release, and compared to the last bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from configs.errors import ServingError
from configs.settings import Settings
from features.intake.privacy import Tokenizer
from features.request import ScoringRequest
from serving.decisions import Decision, digest_of
from serving.scorer import Rules
from training.governance.keys import trusted_key
from training.governance.release import Release, load_release, releases_folder


@dataclass(frozen=True)
class Difference:
    """A field that came out differently."""

    field: str
    logged: Any
    recomputed: Any


def release_of(decision: Decision, settings: Settings) -> Release:
    """The release that made a decision, verified. Raises when it is gone, was changed or is another one."""
    folder = releases_folder(decision.use_case, settings) / str(decision.release_version)
    release = load_release(folder, trusted_key=trusted_key(settings))
    if release.digest != decision.release_digest:
        raise ServingError(
            f"{folder} has the digest {release.digest[:12]}",
            expected=f"{decision.release_digest[:12]}, which made the decision",
            fix="restore the release that was in force",
        )
    return release


def replay(decision: Decision, release: Release, *, tokenizer: Tokenizer | None = None) -> list[Difference]:
    """What differs between a logged decision and the same facts scored again; empty when nothing does.

    Release and decision may be of other versions of the token keys: `tokenizer` brings both to the newest.
    """
    rules = Rules(release.upgraded(tokenizer))
    times = {name for name, column in release.use_case.request.items() if column.type == "time"}
    request = ScoringRequest.from_wire(decision.request, times=times)
    values = tokenizer.upgrade_data(decision.features) if tokenizer else decision.features
    score = rules.score(request, values, fallback=decision.fallback)
    again = {
        "request_digest": digest_of(request),
        "policy_hash": rules.policy.digest,
        "margin": score.margin,
        "probability": score.probability,
        "points": score.verdict.points,
        "grade": score.verdict.grade,
        "decision": score.verdict.decision,
        "rule": score.verdict.rule,
        "reasons": [reason.as_json() for reason in score.reasons],
    }
    logged = {name: getattr(decision, name) for name in again}
    return [Difference(name, logged[name], value) for name, value in again.items() if logged[name] != value]
