"""Frozen bins."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from features.vector import Feature
from training.encoding import Encoder
from training.evidence.calibration import Platt
from training.evidence.metrics import psi
from training.evidence.reference import bin_counts, build_reference
from training.learners.choice import learner
from training.learners.protocol import Column, Sample
from training.model import Model

FEATURES = (Feature("a", "number", "request", ""), Feature("b", "category", "request", ""))


def reference() -> tuple[dict[str, object], pd.DataFrame, np.ndarray]:
    generator = np.random.default_rng(3)
    table = pd.DataFrame(
        {"a": generator.normal(size=1000), "b": generator.choice(np.array(["x", "y", None], dtype=object), 1000)}
    )
    table.loc[:99, "a"] = np.nan
    encoder = Encoder.learned(FEATURES, table)
    X, y = encoder.table(table), (generator.random(1000) < 0.3).astype(float)
    columns = (Column("a"), Column("b", encoder.vocabularies["b"]))
    kind = learner("scorecard")
    model = Model("scorecard", encoder, (kind.fit(Sample(X, y, columns), kind.default, seed=1, threads=1),), Platt())
    return build_reference(table, model.probability(X), model), table, model.probability(X)


def test_counts_cover_every_row_and_missing_has_its_own_bin() -> None:
    found, _, _ = reference()
    spec = found["features"]["a"]
    assert (sum(spec["counts"]), spec["counts"][-1], len(spec["counts"])) == (1000, 100, len(spec["edges"]) + 2)
    assert max(spec["counts"][:-1]) - min(spec["counts"][:-1]) <= 2


def test_the_same_data_falls_into_the_same_bins_after_json() -> None:
    found, table, probability = reference()
    spec = json.loads(json.dumps(found))
    for name in ("a", "b"):
        assert bin_counts(spec["features"][name], table[name].to_numpy()).tolist() == spec["features"][name]["counts"]
    assert bin_counts(spec["score"], probability).tolist() == spec["score"]["counts"]


def test_unseen_labels_count_as_other_and_none_as_missing() -> None:
    spec = {"kind": "category", "categories": ["x", "y", "other"]}
    assert bin_counts(spec, ["x", "zebra", None, float("nan"), "y", "other"]).tolist() == [1, 1, 2, 2]


def test_boundaries_belong_to_the_bin_above() -> None:
    assert bin_counts({"kind": "number", "edges": [1.0, 2.0]}, [0.0, 1.0, 1.5, 2.0, None]).tolist() == [1, 2, 1, 1]


def test_a_feature_that_goes_missing_is_a_large_shift() -> None:
    found, table, _ = reference()
    spec = found["features"]["a"]
    broken = table["a"].where(np.arange(1000) % 2 == 0).to_numpy()
    assert psi(np.array(spec["counts"]), bin_counts(spec, broken)) > 0.5


def test_an_all_missing_feature_has_one_bin_and_missing() -> None:
    assert bin_counts({"kind": "number", "edges": []}, [None, float("nan")]).tolist() == [0, 2]


def test_importance_and_baseline_come_from_contributions() -> None:
    found, _, _ = reference()
    assert all(part["importance"] >= abs(part["baseline"]) for part in found["features"].values())
    assert np.isfinite(found["base"])
