"""Ways to decide about the scored rows: the policy, one threshold, each row by itself, a budget, perfect knowledge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.use_case import UseCase
from configs.validation import CreditMoney, FraudMoney
from training.evidence.money.stakes import Stakes

Array = NDArray[np.float64]
Chosen = NDArray[np.bool_]


@dataclass(frozen=True)
class Strategy:
    """Rows acted on, [m], and what each row is worth under the strategy by its outcome and by its probability."""

    acted: Chosen
    realised: Array
    expected: Array


def strategies(use_case: UseCase, stakes: Stakes, *, threshold: float) -> dict[str, Strategy]:
    """By name. Always: `policy`, `threshold`, `per_event`, `accept_all`, `perfect`.

    policy: the bands without the rules. Credit accepts the first band only; where bands lie between the first and the
    last, `policy_accepting_referred` accepts those too and `policy_with_perfect_referral` their good loans, both for
    the price of a review. Fraud stops all bands but the first. per_event: where the expected worth is positive.
    accept_all: every loan is made; every payment passes, which saves nothing. perfect: the worth of knowing the
    outcomes. For fraud with times also `budget` (at most `alerts` a day, the greatest expected saving first, none that
    is expected to cost) and `perfect_budget`.
    """
    found = {
        "policy": _policy(use_case, stakes),
        "threshold": _acting(stakes, stakes.acted(threshold)),
        "per_event": _acting(stakes, stakes.expected > 0),
        "accept_all": _acting(stakes, np.full(len(stakes.p), not stakes.stop)),
        "perfect": _acting(stakes, stakes.realised > 0),
    }
    money = use_case.money
    if isinstance(money, CreditMoney):
        return found | _referral(use_case, stakes, money)
    if isinstance(money, FraudMoney) and stakes.day is not None:
        found["budget"] = _acting(stakes, within_budget(stakes.expected, stakes.day, alerts=money.alerts))
        found["perfect_budget"] = _acting(stakes, within_budget(stakes.realised, stakes.day, alerts=money.alerts))
    return found


def within_budget(worth: Array, day: NDArray[np.int64], *, alerts: int) -> Chosen:
    """The `alerts` rows of each day that are worth most, if more than nothing; of equals the earlier row: [m]."""
    order = np.lexsort((-worth, day))
    first = np.append(True, np.diff(day[order]) != 0) if len(day) else np.array([], dtype=bool)
    starts = np.flatnonzero(first)
    rank = np.arange(len(day)) - np.repeat(starts, np.diff(np.append(starts, len(day))))
    chosen = np.zeros(len(day), dtype=bool)
    chosen[order[rank < alerts]] = True
    return chosen & (worth > 0)


def band_of(use_case: UseCase, p: Array) -> NDArray[np.int64]:
    """Place of each probability in `policy.bands`, [m]."""
    bounds = [band.below for band in use_case.policy.bands if band.below is not None]
    return np.searchsorted(np.array(bounds, dtype=np.float64), p, side="right").astype(np.int64)


def _acting(stakes: Stakes, acted: Chosen) -> Strategy:
    return Strategy(acted, np.where(acted, stakes.realised, 0.0), np.where(acted, stakes.expected, 0.0))


def _policy(use_case: UseCase, stakes: Stakes) -> Strategy:
    band = band_of(use_case, stakes.p)
    if not stakes.stop:
        return _acting(stakes, band == 0)
    found, money = _acting(stakes, band > 0), use_case.money
    reviewed = set(money.reviewed) if isinstance(money, FraudMoney) else set()
    free = [bool(reviewed) and each.decision not in reviewed for each in use_case.policy.bands]
    back = np.where(found.acted & np.array(free)[band], stakes.cost, 0.0)
    return Strategy(found.acted, found.realised + back, found.expected + back)


def _referral(use_case: UseCase, stakes: Stakes, money: CreditMoney) -> dict[str, Strategy]:
    band, last = band_of(use_case, stakes.p), len(use_case.policy.bands) - 1
    referred = (band > 0) & (band < last)
    if last < 2:
        return {}
    looked = np.where(referred, money.review, 0.0)
    everyone, good = (band < last), (band == 0) | (referred & (stakes.realised > 0))
    ways = {
        "policy_accepting_referred": _acting(stakes, everyone),
        "policy_with_perfect_referral": _acting(stakes, good),
    }
    return {
        name: Strategy(found.acted, found.realised - looked, found.expected - looked) for name, found in ways.items()
    }
