"""From a calibrated probability and the facts of an event to a decision: pure, hashed, and the same when replayed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from configs.errors import FeatureError, ServingError
from configs.use_case import Band, Points, Rule, UseCase
from features.expressions import Expression, compile_expression
from features.vector import expression_names

_LEAST = 1e-12  # probabilities are cut here before the logarithm, so that 0 and 1 have finite points


@dataclass(frozen=True)
class Verdict:
    """What the policy says. `grade` counts the bands from 1 (least risk); `rule` and `code` overrode the band."""

    decision: str
    grade: int
    points: int
    rule: str | None = None
    code: str | None = None


def score_points(probability: float, points: Points) -> int:
    """Score points of a probability in [0, 1]: `base` at `odds` good to bad, `double` more at twice the odds.

    base + double / ln 2 * (ln((1 - p) / p) - ln odds), rounded (Siddiqi 2006, Credit Risk Scorecards, ch. 6).

    >>> score_points(1 / 51, Points()), score_points(1 / 101, Points())
    (600, 620)
    """
    bounded = min(max(probability, _LEAST), 1 - _LEAST)
    odds = (1 - bounded) / bounded
    return round(points.base + points.double / math.log(2) * (math.log(odds) - math.log(points.odds)))


def graded(probability: float, bands: tuple[Band, ...]) -> tuple[int, Band]:
    """Number (from 1) and band of a probability; a bound belongs to the band above it."""
    for number, band in enumerate(bands, start=1):
        if band.below is None or probability < band.below:
            return number, band
    raise ServingError("the policy's last band has a bound", expected="a last band without `below`")


class DecisionPolicy:
    """The policy of a use case with its rules compiled. The first rule that holds wins over the bands."""

    def __init__(self, use_case: UseCase) -> None:
        self.policy = use_case.policy
        names = expression_names(use_case) | {"probability": "number"}
        self._rules = tuple((rule, _compiled(rule, names)) for rule in self.policy.rules)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the policy's canonical JSON: every decision carries it."""
        content = json.dumps(self.policy.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()

    def decide(self, probability: float, values: Mapping[str, Any]) -> Verdict:
        """Rules over `values` (features, request fields, `event_time`) and the probability, then the bands.

        A rule whose condition is unknown (NULL) does not hold.
        """
        grade, band = graded(probability, self.policy.bands)
        points = score_points(probability, self.policy.points)
        facts = {**values, "probability": probability} if self._rules else {}
        for rule, condition in self._rules:
            if condition.evaluate(facts):
                return Verdict(rule.decision, grade, points, rule.name, rule.code)
        return Verdict(band.decision, grade, points)

    def fall_back(self, probability: float) -> Verdict:
        """The declared decision for an event whose features can't be trusted; grade and points are still told."""
        grade, _ = graded(probability, self.policy.bands)
        return Verdict(self.policy.fallback, grade, score_points(probability, self.policy.points))

    def features_of_rule(self, name: str | None) -> tuple[str, ...]:
        """The names that a rule reads, sorted."""
        return next((tuple(sorted(condition.names)) for rule, condition in self._rules if rule.name == name), ())

    def is_adverse(self, decision: str) -> bool:
        """Whether a decision goes against the applicant or payment and so carries reasons."""
        return decision in self.policy.adverse


def _compiled(rule: Rule, names: Mapping[str, Any]) -> Expression:
    try:
        return compile_expression(rule.when, allowed=names, gives="condition")
    except FeatureError as error:
        raise ServingError(
            f"policy.rules, {rule.name}: {error.found}", expected=error.expected, fix=error.fix
        ) from None
