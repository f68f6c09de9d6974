"""Models beside published figures and simulated truth. Features are this platform's; nothing is tuned on test rows."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bars import Line, line, publish
from configs.console import progress
from configs.loading import load_use_case
from configs.settings import Settings, load_settings
from configs.use_case import TimeSplit, UseCase
from features.simulators.world import best_auc_between, simulate
from features.sources import table_path
from features.store import FeatureStore
from training.candidate import STEPS, Candidate, build_candidate
from training.evidence.metrics import auc


@dataclass(frozen=True)
class Bar:
    """A metric with its bar, the best published figure on the same split, and whose that is."""

    metric: str
    least: float
    peer: float
    published: str


BARS = {
    "handbook_fraud": (
        Bar("auc", 0.865, 0.871, "logistic regression 0.871, forest 0.867, XGBoost 0.862"),
        Bar("average_precision", 0.69, 0.658, "logistic regression 0.606, forest 0.658, XGBoost 0.639"),
        Bar("card_precision_at_100", 0.296, 0.291, "logistic regression 0.291, forest 0.287, XGBoost 0.273"),
    ),
    "lending_club": (Bar("auc", 0.695, 0.690, "untuned gradient boosting 0.690"),),
    "taiwan_default": (
        Bar("auc", 0.785, 0.785, "untuned LightGBM 0.785"),
        Bar("ks", 0.437, 0.438, "untuned LightGBM 0.438"),
    ),
}
SIMULATED = ("credit", "fraud")
SHORTFALL = 0.01
"""How far below the best achievable AUC a model of simulated events may stay."""


def real_lines(name: str, candidate: Candidate) -> Iterator[Line]:
    """A candidate's figures against their bars, each with its 95 % interval."""
    for each in BARS[name]:
        figure = line(f"{name} {each.metric}", candidate.metrics[each.metric], bar=f">= {each.least}", peer=each.peer)
        yield figure
        yield from _bounds(name, each.metric, candidate)


def simulated_lines(use_case: UseCase, candidate: Candidate, settings: Settings, *, printed: float) -> Iterator[Line]:
    """How much AUC is missing to the best that the simulator prints for the test period, and for the very test rows.

    They differ where cards that are known to be compromised leave the test.
    """
    found, truth = candidate.metrics["auc"], true_auc(use_case, candidate, settings)
    yield line(f"{use_case.name} auc, best of the period", found, bar=f">= {printed - SHORTFALL:.4f}", peer=printed)
    yield line(f"{use_case.name} auc, best of the test rows", found, bar=f">= {truth - SHORTFALL:.4f}", peer=truth)
    yield from _bounds(use_case.name, "auc", candidate)


def true_auc(use_case: UseCase, candidate: Candidate, settings: Settings) -> float:
    """AUC of the simulator's `true_probability` on the tested rows."""
    import pyarrow.parquet as pq

    path, key = table_path(use_case, use_case.event.table, settings), str(use_case.event.id)
    table = pq.read_table(path, columns=[key, "true_probability"]).to_pandas()
    truth = table.set_index(table[key].astype(str))["true_probability"]
    return auc(candidate.tested.y, truth.loc[candidate.tested.events["event_id"]].to_numpy(dtype=np.float64))


def _bounds(name: str, metric: str, candidate: Candidate) -> Iterator[Line]:
    low, high = candidate.intervals[metric]
    yield line(f"{name} {metric}, 95 % from", low)
    yield line(f"{name} {metric}, 95 % to", high)


def train(use_case: UseCase, settings: Settings) -> Candidate:
    """One candidate, as the use case's file says."""
    with progress(use_case.name, total=use_case.training.trials + STEPS) as ticker:
        frame = FeatureStore(use_case, settings).training_frame(ticker=ticker)
        return build_candidate(use_case, frame, settings, ticker=ticker)


def main() -> None:
    """Measure every use case, or those named as arguments; exit 1 when a bar is missed."""
    chosen, found = sys.argv[1:] or [*BARS, *SIMULATED], list[Line]()
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings().model_copy(update={"home": Path(home)})
        for name in chosen:
            use_case = load_use_case(name, settings)
            if name in BARS:
                found += real_lines(name, train(use_case, settings))
            else:
                folder, period = settings.home / "raw" / name, use_case.split
                simulate(use_case, folder)
                best = best_auc_between(use_case, folder, period.test) if isinstance(period, TimeSplit) else None
                found += simulated_lines(use_case, train(use_case, settings), settings, printed=best or 1.0)
    publish("quality", found, title="out of time (taiwan_default: out of fold)")
    for name in set(chosen) & set(BARS):
        for each in BARS[name]:
            print(f"published, {name} {each.metric}: {each.published}")
    if not all(each.met in {True, None} for each in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
