"""Loss of a portfolio under one systematic factor (Vasicek 2002): closed form, and draws of the finite portfolio.

A loan defaults when sqrt(rho) Z + sqrt(1 - rho) e falls below Phi^-1(PD), with Z common to all loans and e its own.
Losses given default don't depend on Z: a downturn of LGD is what scenarios are for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

_LEAST = 1e-12
"""PDs are kept this far from 0 and 1, where the normal quantile is infinite."""
CELLS = 60_000_000
"""Draws times loans at most: a second or two."""
LEAST_DRAWS = 500
BATCHES = 10
TAIL = 10
"""Width of the worst part of the factor that half of the draws go to, in tails beyond the confidence."""


@dataclass(frozen=True)
class Portfolio:
    """Loans, [n] each. pd, lgd in [0, 1]; exposure: amount x EAD in currency; correlation: none for Basel's formula."""

    pd: Array
    lgd: Array
    exposure: Array
    correlation: float | None = None

    @property
    def weight(self) -> Array:
        """What each loan loses when it defaults, in currency."""
        return self.lgd * self.exposure

    @property
    def rho(self) -> Array:
        """Asset correlation of each loan."""
        return (
            retail_correlation(self.pd) if self.correlation is None else np.full(len(self.pd), float(self.correlation))
        )

    @property
    def expected_loss(self) -> float:
        """Sum of PD x LGD x EAD, in currency."""
        return float(np.sum(self.pd * self.weight))

    def value_at_risk(self, confidence: float) -> float:
        """Quantile of the loss of an infinitely granular portfolio with these loans, in currency (Gordy 2003)."""
        return float(np.sum(conditional_pd(self.pd, self.rho, confidence) * self.weight))

    def part(self, rows: NDArray[np.bool_]) -> Portfolio:
        """Some of the loans."""
        return replace(self, pd=self.pd[rows], lgd=self.lgd[rows], exposure=self.exposure[rows])


def retail_correlation(pd: Array) -> Array:
    """Asset correlation of "other retail" exposures: from 0.16 at PD 0 down to 0.03 (Basel Framework CRE31), [n]."""
    share = (1 - np.exp(-35 * pd)) / (1 - np.exp(-35))
    return np.asarray(0.03 * share + 0.16 * (1 - share), dtype=np.float64)


def conditional_pd(pd: Array, rho: Array, confidence: float) -> Array:
    """PD when the factor is at its 1 - `confidence` quantile, [n].

    Phi((Phi^-1(PD) + sqrt(rho) Phi^-1(confidence)) / sqrt(1 - rho)).
    """
    threshold = ndtri(np.clip(pd, _LEAST, 1 - _LEAST))
    return np.asarray(ndtr((threshold + np.sqrt(rho) * ndtri(confidence)) / np.sqrt(1 - rho)), dtype=np.float64)


def quantiles(portfolio: Portfolio, levels: Array) -> Array:
    """Closed-form quantiles of the loss, in currency: the loss falls with the factor, so that quantiles add up."""
    return np.array([portfolio.value_at_risk(float(level)) for level in levels])


