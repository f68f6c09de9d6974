"""A million simulated card payments: seconds and memory, drawn, labelled and written to Parquet."""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

from benchmarks.bars import line, publish
from configs.console import progress
from configs.errors import FeatureError
from configs.loading import load_use_case
from configs.settings import load_settings
from features.simulators.world import simulate

ROWS = 1_000_000


def main() -> None:
    """Simulate the fraud world in this process; exit 1 when a bar is missed."""
    use_case = load_use_case("fraud", load_settings())
    if use_case.simulator is None:
        raise FeatureError("the use case fraud has no simulator", expected="a `simulator` section")
    world = use_case.simulator.model_copy(update={"rows": ROWS})
    with tempfile.TemporaryDirectory() as folder, progress(f"simulating {ROWS:,} payments") as ticker:
        report = simulate(use_case.model_copy(update={"simulator": world}), Path(folder), ticker=ticker)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = [
        line(f"{ROWS:,} card payments, written", report.seconds, unit="s", bar="< 20"),
        line("peak memory of the process", peak / 2**30, unit="GiB", bar="< 2.5"),
        line("fraud rate", report.label_rate * 100, unit="%"),
    ]
    if report.best_auc is not None:
        found.append(line("best achievable AUC", report.best_auc))
    publish("simulators", found, title="the fraud world")
    if not all(each.met in {True, None} for each in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
