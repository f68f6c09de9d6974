"""The search beside a plain one: time, the AUC of a later period, and memory.

The peer is what a careful notebook does: Optuna over scikit-learn estimators with pandas categories, each trial fitted
on all rows of every fold with all cores, the learning rate and the number of trees among the parameters. Both sides get
the same frame, folds and number of trials, refit their choice on the training period, and are judged on the test.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn.base  # noqa: F401  # before the boosting libraries, which this platform imports without it

from benchmarks.bars import Line, line, publish
from configs.inputs import Column
from configs.loading import load_use_case
from configs.settings import Settings, load_settings
from configs.use_case import Training, UseCase
from features.simulators.world import simulate
from features.store import FeatureStore
from training.evidence.metrics import auc
from training.folds import Fold
from training.learners.choice import learner
from training.learners.protocol import Sample
from training.search.search import search
from training.splits import Split, split_events
from training.workbench import Workbench

if TYPE_CHECKING:
    import pandas as pd

    from features.frame import Frame

TABLES = ("lending_club", "fraud")
SEEDS = 5
SLACK = 0.0005
"""AUC that the search may be below the peer, at the median of the seeds."""
BOOSTERS = ("lightgbm", "xgboost")
TREES, RATES = (80, 400), (0.02, 0.12)
"""Of the peer; the search finds the one and does without the other."""
_NAMES = {  # of the peer's scikit-learn estimators, where they differ from the libraries' own
    "trees": "n_estimators",
    "min_data_in_leaf": "min_child_samples",
    "feature_fraction": "colsample_bytree",
    "bagging_fraction": "subsample",
    "lambda_l2": "reg_lambda",
}


@dataclass(frozen=True)
class Ground:
    """A frame with its split. Folds are positions in the training rows."""

    use_case: UseCase
    frame: Frame
    split: Split
    threads: int

    @classmethod
    def of(cls, use_case: UseCase, settings: Settings) -> Ground:
        """Build the frame, simulated first where there is a simulator."""
        if use_case.simulator:
            simulate(use_case, settings.home / "raw" / use_case.name)
        frame = FeatureStore(use_case, settings).training_frame()
        seed, maturity = use_case.training.seed, use_case.label.maturity
        split = split_events(frame.events, use_case.split, maturity=maturity, seed=seed, entities=())
        return cls(use_case, frame, split, settings.threads)

    def training(self, seed: int) -> Training:
        """Boosting learners only, and AUC as the objective of both sides."""
        wanted = {"seed": seed, "objective": "auc", "learners": BOOSTERS, "trials": self.use_case.training.trials}
        return self.use_case.training.model_copy(update=wanted)

    @property
    def labels(self) -> tuple[Any, Any]:
        """Of the training rows and of the test rows."""
        label = self.frame.events["label"].to_numpy(dtype=np.float64)
        return label[self.split.train], label[self.split.test]


@dataclass(frozen=True)
class Result:
    """Seconds from the frame to the fitted model, and its AUC on the test."""

    seconds: float
    auc: float


def ours(ground: Ground, seed: int) -> Result:
    """This platform's search, and a fit on the training period."""
    start = time.perf_counter()
    bench = Workbench.of(ground.use_case, ground.frame, ground.split, threads=ground.threads)
    training, folds = ground.training(seed), ground.split.tuning
    found = search(bench.X, bench.y, bench.columns, folds, training, seconds=3600, threads=ground.threads)
    fewer = bench.without(found.best.left_out)
    sample, kind = fewer.sample(fewer.everything), learner(found.best.learner)
    model = kind.fit(sample, found.best.params, seed=seed, threads=ground.threads)
    seconds = time.perf_counter() - start
    tested = fewer.encoder.table(ground.frame.features.iloc[ground.split.test])
    return Result(seconds, auc(ground.labels[1], model.margin(tested)))


def plain(ground: Ground, seed: int) -> Result:
    """The peer's search, and a fit on the training period."""
    import optuna

    start = time.perf_counter()
    table, test = _pandas(ground, ground.split.train), _pandas(ground, ground.split.test)
    y = ground.labels[0]

    def objective(trial: optuna.Trial) -> float:
        params = suggested(trial)
        trial.set_user_attr("params", params)
        return float(np.mean([_score(ground, fold, table, y, params, seed) for fold in ground.split.tuning]))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=ground.use_case.training.trials)
    model = estimator(ground, study.best_trial.user_attrs["params"], seed).fit(table, y)
    seconds = time.perf_counter() - start
    return Result(seconds, auc(ground.labels[1], model.predict_proba(test)[:, 1]))


def _score(ground: Ground, fold: Fold, table: pd.DataFrame, y: Any, params: dict[str, Any], seed: int) -> float:
    model = estimator(ground, params, seed).fit(table.iloc[fold.train], y[fold.train])
    return auc(y[fold.valid], model.predict_proba(table.iloc[fold.valid])[:, 1])


def suggested(trial: Any) -> dict[str, Any]:
    """The search's own space, and what it doesn't search."""
    name = trial.suggest_categorical("learner", BOOSTERS)
    params = {
        "learner": name,
        "trees": trial.suggest_int("trees", *TREES),
        "learning_rate": trial.suggest_float("learning_rate", *RATES, log=True),
    }
    for key, part in learner(name).space.items():
        if part.integer:
            params[key] = trial.suggest_int(f"{name}.{key}", int(part.low), int(part.high), log=part.log)
        else:
            params[key] = trial.suggest_float(f"{name}.{key}", part.low, part.high, log=part.log)
    return params


