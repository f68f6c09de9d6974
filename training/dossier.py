"""Everything that is found out about a finished model, as plain data and figures: for gates, report and people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.use_case import UseCase
from training.evidence import metrics
from training.evidence.benchmark import benchmark_evidence
from training.evidence.calibration_figures import calibration_evidence
from training.evidence.credit_risk.evidence import credit_risk_evidence, scenarios_of
from training.evidence.credit_risk.severity import fit_severities
from training.evidence.directions import verify_monotone
from training.evidence.fairness import attribute_groups, fairness_evidence
from training.evidence.fairness_plots import fairness_figures
from training.evidence.features import Labelled, feature_profiles
from training.evidence.gap import validation_gap
from training.evidence.latency import scoring_latency
from training.evidence.money.evidence import money_evidence
from training.evidence.money_plots import credit_risk_figures, money_figures
from training.evidence.reliability import reliability
from training.evidence.stability import months_of, stability_evidence
from training.evidence.stability_plots import stability_figures
from training.explanation.beeswarm import beeswarm
from training.explanation.evidence import explanation_evidence
from training.explanation.figures import explanation_figures
from training.explanation.refits import bootstrap_rows
from training.explanation.summary import summarize
from training.fairness.alternatives import less_discriminatory
from training.fairness.ground import Ground
from training.fairness.proxies import proxies
from training.finish import Outcome, blocks_of
from training.folds import Rows, group_codes
from training.learners.protocol import Array
from training.model import Model
from training.search.trials import Search, Trial
from training.splits import Split
from training.workbench import Workbench

if TYPE_CHECKING:
    import pandas as pd

    from configs.console import Ticker
    from features.frame import Frame

Found = tuple[str, Any, Mapping[str, bytes]]
"""Key in the evidence, what stands there (None: not applicable), and figures by name."""

NO_FIGURES: Mapping[str, bytes] = {}


@dataclass(frozen=True)
class Run:
    """A training run after its test was read. `frame` has no test labels; `X` are the encoded reference rows.

    `bench` has the features of the chosen trial only.
    """

    use_case: UseCase
    frame: Frame
    split: Split
    bench: Workbench
    found: Search
    outcome: Outcome
    X: Array

    @property
    def trial(self) -> Trial:
        """The chosen trial."""
        return self.found.best

    @property
    def title(self) -> str:
        """Title of every figure."""
        return self.use_case.title

    @property
    def trained(self) -> pd.DataFrame:
        """Events of the training rows."""
        return self.frame.events.iloc[self.split.train]

    @property
    def blocks(self) -> Rows:
        """What a bootstrap of the training rows draws whole."""
        return blocks_of(self.trained, self.split, self.split.train)


def dossier(run: Run, *, ticker: Ticker | None = None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """All evidence on the finished model by key, and all figures by name.

    Keys: validation_gap, benchmark, calibration {fitted, choice, tested}, reliability, monotone, latency, stability,
    features, explanation, fairness, proxies, alternatives, money, credit_risk; see the modules that make them. What
    does not apply to the use case is None.
    """
    evidence: dict[str, Any] = {}
    images: dict[str, bytes] = {}
    for key, found, drawn in _chapters(run, ticker):
        evidence[key] = found
        images |= drawn
    return evidence, images


def _chapters(run: Run, ticker: Ticker | None) -> Iterator[Found]:
    for chapter in (_validation, _benchmark, _calibration, _working, _stability, _explanation):
        _note(ticker, f"evidence: {chapter.__name__.lstrip('_')}")
        yield from chapter(run)
    _note(ticker, "evidence: fairness")
    yield from _fairness(run, ticker)
    _note(ticker, "evidence: money")
    yield from _money(run)


def _validation(run: Run) -> Iterator[Found]:
    """Validation forward in time beside validation by chance; None where time can't be tested."""
    gap = None
    if run.split.by == "time":
        bench, objective = run.bench, metrics.OBJECTIVES[run.use_case.training.objective]

        def margins(train: Rows, valid: Rows) -> Array:
            return bench.model(run.trial, bench.sample(train), bags=1).margin(bench.X[valid])

        gap = validation_gap(
            bench.y, run.split.tuning, run.outcome.margins, margins=margins, objective=objective, seed=bench.seed
        )
    yield "validation_gap", gap, NO_FIGURES


def _benchmark(run: Run) -> Iterator[Found]:
    """The best scorecard of the search on the same tested rows, where another learner was chosen."""
    card, tested = run.found.best_by_learner.get("scorecard"), run.outcome.tested
    if card is None or run.trial.learner == "scorecard":
        yield "benchmark", [], NO_FIGURES
        return
    bench, split = run.bench, run.split
    if split.by == "time":
        X = bench.encoder.table(tested.features)
        score = bench.model(card, bench.sample(bench.everything), bags=1).margin(X)
    else:
        score = np.concatenate(bench.out_of_fold(card, split.outer, bags=1))
    yield "benchmark", benchmark_evidence(tested, {"scorecard": score}), NO_FIGURES


