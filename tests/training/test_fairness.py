"""Fairness figures on hand-made tables, and the same as Fairlearn's."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from configs.inputs import Column
from configs.use_case import Fairness, UseCase
from training.evidence.fairness import decisions, fairness_evidence, selection_rates
from training.evidence.fairness_plots import fairness_figures
from training.evidence.groups import elderly_groups, groups_of, intersections
from training.evidence.metrics import auc, ece
from training.evidence.tested import Tested

APPROVED, DECLINED = 0.05, 0.5
"""Probabilities on either side of the credit policy's bands."""


def with_protected(credit: UseCase, *, least: int = 2, **columns: Column) -> UseCase:
    return credit.model_copy(update={"protected": columns, "fairness": Fairness(least=least)})


def scored(use_case: UseCase, y: np.ndarray, p: np.ndarray, **attributes: object) -> Tested:
    events = pd.DataFrame(attributes)
    return Tested(use_case, events, pd.DataFrame(), y, p, np.arange(len(y)), (slice(None),), 3)


@pytest.fixture
def by_hand(credit: UseCase) -> Tested:
    """a: 10 rows, 8 selected (7 of 8 goods, 1 of 2 bads); b: 8 rows, 4 selected (3 of 4 goods, 1 of 4 bads)."""
    y = np.array([0] * 8 + [1] * 2 + [0] * 4 + [1] * 4, dtype=float)
    chosen = np.array([1] * 7 + [0] + [1, 0] + [1, 1, 1, 0] + [1, 0, 0, 0], dtype=bool)
    sex = ["a"] * 10 + ["b"] * 8
    use_case = with_protected(credit, sex=Column(type="category"))
    return scored(use_case, y, np.where(chosen, APPROVED, DECLINED), sex=sex)


def test_rates_and_ratio_of_a_table_by_hand(by_hand: Tested) -> None:
    found = fairness_evidence(by_hand)
    sex = found["attributes"]["sex"]
    groups = sex["groups"]
    assert (sex["reference"], sex["lowest"], sex["of"]) == ("a", "b", "sex")
    assert groups["a"]["selection_rate"]["value"] == pytest.approx(0.8)
    assert groups["b"]["selection_rate"]["value"] == pytest.approx(0.5)
    assert sex["adverse_impact_ratio"]["value"] == pytest.approx(0.625)
    assert [groups[name]["selected_goods"]["value"] for name in "ab"] == pytest.approx([7 / 8, 3 / 4])
    assert [groups[name]["selected_bads"]["value"] for name in "ab"] == pytest.approx([1 / 2, 1 / 4])
    assert sex["opportunity_difference"]["value"] == pytest.approx(1 / 8)
    assert sex["odds_difference"]["value"] == pytest.approx(1 / 4)
    assert [groups[name]["observed"]["value"] for name in "ab"] == pytest.approx([0.2, 0.5])
    assert groups["a"]["predicted"]["value"] == pytest.approx((8 * APPROVED + 2 * DECLINED) / 10)
    assert found["selected"]["rate"]["value"] == pytest.approx(12 / 18)


def random_table(n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(4)
    sex, age = generator.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2]), generator.integers(18, 75, n).astype(float)
    risk = generator.normal(-1.8, 1.0, n) + 0.5 * (sex == "b") - 0.02 * (age - 45)
    p = 1 / (1 + np.exp(-risk))
    return (generator.random(n) < p).astype(float), p, sex, age


def test_figures_are_fairlearns(credit: UseCase) -> None:
    peer = pytest.importorskip("fairlearn.metrics")
    y, p, sex, _ = random_table()
    use_case = with_protected(credit, sex=Column(type="category"))
    found = fairness_evidence(scored(use_case, y, p, sex=sex))["attributes"]["sex"]
    chosen = ~np.isin(decisions(use_case.policy, p), use_case.policy.adverse)
    good = {"y_true": 1 - y, "y_pred": chosen.astype(int), "sensitive_features": sex}
    rates = peer.MetricFrame(metrics=peer.selection_rate, **good).by_group
    assert {name: group["selection_rate"]["value"] for name, group in found["groups"].items()} == pytest.approx(
        dict(rates)
    )
    assert found["adverse_impact_ratio"]["value"] == pytest.approx(peer.demographic_parity_ratio(**good))
    assert found["opportunity_difference"]["value"] == pytest.approx(peer.equal_opportunity_difference(**good))
    assert found["odds_difference"]["value"] == pytest.approx(peer.equalized_odds_difference(**good))