def estimator(ground: Ground, params: dict[str, Any], seed: int) -> Any:
    """A scikit-learn estimator of the peer, with the monotone directions of the use case, on all cores."""
    import lightgbm
    import xgboost

    signs = {"increasing": 1, "decreasing": -1}
    directions = [signs.get(ground.use_case.monotone.get(name, ""), 0) for name in _features(ground)]
    given = {_NAMES.get(name, name): value for name, value in params.items() if name != "learner"}
    given |= {"random_state": seed, "n_jobs": -1}
    if params["learner"] == "lightgbm":
        monotone = {"monotone_constraints": directions} if any(directions) else {}
        return lightgbm.LGBMClassifier(**given, **monotone, subsample_freq=1, verbose=-1)
    return xgboost.XGBClassifier(
        **given, monotone_constraints=tuple(directions), enable_categorical=True, tree_method="hist"
    )


def _features(ground: Ground) -> list[str]:
    return [name for name in ground.frame.features.columns if name not in ground.use_case.training.exclude]


def _pandas(ground: Ground, rows: Any) -> pd.DataFrame:
    """Features of some rows; texts as categories of the training rows."""
    features = ground.frame.features[_features(ground)]
    table = features.iloc[rows].copy()
    for name in table.select_dtypes(exclude="number").columns:
        known = features[name].iloc[ground.split.train].dropna().unique()
        table[name] = table[name].astype(object).astype("category").cat.set_categories(sorted(known))
    return table


def lines(name: str, settings: Settings, *, seeds: Sequence[int], trials: int | None) -> Iterator[Line]:
    """Time, AUC and memory of one use case."""
    ground = Ground.of(_with_trials(load_use_case(name, settings), trials), settings)
    pairs = []
    for seed in seeds:
        pairs.append((ours(ground, seed), plain(ground, seed)))
        print(f"{name}, seed {seed}: {pairs[-1][0]}, peer {pairs[-1][1]}", file=sys.stderr, flush=True)
    own, peer = (median(pair[side].seconds for pair in pairs) for side in (0, 1))
    yield line(f"{name}: search and fit", own, unit="s", peer=peer)
    yield line(f"{name}: share of the peer's time", own / peer, bar="<= 0.25")
    found, other = (median(pair[side].auc for pair in pairs) for side in (0, 1))
    yield line(f"{name}: AUC of the later period", found, peer=other)
    above = median(pair[0].auc - pair[1].auc for pair in pairs)
    yield line(f"{name}: AUC above the peer's, median of {len(pairs)} seeds", above, bar=f">= {-SLACK}")
    yield line(f"{name}: peak memory over the frame's", _memory(name, settings, trials), unit="x", bar="<= 3")


def zip_lines(settings: Settings, *, seeds: Sequence[int], trials: int | None) -> Iterator[Line]:
    """The AUC that a three-digit zip code costs when it is offered, against leaving it out by hand."""
    use_case = _with_trials(load_use_case("lending_club", settings), trials)
    more = {"zip_code": Column(type="category", description="first three digits of the postal code")}
    offered = use_case.model_copy(update={"name": "lending_club_zip", "request": {**use_case.request, **more}})
    with_it, without = (Ground.of(each, settings) for each in (offered, use_case))
    lost = median(ours(without, seed).auc - ours(with_it, seed).auc for seed in seeds)
    yield line("lending_club: AUC that an offered zip code costs", lost, bar="<= 0.002")


def _with_trials(use_case: UseCase, trials: int | None) -> UseCase:
    training = use_case.training.model_copy(update={"trials": trials} if trials else {})
    return use_case.model_copy(update={"training": training})


def _memory(name: str, settings: Settings, trials: int | None) -> float:
    """In a process of its own, where no other measurement has left anything."""
    command = [sys.executable, "-m", "benchmarks.training", "--memory", name, "--home", str(settings.home)]
    command += ["--trials", str(trials)] if trials else []
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.splitlines()[-1]))


def growth(name: str, settings: Settings, trials: int | None) -> float:
    """Peak growth of this process while it searches and fits, over the bytes of the frame's events and features."""
    ground = Ground.of(_with_trials(load_use_case(name, settings), trials), settings)
    size = sum(int(part.memory_usage(deep=True).sum()) for part in (ground.frame.events, ground.frame.features))
    _warm()
    gc.collect()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    ours(ground, 1)
    return (_status("VmHWM") - before) / size


def _warm() -> None:
    """Load the libraries, so that they don't count."""
    generator = np.random.default_rng(1)
    X = generator.normal(size=(400, 2))
    y = (X[:, 0] + generator.normal(size=400) > 0).astype(float)
    from training.learners.protocol import Column as Described

    columns, fold = (Described("a"), Described("b")), Fold(np.arange(200), np.arange(200, 400))
    found = search(X, y, columns, [fold], Training(trials=4, learners=BOOSTERS), seconds=60, threads=2)
    learner(found.best.learner).fit(Sample(X, y, columns), found.best.params, seed=1, threads=1)


def _status(name: str) -> int:
    row = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(name))
    return int(row.split()[1]) * 1024


def main() -> None:
    """Measure; exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=TABLES)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds of which the median is taken")
    parser.add_argument("--trials", type=int, help="trials instead of the use case's")
    parser.add_argument("--memory", help="print the growth of memory for one table")
    parser.add_argument("--home", type=Path, help="home folder of that")
    given = parser.parse_args()
    if given.memory:
        print(json.dumps(growth(given.memory, load_settings().model_copy(update={"home": given.home}), given.trials)))
        return
    found: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="risk-bench-") as home:
        settings, seeds = load_settings().model_copy(update={"home": Path(home)}), range(1, given.seeds + 1)
        for name in given.tables:
            found += lines(name, settings, seeds=seeds, trials=given.trials)
        if "lending_club" in given.tables:
            found += zip_lines(settings, seeds=seeds, trials=given.trials)
    publish("training", found, title="the search beside a plain one")
    if not all(each.met in {True, None} for each in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
