"""Portfolio losses agree with Basel's own table, with numerical integration, and with draws of finite portfolios."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import integrate, stats

from configs.validation import CreditMoney
from training.evidence.credit_risk.portfolio import (
    Portfolio,
    by_grade,
    concentration,
    conditional_pd,
    loss_distribution,
    place_of,
    portfolio_figures,
    retail_correlation,
    simulated_losses,
)
from training.evidence.credit_risk.sensitivity import Book, sensitivity

MONEY = CreditMoney(of="credit", amount="amount", margin=0.1, cost=5)


def alike(
    n: int, *, pd: float = 0.05, rho: float | None = 0.12, lgd: float = 0.45, exposure: float = 100.0
) -> Portfolio:
    return Portfolio(np.full(n, pd), np.full(n, lgd), np.full(n, exposure), rho)


def mixed(n: int = 500, *, rho: float | None = None) -> Portfolio:
    generator = np.random.default_rng(3)
    return Portfolio(generator.beta(1, 12, n), generator.uniform(0.2, 0.9, n), generator.lognormal(8, 1, n), rho)


@pytest.mark.parametrize(
    ("pd", "weight"),
    [(0.0003, 4.45), (0.0025, 21.15), (0.01, 45.77), (0.03, 62.79), (0.05, 66.42), (0.1, 75.54), (0.2, 100.28)],
)
def test_risk_weights_are_those_of_the_committees_table_for_other_retail(pd: float, weight: float) -> None:
    found = portfolio_figures(alike(1, pd=pd, rho=None), confidence=0.999)["risk_weight"]
    assert 100 * found == pytest.approx(weight, abs=0.006)


def test_correlation_falls_from_16_to_3_percent() -> None:
    assert retail_correlation(np.array([0.0, 1.0])) == pytest.approx([0.16, 0.03])


def test_conditional_pds_average_to_the_pd_over_the_factor() -> None:
    pd, rho = np.array([0.02]), np.array([0.2])
    mean, _ = integrate.quad(lambda u: float(conditional_pd(pd, rho, u)[0]), 0, 1, epsabs=1e-10)
    assert mean == pytest.approx(0.02, abs=1e-7)


def test_without_correlation_the_worst_case_is_the_expected_one() -> None:
    portfolio = mixed(rho=1e-12)
    assert portfolio.value_at_risk(0.999) == pytest.approx(portfolio.expected_loss, rel=1e-4)


def test_pds_of_zero_and_one_stay_finite() -> None:
    portfolio = Portfolio(np.array([0.0, 1.0]), np.ones(2), np.array([10.0, 20.0]), 0.1)
    assert portfolio.value_at_risk(0.999) == pytest.approx(20.0, abs=1e-3)
    assert simulated_losses(portfolio, confidence=0.999, draws=1000, seed=1).quantile(0.5) == pytest.approx(20.0)


def test_two_loans_default_together_as_often_as_the_bivariate_normal_says() -> None:
    portfolio, rho = alike(2, pd=0.2, rho=0.3, lgd=1.0), 0.3
    together = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf(np.full(2, stats.norm.ppf(0.2)))
    found = simulated_losses(portfolio, confidence=0.9, draws=60_000, seed=4)
    chance = {loss: float(found.weights[found.losses == loss].sum()) for loss in (0.0, 100.0, 200.0)}
    assert chance[200.0] == pytest.approx(together, abs=0.004)
    assert chance[100.0] == pytest.approx(2 * (0.2 - together), abs=0.006)


def test_a_large_portfolio_draws_the_closed_form() -> None:
    portfolio = alike(3000)
    found = simulated_losses(portfolio, confidence=0.999, draws=4000, seed=1)
    assert found.weights.sum() == pytest.approx(1)
    assert found.mean() == pytest.approx(portfolio.expected_loss, rel=0.01)
    for level in (0.5, 0.9, 0.99, 0.999):
        assert found.quantile(level) == pytest.approx(portfolio.value_at_risk(level), rel=0.03)


def test_a_small_portfolio_has_a_heavier_tail_than_the_closed_form() -> None:
    found = loss_distribution(alike(30), confidence=0.999, draws=6000, seed=1)
    assert found["granularity"] > 0.2
    assert found["interval"][0] <= found["value_at_risk"] <= found["interval"][1]
    assert found["expected_shortfall"] >= found["value_at_risk"]


def test_the_exact_binomial_mixture_of_a_small_portfolio_is_drawn() -> None:
    portfolio = alike(20, pd=0.1, rho=0.2, lgd=1.0, exposure=1.0)

    def at_most(k: int) -> float:
        def given(z: float) -> float:
            p = stats.norm.cdf((stats.norm.ppf(0.1) - np.sqrt(0.2) * z) / np.sqrt(0.8))
            return float(stats.binom.cdf(k, 20, p) * stats.norm.pdf(z))

        return integrate.quad(given, -8, 8)[0]

    found = simulated_losses(portfolio, confidence=0.99, draws=200_000, seed=2)
    for k in (0, 2, 5, 10):
        assert float(found.weights[found.losses <= k].sum()) == pytest.approx(at_most(k), abs=0.004)


def test_draws_repeat_with_their_seed() -> None:
    first, again = (loss_distribution(mixed(), confidence=0.999, draws=1000, seed=5) for _ in range(2))
    assert first == again


def test_the_place_of_a_quantile_is_its_level() -> None:
    portfolio = mixed()
    assert place_of(portfolio, portfolio.value_at_risk(0.87)) == pytest.approx(0.87, abs=1e-6)


def test_capital_is_the_unexpected_loss_over_the_exposure() -> None:
    portfolio = mixed()
    found = portfolio_figures(portfolio, confidence=0.99)
    expected = np.sum(portfolio.pd * portfolio.lgd * portfolio.exposure)
    assert found["expected_loss"] == pytest.approx(expected)
    assert found["capital_ratio"] == pytest.approx(
        (portfolio.value_at_risk(0.99) - expected) / portfolio.exposure.sum()
    )


def test_a_portfolio_of_nothing_has_no_rates() -> None:
    found = portfolio_figures(alike(0), confidence=0.99)
    assert (found["expected_loss"], found["capital_ratio"], found["mean_pd"]) == (0.0, None, None)


def test_equal_loans_count_as_many_as_they_are() -> None:
    found = concentration(alike(40))
    assert found["hhi"] == pytest.approx(1 / 40) and found["effective_loans"] == pytest.approx(40)
    assert found["ten_largest"] == pytest.approx(0.25)


def test_grades_add_up_to_the_portfolio() -> None:
    portfolio = mixed()
    y = (np.random.default_rng(1).random(500) < portfolio.pd).astype(float)
    rows = by_grade(portfolio, y, (0.02, 0.1), confidence=0.999)
    assert [row["below"] for row in rows] == [0.02, 0.1, None]
    for name in ("loans", "exposure", "expected_loss", "value_at_risk"):
        whole = portfolio_figures(portfolio, confidence=0.999)[name]
        assert sum(row[name] for row in rows) == pytest.approx(whole)
    middle = (portfolio.pd >= 0.02) & (portfolio.pd < 0.1)
    assert rows[1]["observed"] == pytest.approx(y[middle].mean())


def book(*, rho: float | None = 0.1, money: CreditMoney | None = MONEY) -> Book:
    portfolio = mixed()
    ead = np.full(500, 0.7)
    return Book(portfolio.pd * 0.5, portfolio.lgd, ead, portfolio.exposure, rho, money)


def test_expected_loss_moves_in_proportion_to_each_of_its_factors() -> None:
    rows = {row["driver"]: row["elasticity"] for row in sensitivity(book(), confidence=0.999)}
    for driver in ("pd", "lgd", "ead", "amount"):
        assert rows[driver]["expected_loss"] == pytest.approx(1)
    assert rows["correlation"]["expected_loss"] == 0 and rows["correlation"]["value_at_risk"] > 0
    assert rows["lgd"]["value_at_risk"] == pytest.approx(1)
    assert 0 < rows["pd"]["value_at_risk"] < 1


def test_basels_correlation_dampens_the_part_of_the_pd() -> None:
    fixed, basel = (
        {row["driver"]: row["elasticity"] for row in sensitivity(book(rho=rho), confidence=0.999)}
        for rho in (0.1, None)
    )
    assert basel["pd"]["value_at_risk"] < fixed["pd"]["value_at_risk"]


def test_shocks_are_the_figures_of_the_changed_book_widest_first() -> None:
    base, rows = book(), sensitivity(book(), confidence=0.999)
    widths = [abs(row["up"]["value_at_risk"] - row["down"]["value_at_risk"]) for row in rows]
    assert widths == sorted(widths, reverse=True)
    lgd = next(row for row in rows if row["driver"] == "lgd")
    changed = Book(base.pd, np.clip(base.lgd * 1.1, 0, 1), base.ead, base.amount, 0.1, MONEY)
    assert lgd["up"] == pytest.approx(changed.figures(0.999))


def test_profit_is_margin_less_losses_and_costs() -> None:
    found = book()
    by_hand = sum(
        (1 - p) * 0.1 * a - p * loss * e * a - 5
        for p, loss, e, a in zip(found.pd, found.lgd, found.ead, found.amount, strict=True)
    )
    assert found.profit == pytest.approx(by_hand)
    assert book(money=None).profit is None
    rows = sensitivity(book(money=None), confidence=0.999)
    assert all(row["elasticity"]["profit"] is None for row in rows)
    json.dumps(rows, allow_nan=False)