def place_of(portfolio: Portfolio, loss: float) -> float:
    """Share of the closed-form distribution below a loss, by bisection: in (0, 1)."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if portfolio.value_at_risk(middle) < loss else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Drawn:
    """Losses of the finite portfolio in currency, ascending, with the probability that each stands for: [draws] each.

    batch: draws of one batch are a sample of the whole distribution by themselves.
    """

    losses: Array
    weights: Array
    batch: NDArray[np.int64]

    def quantile(self, level: float, *, batch: int | None = None) -> float:
        """The smallest loss that is not exceeded with probability `level`; of one batch, or of all draws."""
        own = slice(None) if batch is None else self.batch == batch
        losses, weights = self.losses[own], self.weights[own]
        place = np.searchsorted(np.cumsum(weights) / weights.sum(), level - 1e-12)
        return float(losses[min(int(place), len(losses) - 1)])

    def interval(self, level: float) -> list[float]:
        """95 % interval of a quantile from its spread over the batches (Student's t)."""
        from scipy.special import stdtrit

        found = [self.quantile(level, batch=batch) for batch in range(BATCHES)]
        half = float(stdtrit(BATCHES - 1, 0.975) * np.std(found, ddof=1) / np.sqrt(BATCHES))
        return [self.quantile(level) - half, self.quantile(level) + half]

    def mean(self) -> float:
        """Mean loss."""
        return float(np.sum(self.losses * self.weights))

    def deviation(self) -> float:
        """Standard deviation of the loss."""
        return float(np.sqrt(np.sum((self.losses - self.mean()) ** 2 * self.weights)))

    def shortfall(self, level: float) -> float:
        """Mean of the losses from the quantile on."""
        tail = self.losses >= self.quantile(level)
        return float(np.sum(self.losses[tail] * self.weights[tail]) / self.weights[tail].sum())


def simulated_losses(portfolio: Portfolio, *, confidence: float, draws: int, seed: int) -> Drawn:
    """Draws of the finite portfolio's loss: fewer than `draws` where `CELLS` would be exceeded.

    The factor is stratified: one draw from each slice of its distribution. Half of the slices divide its worst part,
    `TAIL` times as wide as the tail beyond `confidence`, so that the tail is seen often; a draw's weight is the width
    of its slice. Every loan's own shock is drawn independently.
    """
    n = len(portfolio.pd)
    half = max(LEAST_DRAWS, min(draws, CELLS // max(n, 1))) // 2
    generator, rho, worst = np.random.default_rng(seed), portfolio.rho, min(0.5, TAIL * (1 - confidence))
    place = (np.arange(half) + generator.random((2, half))) / half
    chance = np.concatenate([worst * place[0], worst + (1 - worst) * place[1]])
    weights = np.repeat([worst, 1 - worst], half) / half
    factor = ndtri(np.clip(chance, _LEAST, 1 - _LEAST)).astype(np.float32)
    level = (ndtri(np.clip(portfolio.pd, _LEAST, 1 - _LEAST)) / np.sqrt(1 - rho)).astype(np.float32)
    slope = np.sqrt(rho / (1 - rho)).astype(np.float32)
    weight, step = portfolio.weight, max(1, 4_000_000 // max(n, 1))
    losses = np.empty(2 * half)
    for start in range(0, 2 * half, step):
        own = factor[start : start + step]
        shocks = generator.standard_normal((len(own), n), dtype=np.float32)
        losses[start : start + step] = (shocks < level - slope * own[:, None]) @ weight
    order = np.argsort(losses, kind="stable")
    return Drawn(losses[order], weights[order], (np.arange(2 * half) % half % BATCHES)[order].astype(np.int64))


def portfolio_figures(portfolio: Portfolio, *, confidence: float) -> dict[str, Any]:
    """Figures in closed form; rates are over the exposure and None without one.

    `loans`, `exposure`, `mean_pd` (by exposure), `mean_lgd`, `mean_correlation`, `expected_loss`, `expected_loss_rate`,
    `value_at_risk`, `unexpected_loss` (value at risk - expected loss), `capital_ratio` (unexpected loss over exposure),
    `risk_weight` (12.5 x capital ratio, Basel Framework CRE31 where confidence is 0.999; without its floors).
    """
    exposure, expected = float(portfolio.exposure.sum()), portfolio.expected_loss
    tail = portfolio.value_at_risk(confidence)

    def rate(value: float) -> float | None:
        return value / exposure if exposure > 0 else None

    return {
        "loans": len(portfolio.pd),
        "exposure": exposure,
        "mean_pd": rate(float(np.sum(portfolio.pd * portfolio.exposure))),
        "mean_lgd": rate(float(portfolio.weight.sum())),
        "mean_correlation": rate(float(np.sum(portfolio.rho * portfolio.exposure))),
        "expected_loss": expected,
        "expected_loss_rate": rate(expected),
        "value_at_risk": tail,
        "unexpected_loss": tail - expected,
        "capital_ratio": rate(tail - expected),
        "risk_weight": None if exposure <= 0 else 12.5 * (tail - expected) / exposure,
    }


def loss_distribution(portfolio: Portfolio, *, confidence: float, draws: int, seed: int) -> dict[str, Any]:
    """The distribution of the portfolio's loss by draws and in closed form.

    `draws`, `mean`, `deviation`, `value_at_risk` with `interval`, `expected_shortfall` (mean of the losses from the
    value at risk on), `granularity` (value at risk of the finite portfolio over the closed form's, - 1), `levels` and
    at each `simulated` and `closed_form` quantiles, `histogram` {edges, shares of the draws}. Money in currency.
    """
    found = simulated_losses(portfolio, confidence=confidence, draws=draws, seed=seed)
    levels = np.unique(np.append([0.01, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995], confidence))
    closed, tail = portfolio.value_at_risk(confidence), found.quantile(confidence)
    shares, edges = np.histogram(found.losses, bins=60, weights=found.weights)
    return {
        "draws": len(found.losses),
        "mean": found.mean(),
        "deviation": found.deviation(),
        "value_at_risk": tail,
        "interval": found.interval(confidence),
        "expected_shortfall": found.shortfall(confidence),
        "granularity": tail / closed - 1 if closed > 0 else None,
        "levels": levels.tolist(),
        "simulated": [found.quantile(float(level)) for level in levels],
        "closed_form": quantiles(portfolio, levels).tolist(),
        "histogram": {"edges": edges.tolist(), "shares": shares.tolist()},
    }


def concentration(portfolio: Portfolio) -> dict[str, Any]:
    """How unevenly the exposure is spread: Herfindahl-Hirschman index, its inverse, share of the ten largest loans."""
    total = float(portfolio.exposure.sum())
    if total <= 0:
        return {"hhi": None, "effective_loans": None, "ten_largest": None}
    shares = np.sort(portfolio.exposure / total)[::-1]
    index = float(np.sum(shares**2))
    return {"hhi": index, "effective_loans": 1 / index, "ten_largest": float(shares[:10].sum())}


def by_grade(portfolio: Portfolio, y: Array, bounds: tuple[float, ...], *, confidence: float) -> list[dict[str, Any]]:
    """Each grade of PD with its loans: bounds, observed rate of bads, and `portfolio_figures`; empty grades too."""
    grade = np.searchsorted(np.array(bounds), portfolio.pd, side="right")
    rows = []
    for index in range(len(bounds) + 1):
        own = grade == index
        place = {
            "grade": index + 1,
            "from": 0.0 if index == 0 else bounds[index - 1],
            "below": bounds[index] if index < len(bounds) else None,
            "observed": float(y[own].mean()) if own.any() else None,
        }
        rows.append(place | portfolio_figures(portfolio.part(own), confidence=confidence))
    return rows
