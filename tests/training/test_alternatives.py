"""Proxies, weights by group, and the search for a less discriminatory alternative, on worlds made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats.contingency import association
from sklearn.linear_model import LogisticRegression

from configs.inputs import Column as Attribute
from configs.use_case import Fairness, UseCase
from training.evidence.fairness_plots import fairness_figures
from training.evidence.groups import groups_of
from training.evidence.metrics import auc
from training.fairness.alternatives import less_discriminatory
from training.fairness.ground import Ground
from training.fairness.proxies import cramers_v, proxies
from training.fairness.reductions import parity_weights, reweighing
from training.folds import Fold
from training.learners.protocol import Column

NAMES = ("region", "income", "noise")


def world(n: int = 4000, *, effect: float = 0.25) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """`region` is nine tenths sex and hardly tells the risk, `income` tells the risk and nothing of sex."""
    generator = np.random.default_rng(2)
    sex = generator.random(n) < 0.5
    region = np.where(generator.random(n) < 0.9, sex, ~sex).astype(float)
    income = generator.normal(size=n)
    X = np.column_stack([region, income, generator.normal(size=n)])
    y = (generator.random(n) < 1 / (1 + np.exp(2.0 + 1.2 * income - effect * region))).astype(float)
    return X, y, pd.DataFrame({"sex": np.where(sex, "f", "m")})


def test_proxies_tell_the_attribute_and_name_what_tells_it() -> None:
    X, _, events = world()
    groups = groups_of(Attribute(type="category"), events["sex"])
    found = proxies(X, [Column(name) for name in NAMES], {"sex": groups}, blocks=np.arange(len(X)), seed=1)
    sex = found["attributes"]["sex"]
    assert sex["auc"]["value"] == pytest.approx(0.9, abs=0.02)  # of a feature that is right nine times in ten
    assert sex["auc"]["interval"][0] < 0.9 < sex["auc"]["interval"][1] + 0.02
    first = sex["features"][0]
    assert (first["feature"], first["share"] > 0.8) == ("region", True)
    assert first["association"] == pytest.approx(0.8, abs=0.03)  # phi of a 45 : 5 table
    assert all(other["association"] < 0.05 for other in sex["features"][1:])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_features_that_know_nothing_tell_half() -> None:
    X, _, events = world(3000)
    groups = groups_of(Attribute(type="category"), events["sex"])
    found = proxies(X[:, 1:], [Column(name) for name in NAMES[1:]], {"sex": groups}, blocks=np.arange(3000), seed=1)
    assert found["attributes"]["sex"]["auc"]["value"] == pytest.approx(0.5, abs=0.04)


def test_a_number_is_told_by_quartile_and_missing_values_belong_to_none() -> None:
    generator = np.random.default_rng(3)
    age = pd.Series(np.where(np.arange(2000) % 10 == 0, np.nan, generator.uniform(18, 80, 2000)))
    X = np.column_stack([np.nan_to_num(age, nan=40) + generator.normal(0, 3, 2000), generator.normal(size=2000)])
    groups = groups_of(Attribute(type="number"), age)
    found = proxies(X, [Column("tenure"), Column("noise")], {"age": groups}, blocks=np.arange(2000), seed=1)
    entry = found["attributes"]["age"]
    assert (entry["n"], len(entry["groups"]), entry["features"][0]["feature"]) == (1800, 4, "tenure")
    assert entry["auc"]["value"] == pytest.approx(np.mean([one["value"] for one in entry["groups"].values()]))
    assert entry["auc"]["value"] > 0.9


def test_a_customer_stays_in_one_fold() -> None:
    """Each customer's own number tells his sex, but says nothing about customers in other folds."""
    generator = np.random.default_rng(5)
    customer = np.repeat(np.arange(300), 8)
    sex = pd.Series(np.where(generator.random(300) < 0.5, "f", "m")[customer])
    X = generator.permutation(300).astype(float)[customer][:, None]
    groups = groups_of(Attribute(type="category"), sex)
    found = proxies(X, [Column("number")], {"sex": groups}, blocks=customer, seed=1)
    alone = proxies(X, [Column("number")], {"sex": groups}, blocks=np.arange(len(X)), seed=1)
    assert found["attributes"]["sex"]["auc"]["value"] == pytest.approx(0.5, abs=0.08)
    assert alone["attributes"]["sex"]["auc"]["value"] > 0.7


