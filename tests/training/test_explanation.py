"""The explanation of a model: stability over refits, dependence, interactions, segments and examples."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from configs.errors import TrainingError
from configs.use_case import UseCase
from features.vector import Feature
from training.encoding import Encoder
from training.evidence.calibration import Platt
from training.evidence.tested import Tested
from training.explanation.dependence import cell_share, coarse, dependence, interactions, unexplained
from training.explanation.evidence import explanation_evidence
from training.explanation.examples import examples
from training.explanation.figures import explanation_figures
from training.explanation.refits import bootstrap_rows, refit_stability
from training.explanation.segments import segments
from training.explanation.summary import Summary, summarize
from training.model import Model

LABELS = ("car", "home", "other")
Game = Callable[[np.ndarray], np.ndarray]


class Additive:
    """A fitted learner by formula: contributions [n, f] given by `game`, and the base -2."""

    def __init__(self, game: Game) -> None:
        self._game = game

    def margin(self, X: np.ndarray) -> np.ndarray:
        return self.contributions(X).sum(axis=1)

    def contributions(self, X: np.ndarray) -> np.ndarray:
        return np.column_stack([self._game(X), np.full(len(X), -2.0)])

    def dump(self) -> bytes:
        return b""


def model_of(game: Game, *, names: tuple[str, ...] = ("amount", "income", "purpose")) -> Model:
    kinds = ["category" if name == "purpose" else "number" for name in names]
    features = tuple(Feature(name, kind, "request", "") for name, kind in zip(names, kinds, strict=True))  # type: ignore[arg-type]
    return Model("scorecard", Encoder(features, {"purpose": LABELS}), (Additive(game),), Platt())


def values(n: int = 2000, *, seed: int = 1) -> np.ndarray:
    generator = np.random.default_rng(seed)
    X = np.column_stack([generator.normal(size=(n, 2)), generator.integers(0, 3, n)])
    X[::10, 1] = np.nan
    return X


def plain(X: np.ndarray) -> np.ndarray:
    return np.column_stack([np.sin(X[:, 0]), -np.nan_to_num(X[:, 1], nan=0.5), 0.3 * (X[:, 2] == 1)])


def crossed(X: np.ndarray) -> np.ndarray:
    found = plain(X)
    found[:, 0] = X[:, 0] * np.where(X[:, 2] == 1, 1.0, -0.2)
    return found


def test_drawn_rows_are_whole_blocks_and_as_many_blocks_as_there_are() -> None:
    blocks = np.repeat(np.arange(50), 4)
    rows = bootstrap_rows(blocks, seed=3)
    drawn, counts = np.unique(rows, return_counts=True)
    assert len(rows) == 200
    assert np.array_equal(np.sort(rows), rows)
    for block in range(50):
        assert len(set(counts[blocks[drawn] == block])) <= 1 and np.sum(blocks[drawn] == block) in {0, 4}
    assert not np.array_equal(rows, bootstrap_rows(blocks, seed=4))


def test_refits_that_are_the_same_model_agree_wholly() -> None:
    model = model_of(plain)
    found = refit_stability(summarize(model, values(), seed=1), [model, model])
    assert (found["refits"], found["pairs"]) == (2, 3)
    assert found["rank_correlation"] == pytest.approx(1)
    assert found["kendall"] == pytest.approx(1)
    assert found["top_overlap"] == 1
    assert all(
        one["refit_sd"] == pytest.approx(0) and one["rank_best"] == one["rank_worst"] for one in found["importance"]
    )


def test_correlations_are_scipys_and_overlap_counts_the_ten_first() -> None:
    generator = np.random.default_rng(2)
    sizes = generator.random((2, 15))
    names = tuple(f"f{index}" for index in range(15))
    first, second = (model_of(lambda X, own=own: np.tile(own, (len(X), 1)), names=names) for own in sizes)
    X = np.zeros((30, 15))
    found = refit_stability(summarize(first, X, seed=1), [second])
    assert found["rank_correlation"] == pytest.approx(spearmanr(*sizes).statistic)
    assert found["kendall"] == pytest.approx(kendalltau(*sizes).statistic)
    leading = [set(np.argsort(-own)[:10].tolist()) for own in sizes]
    assert found["top_overlap"] == pytest.approx(len(leading[0] & leading[1]) / 10)
    assert [one["rank"] for one in found["importance"]] == list(range(1, 16))
    assert sum(one["share"] for one in found["importance"]) == pytest.approx(1)


def test_importance_that_is_constant_or_never_refitted_has_no_correlation() -> None:
    names = ("a", "b")
    flat = model_of(lambda X: np.ones((len(X), 2)), names=names)
    assert refit_stability(summarize(flat, np.zeros((20, 2)), seed=1), [flat])["rank_correlation"] is None
    assert refit_stability(summarize(flat, np.zeros((20, 2)), seed=1), [])["rank_correlation"] is None


def test_a_single_feature_keeps_its_rank() -> None:
    model = model_of(lambda X: X, names=("only",))
    found = refit_stability(summarize(model, np.arange(20.0)[:, None], seed=1), [model])
    assert (found["rank_correlation"], found["top_overlap"], found["top"]) == (1.0, 1.0, 1)


def test_a_refit_with_other_features_is_refused() -> None:
    with pytest.raises(TrainingError, match="a refit with 1 features"):
        refit_stability(summarize(model_of(plain), values(), seed=1), [model_of(lambda X: X[:, :1], names=("amount",))])


def test_dependence_gives_the_mean_contribution_in_every_bin() -> None:
    model = model_of(plain)
    summary = summarize(model, values(), seed=1)
    found = {one["feature"]: one for one in dependence(summary, model.vocabularies)}
    purpose = found["purpose"]["bins"]
    assert [one["label"] for one in purpose] == list(LABELS)
    assert [one["mean"] for one in purpose] == pytest.approx([0, 0.3, 0])
    income = found["income"]["bins"]
    assert income[-1]["label"] == "missing" and income[-1]["mean"] == pytest.approx(-0.5)
    assert sum(one["rows"] for one in income) == len(summary.values)
    means = [one["mean"] for one in income[:-1]]
    assert means == sorted(means, reverse=True)


def test_without_interactions_nothing_is_left_at_equal_values() -> None:
    model = model_of(plain)
    found = interactions(summarize(model, values(), seed=1), model.vocabularies)
    assert all(one["unexplained"] < 0.01 and one["partners"] == [] for one in found)


def test_an_interaction_is_measured_and_its_partner_named_first() -> None:
    model, X = model_of(crossed), values(1500)
    summary = summarize(model, X, seed=1)
    (amount,) = [one for one in interactions(summary, model.vocabularies) if one["feature"] == "amount"]
    home = X[:, 2] == 1
    factor = np.where(home, 1.0, -0.2)
    expected = np.mean(X[:, 0] ** 2) * factor.var() / (X[:, 0] * factor).var()
    assert amount["unexplained"] == pytest.approx(expected, abs=0.08)
    assert [one["feature"] for one in amount["partners"]][:1] == ["purpose"]
    assert amount["partners"][0]["share"] > 0.6


def test_a_contribution_that_never_varies_has_no_share() -> None:
    assert unexplained(np.arange(10.0), np.ones(10)) is None


def test_noise_tells_no_partner_anything() -> None:
    generator = np.random.default_rng(5)
    shares = [cell_share(generator.normal(size=500), *generator.integers(0, 5, (2, 500))) for _ in range(50)]
    assert np.mean(shares) < 0.02


def test_a_category_with_many_labels_is_cut_into_its_frequent_ones_and_the_rest() -> None:
    codes = np.repeat(np.arange(30.0), np.arange(30, 0, -1))
    assert len(np.unique(coarse(codes, category=True))) == 8


@pytest.fixture
def tested(credit: UseCase) -> Tested:
    X = values(1200)
    frame = pd.DataFrame(
        {"amount": np.exp(X[:, 0]), "income": X[:, 1], "purpose": np.array(LABELS)[X[:, 2].astype(int)]}
    )
    model = model_of(plain)
    p = model.probability(model.encode(frame))
    y = (np.random.default_rng(8).random(len(p)) < p).astype(float)
    return Tested(credit, pd.DataFrame({"label": y}), frame, y, p, np.arange(len(y)), (slice(None),), 7)


def test_segments_are_request_categories_and_quarters_of_the_amount(tested: Tested) -> None:
    model = model_of(plain)
    summary = summarize(model, model.encode(tested.features), seed=1)
    found = {one["by"]: one["segments"] for one in segments(summary, model, tested)}
    assert list(found) == ["amount", "purpose"]
    assert len(found["amount"]) == 4
    assert [one["segment"] for one in found["purpose"]] == list(LABELS)
    home = tested.features["purpose"].to_numpy() == "home"
    one = found["purpose"][1]
    assert (one["rows"], one["positives"]) == (home.sum(), tested.y[home].sum())
    assert one["predicted"] == pytest.approx(tested.probability[home].mean())
    assert one["importance"][0]["feature"] == "income"


def test_a_segment_with_few_sampled_rows_has_no_importance(tested: Tested) -> None:
    model = model_of(plain)
    summary = summarize(model, model.encode(tested.features.iloc[:60]), seed=1)
    assert all(part["importance"] is None for one in segments(summary, model, tested) for part in one["segments"])


def test_examples_sum_to_their_scores_and_give_bins_instead_of_values() -> None:
    model = model_of(plain)
    summary = summarize(model, values(), seed=1)
    found = examples(summary, model, withheld=["income"])
    assert [one["name"] for one in found] == ["low", "median", "high"]
    for one in found:
        total = one["base"] + sum(each["contribution"] for each in one["contributions"]) + one["rest"]
        assert total == pytest.approx(one["margin"])
        told = {each["feature"]: each["value"] for each in one["contributions"]}
        assert told["income"] == "withheld"
        assert told["purpose"] in LABELS
        assert any(word in told["amount"] for word in ("to", "below", "from"))
    assert found[0]["probability"] < found[1]["probability"] < found[2]["probability"]


def test_all_of_it_is_plain_json_and_can_be_drawn(tested: Tested) -> None:
    model = model_of(crossed)
    summary = summarize(model, model.encode(tested.features), seed=1)
    seeds: list[int] = []

    def refit(seed: int) -> Model:
        seeds.append(seed)
        return model

    found = explanation_evidence(summary, model, tested, refit=refit)
    json.dumps(found, allow_nan=False)
    assert len(set(seeds)) == 3 == found["refits"]["refits"]
    assert list(found) == ["rows", "base", "importance", "refits", "dependence", "interactions", "segments", "examples"]
    for image in explanation_figures(found, title="t").values():
        assert image.startswith(b"\x89PNG")


def test_a_summary_draws_rows_by_its_seed() -> None:
    model, X = model_of(plain), values(4000)
    first, again, other = (summarize(model, X, seed=seed) for seed in (1, 1, 2))
    assert len(first.values) == 1500
    assert np.array_equal(first.values, again.values, equal_nan=True)
    assert not np.array_equal(first.values, other.values, equal_nan=True)
    assert isinstance(first, Summary) and next(iter(first.importance)) == "income"
