"""Does reject inference help? Known outcomes are hidden like the older policy would have, and then looked at.

The refused have no outcome, so nothing can be measured on them. But accepted rows can be refused once more: the
policy's choice is learned from accepted against refused rows, and accepted rows are hidden in proportion to the odds of
refusal, so that the hidden ones look like the refused. A model with inference has to rank them better than one without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.validation import RejectMethod, Rejects
from training.evidence.metrics import auc
from training.evidence.resampling import Resamples, WeightedFigures, interval
from training.folds import ENOUGH_POSITIVES, Fold, Rows
from training.learners.protocol import Array
from training.rejects.inference import Applicants, Fit, Margin, beliefs, cross_fitted, infer, observed

LEAST_REFUSED = 100
"""Refused rows from which the policy's choice can be learned at all."""
SHARES = (0.05, 0.5)
"""Least and greatest share of the accepted rows that are hidden; between them, what the policy would refuse of them."""
UNLIKE = 0.7
"""Resemblance from which a note says that the hidden rows are milder than the refused."""

CAVEAT = (
    "Outcomes are hidden by what the features show. If the older policy knew more than they do, refused applications "
    "may be worse than hidden ones that look alike, and no method is tested on that; nor is parcelling's uplift."
)


def rejects_evidence(
    applicants: Applicants,
    folds: Sequence[Fold],
    settings: Rejects,
    *,
    objective: str,
    fit: Fit,
    choice: Fit,
    blocks: NDArray[np.int64],
    seed: int,
) -> dict[str, Any]:
    """Try every method of `settings` on hidden outcomes, and say which to use, if any.

    applicants: all accepted training rows, and the refused rows of the training period. folds: positions among the
    accepted rows. fit: the learner and parameters that were chosen; choice: learns who is refused (`choice_fit`).
    blocks: of the accepted rows, drawn whole for the intervals.

    In each fold, accepted `train` rows are hidden, models are fitted on the others with and without inference about the
    hidden ones, and the objective is taken on the hidden rows and the `valid` rows together. **Rule**: a method helped
    if its mean gain over the folds is above `rejects.gain`, the lower end of the paired block bootstrap interval (95 %,
    each of m methods at 1 - 0.05 / m) is above 0, and it gained in every fold, since the interval doesn't know what
    another draw of hidden rows would give. The one that gains most is used; otherwise none is.

    Returns objective (its name), accepted, refused, selection_auc (how well the features tell who is refused: 0.5 not
    at all), folds (hidden, hidden_bads, left, left_bads, validation, and resemblance: AUC of refused against hidden
    rows by the probability of refusal, 0.5 when alike), without (the objective without inference), methods (each:
    objective, gain, interval, fold_gains, hidden_gain, hidden_interval, validation_gain, validation_interval, helped),
    use (a method or None), reason, notes.
    """
    found: dict[str, Any] = {
        "objective": objective,
        "accepted": len(applicants.y),
        "refused": len(applicants.refused),
        "selection_auc": None,
        "folds": [],
        "without": None,
        "methods": {},
        "use": None,
        "notes": [CAVEAT],
    }
    if len(applicants.refused) < LEAST_REFUSED:
        return found | {"reason": f"{len(applicants.refused)} refused rows: fewer than {LEAST_REFUSED} teach nothing"}
    refusal = _refusal(applicants, choice, seed=seed)
    runs, notes = _runs(applicants, folds, settings, _hiding(refusal, applicants), fit=fit, choice=choice, seed=seed)
    found["selection_auc"] = _told(refusal, applicants)
    found["notes"] += notes
    if not runs:
        return found | {"reason": "no fold keeps enough outcomes when some are hidden: whether it helps can't be told"}
    resamples = Resamples.of(blocks, n=len(applicants.y), seed=seed)
    found["folds"] = [run.described(applicants, refusal) for run in runs]
    if any(fold["resemblance"] > UNLIKE for fold in found["folds"]):
        found["notes"].append("the hidden rows are milder than the refused ones: few accepted rows look like those")
    gains = {
        method: [run.gains(applicants, method, objective, resamples) for run in runs] for method in settings.methods
    }
    found["without"] = float(np.mean([run.objective(applicants, objective) for run in runs]))
    level = 1 - 0.05 / len(settings.methods)
    found["methods"] = {
        method: _summary(found["without"], own, bar=settings.gain, level=level) for method, own in gains.items()
    }
    return found | _verdict(found["methods"], settings)


@dataclass(frozen=True)
class _Run:
    """One fold: the rows hidden, all rows judged (those and the validation rows), and the log-odds of each model."""

    fold: Fold
    hidden: NDArray[np.bool_]
    scores: Mapping[RejectMethod | None, Array]

    @property
    def gone(self) -> Rows:
        return self.fold.train[self.hidden]

    @property
    def judged(self) -> Rows:
        return np.concatenate([self.gone, self.fold.valid])

    def objective(self, applicants: Applicants, name: str) -> float:
        """Without inference."""
        figures = WeightedFigures(applicants.y[self.judged], self.scores[None])
        return figures.figure(name, np.ones(len(self.judged)))

    def gains(self, applicants: Applicants, method: RejectMethod, name: str, resamples: Resamples) -> dict[str, Array]:
        """Objective with the method less without: of the rows and of each draw, [1 + draws]; NaN with one class."""
        parts = {"all": slice(None), "hidden": slice(len(self.gone)), "validation": slice(len(self.gone), None)}
        found = {}
        for where, part in parts.items():
            rows = self.judged[part]
            ours, theirs = (WeightedFigures(applicants.y[rows], self.scores[key][part]) for key in (method, None))
            weights = (np.ones(len(rows)), *resamples.weights(rows))
            found[where] = np.array([ours.figure(name, each) - theirs.figure(name, each) for each in weights])
        return found

    def described(self, applicants: Applicants, refusal: Array) -> dict[str, Any]:
        left, gone = self.fold.train[~self.hidden], self.gone
        refused = refusal[len(applicants.y) :]
        alike = auc(np.repeat([1.0, 0.0], [len(refused), len(gone)]), np.concatenate([refused, refusal[gone]]))
        return {
            "hidden": len(gone),
            "hidden_bads": int(applicants.y[gone].sum()),
            "left": len(left),
            "left_bads": int(applicants.y[left].sum()),
            "validation": len(self.fold.valid),
            "resemblance": alike,
        }