def test_cramers_v_is_scipys_less_the_bias() -> None:
    generator = np.random.default_rng(1)
    first = generator.integers(0, 4, 5000)
    second = np.where(generator.random(5000) < 0.5, first, generator.integers(0, 4, 5000))
    table = pd.crosstab(first, second).to_numpy()
    assert cramers_v(first, second) == pytest.approx(association(table, method="cramer"), abs=0.002)
    assert cramers_v(first, first) == pytest.approx(1.0)
    assert cramers_v(first, generator.integers(0, 10, 5000)) < 0.02
    assert cramers_v(first, np.zeros(5000, dtype=np.int64)) == 0.0


def test_reweighing_makes_label_and_group_independent() -> None:
    generator = np.random.default_rng(1)
    group = generator.choice(["a", "b", "c"], 3000, p=[0.6, 0.3, 0.1])
    y = (generator.random(3000) < np.where(group == "a", 0.1, 0.4)).astype(float)
    weight = reweighing(y, group)
    rates = [np.average(y[group == name], weights=weight[group == name]) for name in "abc"]
    assert rates == pytest.approx([y.mean()] * 3)
    assert [weight[group == name].sum() for name in "abc"] == pytest.approx([(group == name).sum() for name in "abc"])


def test_parity_weights_are_fairlearns_signed_weights() -> None:
    """Agarwal et al. (2018), example 3, by hand: with multiplier l for a group of share s, cost 1 - l (1 - 1 / s)."""
    pytest.importorskip("fairlearn")
    group = np.array(["a"] * 4 + ["b"] * 6)
    y = np.array([1, 0, 0, 0, 1, 1, 0, 0, 0, 0], dtype=float)
    weight = parity_weights(y, group, {"a": -0.2, "b": 0.1}, strength=0.5)
    pull = np.where(group == "a", 0.2 * (1 / 0.4 - 1) + 0.1, -0.1 * (1 / 0.6 - 1) - 0.2)
    cost = np.abs(np.where(y == 1, 1.0, -1.0) + 0.5 * pull / np.abs(pull).max())
    assert weight == pytest.approx(cost / cost.mean())
    assert weight[group == "b"][0] < weight[group == "b"][-1]  # fewer of the group's bads, more of its goods
    assert parity_weights(y, group, {}, strength=0.5) == pytest.approx(np.ones(10))
    assert parity_weights(y[:4], group[:4], {"a": 0.3}, strength=0.5) == pytest.approx(np.ones(4))


Fitter = Callable[[Sequence[str], Sequence[np.ndarray] | None], list[np.ndarray]]


def search(use_case: UseCase, *, effect: float = 0.25, **settings: Any) -> tuple[dict[str, Any], list[Any]]:
    X, y, events = world(effect=effect)
    use_case = use_case.model_copy(
        update={"protected": {"sex": Attribute(type="category")}, "fairness": Fairness(**settings)}
    )
    folds = [Fold(np.arange(2000), np.arange(2000, 3000)), Fold(np.arange(3000), np.arange(3000, 4000))]
    calls: list[Any] = []

    def fit_and_score(columns: Sequence[str], weights: Sequence[np.ndarray] | None) -> list[np.ndarray]:
        calls.append((tuple(columns), weights))
        use = [NAMES.index(name) for name in columns]
        found = []
        for place, fold in enumerate(folds):
            weight = None if weights is None else weights[place]
            model = LogisticRegression(C=10.0).fit(X[fold.train][:, use], y[fold.train], sample_weight=weight)
            found.append(model.decision_function(X[fold.valid][:, use]))
        return found

    groups = {"sex": groups_of(Attribute(type="category"), events["sex"])}
    told = proxies(X, [Column(name) for name in NAMES], groups, blocks=np.arange(len(X)), seed=1)
    ground = Ground.of(use_case, events, y, folds, blocks=np.arange(len(X)))
    return less_discriminatory(ground, columns=NAMES, proxies=told, fit_and_score=fit_and_score), calls


