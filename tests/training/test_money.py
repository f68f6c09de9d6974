"""Money agrees with brute force: every threshold tried, every day's alerts picked by hand, every draw summed up."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.errors import TrainingError
from configs.loading import FOLDER, parse, read_yaml
from configs.use_case import UseCase
from training.evidence.metrics import card_precision_at, day_of
from training.evidence.money.evidence import constant_loss, money_evidence
from training.evidence.money.stakes import Stakes, stakes_of
from training.evidence.money.strategies import within_budget
from training.evidence.money.thresholds import Sweep, profit_curve, thinned
from training.evidence.money_plots import money_figures
from training.evidence.resampling import Resamples
from training.evidence.tested import Tested

N, DAYS = 600, 12


def use_case(name: str, **sections: Any) -> UseCase:
    raw = read_yaml(FOLDER / f"{name}.yaml")
    return parse(
        raw | {key: raw.get(key, {}) | value if value is not None else None for key, value in sections.items()}
    )


def rows(use: UseCase, *, seed: int, n: int = N, decimals: int = 3) -> Tested:
    """Scored rows whose probabilities are true, with ties."""
    generator = np.random.default_rng(seed)
    p = np.clip(np.round(generator.beta(1, 5, n), decimals), 0.001, 0.999)
    y = (generator.random(n) < p).astype(float)
    day = np.sort(generator.integers(0, DAYS, n))
    events = pd.DataFrame(
        {
            "event_id": [f"e{index}" for index in range(n)],
            "event_time": pd.to_datetime(day * 86400 + 3600, unit="s", utc=True),
            "label": y,
            **{entity: generator.integers(0, 80, n).astype(str) for entity in use.entities},
        }
    )
    features = pd.DataFrame({"amount": np.round(generator.lognormal(5, 1, n), 2)})
    return Tested(use, events, features, y, p, day.astype(np.int64), (slice(None),), seed)


@pytest.fixture(scope="module", params=["credit", "fraud"])
def pair(request: pytest.FixtureRequest) -> tuple[Tested, Tested]:
    use = use_case(request.param)
    return rows(use, seed=1), rows(use, seed=2)


@pytest.fixture(scope="module")
def evidence(pair: tuple[Tested, Tested]) -> dict[str, Any]:
    return money_evidence(*pair, draws=60)


def stakes(tested: Tested) -> Stakes:
    return stakes_of(tested, loss=constant_loss(tested.use_case, tested))


def worth(tested: Tested, row: int) -> float:
    """Worth of acting on a row by its outcome, as the words of the section say."""
    money: Any = tested.use_case.money
    amount, bad = tested.features["amount"].iloc[row], tested.y[row] == 1
    if money.of == "credit":
        return (-0.45 * amount if bad else money.margin * amount) - money.cost
    return (money.recovered * amount if bad else -money.friction * amount) - money.review


def test_the_curve_holds_the_worth_of_every_threshold(pair: tuple[Tested, Tested]) -> None:
    tested = pair[1]
    curve = profit_curve(stakes(tested))
    assert len(curve.thresholds) == len(np.unique(tested.probability)) + 1
    fraud = tested.use_case.kind == "fraud"
    for threshold, count, value in zip(curve.thresholds, curve.rows, curve.value, strict=True):
        acted = [
            row
            for row in range(N)
            if (tested.probability[row] >= threshold if fraud else tested.probability[row] < threshold)
        ]
        assert count == len(acted)
        assert value == pytest.approx(sum(worth(tested, row) for row in acted), abs=1e-6)


def test_no_threshold_is_worth_more_than_the_best(pair: tuple[Tested, Tested]) -> None:
    tested = pair[0]
    found = stakes(tested)
    best = found.realised[found.acted(profit_curve(found).best)].sum()
    tried = [found.realised[found.acted(t)].sum() for t in np.append(np.linspace(0, 1, 5001), tested.probability)]
    assert best == pytest.approx(max(tried))


def test_a_threshold_between_neighbouring_numbers_still_parts_them(pair: tuple[Tested, Tested]) -> None:
    low = 0.3
    p = np.array([low, np.nextafter(low, 1)])
    found = replace(stakes(pair[0]), p=p, realised=np.array([1.0, -1.0]), y=np.zeros(2))
    curve = Sweep(found).curve()
    assert [int(found.acted(threshold).sum()) for threshold in curve.thresholds] == [0, 1, 2]


def test_the_threshold_is_chosen_on_development_rows_alone(pair: tuple[Tested, Tested]) -> None:
    before = money_evidence(*pair, draws=5)["threshold"]
    turned = replace(pair[1], y=1 - pair[1].y)
    assert money_evidence(pair[0], turned, draws=5)["threshold"] == before
    assert before["value"] == profit_curve(stakes(pair[0])).best


def test_the_value_at_the_threshold_is_what_the_test_rows_are_worth(
    pair: tuple[Tested, Tested], evidence: dict[str, Any]
) -> None:
    found, way = stakes(pair[1]), evidence["strategies"]["threshold"]
    acted = np.flatnonzero(found.acted(evidence["threshold"]["value"]))
    total = sum(worth(pair[1], row) for row in acted)
    assert way["value"] == pytest.approx(total)
    assert way["per_1000"] == pytest.approx(1000 * total / N)
    assert way["per_day"] == pytest.approx(total / DAYS)
    assert (way["acted"], way["positives"]) == (len(acted), pair[1].y[acted].sum())


def test_intervals_are_those_of_whole_days_drawn_by_hand(pair: tuple[Tested, Tested], evidence: dict[str, Any]) -> None:
    found = stakes(pair[1])
    acted = found.acted(evidence["threshold"]["value"])
    weights = Resamples.of(pair[1].blocks, n=N, seed=pair[1].seed, draws=60).weights()
    drawn = [1000 * np.sum(weight * found.realised * acted) / weight.sum() for weight in weights]
    assert evidence["strategies"]["threshold"]["interval"] == pytest.approx(list(np.quantile(drawn, [0.025, 0.975])))


def test_the_interval_of_the_threshold_chooses_anew_on_each_draw(
    pair: tuple[Tested, Tested], evidence: dict[str, Any]
) -> None:
    development, found = pair[0], stakes(pair[0])
    thresholds = profit_curve(found).thresholds
    chosen = []
    for weight in Resamples.of(development.blocks, n=N, seed=development.seed, draws=60).weights():
        values = [np.sum(weight * found.realised * found.acted(threshold)) for threshold in thresholds]
        chosen.append(thresholds[np.argmax(np.round(values, 6))])
    assert evidence["threshold"]["interval"] == pytest.approx(list(np.quantile(chosen, [0.025, 0.975])))


def test_accepting_all_and_perfect_knowledge_bound_the_others(
    evidence: dict[str, Any], pair: tuple[Tested, Tested]
) -> None:
    ways = evidence["strategies"]
    everything = [worth(pair[1], row) for row in range(N)]
    assert ways["perfect"]["value"] == pytest.approx(sum(value for value in everything if value > 0))
    assert ways["accept_all"]["value"] == pytest.approx(sum(everything) if evidence["of"] == "credit" else 0)
    assert all(way["value"] <= ways["perfect"]["value"] for name, way in ways.items() if not name.startswith("policy"))
    over = ways["threshold"]["over_accept_all"]["per_1000"]
    assert over == pytest.approx(ways["threshold"]["per_1000"] - ways["accept_all"]["per_1000"])


def test_a_loan_is_accepted_by_itself_below_the_break_even_pd() -> None:
    use = use_case("credit", money={"cost": 0})
    development, tested = rows(use, seed=1), rows(use, seed=2)
    found = money_evidence(development, tested, draws=5)
    even = 0.06 / (0.06 + 0.45)
    assert found["threshold"]["theoretical"] == pytest.approx(even)
    assert found["strategies"]["per_event"]["acted"] == (tested.probability < even).sum()


def test_the_best_threshold_approaches_the_break_even_pd_with_many_loans() -> None:
    use = use_case("credit", money={"cost": 0})
    found = money_evidence(rows(use, seed=1, n=60_000), rows(use, seed=2), draws=20)["threshold"]
    assert found["value"] == pytest.approx(found["theoretical"], abs=0.04)
    assert found["interval"][0] <= found["theoretical"] <= found["interval"][1]


def test_the_budget_takes_the_greatest_expected_savings_of_each_day() -> None:
    use = use_case("fraud", money={"alerts": 7})
    development, tested = rows(use, seed=1), rows(use, seed=2)
    found, value = stakes(tested), 0.0
    for day in np.unique(day_of(tested.events)):
        own = np.flatnonzero(day_of(tested.events) == day)
        best = sorted(own, key=lambda row: -found.expected[row])[:7]
        value += sum(worth(tested, row) for row in best if found.expected[row] > 0)
    way = money_evidence(development, tested, draws=5)["strategies"]["budget"]
    assert way["value"] == pytest.approx(value)
    assert way["acted"] <= 7 * DAYS


def test_a_budget_has_no_use_for_alerts_that_cost() -> None:
    chosen = within_budget(np.array([1.0, -1.0, 3.0, 2.0, 0.0, 5.0]), np.array([0, 0, 0, 0, 0, 1]), alerts=2)
    assert chosen.tolist() == [False, False, True, True, False, True]


def test_bands_that_are_not_reviewed_stop_payments_without_the_price_of_a_review() -> None:
    use = use_case("fraud")
    development, tested = rows(use, seed=1), rows(use, seed=2)
    value = sum(
        worth(tested, row) + (0 if 0.3 <= tested.probability[row] < 0.8 else 4)
        for row in range(N)
        if tested.probability[row] >= 0.05
    )
    assert money_evidence(development, tested, draws=5)["strategies"]["policy"]["value"] == pytest.approx(value)


def test_referred_loans_are_worth_their_accepted_ones_less_the_reviews() -> None:
    use = use_case("credit")
    development, tested = rows(use, seed=1), rows(use, seed=2)
    ways = money_evidence(development, tested, draws=5)["strategies"]
    p = tested.probability
    first = [row for row in range(N) if p[row] < 0.1]
    referred = [row for row in range(N) if 0.1 <= p[row] < 0.2]
    plain = sum(worth(tested, row) for row in first)
    assert ways["policy"]["value"] == pytest.approx(plain)
    every = plain + sum(worth(tested, row) - 15 for row in referred)
    assert ways["policy_accepting_referred"]["value"] == pytest.approx(every)
    perfect = plain + sum(max(worth(tested, row), 0) - 15 for row in referred)
    assert ways["policy_with_perfect_referral"]["value"] == pytest.approx(perfect)


def test_bands_add_up_to_all_rows(evidence: dict[str, Any], pair: tuple[Tested, Tested]) -> None:
    assert sum(band["rows"] for band in evidence["bands"]) == N
    total = sum(worth(pair[1], row) for row in range(N))
    assert sum(band["per_1000"] for band in evidence["bands"]) == pytest.approx(1000 * total / N)


def test_rows_without_an_amount_are_counted_and_left_out() -> None:
    use = use_case("fraud")
    development, tested = rows(use, seed=1), rows(use, seed=2)
    lost = np.arange(N) % 10 == 0
    amounts = tested.features["amount"].where(~lost)
    amounts.iloc[10] = -5.0
    holed = replace(tested, features=pd.DataFrame({"amount": amounts}))
    kept = np.flatnonzero(~lost)
    fewer = replace(
        tested,
        events=tested.events.iloc[kept].reset_index(drop=True),
        features=tested.features.iloc[kept].reset_index(drop=True),
        y=tested.y[kept],
        probability=tested.probability[kept],
        blocks=tested.blocks[kept],
    )
    found, plain = money_evidence(development, holed, draws=5), money_evidence(development, fewer, draws=5)
    assert found["left_out"]["tested"] == lost.sum() and "no figure" in found["left_out"]["treated"]
    assert found["strategies"]["threshold"] == plain["strategies"]["threshold"]


def test_events_that_stand_in_several_folds_count_once() -> None:
    use = use_case("credit")
    development, tested = rows(use, seed=1), rows(use, seed=2)
    twice = np.tile(np.arange(N), 2)
    repeated = replace(
        tested,
        events=tested.events.iloc[twice].reset_index(drop=True),
        features=tested.features.iloc[twice].reset_index(drop=True),
        y=tested.y[twice],
        probability=tested.probability[twice],
        blocks=tested.blocks[twice],
        parts=(slice(0, N), slice(N, 2 * N)),
    )
    once, found = money_evidence(development, tested, draws=5), money_evidence(development, repeated, draws=5)
    for name in ("events", "amount", "days"):
        assert found[name] == pytest.approx(once[name])
    for name, way in once["strategies"].items():
        for figure in ("acted", "value", "per_1000", "per_day", "positives"):
            assert found["strategies"][name][figure] == pytest.approx(way[figure]), (name, figure)


def test_a_table_without_times_has_no_figures_a_day() -> None:
    use = use_case("fraud")
    development, tested = rows(use, seed=1), rows(use, seed=2)
    timeless = replace(tested, events=tested.events.assign(event_time=pd.NaT))
    event = use.model_copy(update={"event": use.event.model_copy(update={"time": None})})
    found = money_evidence(development, replace(timeless, use_case=event), draws=5)
    assert found["days"] is None and found["card_precision"] is None and "budget" not in found["strategies"]
    assert found["strategies"]["policy"]["per_day"] is None


def test_card_precision_is_the_books_with_days_drawn_whole() -> None:
    use = use_case("fraud")
    tested = rows(use, seed=2)
    found = money_evidence(rows(use, seed=1), tested, draws=60)["card_precision"]
    assert [row["k"] for row in found["at"]] == [25, 50, 100, 200] and found["days"] == DAYS
    for row in found["at"]:
        cards = tested.events[found["entity"]].to_numpy()
        day = day_of(tested.events)
        assert row["value"] == pytest.approx(card_precision_at(tested.y, tested.probability, day, cards, k=row["k"]))
        assert row["interval"][0] <= row["value"] <= row["interval"][1]


def test_what_is_expected_agrees_with_what_came_where_probabilities_are_true() -> None:
    use = use_case("credit")
    found = money_evidence(rows(use, seed=1), rows(use, seed=2, n=40_000), draws=40)["strategies"]["accept_all"]
    assert found["interval"][0] < found["expected_per_1000"] < found["interval"][1]


def test_the_evidence_is_plain_json(evidence: dict[str, Any]) -> None:
    assert json.loads(json.dumps(evidence, allow_nan=False)) == evidence


def test_a_thinned_curve_keeps_its_ends_and_its_best_point(pair: tuple[Tested, Tested]) -> None:
    curve = profit_curve(stakes(pair[0]))
    shown = thinned(curve, shown=20)
    assert len(shown["share"]) <= 22 and (shown["share"][0], shown["share"][-1]) == (0.0, 1.0)
    assert max(shown["per_1000"]) == pytest.approx(1000 * curve.value.max() / N)


def test_every_figure_is_a_png(evidence: dict[str, Any]) -> None:
    figures = money_figures(evidence, title="money")
    assert set(figures) == {"profit", "strategies"} | ({"card_precision"} if evidence["of"] == "fraud" else set())
    assert all(image.startswith(b"\x89PNG") for image in figures.values())


def test_a_use_case_without_money_is_refused() -> None:
    use = use_case("fraud").model_copy(update={"money": None})
    with pytest.raises(TrainingError, match="says nothing about money"):
        money_evidence(rows(use, seed=1), rows(use, seed=2))


def test_an_amount_that_is_a_category_is_refused() -> None:
    tested = rows(use_case("fraud"), seed=1)
    text = replace(tested, features=pd.DataFrame({"amount": ["a"] * N}))
    with pytest.raises(TrainingError, match="is a category"):
        money_evidence(text, tested)


def test_rows_that_all_lack_an_amount_are_refused() -> None:
    tested = rows(use_case("fraud"), seed=1)
    empty = replace(tested, features=pd.DataFrame({"amount": np.full(N, np.nan)}))
    with pytest.raises(TrainingError, match="none of the tested rows has an amount"):
        money_evidence(tested, empty)


def test_modelled_severities_must_be_given() -> None:
    use = use_case("credit", outcomes={"share": {"min": 0}}, credit_risk={"lgd": {"outcome": "share"}})
    with pytest.raises(TrainingError, match="models LGD or EAD"):
        money_evidence(rows(use, seed=1), rows(use, seed=2))
