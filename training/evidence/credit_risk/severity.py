"""LGD and EAD: declared constants, or models of realised losses where they beat the constant out of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from configs.use_case import UseCase
from configs.validation import CreditRisk, Realised
from features.vector import Feature, features_of
from training.evidence.credit_risk.fractional import PENALTIES, FractionalLogit
from training.evidence.credit_risk.judging import Sample, severity_evidence, skill
from training.evidence.money.stakes import amounts
from training.evidence.resampling import DRAWS

if TYPE_CHECKING:
    import pandas as pd

    from training.evidence.tested import Tested

Array = NDArray[np.float64]
What = Literal["lgd", "ead"]

ENOUGH = 100
"""Bad loans that a model is fitted on at least; with fewer the constant stays."""
FOLDS = 5
"""Folds of cross-fitting, where loans have no time."""
LATEST = 0.25
"""Share of the training bads, the latest, on which the penalty is chosen."""


@dataclass(frozen=True)
class Severity:
    """LGD or EAD of any loan: the model's mean, or the constant. evidence: see `severity_evidence`."""

    what: What
    constant: float
    model: FractionalLogit | None
    evidence: dict[str, Any]

    def rates(self, features: pd.DataFrame) -> Array:
        """Share in [0, 1] of each row, [n]."""
        return np.full(len(features), self.constant) if self.model is None else self.model.predict(features)


@dataclass(frozen=True)
class Severities:
    """LGD and EAD of a use case."""

    lgd: Severity
    ead: Severity

    def loss(self, features: pd.DataFrame) -> Array:
        """LGD x EAD of each row, [n]: what a default costs as a share of the amount."""
        return self.lgd.rates(features) * self.ead.rates(features)


def fit_severities(
    use_case: UseCase, events: pd.DataFrame, features: pd.DataFrame, tested: Tested, *, draws: int = DRAWS
) -> Severities:
    """LGD and EAD as `credit_risk` declares them; `events` and `features` are the training rows, in order of time.

    Without times the training and tested rows are the same loans: a model is judged by cross-fitting on the former.
    Raises `TrainingError` where a model is declared and no bad loan of the training rows has a realised share.
    """
    risk = use_case.credit_risk or CreditRisk()
    timed = bool(events["event_time"].notna().all())

    def one(what: What) -> Severity:
        declared = risk.lgd if what == "lgd" else risk.ead
        if isinstance(declared, float):
            return Severity(what, declared, None, {"method": "declared", "constant": declared, "reason": "declared"})
        trained = _sample(use_case, what, declared, events, features, blocks=np.arange(len(events)))
        if not timed:
            return _modelled(use_case, what, _shuffled(trained, tested.seed), None, seed=tested.seed, draws=draws)
        judged = _sample(use_case, what, declared, tested.events, tested.features, blocks=tested.blocks)
        return _modelled(use_case, what, trained, judged, seed=tested.seed, draws=draws)

    return Severities(one("lgd"), one("ead"))


def realised_share(
    use_case: UseCase, what: What, declared: Realised, events: pd.DataFrame, features: pd.DataFrame
) -> Array:
    """Realised LGD or EAD share of each row before it is cut to [0, 1], NaN where undefined: [n].

    EAD = (amount - repaid) / amount; LGD = 1 - (recovered - fees) / (amount - repaid). Undefined where a sum is missing
    or nothing was owed.
    """

    def column(name: str | None) -> Array:
        if name is None:
            return np.zeros(len(events))
        values: Array = events[name].to_numpy(dtype=np.float64, na_value=np.nan)
        return values

    if declared.outcome:
        return column(declared.outcome)
    amount = column(declared.amount) if declared.amount else amounts(use_case, features)
    exposure = amount - column(declared.repaid)
    lost = exposure - column(declared.recovered) + column(declared.fees)
    part, whole = (lost, exposure) if what == "lgd" else (exposure, amount)
    shares: Array = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares


