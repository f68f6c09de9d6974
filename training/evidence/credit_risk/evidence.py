"""The credit risk figures of a candidate: severities, expected loss, portfolio loss, drivers, stress, vintages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.scenarios import Scenarios, load_scenarios
from configs.use_case import UseCase
from configs.validation import CreditMoney, CreditRisk, Realised
from training.evidence.credit_risk.portfolio import (
    Portfolio,
    by_grade,
    concentration,
    loss_distribution,
    place_of,
    portfolio_figures,
)
from training.evidence.credit_risk.sensitivity import Book, sensitivity
from training.evidence.credit_risk.severity import Severities, realised_share
from training.evidence.credit_risk.stress import Rescore, numbers, stress
from training.evidence.credit_risk.vintages import vintages
from training.evidence.money.stakes import amounts
from training.evidence.money.strategies import band_of
from training.evidence.resampling import DRAWS, Resamples, interval
from training.evidence.tested import Tested

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


def scenarios_of(use_case: UseCase) -> Scenarios | None:
    """The scenarios that `credit_risk` names, None without any. Raises `ScenarioError` with every mistake."""
    name = use_case.credit_risk.scenarios if use_case.credit_risk else None
    return load_scenarios(name, features=numbers(use_case)) if name else None


def credit_risk_evidence(
    development: Tested,
    tested: Tested,
    severities: Severities,
    *,
    rescore: Rescore,
    scenarios: Scenarios | None = None,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """What the tested loans would lose. Money is in `currency`, or in loans of 1 where the use case has no `money`.

    rescore: calibrated PD of changed features, for the scenarios. An event that stands more than once in `tested`
    (repeated folds) is one loan with its mean PD. Keys:

    `currency`, `confidence`, `correlation` {value, source}, `loans`, `left_out` (without an amount of zero or more),
    `lgd`, `ead` {method, reason, constant, ...}: see `severity`,
    `portfolio`, `accepted` (the first band of the policy): see `portfolio_figures`; `concentration`, `distribution`,
    `grades`: see `portfolio`,
    `backtest` {expected_loss, realised_loss, ratio, interval, quantile, realised_from}: ratio = realised over expected
    with its 95 % block bootstrap interval, quantile: the place of the realised loss in the closed-form distribution,
    `sensitivity`: see `sensitivity`, `stress`: see `stress` (None without scenarios), `vintages`: see `vintages`.

    Raises `TrainingError` where a shifted derived column can't be computed again.
    """
    use_case, risk = tested.use_case, tested.use_case.credit_risk or CreditRisk()
    loans, pd = _once(tested)
    amount = amounts(use_case, tested.features)[loans] if use_case.money else np.ones(len(loans))
    usable = np.isfinite(amount) & (amount >= 0)
    loans, pd, amount = loans[usable], pd[usable], amount[usable]
    features, events = tested.features.iloc[loans], tested.events.iloc[loans]
    money = use_case.money if isinstance(use_case.money, CreditMoney) else None
    book = Book(pd, severities.lgd.rates(features), severities.ead.rates(features), amount, risk.correlation, money)
    y, blocks, portfolio = tested.y[loans], tested.blocks[loans], book.portfolio
    resamples = Resamples.of(blocks, n=len(loans), seed=tested.seed, draws=draws)
    source = "Basel Framework CRE31, other retail" if risk.correlation is None else "declared"
    return {
        "currency": money.currency if money else None,
        "confidence": risk.confidence,
        "correlation": {"value": risk.correlation, "source": source},
        "loans": len(loans),
        "left_out": int((~usable).sum()),
        "lgd": severities.lgd.evidence,
        "ead": severities.ead.evidence,
        "portfolio": portfolio_figures(portfolio, confidence=risk.confidence),
        "accepted": portfolio_figures(portfolio.part(band_of(use_case, pd) == 0), confidence=risk.confidence),
        "concentration": concentration(portfolio),
        "distribution": loss_distribution(portfolio, confidence=risk.confidence, draws=risk.draws, seed=tested.seed),
        "grades": by_grade(portfolio, y, risk.grades, confidence=risk.confidence),
        "backtest": _backtest(book, y, _realised(use_case, risk, events, features), resamples, portfolio),
        "sensitivity": sensitivity(book, confidence=risk.confidence),
        "stress": scenarios
        and stress(
            use_case,
            scenarios,
            book,
            features=features,
            events=events,
            rescore=rescore,
            confidence=risk.confidence,
        ),
        "vintages": vintages(development, tested),
    }


def _once(tested: Tested) -> tuple[NDArray[np.int64], Array]:
    """Position of each event's first row, and its mean PD over its rows."""
    if "event_id" not in tested.events.columns:
        return np.arange(len(tested.y)), tested.probability
    _, first, place = np.unique(tested.events["event_id"].to_numpy(dtype=str), return_index=True, return_inverse=True)
    mean = np.bincount(place.reshape(-1), weights=tested.probability) / np.bincount(place.reshape(-1))
    order = np.argsort(first)
    return first[order].astype(np.int64), mean[order]


def _realised(use_case: UseCase, risk: CreditRisk, events: pd.DataFrame, features: pd.DataFrame) -> Array | None:
    """Realised LGD x EAD of each row, NaN where undefined; None unless outcomes give both."""
    if not isinstance(risk.lgd, Realised) or not isinstance(risk.ead, Realised):
        return None
    lgd = realised_share(use_case, "lgd", risk.lgd, events, features)
    ead = realised_share(use_case, "ead", risk.ead, events, features)
    return np.clip(lgd, 0, 1) * np.clip(ead, 0, 1)


def _backtest(
    book: Book, y: Array, realised: Array | None, resamples: Resamples, portfolio: Portfolio
) -> dict[str, Any]:
    declared = book.lgd * book.ead
    share = declared if realised is None else np.where(np.isfinite(realised), realised, declared)
    losses = np.column_stack([book.pd * declared * book.amount, y * share * book.amount])
    expected, found = losses.sum(axis=0)
    drawn = resamples.totals(losses)
    ratios = np.divide(drawn[:, 1], drawn[:, 0], out=np.full(len(drawn), np.nan), where=drawn[:, 0] > 0)
    return {
        "expected_loss": float(expected),
        "realised_loss": float(found),
        "ratio": float(found / expected) if expected > 0 else None,
        "interval": interval(ratios),
        "quantile": place_of(portfolio, float(found)) if expected > 0 else None,
        "realised_from": "the predicted LGD and EAD of the bads" if realised is None else "outcomes of the bads",
    }