def _runs(
    applicants: Applicants, folds: Sequence[Fold], settings: Rejects, hides: Array, *, fit: Fit, choice: Fit, seed: int
) -> tuple[list[_Run], list[str]]:
    """Hide, and fit with and without inference, in every fold that keeps enough outcomes; notes on the others."""
    runs, notes = [], []
    for number, fold in enumerate(folds):
        hidden = np.random.default_rng([seed, number]).random(len(fold.train)) < hides[fold.train]
        left, gone = applicants.y[fold.train[~hidden]], applicants.y[fold.train[hidden]]
        if min(left.sum(), (1 - left).sum()) < ENOUGH_POSITIVES or not 0 < gone.sum() < len(gone):
            notes.append(f"fold {number + 1} left out: too few outcomes of either class stay known, or are hidden")
            continue
        part = applicants.hiding(fold.train, hidden)
        margins = _margins(part, settings, fit=fit, choice=choice, seed=seed)
        judged = applicants.accepted[np.concatenate([fold.train[hidden], fold.valid])]
        runs.append(_Run(fold, hidden, {method: margin(judged) for method, margin in margins.items()}))
    return runs, notes


def _refusal(applicants: Applicants, choice: Fit, *, seed: int) -> Array:
    """Cross-fitted probability of refusal, of accepted and then refused rows."""
    gone = np.repeat([0.0, 1.0], [len(applicants.y), len(applicants.refused)])
    return cross_fitted(applicants.every, gone, applicants.every[:0], choice, seed=seed)


def _told(refusal: Array, applicants: Applicants) -> float:
    return auc(np.repeat([0.0, 1.0], [len(applicants.y), len(applicants.refused)]), refusal)


def _hiding(refusal: Array, applicants: Applicants) -> Array:
    """Probability that an accepted row is hidden, [a]: proportional to the odds of refusal, and at most 1.

    The odds are the ratio of the refused to the accepted density (Bayes), so rows drawn with them are spread like the
    refused, as far as accepted rows reach. As many are hidden as the policy would refuse of the accepted, were it
    applied to them once more (within `SHARES`).
    """
    own = refusal[: len(applicants.y)]
    odds, share = own / (1 - own), float(np.clip(own.mean(), *SHARES))
    low, high = 0.0, float(1 / odds.min())
    for _ in range(60):  # bisection: the mean grows with the factor
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(1, middle * odds).mean() < share else (low, middle)
    hides: Array = np.minimum(1, high * odds)
    return hides


def _margins(
    part: Applicants, settings: Rejects, *, fit: Fit, choice: Fit, seed: int
) -> dict[RejectMethod | None, Margin]:
    believed = beliefs(part, fit, choice=choice, seed=seed)
    found: dict[RejectMethod | None, Margin] = {None: observed(part).fitted(part, fit)}
    for method in settings.methods:
        found[method] = infer(method, part, believed, seed=seed, uplift=settings.uplift).fitted(part, fit)
    return found


def _summary(without: float, runs: Sequence[Mapping[str, Array]], *, bar: float, level: float) -> dict[str, Any]:
    means = {where: np.mean([run[where] for run in runs], axis=0) for where in ("all", "hidden", "validation")}
    gain, bounds = float(means["all"][0]), interval(means["all"][1:], level=level)
    folds = [float(run["all"][0]) for run in runs]
    return {
        "objective": without + gain,
        "gain": gain,
        "interval": bounds,
        "fold_gains": folds,
        "hidden_gain": _finite(means["hidden"][0]),
        "hidden_interval": interval(means["hidden"][1:], level=level),
        "validation_gain": _finite(means["validation"][0]),
        "validation_interval": interval(means["validation"][1:], level=level),
        "helped": gain > bar and bounds is not None and bounds[0] > 0 and min(folds) > 0,
    }


def _verdict(methods: Mapping[str, Mapping[str, Any]], settings: Rejects) -> dict[str, Any]:
    helped = [name for name, one in methods.items() if one["helped"]]
    best = max(helped or methods, key=lambda name: methods[name]["gain"])
    one = methods[best]
    low, high = one["interval"] or (float("nan"), float("nan"))
    figures = f"{best} changes the objective on hidden outcomes by {one['gain']:+.4f} ({low:+.4f} to {high:+.4f})"
    if helped:
        return {"use": best, "reason": f"it helped: {figures}"}
    return {
        "use": None,
        "reason": f"it did not help: at best {figures}; asked: more than {settings.gain:g}, in every "
        "fold, and an interval above 0",
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
