"""The search beside a plain one: wall-clock, out-of-time performance and memory, on the same rows and folds.

The peer is what a tutorial shows: Optuna's TPE over a scikit-learn estimator on a data frame, fitted anew for every
trial and fold, with all cores, no pruning and no early stopping; then the best parameters on all training rows. Both
have the same learners, ranges, number of trials and folds, and both are judged by the AUC of the same test rows.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn  # noqa: F401  # before the boosting libraries, which training loads without their scikit-learn wrappers

from benchmarks.bars import Line, line, publish
from configs.loading import load_use_case
from configs.settings import Settings, load_settings
from configs.use_case import UseCase
from features.simulators.world import simulate
from features.store import FeatureStore
from training.evidence.metrics import OBJECTIVES, auc
from training.learners.choice import learner
from training.learners.protocol import Array
from training.search.search import search
from training.splits import Split, split_events
from training.workbench import Workbench

if TYPE_CHECKING:
    import optuna
    import pandas as pd

USE_CASES = ("lending_club", "fraud")
SEEDS = 5
SHARE, SLACK, FRAMES = 0.25, 0.0005, 3.0
"""Bars: of the peer's time, AUC below the peer's, and peak memory in training frames."""
TREES = (80, 400)
"""Trees that the peer looks among; the search finds their number."""
NAMES = {
    "lightgbm": {
        "num_leaves": "num_leaves",
        "min_data_in_leaf": "min_child_samples",
        "feature_fraction": "colsample_bytree",
        "bagging_fraction": "subsample",
        "lambda_l2": "reg_lambda",
    },
    "xgboost": {},
}
"""What the scikit-learn wrappers call the learners' parameters, where they call them otherwise."""


@dataclass(frozen=True)
class Ground:
    """What both searches are given: training rows and folds, and the test they are judged by."""

    use_case: UseCase
    bench: Workbench
    split: Split
    X_test: Array
    y_test: Array


def ground(name: str, settings: Settings) -> tuple[Ground, int]:
    """Frame, split and encoded rows of a use case, and the bytes of the frame."""
    use_case = load_use_case(name, settings)
    training = use_case.training.model_copy(update={"learners": ("lightgbm", "xgboost"), "seconds": 10_000})
    use_case = use_case.model_copy(update={"training": training})
    if use_case.simulator and not (settings.home / "raw" / name).exists():
        simulate(use_case, settings.home / "raw" / name)
    frame = FeatureStore(use_case, settings).training_frame()
    split = split_events(frame.events, use_case.split, maturity=use_case.label.maturity, seed=training.seed)
    bench = Workbench.of(use_case, frame, split, threads=settings.threads)
    X_test = bench.encoder.table(frame.features.iloc[split.test])
    y_test = frame.events["label"].to_numpy(dtype=np.float64)[split.test]
    size = sum(int(table.memory_usage(deep=True).sum()) for table in (frame.events, frame.features))
    return Ground(use_case, bench, split, X_test, y_test), size


def ours(on: Ground, seed: int, *, threads: int) -> float:
    """Search, fit, and the AUC of the test."""
    training = on.use_case.training.model_copy(update={"seed": seed})
    bench = on.bench
    found = search(
        bench.X, bench.y, bench.columns, on.split.tuning, training, seconds=training.seconds, threads=threads
    ).best
    kept = bench.without(found.left_out)
    X = on.X_test[:, [index for index, column in enumerate(bench.columns) if column.name not in found.left_out]]
    model = kept.model(found, kept.sample(kept.everything), bags=1, seed=seed)
    return auc(on.y_test, model.margin(X))


def plain(on: Ground, seed: int, *, threads: int) -> float:
    """The peer: search, fit, and the AUC of the test."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows, labels = data_frame(on, on.bench.X), on.bench.y
    objective = OBJECTIVES[on.use_case.training.objective]

    def tried(trial: optuna.Trial) -> float:
        scores = []
        for fold in on.split.tuning:
            model = suggested(on, trial, seed=seed, threads=threads).fit(rows.iloc[fold.train], labels[fold.train])
            scores.append(objective(labels[fold.valid], model.predict_proba(rows.iloc[fold.valid])[:, 1]))
        return float(np.mean(scores))

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(tried, n_trials=on.use_case.training.trials)
    best = suggested(on, study.best_trial, seed=seed, threads=threads).fit(rows, labels)
    return auc(on.y_test, best.predict_proba(data_frame(on, on.X_test))[:, 1])


def data_frame(on: Ground, X: Array) -> pd.DataFrame:
    """Rows as the wrappers like them: numbers, and categories as pandas has them."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for index, column in enumerate(on.bench.columns):
        codes = np.where(np.isnan(X[:, index]), -1, X[:, index]).astype(np.int64)
        kept = pd.Categorical.from_codes(codes, categories=list(column.labels)) if column.labels else X[:, index]
        columns[column.name] = kept
    return pd.DataFrame(columns)


