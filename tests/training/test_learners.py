"""Vocabularies, directions and the scorecard's table."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from configs.errors import TrainingError
from configs.use_case import Points
from features.vector import Feature
from training.encoding import MIN_COUNT, Encoder, learn_vocabulary, uninformative
from training.evidence.calibration import Beta, Platt
from training.evidence.directions import verify_monotone
from training.evidence.points import points_evidence
from training.learners.choice import learner
from training.learners.logistic import logistic
from training.learners.protocol import Column, Sample, columns_of
from training.learners.scorecard import FittedScorecard
from training.learners.weights import balanced, row_weights
from training.model import Model

PURPOSE = Feature("purpose", "category", "request", "")
AMOUNT = Feature("amount", "number", "request", "")


def test_a_learned_vocabulary_is_sorted_folds_rare_labels_and_ends_in_other() -> None:
    values = pd.Series(["b"] * MIN_COUNT + ["a"] * MIN_COUNT + ["rare"] + [None], dtype=object)
    assert learn_vocabulary(PURPOSE, values) == ("a", "b", "other")


def test_a_declared_vocabulary_keeps_its_order_whatever_the_data_says() -> None:
    declared = Feature("purpose", "category", "request", "", ("z", "other", "y"))
    assert learn_vocabulary(declared, pd.Series(["q"] * 100, dtype=object)) == ("z", "y", "other")


def test_encoding_gives_unseen_labels_the_code_of_other_and_missing_nan() -> None:
    encoder = Encoder((PURPOSE, AMOUNT), {"purpose": ("car", "other")})
    found = encoder.table(pd.DataFrame({"purpose": ["car", "boat", None], "amount": [1.5, np.nan, 2.0]}))
    assert np.array_equal(found, [[0, 1.5], [1, np.nan], [np.nan, 2.0]], equal_nan=True)


def test_an_absent_feature_is_named() -> None:
    with pytest.raises(TrainingError, match="amount"):
        Encoder((AMOUNT,), {}).table(pd.DataFrame({"x": [1.0]}))


def test_a_monotone_direction_on_a_category_is_an_error_before_anything_is_trained() -> None:
    with pytest.raises(TrainingError, match="monotone direction on the category purpose"):
        columns_of(Encoder((PURPOSE,), {"purpose": ("car", "other")}), {"purpose": "increasing"})


def test_a_direction_of_an_excluded_feature_has_no_effect() -> None:
    assert columns_of(Encoder((AMOUNT,), {}), {"gone": "increasing"}) == (Column("amount"),)


def test_a_feature_without_a_value_or_with_one_only_gets_a_note() -> None:
    features = tuple(Feature(name, "number", "request", "") for name in ("empty", "constant", "gap", "fine"))
    X = np.array([[np.nan, 1.0, 2.0, 1.0], [np.nan, 1.0, np.nan, 2.0]])
    notes = uninformative(features, X)
    assert [note.split(":")[0] for note in notes] == [
        "empty has no value in any of 2 training rows",
        "constant has one value in all of 2 training rows",
    ]


def data() -> tuple[np.ndarray, np.ndarray, tuple[Column, ...]]:
    generator = np.random.default_rng(6)
    X = np.column_stack([generator.normal(size=3000), generator.integers(0, 4, 3000)]).astype(float)
    X[::10, 0] = np.nan
    risk = -1 + np.nan_to_num(X[:, 0]) + (X[:, 1] == 2)
    y = (generator.random(3000) < 1 / (1 + np.exp(-risk))).astype(float)
    return X, y, (Column("x"), Column("g", ("a", "b", "c", "d", "other")))


def fit(X: np.ndarray, y: np.ndarray, columns: tuple[Column, ...], **params: float) -> FittedScorecard:
    kind = learner("scorecard")
    fitted = kind.fit(Sample(X, y, columns), dict(kind.default) | params, seed=1, threads=1)
    assert isinstance(fitted, FittedScorecard)
    return fitted


def scorecard() -> tuple[FittedScorecard, np.ndarray]:
    X, y, columns = data()
    return fit(X, y, columns), X


def by_hand(fitted: FittedScorecard, X: np.ndarray, field: str, **scaling: float) -> list[float]:
    """Points of each row, read off the printed table the way a person would."""
    table, raw = fitted.points(Points(), **scaling), json.loads(fitted.dump())
    points = {(row["feature"], row["bin"]): row[field] for row in table}
    edges = np.array(raw["columns"][0]["edges"])
    names = [row["bin"] for row in table if row["feature"] == "x"]
    groups = {label: row["bin"] for row in table if row["feature"] == "g" for label in row["bin"].split(", ")}
    found = []
    for x, g in X:
        number = "missing" if np.isnan(x) else names[int(np.searchsorted(edges, x, side="right"))]
        group = "missing" if np.isnan(g) else groups.get("abcd"[int(g)] if g < 4 else "", "unseen")
        found.append(points["x", number] + points["g", group])
    return found


PROBES = np.array([[np.nan, np.nan], [np.nan, 4.0], [0.3, 4.0], [-9.0, 0.0], [9.0, 2.0]])


def test_the_points_table_reproduces_the_score() -> None:
    fitted, X = scorecard()
    rows, scale = np.vstack([X[:100], PROBES]), Points()
    expected = scale.base - scale.double / np.log(2) * (np.log(scale.odds) + fitted.margin(rows))
    assert np.abs(np.array(by_hand(fitted, rows, "points")) - expected).max() < 1e-9
    assert np.abs(fitted.points_score(rows, scale) - expected).max() < 1e-9


def test_points_double_the_odds_and_stand_at_the_base() -> None:
    fitted, X = scorecard()
    scale = Points(base=500, odds=20, double=40)
    odds_of_good = np.exp(-fitted.margin(X))
    assert 20 * 2 ** ((fitted.points_score(X, scale) - 500) / 40) == pytest.approx(odds_of_good, rel=1e-9)


def test_the_rounded_table_adds_up_to_its_own_score_within_the_stated_error() -> None:
    fitted, X = scorecard()
    rows, scale = np.vstack([X[:100], PROBES]), Points()
    rounded = fitted.points_score(rows, scale, rounded=True)
    assert by_hand(fitted, rows, "rounded") == rounded.tolist()
    assert all(float(value).is_integer() for value in rounded)
    errors = [
        sum(row["rounded"] - row["points"] for row in pair)
        for pair in itertools.product(
            *([row for row in fitted.points(scale) if row["feature"] == name] for name in ("x", "g"))
        )
    ]
    assert fitted.rounding_error(scale) == pytest.approx(max(map(abs, errors)), abs=1e-12)


def test_the_points_of_a_model_with_platt_scaling_are_the_points_of_its_decision() -> None:
    from serving.policy import score_points

    fitted, X = scorecard()
    columns = (Feature("x", "number", "request", ""), Feature("g", "category", "request", ""))
    encoder = Encoder(columns, {"g": ("a", "b", "c", "d", "other")})
    model, scale = Model("scorecard", encoder, (fitted,), Platt(0.8, -0.3), 0.7), Points()
    found = points_evidence(model, scale)
    decided = [score_points(p, scale) for p in model.probability(X[:200])]
    points = by_hand(fitted, X[:200], "points", slope=0.8, intercept=-0.3 - 0.8 * 0.7)
    assert found is not None and found["of"] == "probability"
    assert found["table"] == fitted.points(scale, slope=0.8, intercept=-0.3 - 0.8 * 0.7)
    assert np.round(points).astype(int).tolist() == decided
    rounded = by_hand(fitted, X[:200], "rounded", slope=0.8, intercept=-0.3 - 0.8 * 0.7)
    assert np.abs(np.array(rounded) - points).max() <= found["rounding_error"]


def test_a_curved_calibration_leaves_the_points_to_the_margin() -> None:
    fitted, _ = scorecard()
    model = Model("scorecard", Encoder((), {}), (fitted,), Beta(0.5, 1.5, 0.0))
    found = points_evidence(model, Points())
    assert found is not None and found["of"] == "margin"
    assert found["table"] == fitted.points(Points())


def test_a_scorecard_of_an_older_version_still_loads() -> None:
    fitted, X = scorecard()
    raw = json.loads(fitted.dump())
    old = [
        {name: value for name, value in part.items() if name not in {"rows", "positives"}} for part in raw["columns"]
    ]
    loaded = learner("scorecard").load(json.dumps(raw | {"columns": old}).encode())
    assert np.array_equal(loaded.margin(X), fitted.margin(X))
    assert loaded.information_values() == {"x": None, "g": None}
    assert loaded.points(Points())[0]["rows"] is None


def test_bins_are_those_of_optbinning_on_the_rows_themselves() -> None:
    from optbinning import OptimalBinning

    X, y, columns = data()
    x = np.round(X[:, 0], 2)  # fewer distinct values than are joined first
    known = ~np.isnan(x)
    given = {"dtype": "numerical", "monotonic_trend": "auto_asc_desc", "min_bin_size": 0.005, "min_prebin_size": 0.005}
    theirs = OptimalBinning(**given, max_n_bins=8).fit(x[known], y[known].astype(int))
    part = fit(x[:, None], y, columns[:1]).columns[0]
    assert len(part.edges) > 3
    assert part.edges == pytest.approx(theirs.splits, abs=1e-6)


def test_many_distinct_values_lose_next_to_nothing_by_being_joined() -> None:
    from optbinning import OptimalBinning

    generator = np.random.default_rng(1)
    x = generator.lognormal(size=20_000)
    y = (generator.random(20_000) < 1 / (1 + np.exp(3 - np.log(x)))).astype(float)
    theirs = OptimalBinning(dtype="numerical", monotonic_trend="ascending", max_n_bins=8).fit(x, y.astype(int))
    theirs.binning_table.build()
    ours = fit(x[:, None], y, (Column("x"),)).information_values()["x"]
    assert ours is not None and ours >= theirs.binning_table.iv - 0.005


def test_the_information_value_is_the_sum_over_bins() -> None:
    """Two bins by a category: 30 of 100 and 10 of 100 positives."""
    g = np.repeat([0.0, 1.0], 100)
    y = np.concatenate([np.arange(100) < 30, np.arange(100) < 10]).astype(float)
    fitted = fit(g[:, None], y, (Column("g", ("a", "b", "other")),))
    shares = np.array([30.5, 10.5]) / 40.5, np.array([70.5, 90.5]) / 160.5
    expected = np.sum((shares[0] - shares[1]) * np.log(shares[0] / shares[1]))
    assert fitted.information_values()["g"] == pytest.approx(expected)


def test_scorecard_bins_are_computed_once_for_trials_on_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.learners import scorecard as module

    X, y, columns = data()
    kind, sample, solved = learner("scorecard"), Sample(X, y, columns), []
    real = module.binned
    monkeypatch.setattr(module, "binned", lambda *args, **given: solved.append(1) or real(*args, **given))
    scores = [
        kind.fit(sample, {"max_n_bins": 6, "l2": l2}, seed=1, threads=1).margin(X).tolist() for l2 in (0.1, 100.0, 0.1)
    ]
    assert len(solved) == len(columns)
    assert scores[0] == scores[2] != scores[1]


def test_fractional_weights_give_the_bins_of_whole_ones() -> None:
    X, y, columns = data()
    kind, weight = learner("scorecard"), np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    whole, parts = (
        kind.fit(Sample(X, y, columns, each), {"max_n_bins": 8, "l2": 0.0}, seed=1, threads=1)
        for each in (weight, weight / 3)
    )
    assert [part.edges for part in whole.columns] == [part.edges for part in parts.columns]


def test_coefficients_on_their_bounds_are_those_of_a_general_optimiser() -> None:
    from scipy.optimize import minimize

    generator = np.random.default_rng(3)
    design = np.column_stack([generator.normal(size=(800, 4)) @ generator.normal(size=(4, 4)), np.ones(800)])
    y = (generator.random(800) < 1 / (1 + np.exp(-(design @ np.array([0.8, -0.9, 0.3, -0.2, 0.4]))))).astype(float)
    weight, lower = generator.random(800) * 2, np.array([0, 0, 0, 0, -np.inf])
    ridge = np.array([1.0, 1, 1, 1, 0])
    found = logistic(design, y, start=np.full(5, 0.5), lower=lower, ridge=ridge, weight=weight)

    def loss(theta: np.ndarray) -> float:
        margin = design @ theta
        return float(weight @ (np.logaddexp(0, margin) - y * margin) + ridge @ theta**2 / 2)

    bounds = [(0, None)] * 4 + [(None, None)]
    theirs = minimize(loss, np.full(5, 0.5), bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-9})
    assert (found[:4] == 0).any()
    assert found == pytest.approx(theirs.x, abs=1e-4)
    assert loss(found) <= theirs.fun + 1e-9


def test_logistic_regression_without_bounds_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(5)
    X = generator.normal(size=(2000, 3))
    y = (generator.random(2000) < 1 / (1 + np.exp(-(X @ np.array([1.0, -0.5, 0.0]) - 1)))).astype(float)
    weight = generator.random(2000)
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(X, y, sample_weight=weight)
    free = np.full(4, -np.inf)
    design, ridge = np.column_stack([X, np.ones(2000)]), np.array([2.0, 2, 2, 0])
    found = logistic(design, y, start=np.zeros(4), lower=free, ridge=ridge, weight=weight)
    assert found == pytest.approx(np.append(theirs.coef_[0], theirs.intercept_), abs=1e-6)


@pytest.mark.parametrize("weight", [[1.0, -1.0, 1.0], [1.0, np.nan, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0]])
def test_weights_that_are_none_are_named(weight: list[float]) -> None:
    with pytest.raises(TrainingError, match="weights of shape"):
        Sample(np.zeros((3, 1)), np.array([0.0, 1.0, 1.0]), (Column("x"),), np.array(weight))


def test_row_weights_have_mean_one_and_a_missing_one_is_an_error() -> None:
    assert row_weights(np.array([10.0, 30.0]), name="amount").tolist() == [0.5, 1.5]
    with pytest.raises(TrainingError, match="amount: 1 of 2 rows"):
        row_weights(np.array([10.0, np.nan]), name="amount")


def test_balanced_weights_give_both_classes_half_of_the_same_total() -> None:
    y, weight = np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 2, 1])
    sample, offset = balanced(Sample(np.zeros((4, 1)), y, (Column("x"),), weight))
    assert sample.weight is not None
    assert (sample.weight[y == 1].sum(), sample.weight[y == 0].sum()) == pytest.approx((2.5, 2.5))
    assert offset == pytest.approx(np.log(4))


def test_the_offset_of_balanced_weights_is_the_exact_change_of_a_saturated_models_log_odds() -> None:
    X, y, _ = data()
    sample = Sample(X[:, 1:], y, (Column("g", ("a", "b", "c", "d")),))
    raised, offset = balanced(sample)
    cells = np.eye(4)[X[:, 1].astype(int)]
    free = {"start": np.zeros(4), "lower": np.full(4, -np.inf), "ridge": np.zeros(4)}
    plain, weighed = (logistic(cells, y, **free, weight=each) for each in (np.ones(len(y)), raised.weight))
    assert weighed - plain == pytest.approx(offset, abs=1e-6)


def test_one_class_cannot_be_balanced() -> None:
    with pytest.raises(TrainingError, match="positives weigh 0"):
        balanced(Sample(np.zeros((3, 1)), np.zeros(3), (Column("x"),)))


def test_a_step_against_the_declared_direction_is_an_error() -> None:
    generator = np.random.default_rng(2)
    x = generator.normal(size=2000)
    y = (generator.random(2000) < 1 / (1 + np.exp(-x))).astype(float)
    kind = learner("lightgbm")
    free = kind.fit(Sample(x[:, None], y, (Column("amount"),)), dict(kind.default) | {"trees": 20}, seed=1, threads=1)
    model = Model("lightgbm", Encoder((AMOUNT,), {}), (free,), Platt())
    with pytest.raises(TrainingError, match="against the declared direction: amount by"):
        verify_monotone(model, x[:, None], {"amount": "decreasing"}, seed=1)


def test_a_direction_on_a_feature_without_values_has_nothing_to_violate() -> None:
    X = np.column_stack([np.full(300, np.nan), np.arange(300.0)])
    other = Feature("other", "number", "request", "")
    columns = (Column("amount", (), 1), Column("other"))
    kind = learner("lightgbm")
    sample = Sample(X, (np.arange(300) % 3 == 0).astype(float), columns)
    fitted = kind.fit(sample, dict(kind.default) | {"trees": 3}, seed=1, threads=1)
    model = Model("lightgbm", Encoder((AMOUNT, other), {}), (fitted,), Platt())
    found = verify_monotone(model, X, {"amount": "increasing", "gone": "increasing"}, seed=1)
    empty = {"feature": "amount", "direction": "increasing", "values": 0, "greatest_violation": 0.0, "spread": 0.0}
    assert found == {"rows": 200, "tolerance": 1e-6, "features": [empty]}


def test_a_native_model_file_is_about_the_columns_of_x() -> None:
    """LightGBM and XGBoost alone read it right, whatever order the learner fitted in."""
    import lightgbm
    import xgboost

    X, y, _ = data()
    columns = (Column("z"), Column("a", ("a", "b", "c", "d", "other")))
    for name in ("lightgbm", "xgboost"):
        kind = learner(name)
        fitted = kind.fit(Sample(X, y, columns), dict(kind.default) | {"trees": 5}, seed=1, threads=1)
        if name == "lightgbm":
            alone = lightgbm.Booster(model_str=fitted.dump().decode())
            assert alone.feature_name() == ["f0", "f1"]
            scores = alone.predict(X, raw_score=True)
        else:
            booster = xgboost.Booster(model_file=bytearray(fitted.dump()))
            assert booster.feature_types == ["q", "c"]
            scores = booster.predict(
                xgboost.DMatrix(X, feature_types=["q", "c"], enable_categorical=True), output_margin=True
            )
        assert np.array_equal(np.asarray(scores, dtype=np.float64), fitted.margin(X))


def test_scoring_a_saved_scorecard_needs_no_training_library() -> None:
    code = (
        "import sys; from training.learners.choice import learner; import numpy as np;"
        "fitted = learner('scorecard').load(sys.stdin.buffer.read());"
        "print(float(fitted.margin(np.array([[0.3, 1.0]]))[0]), {'sklearn', 'optbinning', 'scipy'} & set(sys.modules))"
    )
    fitted, _ = scorecard()
    out = subprocess.run(
        [sys.executable, "-c", code], input=fitted.dump(), capture_output=True, check=True
    ).stdout.decode()
    assert out.split() == [str(float(fitted.margin(np.array([[0.3, 1.0]]))[0])), "set()"]


def test_loading_a_booster_leaves_scikit_learn_out() -> None:
    kind = learner("lightgbm")
    generator = np.random.default_rng(1)
    X = generator.normal(size=(300, 2))
    fitted = kind.fit(
        Sample(X, (X[:, 0] > 0).astype(float), (Column("a"), Column("b"))),
        dict(kind.default) | {"trees": 3},
        seed=1,
        threads=1,
    )
    code = (
        "import sys; from training.learners.choice import learner;"
        "learner('lightgbm').load(sys.stdin.buffer.read());"
        "print([name for name in ('sklearn', 'shap', 'optuna', 'mlflow', 'optbinning') if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], input=fitted.dump(), capture_output=True, check=True
    ).stdout.decode()
    assert out.strip() == "[]"


def test_an_unknown_learner_is_named() -> None:
    with pytest.raises(TrainingError, match="'forest'"):
        learner("forest")