def _sample(
    use_case: UseCase,
    what: What,
    declared: Realised,
    events: pd.DataFrame,
    features: pd.DataFrame,
    *,
    blocks: NDArray[np.int64],
) -> Sample:
    bad = events["label"].to_numpy(dtype=np.float64) == 1
    share = realised_share(use_case, what, declared, events, features)
    known = bad & np.isfinite(share)
    outside = int(np.sum(known & ((share < 0) | (share > 1))))
    counts = {"n": int(known.sum()), "undefined": int((bad & ~known).sum()), "cut": outside}
    rows = np.flatnonzero(known)
    return Sample(features.iloc[rows], np.clip(share[rows], 0, 1), blocks[rows], counts)


def _shuffled(sample: Sample, seed: int) -> Sample:
    """In an order by chance, where time gives none."""
    order = np.random.default_rng(seed).permutation(len(sample.share))
    return replace(sample, features=sample.features.iloc[order], share=sample.share[order], blocks=sample.blocks[order])


def _modelled(
    use_case: UseCase, what: What, trained: Sample, judged: Sample | None, *, seed: int, draws: int
) -> Severity:
    """The model where it beats the constant inside the training rows and on the tested ones, else the constant."""
    if not len(trained.share):
        raise TrainingError(
            f"credit_risk.{what}: no bad loan of the training rows has a realised share",
            expected="values in the columns of `outcomes` that it names",
            fix="check the columns, or declare a constant",
        )
    constant = float(trained.share.mean())
    base = {"constant": constant, "trained_on": trained.counts, "tested_on": (judged or trained).counts}
    if len(trained.share) < ENOUGH:
        few = f"the constant is used: {len(trained.share)} bad loans to fit on, at least {ENOUGH} are needed"
        return Severity(what, constant, None, {"method": "constant", "reason": few} | base)
    features = [each for each in features_of(use_case) if each.name not in use_case.training.exclude]
    search = _search(features, trained)
    best = max(search, key=lambda row: row["skill"])
    (model,) = FractionalLogit.fitted(features, trained.features, trained.share, penalties=[best["penalty"]])
    predicted = model.predict(judged.features) if judged else _cross_fitted(features, trained, penalty=best["penalty"])
    tested = severity_evidence(judged or trained, predicted, constant, seed=seed, draws=draws)
    reason = _reason(best["skill"], tested)
    chosen = model if reason is None else None
    evidence: dict[str, Any] = {
        "method": "fractional logit" if chosen else "constant",
        "reason": reason or "the model is used: its squared error is below the constant's on training and tested rows",
        "judged": "on tested rows" if judged else "by cross-fitting: time was not tested",
        "penalty": best["penalty"],
        "search": search,
        "tested": tested,
    }
    return Severity(what, constant, chosen, evidence | base)


def _cross_fitted(features: Sequence[Feature], trained: Sample, *, penalty: float) -> Array:
    """Prediction of each row by a model of the other folds' rows."""
    predicted, fold = np.empty(len(trained.share)), np.arange(len(trained.share)) % FOLDS
    for own in range(FOLDS):
        rows, rest = np.flatnonzero(fold == own), np.flatnonzero(fold != own)
        (model,) = FractionalLogit.fitted(
            features, trained.features.iloc[rest], trained.share[rest], penalties=[penalty]
        )
        predicted[rows] = model.predict(trained.features.iloc[rows])
    return predicted


def _search(features: Sequence[Feature], trained: Sample) -> list[dict[str, float]]:
    """Skill of each penalty on the latest training bads, from a model of the earlier ones."""
    cut = int(len(trained.share) * (1 - LATEST))
    early, late = slice(None, cut), slice(cut, None)
    constant, judged = float(trained.share[early].mean()), trained.features.iloc[late]
    models = FractionalLogit.fitted(features, trained.features.iloc[early], trained.share[early], penalties=PENALTIES)
    return [
        {"penalty": model.penalty, "skill": skill(trained.share[late], model.predict(judged), constant)}
        for model in models
    ]


def _reason(searched: float, tested: dict[str, Any]) -> str | None:
    """Why the constant is used; None for the model."""
    if not searched > 0:
        return "the constant is used: on the latest training rows its squared error is not above the model's"
    if tested["skill"] is None:
        return "the constant is used: no bad loan of the tested rows has a realised share to judge the model by"
    if not tested["skill"] > 0:
        return "the constant is used: on the tested rows its squared error is not above the model's"
    return None
