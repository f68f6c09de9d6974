"""Information value, direction and stability of single features."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from features.vector import Feature
from training.encoding import Encoder
from training.evidence.features import Labelled, direction, feature_profiles, information_value, strength, woe
from training.evidence.metrics import auc, psi


def encoder(*names: str, labels: tuple[str, ...] = ()) -> Encoder:
    features = [Feature(name, "number", "request", f"about {name}") for name in names]
    if labels:
        features.append(Feature("kind", "category", "request", "a kind"))
    return Encoder(tuple(features), {"kind": labels} if labels else {})


def test_information_value_by_hand() -> None:
    goods, bads = np.array([89.5, 9.5]), np.array([4.5, 4.5])  # with half a row each: 90, 10 and 5, 5
    expected = (0.9 - 0.5) * math.log(0.9 / 0.5) + (0.1 - 0.5) * math.log(0.1 / 0.5)
    assert information_value(goods, bads) == pytest.approx(expected)
    assert woe(goods, bads).tolist() == pytest.approx([math.log(0.9 / 0.5), math.log(0.1 / 0.5)])


def test_one_class_has_no_information_value_and_an_empty_bin_adds_nothing() -> None:
    assert information_value(np.array([3.0, 4.0]), np.zeros(2)) is None
    goods, bads = np.array([40.0, 60.0]), np.array([10.0, 20.0])
    assert information_value(np.append(goods, 0), np.append(bads, 0)) == information_value(goods, bads)
    assert woe(np.append(goods, 0), np.append(bads, 0))[-1] == 0


def test_the_bounds_of_strength_are_siddiqis() -> None:
    assert [strength(value) for value in (0.019, 0.02, 0.1, 0.3, 0.5, None)] == [
        "none",
        "weak",
        "medium",
        "strong",
        "suspicious",
        None,
    ]


def test_a_feature_without_information_has_the_value_that_chance_gives() -> None:
    generator = np.random.default_rng(5)
    found = []
    for _ in range(60):
        X, y = generator.normal(size=(3000, 1)), (generator.random(3000) < 0.2).astype(float)
        (profile,) = feature_profiles(encoder("noise"), Labelled(X, y), Labelled(X, y), monotone={})
        found.append((profile["iv"], profile["iv_chance"]))
    iv, chance = np.array(found).T
    assert iv.mean() == pytest.approx(chance.mean(), rel=0.15)


def test_directions_are_those_of_the_data_and_compared_with_the_declared_ones() -> None:
    generator = np.random.default_rng(1)
    X = generator.normal(size=(4000, 3))
    y = (generator.random(4000) < 1 / (1 + np.exp(1 - X[:, 0] + X[:, 1]))).astype(float)
    expected = {"up": "increasing", "down": "increasing", "flat": "increasing"}
    rows = Labelled(X, y)
    found = {
        one["feature"]: one for one in feature_profiles(encoder("up", "down", "flat"), rows, rows, monotone=expected)
    }
    assert [found[name]["observed"] for name in ("up", "down", "flat")] == ["increasing", "decreasing", "none"]
    assert [found[name]["agrees"] for name in ("up", "down", "flat")] == [True, False, None]


def test_a_direction_needs_both_classes_among_the_known_values() -> None:
    assert direction(np.array([1.0, np.nan]), np.array([0.0, 1.0])) is None


def test_the_strongest_feature_comes_first_and_its_auc_is_that_of_its_bins() -> None:
    generator = np.random.default_rng(2)
    X, labels = generator.normal(size=(5000, 2)), ("a", "b", "c")
    codes = generator.integers(0, 3, 5000).astype(float)
    y = (generator.random(5000) < np.array([0.05, 0.1, 0.6])[codes.astype(int)]).astype(float)
    both = np.column_stack([X, codes])
    train, test = Labelled(both[:3000], y[:3000]), Labelled(both[3000:], y[3000:])
    found = feature_profiles(encoder("one", "two", labels=labels), train, test, monotone={})
    assert found[0]["feature"] == "kind"
    assert [one["label"] for one in found[0]["bins"]] == ["a", "b", "c"]
    rates = np.array([y[:3000][codes[:3000] == code].mean() for code in range(3)])
    assert found[0]["auc_test"] == pytest.approx(auc(y[3000:], rates[codes[3000:].astype(int)]))
    assert found[0]["observed"] is None


def test_a_shift_is_seen_month_by_month_on_the_bins_of_the_training_rows() -> None:
    generator = np.random.default_rng(4)
    before, after = generator.normal(size=(4000, 1)), generator.normal(size=(2000, 1))
    after[1000:] += 1
    after[:100] = np.nan
    months = np.repeat(["2024-01", "2024-02"], 1000)
    y = (generator.random(6000) < 0.2).astype(float)
    (found,) = feature_profiles(
        encoder("moved"), Labelled(before, y[:4000]), Labelled(after, y[4000:]), monotone={}, months=months
    )
    assert [(one["month"], one["rows"]) for one in found["months"]] == [("2024-01", 1000), ("2024-02", 1000)]
    assert found["worst"] == "2024-02"
    cuts = np.quantile(before, np.arange(1, 10) / 10, method="lower")
    counts = [
        np.append(np.bincount(np.searchsorted(cuts, part, side="right"), minlength=10), missing)
        for part, missing in ((before[:, 0], 0), (after[1000:, 0], 0))
    ]
    assert found["months"][1]["psi"] == pytest.approx(psi(*counts))
    assert (found["missing_train"], found["missing_test"]) == (0, 0.05)
    assert found["psi"] > found["psi_chance"]


def test_profiles_are_plain_json_also_of_features_that_say_nothing() -> None:
    X = np.column_stack([np.full(100, 3.0), np.full(100, np.nan)])
    rows = Labelled(X, (np.arange(100) % 4 == 0).astype(float))
    found = feature_profiles(encoder("constant", "empty"), rows, rows, monotone={})
    json.dumps(found, allow_nan=False)
    assert [one["iv"] for one in found] == [0, 0]
