"""The search over learners and parameters: what is tried, pruned and chosen."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from configs.errors import TrainingError
from configs.use_case import Training
from training.evidence.metrics import auc, average_precision
from training.folds import Fold
from training.learners.binned import prepare
from training.learners.choice import learner
from training.learners.protocol import MAX_LEAVES, Column, Sample
from training.search.bench import Bench, Grown, Wanted, shrunk, smoothed, trees_for
from training.search.rows import objective, scored, share_of, thinned
from training.search.schedule import next_learner, promoted, ready, rungs, turns, unbroken, within
from training.search.search import search
from training.search.second import kept_counts, proxy_strength, selection_ratio
from training.search.task import Task
from training.search.trials import Search, Trial, choose, pareto_front


def data(n: int = 900) -> tuple[np.ndarray, np.ndarray, tuple[Column, ...], list[Fold]]:
    generator = np.random.default_rng(2)
    X = generator.normal(size=(n, 4))
    y = (X[:, 0] - X[:, 1] + generator.normal(size=n) > 1).astype(float)
    rows, third = np.arange(n), n // 3
    folds = [Fold(rows[:third], rows[third : 2 * third]), Fold(rows[: 2 * third], rows[2 * third :])]
    return X, y, tuple(Column(f"x{i}") for i in range(4)), folds


def run(trials: int, seconds: float = 600, threads: int = 2, n: int = 900, **extra: object) -> Search:
    training = Training.model_validate({"trials": trials, "seed": 5} | extra)
    return search(*data(n), training, seconds=seconds, threads=threads)


def without_times(found: Search) -> list[dict[str, object]]:
    return [{name: value for name, value in each.as_json().items() if name != "seconds"} for each in found.trials]


def ranked(number: int, score: float, **extra: object) -> Trial:
    return trial(number, float("nan"), rungs=(score,), **extra)


def trial(number: int, value: float, **extra: object) -> Trial:
    state = "complete" if not math.isnan(value) else "pruned"
    given = {"learner": "lightgbm", "params": {}, "scores": () if math.isnan(value) else (value,), "rungs": (value,)}
    return Trial(**{"number": number, "state": state, "seconds": 1.0} | given | extra)  # type: ignore[arg-type]


# What is tried


def test_every_learner_is_tried_with_its_default_first() -> None:
    found = run(3)
    assert [each.learner for each in found.trials] == ["lightgbm", "xgboost", "scorecard"]
    for each in found.trials:
        default = learner(each.learner).default
        assert all(each.params[name] == default[name] for name in learner(each.learner).space)
    assert set(found.best_by_learner) == {"lightgbm", "xgboost", "scorecard"}


def test_the_same_seed_finds_the_same_on_any_number_of_threads() -> None:
    two = run(9, n=9000, learners=["lightgbm", "xgboost"])
    one = run(9, n=9000, learners=["lightgbm", "xgboost"], threads=1)
    assert without_times(two) == without_times(one)
    assert any(each.state == "pruned" for each in two.trials)


def test_seeds_draw_other_trials() -> None:
    first, other = (run(4, learners=["lightgbm"], seed=seed).trials[3].params for seed in (1, 2))
    assert first != other


def test_warm_parameters_come_first_moved_into_the_space() -> None:
    champion = {"trees": 700, "learning_rate": 0.01, "num_leaves": 90, "lambda_l2": 3.0, "gone": 1.0}
    training = Training(trials=3, seed=5, learners=("lightgbm",))
    found = search(*data(), training, seconds=600, warm=[("lightgbm", champion), ("scorecard", {"l2": 1.0})])
    params = found.trials[0].params
    assert (params["num_leaves"], params["lambda_l2"]) == (31, 3.0) and "gone" not in params
    assert found.trials[1].params["num_leaves"] == learner("lightgbm").default["num_leaves"]


def test_within_fills_what_the_older_model_had_not() -> None:
    kind = learner("lightgbm")
    assert within({}, kind.space, kind.default) == {name: kind.default[name] for name in kind.space}


def test_the_number_of_trees_is_found_and_kept_with_the_parameters() -> None:
    found = run(2, learners=["lightgbm"], n=3000)
    assert "trees" not in learner("lightgbm").space
    assert 0 < found.best.params["trees"] <= 400
    assert learner("lightgbm").leaves(found.best.params) <= MAX_LEAVES


def test_only_the_best_on_a_share_of_the_rows_are_fitted_on_all() -> None:
    found = run(9, learners=["lightgbm", "xgboost"], n=9000)
    assert found.reached[0] == 9 and all(len(each.rungs) == 2 for each in found.complete)
    pruned = [each for each in found.trials if each.state == "pruned"]
    assert pruned and all((each.scores, len(each.rungs)) == ((), 1) and math.isnan(each.value) for each in pruned)
    assert {each.number for each in found.complete} == set(promoted(found.trials))


def test_a_fit_on_more_rows_gets_more_trees() -> None:
    assert trees_for(4000, 1000, 100) == 200
    assert trees_for(500, 1000, 100) == 100, "never fewer than the folds had"
    X, y, columns, folds = data(3000)
    bench = Bench(X, y, columns, tuple(folds), Training(learners=("lightgbm",)))
    grown = bench.grow("lightgbm", learner("lightgbm").default, 0)
    found = bench.run(Wanted(0, "lightgbm", learner("lightgbm").default), 0)
    assert grown is not None and found is not None
    rarer = [y[fold.train].sum() for fold in folds]
    assert found.params["trees"] == round(grown.trees * math.sqrt(y.sum() / np.mean(rarer)))


def test_a_budget_that_is_too_small_still_finishes_one_trial() -> None:
    found = run(8, seconds=0)
    assert [each.state for each in found.trials] == ["complete"] and found.best.number == 0
    assert found.notes == ("the time was up after 1 of 8 trials",)


def test_a_search_that_ran_out_of_time_is_repeated_by_its_number_of_trials() -> None:
    whole = run(6, learners=["lightgbm"])
    part = search(*data(), Training(trials=6, seed=5, learners=("lightgbm",)), seconds=600, most=(4, 4))
    assert without_times(part) == without_times(whole)[:4] and part.reached == (4, 4)


def test_a_search_that_ran_out_of_time_on_all_rows_is_repeated_too() -> None:
    training = Training(trials=7, seed=5, learners=("lightgbm",))
    whole, part = (search(*data(9000), training, seconds=600, threads=2, most=most) for most in (None, (7, 2)))
    best = sorted(whole.trials, key=lambda each: -each.rungs[0])[:2]
    assert [each.number for each in part.complete] == sorted(each.number for each in best)
    assert {each.number: each.scores for each in best} == {each.number: each.scores for each in part.complete}


@pytest.mark.parametrize("name", ["auc", "average_precision"])
def test_the_objective_decides_what_trials_are_scored_by(name: str) -> None:
    found = run(1, objective=name, learners=["lightgbm"])
    assert found.objective == name and 0.3 < found.best.value < 1


def test_one_class_in_a_fold_is_an_error() -> None:
    X, y, columns, folds = data()
    y[folds[1].valid] = 0
    with pytest.raises(TrainingError, match="0 positive and 300 negative validation rows in tuning fold 2"):
        search(X, y, columns, folds, Training(), seconds=1)
    with pytest.raises(TrainingError, match="no tuning fold"):
        search(X, y, columns, [], Training(), seconds=1)


def test_weights_reach_the_learners() -> None:
    X, y, columns, folds = data()
    training = Training(trials=1, learners=("lightgbm",))
    weight = np.where(X[:, 0] > 0, 5.0, 0.1)
    plain, weighed = (search(X, y, columns, folds, training, seconds=600, weight=each) for each in (None, weight))
    assert plain.best.scores != weighed.best.scores


def test_balanced_classes_are_searched_as_they_will_be_fitted() -> None:
    plain, balanced = (run(1, learners=["lightgbm"], imbalance=each) for each in ("none", "weighted"))
    assert plain.best.scores != balanced.best.scores


def test_what_is_noted_has_the_best_so_far_and_how_many_were_pruned() -> None:
    class Ticker:
        steps, notes = 0.0, list[str]()

        def advance(self, steps: float = 1) -> None:
            self.steps += steps

        def note(self, text: str) -> None:
            self.notes.append(text)

    ticker, training = Ticker(), Training(trials=2, seed=5, learners=("lightgbm",))
    found = search(*data(), training, seconds=600, ticker=ticker)  # type: ignore[arg-type]
    best = max(each.value for each in found.trials)
    assert ticker.notes[-1] == f"trial 2/2, best auc {best:.4f} (lightgbm), 0 pruned" and ticker.steps == 2


# Whose turn it is, and who goes on


def test_the_leader_gets_the_second_half() -> None:
    training = Training(trials=10, learners=("lightgbm", "xgboost"))
    best = {"lightgbm": 0.7, "xgboost": 0.8}
    assert next_learner(["lightgbm", "xgboost"], best, training) == "lightgbm"
    assert next_learner(["lightgbm", "xgboost"] * 3, best, training) == "xgboost"


def test_a_scorecard_alone_gets_every_trial() -> None:
    training = Training(trials=10, learners=("scorecard",))
    assert next_learner(["scorecard"] * 5, {"scorecard": 0.7}, training) == "scorecard"


def test_turns_know_nothing_of_trials_within_the_window() -> None:
    training = Training(trials=6, learners=("lightgbm", "xgboost"))
    told = {0: trial(0, 0.7), 1: trial(1, 0.8, learner="xgboost"), 2: trial(2, 0.9)}
    assert turns(4, told, training, window=3)[-1] == "xgboost"  # trial 2 is unknown to trial 4
    assert turns(5, told, training, window=3)[-1] == "lightgbm"


def test_a_trial_may_start_when_those_it_must_know_of_are_finished() -> None:
    done = {0: trial(0, 0.7), 2: trial(2, 0.7)}
    assert ready(done, total=9, window=3) == [1, 3]
    assert ready({}, total=2, window=3) == [0, 1]
    assert [each.number for each in unbroken(done, range(9))] == [0]
    assert [each.number for each in unbroken(done, [2, 0, 1])] == [2, 0]


@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_the_ready_trials_are_those_that_a_check_of_each_allows(window: int) -> None:
    for finished in itertools.product([False, True], repeat=6):
        done = {place: trial(place, 0.7) for place, state in enumerate(finished) if state}
        allowed = [n for n in range(6) if n not in done and all(place in done for place in range(n - window + 1))]
        assert ready(done, total=6, window=window) == allowed


def test_the_best_eighth_goes_on_and_the_best_of_each_learner() -> None:
    trials = [ranked(number, 0.7 + number / 1000) for number in range(24)]
    trials += [ranked(24, 0.6, learner="scorecard"), ranked(25, 0.5, learner="scorecard")]
    assert promoted(trials) == [23, 22, 21, 20, 24]
    assert promoted(trials[:5]) == [4, 3, 2]


def test_with_a_second_objective_trials_go_on_front_by_front() -> None:
    points = [(0.80, 9.0), (0.79, 9.0), (0.78, 3.0), (0.70, 1.0), (0.60, 9.0)]
    trials = [ranked(number, score, second=second) for number, (score, second) in enumerate(points)]
    assert promoted(trials, "features") == [0, 2, 3]
    assert promoted(trials) == [0, 1, 2]


def test_against_features_the_best_of_each_number_of_them_goes_on() -> None:
    trials = [ranked(number, 0.8 - number / 100, second=second) for number, second in enumerate([5.0, 3, 1, 9, 9, 7])]
    assert promoted(trials, "features") == [0, 1, 2, 3, 5]


def test_rungs_that_rank_by_chance_are_skipped() -> None:
    assert rungs(80_000, 9000, rare=False) == (1 / 8, 1)
    assert rungs(10_000, 1500, rare=False) == (1 / 3, 1)
    assert rungs(900, 90, rare=False) == (1,)
    assert rungs(80_000, 400, rare=True) == (1 / 8, 1)


def test_a_share_of_the_rows_gets_that_share_of_the_penalties() -> None:
    params = {"min_data_in_leaf": 100, "lambda_l2": 8.0, "cat_smooth": 4.0, "num_leaves": 9, "bagging_fraction": 0.8}
    expected = {"min_data_in_leaf": 25, "lambda_l2": 2.0, "cat_smooth": 1.0, "num_leaves": 9, "bagging_fraction": 0.8}
    assert shrunk("lightgbm", params, 0.25) == expected
    assert shrunk("lightgbm", params, 1.0) == params


def test_a_peak_between_two_valleys_is_smoothed() -> None:
    looks = [Grown((score,), trees, ()) for score, trees in ((0.6, 5), (0.9, 10), (0.6, 15))]
    assert smoothed(looks).value == pytest.approx(0.7) and smoothed(looks).trees == 10


# Rows


def test_thinning_keeps_every_positive_and_is_repeatable() -> None:
    y = (np.arange(10_000) % 50 == 0).astype(float)
    rows = thinned(y, np.arange(10_000), most=1000, seed=1)
    assert len(rows) == 1000 and y[rows].sum() == 200
    assert np.array_equal(rows, thinned(y, np.arange(10_000), most=1000, seed=1))


@pytest.mark.parametrize(("every", "positives"), [(50, 200), (5, 250)])
def test_a_share_of_the_rows_keeps_rare_positives_and_else_their_rate(every: int, positives: int) -> None:
    y = (np.arange(10_000) % every == 0).astype(float)
    rows = share_of(y, np.arange(10_000), 1 / 8, seed=1)
    assert len(rows) == 1250 and y[rows].sum() == positives
    assert np.array_equal(share_of(y, np.arange(10_000), 1.0, seed=1), np.arange(10_000))


def test_precision_on_thinned_rows_is_that_of_all_rows() -> None:
    generator = np.random.default_rng(1)
    y = (generator.random(300) < 0.2).astype(float)
    score = np.round(generator.random(300) + y / 2, 2)
    repeated = np.repeat(np.arange(300), np.where(y == 1, 1, 7))
    found = objective("average_precision", y, score, stands_for=7)
    assert found == pytest.approx(average_precision(y[repeated], score[repeated]), abs=1e-12)


def test_scored_rows_say_what_their_negatives_stand_for() -> None:
    y = (np.arange(37_000) < 1000).astype(float)
    rows, stands_for = scored(y, np.arange(37_000), 1.0, seed=1)
    assert (len(rows), y[rows].sum(), stands_for) == (7000, 1000, 6.0)
    rows, stands_for = scored(y, np.arange(37_000), 1 / 8, seed=1)
    assert (len(rows), y[rows].sum(), stands_for) == (3000, 1000, 18.0)


def test_the_quick_auc_is_the_auc() -> None:
    generator = np.random.default_rng(1)
    y = (generator.random(500) < 0.2).astype(float)
    score = np.round(generator.random(500) + y / 3, 2)
    assert objective("auc", y, score, stands_for=3) == pytest.approx(auc(y, score), abs=1e-12)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_a_booster_grown_step_by_step_is_the_one_that_is_fitted(name: str) -> None:
    X, y, columns, folds = data()
    rows, valid = folds[1].train, folds[1].valid
    sample, params = Sample(X[rows], y[rows], columns), dict(learner(name).default) | {"trees": 20}
    growing = prepare(name, sample, X[valid]).start(params, seed=3)
    for _ in range(4):
        growing.grow(5)
    margin = learner(name).fit(sample, params, seed=3, threads=1).margin(X[valid])
    expected = 1 / (1 + np.exp(-margin)) if name == "lightgbm" else margin
    assert np.abs(growing.score() - expected).max() < 1e-12


def test_boosters_stop_where_the_objective_has_stopped_to_rise() -> None:
    X, y, columns, folds = data()
    bench = Bench(X, y, columns, tuple(folds), Training(learners=("lightgbm",)))
    params = {**learner("lightgbm").default, "num_leaves": 31, "min_data_in_leaf": 5, "lambda_l2": 0.5}
    grown = bench.grow("lightgbm", params, 0)
    assert grown is not None and grown.trees < 200
    assert bench.grow("lightgbm", params, 0, end=0.0) is None, "the time is up"


# Categories with many labels


def zipped(n: int = 3000) -> tuple[np.ndarray, np.ndarray, tuple[Column, ...], list[Fold]]:
    """A signal, and a category of 60 labels that tells past rows apart and says nothing of later ones."""
    generator = np.random.default_rng(4)
    signal, code = generator.normal(size=n), generator.integers(0, 60, n)
    era = np.arange(n) * 3 // n
    effect = generator.normal(size=(3, 60))[era, code]
    y = (signal + 1.5 * effect + generator.normal(size=n) > 1).astype(float)
    columns = (Column("signal"), Column("zip_code", tuple(f"z{place}" for place in range(60))))
    third, rows = n // 3, np.arange(n)
    folds = [Fold(rows[:third], rows[third : 2 * third]), Fold(rows[: 2 * third], rows[2 * third :])]
    return np.column_stack([signal, code]), y, columns, folds


def test_a_category_that_lowers_the_objective_later_is_left_out() -> None:
    found = search(*zipped(), Training(trials=2, learners=("xgboost",)), seconds=600)
    (tested,) = found.ablation
    assert (tested.column, tested.labels, tested.left_out) == ("zip_code", 60, True)
    assert tested.without_it > tested.with_it
    assert found.best.left_out == ("zip_code",)
    assert found.as_json()["ablation"][0]["left_out"] is True


def test_a_category_that_helps_stays() -> None:
    X, _, columns, folds = zipped()
    generator = np.random.default_rng(4)
    effect = 2 * generator.normal(size=60)[X[:, 1].astype(int)]
    y = (X[:, 0] + effect + generator.normal(size=len(X)) > 1).astype(float)
    found = search(X, y, columns, folds, Training(trials=1, learners=("xgboost",)), seconds=600)
    assert not found.ablation[0].left_out and found.best.left_out == ()


# A second objective


def test_the_front_holds_what_no_other_point_dominates() -> None:
    generator = np.random.default_rng(3)
    points = [tuple(point) for point in np.round(generator.random((60, 2)), 1).tolist()]
    front = pareto_front(points)
    for place, (x, y) in enumerate(points):
        dominated = any(a >= x and b >= y and (a > x or b > y) for a, b in points)
        first = points.index((x, y)) == place
        assert (place in front) == (first and not dominated)


def test_the_choice_is_the_best_second_objective_within_the_tolerance() -> None:
    trials = [trial(0, 0.80, second=10.0), trial(1, 0.797, second=4.0), trial(2, 0.79, second=1.0)]
    assert choose(trials, against="features", tolerance=0.005).number == 1
    assert choose(trials, against="fairness", tolerance=0.005).number == 0
    assert choose(trials, against=None).number == 0


def test_the_best_is_the_greatest_complete_mean() -> None:
    trials = (
        trial(0, 0.75),
        trial(1, float("nan"), rungs=(0.99,)),
        trial(2, 0.775, learner="xgboost", scores=(0.75, 0.8)),
    )
    assert Search(trials).best.number == 2


def test_a_search_against_features_finds_models_with_fewer() -> None:
    generator = np.random.default_rng(5)
    X, y, _, folds = data(3000)
    X = np.column_stack([X, generator.normal(size=(3000, 8))])
    columns = tuple(Column(f"x{place}") for place in range(12))
    training = Training(trials=10, seed=5, learners=("lightgbm",), against="features")
    found = search(X, y, columns, folds, training, seconds=600, threads=2, tolerance=0.01)
    assert found.best.second is not None and found.best.second < 12
    assert found.best.second == 12 - len(found.best.left_out)
    assert not {"x0", "x1"} & set(found.best.left_out), "the signal stays"
    assert found.best.value >= max(each.value for each in found.complete) - 0.02
    assert {each.number for each in found.front} <= {each.number for each in found.complete} and found.front


def test_a_search_against_unfairness_leaves_out_the_proxy() -> None:
    generator = np.random.default_rng(6)
    X, _, _, folds = data(3000)
    group = generator.random(3000) < 0.5
    X = np.column_stack([X, generator.normal(size=(3000, 4))])
    X[:, 2] = generator.normal(size=3000) + 3 * group
    y = (X[:, 0] - X[:, 1] + 0.15 * X[:, 2] + generator.normal(size=3000) > 1).astype(float)
    columns = tuple(Column(f"x{place}") for place in range(8))
    training = Training(trials=8, seed=5, learners=("lightgbm",), against="fairness")
    groups = {"sex": {"a": group, "b": ~group}}
    found = search(X, y, columns, folds, training, seconds=600, threads=2, protected=groups, tolerance=0.05)
    plain = found.trials[0]
    assert plain.second is not None and found.best.second is not None
    assert found.best.second > plain.second + 0.02 and "x2" in found.best.left_out


def test_fairness_needs_two_groups_to_compare() -> None:
    training = Training(trials=1, against="fairness")
    rows = np.arange(900) < 10
    with pytest.raises(TrainingError, match="without two groups"):
        search(*data(), training, seconds=1, protected={"sex": {"few": rows, "many": ~rows}})


def test_the_ratio_of_selection_rates_has_its_known_value() -> None:
    score, y = np.arange(10.0), np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 0.0])  # four are refused: scores 6 to 9
    first = np.array([True, True, True, False, False, False, False, True, False, True])
    groups = {"sex": {"a": first, "b": ~first}, "none": {"all": np.ones(10, dtype=bool)}}
    assert selection_ratio([score], [y], [np.arange(10)], groups, least=2) == pytest.approx((3 / 5) / (3 / 5))
    groups["sex"] = {"a": score < 5, "b": score >= 5}
    assert selection_ratio([score], [y], [np.arange(10)], groups, least=2) == pytest.approx((1 / 5) / (5 / 5))
    assert selection_ratio([score], [y], [np.arange(10)], groups, least=6) == 1.0


def test_a_proxy_is_as_strong_as_it_tells_groups_apart() -> None:
    member = np.arange(100) < 50
    X = np.column_stack([np.arange(100.0), np.tile([0.0, 1.0], 50), np.where(member, 2.0, np.nan)])
    columns = (Column("perfect"), Column("none", ("a", "b")), Column("missing", ("a", "b", "c")))
    found = proxy_strength(X, columns, {"sex": {"one": member, "two": ~member}})
    assert found == {"perfect": 0.5, "none": 0.0, "missing": 0.5}


def test_counts_of_columns_are_few_and_fall() -> None:
    assert kept_counts(20, "features") == (20, 15, 10, 7, 5, 3)
    assert kept_counts(20, "fairness") == (20, 19, 18, 16, 12)
    assert kept_counts(1, "features") == kept_counts(1, "fairness") == (1,)


# The task


def task(**extra: object) -> Task:
    X, y, columns, folds = data()
    weight = np.linspace(0.5, 1.5, len(y))
    groups = {"sex": {"a": y == 1, "b": y == 0}}
    given = {"weight": weight, "protected": groups, "warm": (("lightgbm", {"num_leaves": 5}),)} | extra
    return Task(X, y, (*columns[:3], Column("x3", ("a", "b"), 0)), tuple(folds), Training(), 3, **given)  # type: ignore[arg-type]


def test_a_task_read_from_files_is_the_same_task(tmp_path: Path) -> None:
    task().save(tmp_path)
    loaded = Task.load(tmp_path)
    assert loaded.name == task().name and isinstance(loaded.X, np.memmap)
    assert np.array_equal(loaded.weight, task().weight)  # type: ignore[arg-type]


def test_the_name_of_a_task_changes_with_all_that_changes_its_trials() -> None:
    other = task()
    changed = other.X.copy()
    changed[0, 0] += 1
    X, y, columns, folds = data()
    names = {
        other.name,
        task(weight=None).name,
        task(warm=()).name,
        task(least=5).name,
        Task(changed, y, other.columns, tuple(folds), Training(), 3).name,
        Task(X, y, columns, tuple(folds), Training(seed=8), 3).name,
        Task(X, y, columns, tuple(folds[:1]), Training(seed=8), 3).name,
    }
    assert len(names) == 7
    assert (
        Task(X, y, columns, tuple(folds), Training(seconds=1), 3).name
        == Task(X, y, columns, tuple(folds), Training(seconds=2), 3).name
    )