def suggested(on: Ground, trial: Any, *, seed: int, threads: int) -> Any:
    """An estimator with the parameters that a trial suggests, from the ranges of our learners."""
    import lightgbm
    import xgboost

    name = trial.suggest_categorical("learner", list(on.use_case.training.learners))
    params: dict[str, Any] = {"n_estimators": trial.suggest_int(f"{name}.trees", *TREES)}
    for key, part in learner(name).space.items():
        suggest = trial.suggest_int if part.integer else trial.suggest_float
        low, high = (int(part.low), int(part.high)) if part.integer else (part.low, part.high)
        params[NAMES[name].get(key, key)] = suggest(f"{name}.{key}", low, high, log=part.log)
    directions = [column.direction for column in on.bench.columns]
    shared = {"random_state": seed, "n_jobs": threads, "monotone_constraints": tuple(directions)}
    if name == "lightgbm":
        return lightgbm.LGBMClassifier(**params, **shared, subsample_freq=1, verbose=-1)
    return xgboost.XGBClassifier(**params, **shared, enable_categorical=True, tree_method="hist")


def timed(run: Callable[[], float]) -> tuple[float, float]:
    """Seconds and result."""
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


def memory(name: str, home: Path) -> float:
    """Peak memory of search and fit, in training frames: the frame and everything that grew beyond it."""
    command = [sys.executable, "-m", "benchmarks.training", "--memory", name, str(home)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["frames"])


def print_memory(name: str, home: Path) -> None:
    """In a process of its own: build the frame, warm the libraries up, search, and print the growth."""
    settings = load_settings().model_copy(update={"home": home})
    on, size = ground(name, settings)
    small = on.use_case.training.model_copy(update={"trials": 2})
    rows = np.arange(min(len(on.bench.y), 2000))
    folds = on.split.tuning[:1]
    warm = Ground(
        on.use_case.model_copy(update={"training": small}), on.bench, on.split, on.X_test[:10], on.y_test[:10]
    )
    search(
        warm.bench.X[rows], warm.bench.y[rows], warm.bench.columns, [_within(folds[0], len(rows))], small, seconds=60
    )
    before = _resident()
    _reset_peak()
    ours(on, on.use_case.training.seed, threads=settings.threads)
    print(json.dumps({"frames": 1 + max(_peak() - before, 0) / size, "frame": size}))


def _within(fold: Any, n: int) -> Any:
    from training.folds import Fold

    half = n // 2
    return Fold(np.arange(half), np.arange(half, n)) if fold else fold


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(each.split()[1]) * 1024 for each in lines if each.startswith("VmHWM"))


def lines_of(name: str, settings: Settings, *, seeds: int) -> list[Line]:
    """Time, AUC and memory of one use case against their bars."""
    on, _ = ground(name, settings)
    ours(on, 0, threads=settings.threads)  # imports and compilation are nobody's search
    pairs = []
    for seed in range(1, seeds + 1):
        mine = timed(lambda seed=seed: ours(on, seed, threads=settings.threads))  # type: ignore[misc]
        theirs = timed(lambda seed=seed: plain(on, seed, threads=settings.threads))  # type: ignore[misc]
        print(f"{name}, seed {seed}: {mine[0]:.1f} s, AUC {mine[1]:.4f}; plain {theirs[0]:.1f} s, {theirs[1]:.4f}")
        pairs.append((mine, theirs))
    seconds, peer = (statistics.median(pair[place][0] for pair in pairs) for place in (0, 1))
    found, known = (statistics.median(pair[place][1] for pair in pairs) for place in (0, 1))
    share = seconds / peer
    return [
        line(f"{name} seconds of the plain search", share, unit="share", bar=f"<= {SHARE}", peer=1.0),
        line(f"{name} seconds", seconds, unit="s", peer=peer),
        line(f"{name} out-of-time AUC, median of {seeds}", found, bar=f">= {known - SLACK:.5f}", peer=known),
        line(f"{name} peak memory", memory(name, settings.home), unit="frames", bar=f"<= {FRAMES}"),
    ]


def main() -> None:
    """Measure every use case, or those named as arguments; exit 1 when a bar is missed."""
    if sys.argv[1:2] == ["--memory"]:
        print_memory(sys.argv[2], Path(sys.argv[3]))
        return
    seeds = int(sys.argv[sys.argv.index("--seeds") + 1]) if "--seeds" in sys.argv else SEEDS
    chosen = [name for name in sys.argv[1:] if name in USE_CASES] or list(USE_CASES)
    found: list[Line] = []
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings().model_copy(update={"home": Path(home)})
        for name in chosen:
            found += lines_of(name, settings, seeds=seeds)
    publish("training", found, title="the search beside a plain one")
    if not all(each.met in {True, None} for each in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
