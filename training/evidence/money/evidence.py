"""From costs to thresholds: the best one, chosen on out-of-fold rows, and what it is worth on the test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from configs.use_case import UseCase
from configs.validation import CreditMoney, CreditRisk
from training.evidence.metrics import alert_entity, daily_card_precision, day_of
from training.evidence.money.stakes import Stakes, money_of, stakes_of
from training.evidence.money.strategies import Strategy, band_of, strategies
from training.evidence.money.thresholds import Sweep, thinned, threshold_interval
from training.evidence.resampling import DRAWS, Resamples, interval
from training.evidence.tested import Tested

Array = NDArray[np.float64]

CARDS_A_DAY = (25, 50, 100, 200)
"""How many cards investigators might look at in a day."""


def money_evidence(
    development: Tested, tested: Tested, *, losses: tuple[Array, Array] | None = None, draws: int = DRAWS
) -> dict[str, Any]:
    """What decisions are worth. Thresholds are chosen on `development` (out-of-fold rows); `tested` only values them.

    losses: LGD x EAD of each row of `development` and of `tested`; none: the constants of `credit_risk`. Keys:

    `of`, `currency`, `terms` (the section `money`), `rows`, `events`, `days` (calendar days of the test, None without
    times), `amount` (total of the test), `left_out` {development, tested, treated},
    `threshold` {value, interval, theoretical, development_per_1000, acts}: the best single threshold with its block
    bootstrap interval; theoretical: the PD at which a loan of mean loss rate breaks even (Elkan 2001), None where a
    fixed cost makes it depend on the amount, as a review does for fraud,
    `strategies` {name: {acted, acted_share, acted_amount, positives, positive_rate, value, per_1000, interval,
    expected_per_1000, per_day, per_day_interval, over_accept_all, over_policy, of_perfect}}: see `strategies`; value
    and per_day in currency, `over_*` {per_1000, interval}, of_perfect {share, interval}; all intervals are 95 % block
    bootstrap intervals on the same draws,
    `bands` [{decision, from, below, rows, share, positives, amount, per_1000}]: worth of acting on the band's rows,
    `curve` {development, tested}: {threshold, share, per_1000} as lists, thinned for drawing only,
    `card_precision` {entity, days, at: [{k, value, interval}]} for fraud with times, else None.

    Raises `TrainingError` without a section `money`, or where no row has an amount.
    """
    use_case, money = tested.use_case, money_of(tested.use_case)
    before, after = losses or (constant_loss(use_case, development), constant_loss(use_case, tested))
    past, now = stakes_of(development, loss=before), stakes_of(tested, loss=after)
    for stakes, what in ((past, "development"), (now, "tested")):
        if not len(stakes.p):
            raise TrainingError(
                f"none of the {what} rows has an amount", expected="amounts in the feature that `money.amount` names"
            )
    chosen = Sweep(past).curve()
    ways = strategies(use_case, now, threshold=chosen.best)
    return {
        "of": money.of,
        "currency": money.currency,
        "terms": money.model_dump(mode="json"),
        "rows": len(now.p),
        "events": round(len(now.p) / now.repeats),
        "days": now.days,
        "amount": float(now.amount.sum() / now.repeats),
        "left_out": {
            "development": past.left_out,
            "tested": now.left_out,
            "treated": "rows without an amount of zero or more are in no figure of money",
        },
        "threshold": {
            "value": chosen.best,
            "interval": threshold_interval(past, seed=development.seed, draws=draws),
            "theoretical": _break_even(use_case, before[past.kept]),
            "development_per_1000": float(1000 * chosen.value.max() / len(past.p)),
            "acts": "stops payments from this probability on" if now.stop else "accepts loans with a PD below it",
        },
        "strategies": _valued(now, ways, seed=tested.seed, draws=draws),
        "bands": _bands(use_case, now),
        "curve": {"development": thinned(chosen), "tested": thinned(Sweep(now).curve())},
        "card_precision": _cards(tested, draws=draws),
    }


def constant_loss(use_case: UseCase, tested: Tested) -> Array:
    """LGD x EAD of each row from the constants of `credit_risk` (its defaults without one); 0 for fraud: [n]."""
    risk = use_case.credit_risk or CreditRisk()
    if use_case.kind == "fraud":
        return np.zeros(len(tested.y))
    if not isinstance(risk.lgd, float) or not isinstance(risk.ead, float):
        raise TrainingError(
            "credit_risk models LGD or EAD", expected="their rates for each row", fix="pass `losses` of the severities"
        )
    return np.full(len(tested.y), risk.lgd * risk.ead)


def _break_even(use_case: UseCase, loss: Array) -> float | None:
    money = money_of(use_case)
    if isinstance(money, CreditMoney):
        return None if money.cost else float(money.margin / (money.margin + loss.mean()))
    return None  # a review costs the same whatever the amount


def _valued(stakes: Stakes, ways: Mapping[str, Strategy], *, seed: int, draws: int) -> dict[str, Any]:
    """Figures of each strategy; all of them on the same draws, so that differences are paired."""
    names, n = list(ways), len(stakes.p)
    worth = np.column_stack([ways[name].realised for name in names])
    resamples = Resamples.of(stakes.blocks, n=n, seed=seed, draws=draws)
    drawn = resamples.totals(np.column_stack([np.ones(n), worth]))
    totals, per_1000 = dict(zip(names, worth.sum(axis=0), strict=True)), 1000 * drawn[:, 1:] / drawn[:, :1]
    rates = dict(zip(names, per_1000.T, strict=True))
    daily = None if stakes.days is None else 1 / stakes.days / stakes.repeats

    def over(name: str, other: str) -> dict[str, Any]:
        return {
            "per_1000": float(1000 * (totals[name] - totals[other]) / n),
            "interval": interval(rates[name] - rates[other]),
        }

    def one(name: str) -> dict[str, Any]:
        way = ways[name]
        acted, positives = int(way.acted.sum()), float(stakes.y[way.acted].sum())
        return {
            "acted": round(acted / stakes.repeats),
            "acted_share": acted / n,
            "acted_amount": float(stakes.amount[way.acted].sum() / stakes.repeats),
            "positives": round(positives / stakes.repeats),
            "positive_rate": positives / acted if acted else None,
            "value": float(totals[name] / stakes.repeats),
            "per_1000": float(1000 * totals[name] / n),
            "interval": interval(rates[name]),
            "expected_per_1000": float(1000 * way.expected.sum() / n) if not name.startswith("perfect") else None,
            "per_day": None if daily is None else float(totals[name] * daily),
            "per_day_interval": None if daily is None else interval(drawn[:, 1 + names.index(name)] * daily),
            "over_accept_all": over(name, "accept_all"),
            "over_policy": over(name, "policy"),
            "of_perfect": _share(totals[name], totals["perfect"], rates[name], rates["perfect"]),
        }

    return {name: one(name) for name in names}


def _share(total: float, most: float, drawn: Array, drawn_most: Array) -> dict[str, Any]:
    """Share of what perfect knowledge is worth; undefined (None) where that is nothing."""
    if most <= 0:
        return {"share": None, "interval": None}
    shares = np.divide(drawn, drawn_most, out=np.full(len(drawn), np.nan), where=drawn_most > 0)
    return {"share": float(total / most), "interval": interval(shares)}


def _bands(use_case: UseCase, stakes: Stakes) -> list[dict[str, Any]]:
    place, n = band_of(use_case, stakes.p), len(stakes.p)
    rows, lower = [], 0.0
    for index, band in enumerate(use_case.policy.bands):
        own = place == index
        rows.append(
            {
                "decision": band.decision,
                "from": lower,
                "below": band.below,
                "rows": round(float(own.sum()) / stakes.repeats),
                "share": float(own.mean()),
                "positives": round(float(stakes.y[own].sum()) / stakes.repeats),
                "amount": float(stakes.amount[own].sum() / stakes.repeats),
                "per_1000": float(1000 * stakes.realised[own].sum() / n),
            }
        )
        lower = band.below if band.below is not None else lower
    return rows


def _cards(tested: Tested, *, draws: int) -> dict[str, Any] | None:
    """Card precision@k a day; days are drawn whole, whatever the blocks: a day is what the figure is a mean of."""
    use_case = tested.use_case
    if use_case.kind != "fraud" or not use_case.event.time or not use_case.entities:
        return None
    day, entity = day_of(tested.events), alert_entity(use_case)
    cards = tested.events[entity].to_numpy()
    rows: list[dict[str, Any]] = []
    days = 0
    for k in CARDS_A_DAY:
        daily = daily_card_precision(tested.y, tested.probability, day, cards, k=k)
        days = len(daily)
        if not days:
            return None
        drawn = Resamples.of(None, n=days, seed=tested.seed, draws=draws).totals(daily[:, None])[:, 0] / days
        rows.append({"k": k, "value": float(daily.mean()), "interval": interval(drawn)})
    return {"entity": entity, "days": days, "at": rows}