def test_leaving_out_a_proxy_that_hardly_tells_the_risk_is_found(credit: UseCase) -> None:
    found, _ = search(credit, effect=0.6, loss=0.02)
    sex = found["attributes"]["sex"]
    assert sex["searched"]
    assert sex["ratio"] < 0.9
    without = next(one for one in sex["candidates"] if one["without"] == ["region"])
    assert without["ratio"] > 0.9
    assert without["ratio_gain"] == pytest.approx(without["ratio"] - sex["ratio"])
    assert without["ratio_gain_interval"][0] > 0
    assert sex["best"] is not None
    best = next(one for one in sex["candidates"] if one["name"] == sex["best"])
    assert best["within_loss"] and best["ratio"] >= without["ratio"]


def test_nothing_is_best_when_every_gain_costs_more_than_allowed(credit: UseCase) -> None:
    found, _ = search(credit, effect=1.5, loss=0.0)
    sex = found["attributes"]["sex"]
    assert all(one["objective_loss"] > 0 for one in sex["candidates"] if one["ratio_gain"] > 0)
    assert (sex["best"], sex["reason"][:14]) == (None, "no alternative")


def test_weights_are_of_the_folds_training_rows_and_pull_towards_parity(credit: UseCase) -> None:
    found, calls = search(credit, effect=0.6)
    weighed = [weights for _, weights in calls if weights is not None]
    assert [[len(weight) for weight in weights] for weights in weighed] == [[2000, 3000]] * 3
    gains = {one["name"]: one["ratio_gain"] for one in found["attributes"]["sex"]["candidates"]}
    assert gains["reduction, strength 0.1"] > 0
    assert gains["reweighing"] > 0


def test_pareto_marks_what_nothing_beats(credit: UseCase) -> None:
    found, _ = search(credit, effect=0.6)
    candidates = found["attributes"]["sex"]["candidates"]
    points = [(found["baseline"]["objective"], found["attributes"]["sex"]["ratio"])]
    points += [(one["objective"], one["ratio"]) for one in candidates]
    for one in candidates:
        own = (one["objective"], one["ratio"])
        beaten = any(a >= own[0] and b >= own[1] and (a, b) != own for a, b in points)
        assert one["pareto"] == (not beaten)


def test_an_even_model_isnt_searched_and_the_budget_holds(credit: UseCase) -> None:
    found, calls = search(credit, effect=0.0)
    assert found["attributes"]["sex"]["searched"] is False
    assert "not below" in found["attributes"]["sex"]["why"]
    assert len(calls) == 1
    _, calls = search(credit, effect=0.6, alternatives=2)
    assert len(calls) == 3
    switched_off, _ = search(credit, effect=0.6, alternatives=0)
    assert switched_off["attributes"]["sex"]["why"] == "switched off"


def test_baseline_is_the_objective_of_the_folds_and_all_of_it_is_plain_data(credit: UseCase) -> None:
    found, calls = search(credit, effect=0.6)
    X, y, _ = world(effect=0.6)
    parts = [(slice(0, 2000), slice(2000, 3000)), (slice(0, 3000), slice(3000, 4000))]
    scores = [
        auc(y[valid], LogisticRegression(C=10.0).fit(X[train], y[train]).decision_function(X[valid]))
        for train, valid in parts
    ]
    assert found["baseline"]["objective"] == pytest.approx(np.mean(scores))
    assert calls[0] == (NAMES, None)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    images = fairness_figures({"attributes": {}}, None, found, title="Credit")
    assert images["fairness_alternatives"].startswith(b"\x89PNG")