def _calibration(run: Run) -> Iterator[Found]:
    tested, fitted = run.outcome.tested, run.outcome.model.calibration.as_json()
    found = {"fitted": fitted, "choice": run.outcome.calibrations, "tested": calibration_evidence(tested)}
    yield "calibration", found, NO_FIGURES
    yield "reliability", reliability(tested.y, tested.probability), NO_FIGURES


def _working(run: Run) -> Iterator[Found]:
    """What the model keeps to, and how long it takes."""
    model, seed = run.outcome.model, run.bench.seed
    yield "monotone", verify_monotone(model, run.bench.X, run.use_case.monotone, seed=seed), NO_FIGURES
    yield "latency", scoring_latency(model, run.X, seed=seed), NO_FIGURES


def _stability(run: Run) -> Iterator[Found]:
    outcome, bench = run.outcome, run.bench
    trained = outcome.model.probability(bench.X)
    stable = stability_evidence(outcome.development, outcome.tested, trained=trained)
    yield "stability", stable, stability_figures(stable, title=run.title)
    profiles = feature_profiles(
        bench.encoder,
        Labelled(bench.X, bench.y),
        Labelled(outcome.model.encode(outcome.tested.features), outcome.tested.y),
        monotone=run.use_case.monotone,
        months=months_of(outcome.tested.events),
    )
    yield "features", profiles, NO_FIGURES


def _explanation(run: Run) -> Iterator[Found]:
    model, bench = run.outcome.model, run.bench

    def refit(seed: int) -> Model:
        rows = bootstrap_rows(run.blocks, seed=seed)
        return bench.model(run.trial, bench.sample(rows), bags=1, seed=seed)

    summary = summarize(model, run.X, seed=bench.seed)
    found = explanation_evidence(summary, model, run.outcome.tested, refit=refit)
    images = explanation_figures(found, title=run.title)
    yield "explanation", found, images | {"shap_summary": beeswarm(summary, title=f"{run.title}: SHAP summary")}
    yield "importance", summary.importance, NO_FIGURES
    yield "base", summary.base, NO_FIGURES


def _fairness(run: Run, ticker: Ticker | None) -> Iterator[Found]:
    use_case, bench = run.use_case, run.bench
    if not use_case.protected:
        yield from ((key, None, NO_FIGURES) for key in ("fairness", "proxies", "alternatives"))
        return
    names = [column.name for column in bench.columns]
    found = fairness_evidence(run.outcome.tested)
    told = proxies(
        bench.X, bench.columns, attribute_groups(use_case, run.trained), blocks=_people(run), seed=bench.seed
    )
    ground = Ground.of(use_case, run.trained, bench.y, run.split.tuning, blocks=run.blocks)

    def fit_and_score(columns: Sequence[str], weights: Sequence[Array] | None) -> list[Array]:
        own = bench.without([name for name in names if name not in columns])
        margins = []
        for number, fold in enumerate(run.split.tuning):
            sample = own.sample(fold.train)
            if weights:
                weight = weights[number] if sample.weight is None else weights[number] * sample.weight
                sample = replace(sample, weight=weight)
            margins.append(own.model(run.trial, sample, bags=1).margin(own.X[fold.valid]))
        return margins

    others = less_discriminatory(ground, columns=names, proxies=told, fit_and_score=fit_and_score, ticker=ticker)
    yield "fairness", found, fairness_figures(found, told, others, title=run.title)
    yield "proxies", told, NO_FIGURES
    yield "alternatives", others, NO_FIGURES


def _people(run: Run) -> Rows:
    """Rows that must not tell on each other: those of one key of the first entity, or each alone."""
    if not run.use_case.entities:
        return np.arange(len(run.split.train))
    return group_codes(run.trained[next(iter(run.use_case.entities))])


def _money(run: Run) -> Iterator[Found]:
    use_case, outcome = run.use_case, run.outcome
    development, tested = outcome.development, outcome.tested
    severities = None
    if use_case.credit_risk:
        severities = fit_severities(use_case, run.trained, run.frame.features.iloc[run.split.train], tested)
    money = None
    if use_case.money:
        losses = (severities.loss(development.features), severities.loss(tested.features)) if severities else None
        money = money_evidence(development, tested, losses=losses)
    yield "money", money, money_figures(money, title=run.title) if money else NO_FIGURES
    risk = None
    if severities:

        def rescore(features: pd.DataFrame) -> Array:
            return outcome.model.probability(outcome.model.encode(features))

        risk = credit_risk_evidence(development, tested, severities, rescore=rescore, scenarios=scenarios_of(use_case))
    yield "credit_risk", risk, credit_risk_figures(risk, title=run.title) if risk else NO_FIGURES


def _note(ticker: Ticker | None, text: str) -> None:
    if ticker is not None:
        ticker.note(text)