def test_auc_ece_and_calibration_gap_are_those_of_the_groups_rows(credit: UseCase) -> None:
    y, p, sex, _ = random_table()
    found = fairness_evidence(scored(with_protected(credit, sex=Column(type="category")), y, p, sex=sex))
    for name, group in found["attributes"]["sex"]["groups"].items():
        own = sex == name
        assert group["auc"]["value"] == pytest.approx(auc(y[own], p[own]))
        assert group["ece"]["value"] == pytest.approx(ece(y[own], p[own]))
        assert group["calibration_gap"]["value"] == pytest.approx(y[own].mean() - p[own].mean())
        assert group["auc"]["interval"][0] < group["auc"]["value"] < group["auc"]["interval"][1]


def test_standardized_mean_difference_is_cohens_d_of_the_log_odds(credit: UseCase) -> None:
    y, p, sex, _ = random_table()
    found = fairness_evidence(scored(with_protected(credit, sex=Column(type="category")), y, p, sex=sex))
    entry = found["attributes"]["sex"]
    score = np.log(p / (1 - p))
    own, other = score[sex == "b"], score[sex == entry["reference"]]
    pooled = np.sqrt(
        ((len(own) - 1) * own.var(ddof=1) + (len(other) - 1) * other.var(ddof=1)) / (len(own) + len(other) - 2)
    )
    assert entry["groups"]["b"]["standardized_mean_difference"]["value"] == pytest.approx(
        (own.mean() - other.mean()) / pooled
    )


