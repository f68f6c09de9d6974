"""What a decision about each scored row is worth: of making a loan, or of stopping a payment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from configs.use_case import UseCase
from configs.validation import CreditMoney, FraudMoney
from training.evidence.metrics import day_of
from training.evidence.tested import Tested

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Stakes:
    """Rows with a known amount, [m], and what acting on each is worth: making the loan, stopping the payment.

    realised: worth by the outcome. expected: the same by the probability. amount: at stake. stop: whether acting means
    to stop the riskiest (fraud) instead of accepting the safest (credit). cost: what acting costs whatever the outcome;
    it is already taken off. day: UTC days since 1970, None without times. repeats: how often an event stands in the
    rows. kept: positions of the rows in the tested rows. left_out: rows without a usable amount.
    """

    y: Array
    p: Array
    amount: Array
    realised: Array
    expected: Array
    blocks: NDArray[np.int64]
    day: NDArray[np.int64] | None
    stop: bool
    cost: float
    repeats: float
    kept: NDArray[np.int64]
    left_out: int

    @property
    def days(self) -> int | None:
        """Calendar days from the first event to the last, both included."""
        return None if self.day is None or not len(self.day) else int(self.day.max() - self.day.min()) + 1

    def acted(self, threshold: float) -> NDArray[np.bool_]:
        """Rows acted on at a threshold: loans with PD below it, payments with at least this probability."""
        return self.p >= threshold if self.stop else self.p < threshold


def stakes_of(tested: Tested, *, loss: Array | None = None) -> Stakes:
    """The stakes of scored rows by the use case's `money`; `loss` is LGD x EAD of each row of credit, [n].

    Making a loan of amount A earns margin x A - cost if it is good and loses loss x A + cost if it is bad; expected:
    (1 - PD) x margin x A - PD x loss x A - cost. Stopping a payment of A saves recovered x A if it is a fraud and costs
    friction x A if it is genuine, and a review; expected: p x recovered x A - (1 - p) x friction x A - review.
    Rows whose amount is missing, negative or infinite are left out and counted.
    """
    money = money_of(tested.use_case)
    amount = amounts(tested.use_case, tested.features)
    kept = np.flatnonzero(np.isfinite(amount) & (amount >= 0))
    y, p, sums = tested.y[kept], tested.probability[kept], amount[kept]
    if isinstance(money, CreditMoney):
        if loss is None:
            raise TrainingError(
                "no loss rates for credit",
                expected="LGD x EAD of each row",
                fix="pass `loss`, such as `Severities.loss` of the features",
            )
        when_bad, when_good, cost = -loss[kept] * sums, money.margin * sums, money.cost
    else:
        when_bad, when_good, cost = money.recovered * sums, -money.friction * sums, money.review
    timed = tested.events["event_time"].notna().all() and len(kept) > 0
    return Stakes(
        y,
        p,
        sums,
        realised=np.where(y == 1, when_bad, when_good) - cost,
        expected=p * when_bad + (1 - p) * when_good - cost,
        blocks=tested.blocks[kept],
        day=day_of(tested.events)[kept] if timed else None,
        stop=isinstance(money, FraudMoney),
        cost=cost,
        repeats=repeats(tested.events),
        kept=kept,
        left_out=len(amount) - len(kept),
    )


def money_of(use_case: UseCase) -> CreditMoney | FraudMoney:
    """The section `money`. Raises `TrainingError` without one."""
    if use_case.money is None:
        raise TrainingError(
            f"the use case {use_case.name} says nothing about money",
            expected="a section `money` with the amount, what is earned and what is lost",
            fix="add it to the use case",
        )
    return use_case.money


def amounts(use_case: UseCase, features: pd.DataFrame) -> Array:
    """Amount of each row, [n], NaN where it is missing."""
    import pandas as pd

    name = money_of(use_case).amount
    if not pd.api.types.is_numeric_dtype(features[name]):
        raise TrainingError(
            f"money.amount, {name}, is a category", expected="a feature that is a number", fix="name another feature"
        )
    return features[name].to_numpy(dtype=np.float64, na_value=np.nan)


def repeats(events: pd.DataFrame) -> float:
    """How often an event stands in the rows on average: more than once with repeated folds."""
    return len(events) / max(events["event_id"].nunique(), 1) if "event_id" in events.columns else 1.0
