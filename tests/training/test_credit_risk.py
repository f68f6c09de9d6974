"""Severities beat their constant or give way to it, scenarios move what they say, vintages count what came."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from configs.errors import TrainingError
from configs.loading import FOLDER, load_use_case, parse, read_yaml
from configs.scenarios import Shift, parse_scenarios
from configs.settings import Settings
from configs.use_case import UseCase
from features.vector import features_of
from training.evidence.credit_risk.evidence import credit_risk_evidence, scenarios_of
from training.evidence.credit_risk.fractional import fit_ridge
from training.evidence.credit_risk.judging import Sample, rank_auc, severity_evidence
from training.evidence.credit_risk.sensitivity import Book
from training.evidence.credit_risk.severity import Severities, Severity, fit_severities, realised_share
from training.evidence.credit_risk.stress import numbers, shifted, stress
from training.evidence.credit_risk.vintages import vintages
from training.evidence.money_plots import credit_risk_figures
from training.evidence.tested import Tested

OUTCOMES = {name: {"min": 0} for name in ("lent", "repaid", "recovered", "fees")}
SUMS = {"amount": "lent", "repaid": "repaid", "recovered": "recovered", "fees": "fees"}


def use_case(**sections: Any) -> UseCase:
    raw = read_yaml(FOLDER / "credit.yaml")
    return parse(raw | {"outcomes": OUTCOMES} | {key: raw.get(key, {}) | value for key, value in sections.items()})


MODELLED = {"credit_risk": {"lgd": SUMS, "ead": {"amount": "lent", "repaid": "repaid"}, "draws": 1000}}


def world(use: UseCase, n: int, *, seed: int, start: str, signal: float = 2.0) -> Tested:
    """Loans whose EAD falls with `term_months`, whose LGD is noise, and whose PD is known."""
    generator = np.random.default_rng(seed)
    features = pd.DataFrame(
        {
            each.name: generator.choice(["a", "b", "c"], n) if each.kind == "category" else generator.normal(size=n)
            for each in features_of(use)
        }
    )
    features["amount"] = np.round(generator.lognormal(9, 0.5, n), 2)
    features["annual_income"] = np.round(generator.lognormal(10, 0.5, n), 2)
    features["term_months"] = generator.integers(6, 84, n).astype(float)
    for name, numerator in (("amount_to_income", 1.0), ("installment_to_income", 12.0)):
        term = features["term_months"] if name.startswith("installment") else 1.0
        features[name] = numerator * features["amount"] / term / features["annual_income"]
    p = generator.beta(2, 8, n)
    y = (generator.random(n) < p).astype(float)
    mean = 1 / (1 + np.exp(signal * (features["term_months"] - 45) / 25))
    ead, lgd = generator.beta(8 * mean + 0.1, 8 * (1 - mean) + 0.1), generator.beta(6, 2, n)
    lent, day = features["amount"].to_numpy(), np.sort(generator.integers(0, 360, n))
    times = pd.to_datetime(start, utc=True) + pd.to_timedelta(day, unit="D")
    events = pd.DataFrame(
        {
            "event_id": [f"{seed}-{index}" for index in range(n)],
            "event_time": times,
            "known": times + pd.to_timedelta(generator.integers(30, 360, n), unit="D"),
            "label": y,
            "lent": lent,
            "repaid": np.where(y == 1, lent * (1 - ead), lent),
            "recovered": np.where(y == 1, lent * ead * (1 - lgd) + 50, np.nan),
            "fees": np.where(y == 1, 50.0, np.nan),
        }
    )
    return Tested(use, events, features, y, p, day.astype(np.int64) + 1000 * seed, (slice(None),), seed)


@pytest.fixture(scope="module")
def modelled() -> tuple[UseCase, Tested, Tested]:
    use = use_case(**MODELLED)
    return use, world(use, 4000, seed=1, start="2021-01-01"), world(use, 2500, seed=2, start="2022-01-01")


@pytest.fixture(scope="module")
def severities(modelled: tuple[UseCase, Tested, Tested]) -> Severities:
    use, trained, tested = modelled
    return fit_severities(use, trained.events, trained.features, tested, draws=40)


def constants(lgd: float = 0.45, ead: float = 1.0) -> Severities:
    return Severities(Severity("lgd", lgd, None, {}), Severity("ead", ead, None, {}))


# Severities


def test_ridge_coefficients_are_where_another_optimiser_finds_them() -> None:
    generator = np.random.default_rng(1)
    design = np.column_stack([np.ones(300), generator.normal(size=(300, 3))])
    share = np.clip(generator.beta(2, 2, 300) + 0.2 * design[:, 1], 0, 1)

    def loss(beta: np.ndarray) -> float:
        margin = design @ beta
        return float(np.sum(np.logaddexp(0, margin) - share * margin) + 5 * np.sum(beta[1:] ** 2))

    peer = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8})
    assert fit_ridge(design, share, penalty=10.0) == pytest.approx(peer.x, abs=1e-4)


def test_realised_shares_are_made_of_their_sums() -> None:
    use = use_case(**MODELLED)
    risk: Any = use.credit_risk
    events = pd.DataFrame(
        {"lent": [1000.0, 1000, 500], "repaid": [400.0, 1000, np.nan], "recovered": [150.0, 0, 0], "fees": [30.0, 0, 0]}
    )
    features = pd.DataFrame({"amount": [1.0, 1, 1]})
    lgd = realised_share(use, "lgd", risk.lgd, events, features)
    ead = realised_share(use, "ead", risk.ead, events, features)
    assert lgd[0] == pytest.approx(1 - (150 - 30) / 600) and np.isnan(lgd[1:]).all()
    assert ead[:2] == pytest.approx([0.6, 0.0]) and np.isnan(ead[2])


def test_without_an_amount_outcome_the_amount_of_money_counts() -> None:
    use = use_case(credit_risk={"ead": {"repaid": "repaid"}})
    risk: Any = use.credit_risk
    found = realised_share(use, "ead", risk.ead, pd.DataFrame({"repaid": [25.0]}), pd.DataFrame({"amount": [100.0]}))
    assert found == pytest.approx([0.75])


def test_a_model_with_a_signal_is_used_and_finds_the_mean_of_each_decile(severities: Severities) -> None:
    found = severities.ead.evidence
    assert found["method"] == "fractional logit" and found["tested"]["skill"] > 0.3
    assert found["tested"]["skill_interval"][0] > 0 and found["tested"]["auc"] > 0.7
    assert all(abs(row["predicted"] - row["realised"]) < 0.12 for row in found["tested"]["deciles"])
    assert abs(found["tested"]["bias"]) < 0.03


def test_a_model_of_noise_gives_way_to_the_constant(
    severities: Severities, modelled: tuple[UseCase, Tested, Tested]
) -> None:
    found = severities.lgd
    assert found.model is None and found.evidence["reason"].startswith("the constant is used")
    assert found.constant == pytest.approx(0.75, abs=0.03)
    assert np.all(found.rates(modelled[2].features) == found.constant)
    both = severities.loss(modelled[2].features)
    assert both == pytest.approx(found.constant * severities.ead.rates(modelled[2].features))


def test_a_model_that_fails_on_the_tested_rows_gives_way_too(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, trained, _ = modelled
    turned = world(use, 2500, seed=3, start="2022-01-01", signal=-2.0)
    found = fit_severities(use, trained.events, trained.features, turned, draws=20).ead
    assert found.model is None and "on the tested rows" in found.evidence["reason"]


def test_few_bads_keep_the_constant(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, trained, tested = modelled
    found = fit_severities(use, trained.events.iloc[:200], trained.features.iloc[:200], tested, draws=20).ead
    assert found.model is None and "at least 100" in found.evidence["reason"]


def test_outcomes_without_a_value_are_refused(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, trained, tested = modelled
    with pytest.raises(TrainingError, match=r"credit_risk\.lgd: no bad loan"):
        fit_severities(use, trained.events.assign(recovered=np.nan), trained.features, tested)


def test_without_times_a_model_is_judged_by_cross_fitting(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, trained, _ = modelled
    events = trained.events.assign(event_time=pd.NaT)
    found = fit_severities(use, events, trained.features, replace(trained, events=events), draws=20).ead
    assert (
        "cross-fitting" in found.evidence["judged"]
        and found.evidence["tested"]["n"] == found.evidence["trained_on"]["n"]
    )
    assert 0.3 < found.evidence["tested"]["skill"] < 0.9


def test_declared_constants_stay(credit: UseCase, modelled: tuple[UseCase, Tested, Tested]) -> None:
    _, trained, tested = modelled
    found = fit_severities(credit, trained.events, trained.features, tested)
    assert (found.lgd.constant, found.ead.constant) == (0.45, 1.0) and found.lgd.evidence["method"] == "declared"


def test_figures_of_a_severity_are_their_definitions() -> None:
    generator = np.random.default_rng(2)
    share, predicted = generator.beta(2, 2, 80), generator.beta(2, 2, 80)
    found = severity_evidence(Sample(pd.DataFrame(), share, np.arange(80), {}), predicted, 0.4, seed=1, draws=20)
    error = predicted - share
    assert found["mae"] == pytest.approx(np.mean(np.abs(error)))
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert found["r2"] == pytest.approx(1 - np.sum(error**2) / np.sum((share - share.mean()) ** 2))
    assert found["skill"] == pytest.approx(1 - np.sum(error**2) / np.sum((0.4 - share) ** 2))
    assert sum(row["n"] for row in found["deciles"]) == 80


def test_the_rank_auc_counts_pairs() -> None:
    generator = np.random.default_rng(2)
    share, predicted = np.round(generator.random(60), 1), np.round(generator.random(60), 1)
    wins = [
        1.0 if (predicted[i] > predicted[j]) else 0.5 if predicted[i] == predicted[j] else 0.0
        for i in range(60)
        for j in range(60)
        if share[i] > share[j]
    ]
    assert rank_auc(share, predicted) == pytest.approx(np.mean(wins))
    assert rank_auc(share, np.full(60, 0.3)) == 0.5
    assert rank_auc(np.ones(5), predicted[:5]) is None


# Scenarios


def rescorer(p: np.ndarray, reference: pd.DataFrame) -> Callable[[pd.DataFrame], np.ndarray]:
    """A model whose log-odds fall with the logarithm of income, and that gives the reference its own PDs."""
    base = np.log(p / (1 - p)) + np.log(reference["annual_income"].to_numpy())

    def rescore(features: pd.DataFrame) -> np.ndarray:
        return 1 / (1 + np.exp(-(base - np.log(features["annual_income"].to_numpy()))))

    return rescore


def run(use: UseCase, tested: Tested, scenario: dict[str, Any], **factors: Any) -> dict[str, Any]:
    content = {"title": "t", "source": "s", "factors": factors, "scenarios": {"one": {"description": "d"} | scenario}}
    book = Book(
        tested.probability,
        np.full(len(tested.y), 0.5),
        np.full(len(tested.y), 0.8),
        tested.features["amount"].to_numpy(),
        0.1,
        None,
    )
    found = stress(
        use,
        parse_scenarios(content, features=numbers(use)),
        book,
        features=tested.features,
        events=tested.events,
        rescore=rescorer(tested.probability, tested.features),
        confidence=0.99,
    )
    return found["scenarios"][1]


def test_macro_factors_move_log_odds_and_lgd(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, _, tested = modelled
    factor = {"unit": "points", "pd": 0.2, "lgd": 0.02, "source": "s"}
    found = run(
        use, tested, {"macro": {"unemployment": 3}, "log_odds": 0.1, "lgd": 0.05, "ead": 0.4}, unemployment=factor
    )
    odds = tested.probability / (1 - tested.probability) * np.exp(0.7)
    pds = odds / (1 + odds)
    assert found["mean_pd"] == pytest.approx(pds.mean())
    assert found["mean_lgd"] == pytest.approx(0.5 + 0.06 + 0.05) and found["mean_ead"] == 1.0
    loss = np.sum(pds * 0.61 * tested.features["amount"])
    assert found["expected_loss"] == pytest.approx(loss)
    present = np.sum(tested.probability * 0.4 * tested.features["amount"])
    assert found["change"]["expected_loss"] == pytest.approx(loss / present - 1)
    assert found["profit"] is None and found["by_features"] is None


def test_changed_features_are_scored_again(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, _, tested = modelled
    found = run(use, tested, {"features": {"annual_income": {"factor": 0.5}}})
    odds = tested.probability / (1 - tested.probability) * 2
    assert found["mean_pd"] == pytest.approx((odds / (1 + odds)).mean()) == pytest.approx(found["by_features"])
    assert found["recomputed"] == ["amount_to_income", "installment_to_income"]


def test_a_scenario_that_changes_nothing_is_the_present(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, _, tested = modelled
    found = run(use, tested, {"features": {"annual_income": {}}})
    assert found["change"]["expected_loss"] == pytest.approx(0) and set(found["beyond"].values()) == {0.0}


def test_derived_features_follow_what_they_read(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, _, tested = modelled
    features = tested.features.copy()
    features.loc[0, "annual_income"] = np.nan
    found, followed = shifted(use, features, tested.events, {"annual_income": Shift(factor=0.5)})
    assert followed == ("amount_to_income", "installment_to_income")
    assert np.isnan(found["annual_income"][0]) and np.isnan(found["amount_to_income"][0])
    assert found["amount_to_income"][1:].to_numpy() == pytest.approx(2 * features["amount_to_income"][1:].to_numpy())
    assert found["amount"].equals(features["amount"]) and list(found) == list(features)


def test_a_derived_features_own_shift_comes_after_it_followed(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, _, tested = modelled
    shifts = {"annual_income": Shift(factor=0.5), "amount_to_income": Shift(offset=1)}
    found, _ = shifted(use, tested.features, tested.events, shifts)
    assert found["amount_to_income"].to_numpy() == pytest.approx(2 * tested.features["amount_to_income"].to_numpy() + 1)


def test_shifts_stay_in_the_declared_range_and_tell_what_is_beyond_the_data(
    modelled: tuple[UseCase, Tested, Tested],
) -> None:
    use, _, tested = modelled
    found, _ = shifted(use, tested.features, tested.events, {"term_months": Shift(offset=70)})
    assert found["term_months"].max() == 84
    far = run(use, tested, {"features": {"annual_income": {"factor": 100}}})["beyond"]["annual_income"]
    assert far == pytest.approx(
        (100 * tested.features["annual_income"] > tested.features["annual_income"].max()).mean()
    )


def test_a_derived_feature_of_a_field_that_is_none_can_not_follow(settings: Settings) -> None:
    raw = read_yaml(FOLDER / "lending_club.yaml")
    raw["derived"]["mixed"] = {"sql": "annual_inc / (epoch(event_time) - epoch(earliest_cr_line))"}
    use = parse(raw)
    features = pd.DataFrame({feature.name: [1.0] for feature in features_of(use)})
    events = pd.DataFrame({"event_time": pd.to_datetime(["2011-01-01"], utc=True)})
    with pytest.raises(TrainingError, match=r"derived\.mixed.*earliest_cr_line"):
        shifted(use, features, events, {"annual_inc": Shift(factor=0.9)})


def test_features_of_categories_are_not_among_those_a_scenario_may_shift(credit: UseCase) -> None:
    assert "purpose" not in numbers(credit) and "annual_income" in numbers(credit)


# Vintages


def test_cohorts_count_the_bads_known_by_each_month_on_book() -> None:
    use = use_case()
    times = pd.to_datetime(["2021-01-05"] * 40 + ["2021-02-01"] * 40 + ["2021-03-01"] * 10, utc=True)
    late = np.array([20] * 4 + [70] * 2 + [400] * 34 + [31] * 3 + [400] * 37 + [10] * 10)
    y = np.array([1.0] * 6 + [0] * 34 + [1] * 3 + [0] * 37 + [1] * 10)
    known = times + pd.to_timedelta(late, unit="D")
    events = pd.DataFrame({"event_time": times, "known": known})
    rows = Tested(use, events, pd.DataFrame(), y, np.full(90, 0.2), np.arange(90), (slice(None),), 1)
    empty = replace(rows, events=events.iloc[:0], y=y[:0], probability=np.empty(0))
    found: Any = vintages(empty, rows)
    first, second = found["cohorts"]
    assert (found["by"], found["timed"], found["small"]) == ("month", True, 1)
    assert (first["cohort"], first["n"], first["observed"], first["predicted"]) == ("2021-01", 40, 0.15, 0.2)
    assert (first["months"], first["cumulative"]) == ([0, 1, 2, 3], pytest.approx([0, 0.1, 0.1, 0.15]))
    assert second["cumulative"] == pytest.approx([0, 0, 3 / 40])


def test_long_histories_are_cut_into_quarters_of_both_parts(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, trained, tested = modelled
    start = pd.Timestamp("2021-01-01", tz="UTC")
    slower = start + 2 * (tested.events["event_time"] - start)
    later = replace(tested, events=tested.events.assign(event_time=slower))
    untimed = use.model_copy(update={"label": use.label.model_copy(update={"known": None})})
    found: Any = vintages(trained, replace(later, use_case=untimed))
    assert found["by"] == "quarter" and not found["timed"] and found["cohorts"][0]["cohort"] == "2021 Q1"
    assert {row["part"] for row in found["cohorts"]} == {"development", "tested"}
    assert sum(row["n"] for row in found["cohorts"]) == len(trained.y) + len(tested.y)
    assert all(row["cumulative"] is None for row in found["cohorts"])


def test_without_times_there_are_no_vintages(modelled: tuple[UseCase, Tested, Tested]) -> None:
    _, trained, tested = modelled
    assert vintages(trained, replace(tested, events=tested.events.assign(event_time=pd.NaT))) is None


# All of it


@pytest.fixture(scope="module")
def evidence(modelled: tuple[UseCase, Tested, Tested], severities: Severities) -> dict[str, Any]:
    use, trained, tested = modelled
    rescore = rescorer(tested.probability, tested.features)
    return credit_risk_evidence(trained, tested, severities, rescore=rescore, scenarios=scenarios_of(use), draws=40)


def test_the_evidence_is_plain_json_with_a_figure_for_each_part(evidence: dict[str, Any]) -> None:
    assert json.loads(json.dumps(evidence, allow_nan=False)) == evidence
    figures = credit_risk_figures(evidence, title="credit")
    assert set(figures) == {"portfolio_loss", "tornado", "stress", "vintages"}
    assert all(image.startswith(b"\x89PNG") for image in figures.values())


def test_worse_scenarios_cost_more(evidence: dict[str, Any]) -> None:
    losses = {row["name"]: row["expected_loss"] for row in evidence["stress"]["scenarios"]}
    assert losses["present"] == pytest.approx(losses["baseline"])
    assert losses["baseline"] < losses["mild"] < losses["adverse"]


def test_true_probabilities_pass_the_backtest(
    evidence: dict[str, Any], modelled: tuple[UseCase, Tested, Tested]
) -> None:
    found, tested = evidence["backtest"], modelled[2]
    events, y = tested.events, tested.y
    lost = np.sum(y * (events["lent"] - events["repaid"] - events["recovered"].fillna(0) + events["fees"].fillna(0)))
    assert found["realised_loss"] == pytest.approx(lost, rel=1e-6) and found["realised_from"].startswith("outcomes")
    assert found["interval"][0] < 1 < found["interval"][1] and 0.05 < found["quantile"] < 0.95


def test_the_accepted_loans_are_those_of_the_first_band(
    evidence: dict[str, Any], modelled: tuple[UseCase, Tested, Tested]
) -> None:
    assert evidence["accepted"]["loans"] == (modelled[2].probability < 0.1).sum()
    assert evidence["accepted"]["expected_loss"] < evidence["portfolio"]["expected_loss"]


def test_loans_of_repeated_folds_stand_once_with_their_mean_pd(modelled: tuple[UseCase, Tested, Tested]) -> None:
    _, trained, tested = modelled
    n, twice = len(tested.y), np.tile(np.arange(len(tested.y)), 2)
    moved = np.concatenate([tested.probability * 0.9, tested.probability * 1.1])
    repeated = replace(
        tested,
        events=tested.events.iloc[twice],
        features=tested.features.iloc[twice],
        y=tested.y[twice],
        probability=moved,
        blocks=tested.blocks[twice],
    )
    once, found = (
        credit_risk_evidence(trained, rows, constants(), rescore=lambda table: np.full(len(table), 0.1), draws=5)
        for rows in (tested, repeated)
    )
    assert found["loans"] == once["loans"] == n
    assert found["portfolio"]["expected_loss"] == pytest.approx(once["portfolio"]["expected_loss"])
    assert found["stress"] is None


def test_loans_without_an_amount_are_left_out_and_counted(modelled: tuple[UseCase, Tested, Tested]) -> None:
    _, trained, tested = modelled
    holed = replace(tested, features=tested.features.assign(amount=tested.features["amount"].where(tested.y == 0)))
    found = credit_risk_evidence(trained, holed, constants(), rescore=lambda table: np.full(len(table), 0.1), draws=5)
    assert found["left_out"] == tested.y.sum() and found["backtest"]["realised_loss"] == 0


def test_without_money_every_loan_counts_one(modelled: tuple[UseCase, Tested, Tested]) -> None:
    use, trained, tested = modelled
    bare = use.model_copy(update={"money": None})
    found = credit_risk_evidence(
        trained, replace(tested, use_case=bare), constants(), rescore=lambda table: np.full(len(table), 0.1), draws=5
    )
    assert found["currency"] is None and found["portfolio"]["exposure"] == len(tested.y)


def test_lending_clubs_realised_shares_lie_where_its_table_puts_them(real_data: Any) -> None:
    table = pd.read_parquet(real_data / "lending_club.parquet").rename(
        columns={
            "funded_amnt": "lent",
            "total_rec_prncp": "principal_repaid",
            "recoveries": "recovered",
            "collection_recovery_fee": "collection_fees",
        }
    )
    bads = table[table["charged_off"] == 1]
    use = load_use_case("lending_club", Settings())
    risk: Any = use.credit_risk
    lgd = realised_share(use, "lgd", risk.lgd, bads, bads)
    owed = bads["lent"] - bads["principal_repaid"]
    assert np.clip(lgd, 0, 1).mean() == pytest.approx(0.919, abs=0.001)
    assert realised_share(use, "ead", risk.ead, bads, bads) == pytest.approx(
        (owed / bads["lent"]).to_numpy(dtype=float)
    )