def test_interval_of_the_ratio_agrees_with_the_delta_method(credit: UseCase) -> None:
    """Independent rows: ln ratio is nearly normal with variance sum (1 - rate) / (n rate) (Katz et al. 1978)."""
    n, rates = 2000, (0.8, 0.6)
    chosen = np.concatenate([np.arange(n) < n * rate for rate in rates])
    y = np.tile([0.0, 0.0, 0.0, 1.0], n // 2)
    use_case = with_protected(credit, sex=Column(type="category"))
    table = scored(use_case, y, np.where(chosen, APPROVED, DECLINED), sex=["a"] * n + ["b"] * n)
    low, high = fairness_evidence(table)["attributes"]["sex"]["adverse_impact_ratio"]["interval"]
    half = 1.96 * np.sqrt(sum((1 - rate) / (n * rate) for rate in rates))
    assert np.log([low, high]) == pytest.approx([np.log(0.75) - half, np.log(0.75) + half], abs=0.012)


def test_four_fifths_is_unclear_when_its_interval_holds_it(credit: UseCase) -> None:
    use_case = with_protected(credit, sex=Column(type="category"))

    def verdict(n: int, other: float) -> str:
        chosen = np.concatenate([np.arange(n) < 0.8 * n, np.arange(n) < other * n])
        y = np.tile([0.0, 1.0], n)
        found = fairness_evidence(scored(use_case, y, np.where(chosen, APPROVED, DECLINED), sex=["a"] * n + ["b"] * n))
        return str(found["attributes"]["sex"]["four_fifths"])

    assert verdict(2000, 0.5) == "missed"
    assert verdict(2000, 0.75) == "met"
    assert verdict(30, 0.6) == "unclear"


def test_small_groups_are_left_out_and_named(credit: UseCase) -> None:
    y, p, _, _ = random_table(200)
    use_case = with_protected(credit, least=30, sex=Column(type="category"))
    found = fairness_evidence(scored(use_case, y, p, sex=["a"] * 100 + ["b"] * 80 + ["c"] * 15 + [None] * 5))
    sex = found["attributes"]["sex"]
    assert (sorted(sex["groups"]), sex["small"], sex["missing"]) == (["a", "b"], {"c": 15}, 5)
    assert any("c (15)" in note for note in found["notes"])


def test_an_event_that_stands_in_several_folds_counts_once(credit: UseCase) -> None:
    y, p, sex, _ = random_table(100)
    twice = np.concatenate([np.arange(100)] * 2)
    use_case = with_protected(credit, least=30, sex=Column(type="category"))
    events = pd.DataFrame({"sex": sex}).iloc[twice]
    parts = (slice(0, 100), slice(100, 200))
    found = fairness_evidence(Tested(use_case, events, pd.DataFrame(), y[twice], p[twice], twice, parts, 1))
    once = fairness_evidence(Tested(use_case, events[:100], pd.DataFrame(), y, p, np.arange(100), (slice(None),), 1))
    groups, alone = found["attributes"]["sex"]["groups"], once["attributes"]["sex"]["groups"]
    assert {name: group["n"] for name, group in groups.items()} == {name: group["n"] for name, group in alone.items()}
    assert groups["a"]["auc"]["value"] == pytest.approx(alone["a"]["auc"]["value"])


def test_rates_among_too_few_positives_are_undefined_not_zero(credit: UseCase) -> None:
    y = np.zeros(200)
    y[:3] = 1
    use_case = with_protected(credit, least=10, sex=Column(type="category"))
    sex = fairness_evidence(scored(use_case, y, np.full(200, APPROVED), sex=["a", "b"] * 100))["attributes"]["sex"]
    assert sex["groups"]["a"]["selected_bads"] == {"value": None, "interval": None}
    assert sex["odds_difference"]["value"] is None
    assert sex["opportunity_difference"]["value"] == pytest.approx(0.0)


def test_nobody_selected_is_no_adverse_impact(credit: UseCase) -> None:
    use_case = with_protected(credit, sex=Column(type="category"))
    y = np.tile([0.0, 1.0], 20)
    sex = fairness_evidence(scored(use_case, y, np.full(40, DECLINED), sex=["a", "b"] * 20))["attributes"]["sex"]
    assert sex["adverse_impact_ratio"]["value"] == 1.0


def test_ages_in_years_are_compared_in_quartiles_and_from_62(credit: UseCase) -> None:
    y, p, sex, age = random_table()
    use_case = with_protected(credit, sex=Column(type="category"), age=Column(type="number", unit="years"))
    found = fairness_evidence(scored(use_case, y, p, sex=sex, age=age))
    assert len(found["attributes"]["age"]["groups"]) == 4
    elderly = found["attributes"]["age_62"]
    assert elderly["of"] == "age"
    assert elderly["groups"]["62 and over"]["n"] == int((age >= 62).sum())
    assert elderly_groups(Column(type="number", unit="EUR"), pd.Series(age)) == {}


def test_intersections_hold_the_rows_of_both_groups(credit: UseCase) -> None:
    y, p, sex, age = random_table()
    use_case = with_protected(credit, least=50, sex=Column(type="category"), age=Column(type="number"))
    pair = fairness_evidence(scored(use_case, y, p, sex=sex, age=age))["intersections"]["sex x age"]
    assert sum(group["n"] for group in pair["groups"].values()) == len(y)
    first, second = groups_of(Column(type="category"), pd.Series(sex)), groups_of(Column(), pd.Series(age))
    both = intersections({"sex": first, "age": second})["sex x age"]
    name = next(iter(both))
    assert pair["groups"][name]["selection_rate"]["value"] == pytest.approx(
        (~np.isin(decisions(use_case.policy, p[both[name]]), ["refer", "decline"])).mean()
    )


def test_dates_are_grouped_by_quartile() -> None:
    born = pd.Series(pd.date_range("1950-01-01", "2000-01-01", periods=101, tz="UTC"))
    groups = groups_of(Column(type="time"), born)
    assert [int(rows.sum()) for rows in groups.values()] == [25, 25, 25, 26]
    assert next(iter(groups)).startswith("1950-01-01 to 1962-")


def test_selection_rates_of_the_gate_are_the_evidences(by_hand: Tested) -> None:
    rates = selection_rates(by_hand.use_case, by_hand.events, by_hand.probability)
    assert rates == {"sex": pytest.approx({"a": 0.8, "b": 0.5})}


def test_evidence_is_plain_data_and_draws_itself(credit: UseCase) -> None:
    y, p, sex, age = random_table(800)
    use_case = with_protected(credit, sex=Column(type="category"), age=Column(type="number", unit="years"))
    found = fairness_evidence(scored(use_case, y, p, sex=sex, age=age))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    images = fairness_figures(found, None, None, title="Credit")
    assert set(images) == {"fairness_selection", "fairness_calibration"}
    assert all(image.startswith(b"\x89PNG") for image in images.values())


def test_no_protected_attribute_gives_nothing_to_compare(credit: UseCase) -> None:
    found = fairness_evidence(scored(with_protected(credit), np.array([0.0, 1.0]), np.array([0.1, 0.2])))
    assert (found["attributes"], found["intersections"], found["notes"]) == ({}, {}, [])
    assert fairness_figures(found, None, None, title="Credit") == {}
