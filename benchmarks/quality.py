"""Models of the real tables beside published figures. Features are this platform's; nothing is tuned on test rows."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bars import Line, line, publish
from configs.console import progress
from configs.loading import load_use_case
from configs.settings import Settings, load_settings
from features.store import FeatureStore
from training.candidate import STEPS, Candidate, build_candidate


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
        Bar("average_precision", 0.64, 0.658, "logistic regression 0.606, forest 0.658, XGBoost 0.639"),
        Bar("card_precision_at_100", 0.28, 0.291, "logistic regression 0.291, forest 0.287, XGBoost 0.273"),
    ),
    "lending_club": (Bar("auc", 0.685, 0.690, "untuned gradient boosting 0.690"),),
    "taiwan_default": (Bar("auc", 0.783, 0.785, "untuned LightGBM 0.785"),),
}


def lines_of(name: str, candidate: Candidate) -> list[Line]:
    """A candidate's figures against their bars."""
    return [
        line(f"{name} {each.metric}", candidate.metrics[each.metric], bar=f">= {each.least}", peer=each.peer)
        for each in BARS[name]
    ]


def measure(name: str, settings: Settings) -> list[Line]:
    """Train one use case as its file says and judge its test figures."""
    use_case = load_use_case(name, settings)
    with progress(name, total=use_case.training.trials + STEPS) as ticker:
        frame = FeatureStore(use_case, settings).training_frame(ticker=ticker)
        return lines_of(name, build_candidate(use_case, frame, settings, ticker=ticker))


def main() -> None:
    """Measure every real use case; exit 1 when a bar is missed."""
    found: list[Line] = []
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings().model_copy(update={"home": Path(home)})
        for name in BARS:
            found += measure(name, settings)
    publish("quality", found, title="real tables, out of time (taiwan_default: out of fold)")
    for name, bars in BARS.items():
        for each in bars:
            print(f"published, {name} {each.metric}: {each.published}")
    if not all(each.met for each in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
