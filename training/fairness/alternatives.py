"""The search for a less discriminatory alternative: models that select groups more evenly for little lost performance.

Everything is fitted on the training part of the tuning folds and judged on their validation parts, never on the test.
Every alternative is one model for all, that never sees the attribute when it scores: features left out, or training
rows weighed. Nothing is chosen here: a person decides, with the figures, and says so in the use case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.evidence.fairness import FOUR_FIFTHS
from training.evidence.resampling import interval
from training.fairness.ground import Ground, Judged, Weigh
from training.fairness.reductions import parity_weights, reweighing
from training.learners.protocol import Array

if TYPE_CHECKING:
    from configs.console import Ticker

FitAndScore = Callable[[Sequence[str], Sequence[Array] | None], Sequence[Array]]
"""(features kept, weight of each fold's `train` rows or None for ones) -> log-odds of each fold's `valid` rows.

The caller decides the learner and its parameters, and multiplies weights that the use case has of its own."""

STRENGTHS = (0.1, 0.2)
"""How hard the reduction pulls, as a share of a row's weight: two groups' log-odds come closer by 0.4 and by 0.8."""
CAVEAT = (
    "Weights by group use the attribute in training only; that too wants legal review before such a model is used. "
    "The best of several alternatives looks better on the rows it was found on than it will be on new ones."
)


def less_discriminatory(
    ground: Ground,
    *,
    columns: Sequence[str],
    proxies: Mapping[str, Any],
    fit_and_score: FitAndScore,
    ticker: Ticker | None = None,
) -> dict[str, Any]:
    """Look for alternatives for every attribute whose ratio of selection rates is below `fairness.below`.

    columns: the features the model has. proxies: what `training.fairness.proxies.proxies` found on the training rows.
    For each attribute at most `fairness.alternatives` models are fitted: reweighing (Kamiran & Calders 2012), the
    reduction of Agarwal et al. (2018) at two strengths, and the strongest proxies left out one by one, where a feature
    stays out only if that raised the ratio within the loss.

    Returns objective (its name), `loss` allowed, `baseline` (objective, selection_rate, ratios by attribute), caveat,
    and attributes: `ratio`, `searched` (and `why` not), `candidates`, `best` (a candidate's name or None) and `reason`.
    A candidate: name, kind (without, reweighing, reduction), `without` (features left out), strength, objective,
    objective_loss and ratio_gain each with `_interval` (paired 95 % block bootstrap), ratio, ratios, selection_rate,
    `within_loss`, `lowers` (attributes it takes below four fifths), `pareto` (no other, nor the baseline, is at least
    as good in both and better in one). `best` has the greatest gain of those within the loss that lower nothing.
    """
    baseline = ground.judged(fit_and_score(columns, None))
    settings, found = ground.use_case.fairness, {}
    for name in ground.groups:
        ratio = float(baseline.ratio(name)[0])
        entry: dict[str, Any] = {"ratio": ratio, "searched": False, "candidates": [], "best": None}
        if not settings.alternatives or ratio >= settings.below:
            why = f"the ratio {ratio:.3f} is not below {settings.below:g}" if settings.alternatives else "switched off"
            found[name] = entry | {"why": why, "reason": f"not searched: {why}"}
            continue
        quest = _Quest(ground, name, baseline, fit_and_score, ticker)
        names = [one["feature"] for one in proxies["attributes"].get(name, {}).get("features", ())]
        candidates = _marked(list(quest.run(columns, names)), baseline, name)
        found[name] = entry | {"searched": True, "why": "", "candidates": candidates} | _best(candidates, settings.loss)
    return {
        "objective": ground.use_case.training.objective,
        "loss": settings.loss,
        "baseline": {
            "objective": float(baseline.objective[0]),
            "selection_rate": baseline.selection_rate,
            "ratios": baseline.ratios(),
        },
        "attributes": found,
        "caveat": CAVEAT,
    }


@dataclass(frozen=True)
class _Quest:
    """The search for one attribute."""

    ground: Ground
    attribute: str
    baseline: Judged
    fit_and_score: FitAndScore
    ticker: Ticker | None

    def run(self, columns: Sequence[str], proxies: Sequence[str]) -> Iterator[dict[str, Any]]:
        most = self.ground.use_case.fairness.alternatives
        weighings: list[tuple[str, float | None, Weigh]] = [
            ("reweighing", None, reweighing),
            *(("reduction", strength, self._reduction(strength)) for strength in STRENGTHS),
        ]
        kept = tuple(columns)
        best = float(self.baseline.ratio(self.attribute)[0])
        tried = [name for name in proxies if name in kept][: max(0, most - len(weighings))]
        for feature in tried:
            rest = tuple(name for name in kept if name != feature)
            if not rest:
                break
            out = [name for name in columns if name not in rest]
            candidate = self._candidate(f"without {', '.join(out)}", "without", rest, None, without=out)
            yield candidate
            if candidate["ratio"] > best and candidate["within_loss"]:
                kept, best = rest, candidate["ratio"]
        for kind, strength, weigh in weighings[:most]:
            name = kind if strength is None else f"{kind}, strength {strength:g}"
            weights = self.ground.weighed(self.attribute, weigh)
            yield self._candidate(name, kind, tuple(columns), weights, strength=strength)

    def _reduction(self, strength: float) -> Weigh:
        gap = self.baseline.gap(self.attribute)
        return lambda y, group: parity_weights(y, group, gap, strength=strength)

    def _candidate(
        self,
        name: str,
        kind: str,
        columns: Sequence[str],
        weights: Sequence[Array] | None,
        *,
        without: Sequence[str] = (),
        strength: float | None = None,
    ) -> dict[str, Any]:
        if self.ticker:
            self.ticker.note(f"alternative for {self.attribute}: {name}")
        judged = self.ground.judged(self.fit_and_score(columns, weights))
        lost = self.baseline.objective - judged.objective
        gained = judged.ratio(self.attribute) - self.baseline.ratio(self.attribute)
        before, after = self.baseline.ratios(), judged.ratios()
        return {
            "name": name,
            "kind": kind,
            "without": list(without),
            "strength": strength,
            "objective": float(judged.objective[0]),
            "objective_loss": float(lost[0]),
            "objective_loss_interval": interval(lost[1:]),
            "ratio": after[self.attribute],
            "ratio_gain": float(gained[0]),
            "ratio_gain_interval": interval(gained[1:]),
            "ratios": after,
            "selection_rate": judged.selection_rate,
            "within_loss": bool(lost[0] <= self.ground.use_case.fairness.loss),
            "lowers": [other for other in after if after[other] < FOUR_FIFTHS <= before[other]],
        }


def _marked(candidates: list[dict[str, Any]], baseline: Judged, attribute: str) -> list[dict[str, Any]]:
    """With `pareto`."""
    points = [(one["objective"], one["ratio"]) for one in candidates]
    every = [*points, (float(baseline.objective[0]), float(baseline.ratio(attribute)[0]))]
    return [
        candidate | {"pareto": not any(_beats(other, point) for other in every)}
        for candidate, point in zip(candidates, points, strict=True)
    ]


def _beats(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other != point and other[0] >= point[0] and other[1] >= point[1]


def _best(candidates: Sequence[Mapping[str, Any]], loss: float) -> dict[str, Any]:
    open_to = [one for one in candidates if one["within_loss"] and not one["lowers"] and one["ratio_gain"] > 0]
    if not open_to:
        return {"best": None, "reason": f"no alternative raises the ratio for at most {loss:g} of the objective"}
    best = max(open_to, key=lambda one: one["ratio_gain"])
    low = (best["ratio_gain_interval"] or (0.0, 0.0))[0]
    sure = "clear of chance" if low > 0 else "within what chance alone gives"
    return {
        "best": best["name"],
        "reason": f"ratio {best['ratio']:.3f}, {best['ratio_gain']:+.3f} ({sure}), for {best['objective_loss']:.4f} "
        "of the objective",
    }
