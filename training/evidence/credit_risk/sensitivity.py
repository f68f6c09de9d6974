"""How much each driver moves loss, capital and profit: one at a time, the others held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.validation import CreditMoney
from training.evidence.credit_risk.portfolio import Portfolio

Array = NDArray[np.float64]

SHOCK = 0.1
"""Relative change of a driver in the tornado table."""
SMALL = 0.01
"""Relative change behind an elasticity."""


@dataclass(frozen=True)
class Book:
    """Loans with what moves their money, [n] each: pd, lgd, ead as shares, amount in currency.

    correlation: of every loan's assets; None for Basel's formula. money: what loans earn; None for losses alone.
    """

    pd: Array
    lgd: Array
    ead: Array
    amount: Array
    correlation: float | None
    money: CreditMoney | None

    @property
    def portfolio(self) -> Portfolio:
        """As a portfolio of exposures."""
        return Portfolio(self.pd, self.lgd, self.ead * self.amount, self.correlation)

    @property
    def profit(self) -> float | None:
        """Expected profit: (1 - PD) x margin x amount - PD x LGD x EAD x amount - cost, summed; None without money."""
        if self.money is None:
            return None
        good = (1 - self.pd) * self.money.margin * self.amount
        return float(np.sum(good - self.pd * self.lgd * self.ead * self.amount - self.money.cost))

    def figures(self, confidence: float, *, stretch: float = 1.0) -> dict[str, float | None]:
        """Expected loss, value at risk, unexpected loss and profit; `stretch` multiplies every correlation."""
        portfolio = self.portfolio
        if stretch != 1.0:
            portfolio = _Stretched(self.pd, self.lgd, self.ead * self.amount, self.correlation, stretch)
        expected, tail = portfolio.expected_loss, portfolio.value_at_risk(confidence)
        return {
            "expected_loss": expected,
            "value_at_risk": tail,
            "unexpected_loss": tail - expected,
            "profit": self.profit,
        }


@dataclass(frozen=True)
class _Stretched(Portfolio):
    """A portfolio whose correlations are multiplied."""

    stretch: float = 1.0

    @property
    def rho(self) -> Array:
        return np.clip(super().rho * self.stretch, 0, 0.999)


def _share(values: Array, factor: float) -> Array:
    return np.clip(values * factor, 0, 1)


DRIVERS: dict[str, Callable[[Book, float], Book]] = {
    "pd": lambda book, factor: replace(book, pd=_share(book.pd, factor)),
    "lgd": lambda book, factor: replace(book, lgd=_share(book.lgd, factor)),
    "ead": lambda book, factor: replace(book, ead=_share(book.ead, factor)),
    "amount": lambda book, factor: replace(book, amount=book.amount * factor),
}
"""Driver -> the book with it multiplied; PD, LGD and EAD stay within [0, 1]. Correlation is stretched apart."""


def sensitivity(book: Book, *, confidence: float) -> list[dict[str, Any]]:
    """Each driver with its elasticities and what `SHOCK` down and up make of the figures, widest first.

    `driver` (pd, lgd, ead, amount, correlation), `shock`, `elasticity` {figure: percent for one percent, or None where
    the figure is 0 or undefined}, `down` and `up` {figure: value}. Figures: see `Book.figures`; widest by the value at
    risk. Where correlation is Basel's formula it follows the PD, which dampens the PD's part.
    """
    base = book.figures(confidence)

    def moved(driver: str, change: float) -> dict[str, float | None]:
        if driver == "correlation":
            return book.figures(confidence, stretch=1 + change)
        return DRIVERS[driver](book, 1 + change).figures(confidence)

    rows = []
    for driver in (*DRIVERS, "correlation"):
        low, high = moved(driver, -SMALL), moved(driver, SMALL)
        rows.append(
            {
                "driver": driver,
                "shock": SHOCK,
                "elasticity": {name: _elasticity(base[name], low[name], high[name]) for name in base},
                "down": moved(driver, -SHOCK),
                "up": moved(driver, SHOCK),
            }
        )
    return sorted(rows, key=lambda row: -abs(row["up"]["value_at_risk"] - row["down"]["value_at_risk"]))


def _elasticity(base: float | None, low: float | None, high: float | None) -> float | None:
    if not base or low is None or high is None:
        return None
    return (high - low) / (2 * SMALL * abs(base))
