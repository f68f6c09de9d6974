"""Drift statistics of 1,000,000 rows x 50 columns on frozen bins: the time, and equality with a computation by hand."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bars import line, publish
from configs.console import progress
from monitoring.drift import psi
from training.evidence.reference import bin_counts

ROWS, COLUMNS, CHECKED = 1_000_000, 50, 20_000


def columns() -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Reference and current values a column: normal, 5 % missing, each column shifted a little more than the last."""
    generator = np.random.default_rng(7)
    made = []
    for index in range(COLUMNS):
        pair = [generator.normal(shift, 1, ROWS) for shift in (0.0, index / COLUMNS)]
        for values in pair:
            values[generator.random(ROWS) < 0.05] = np.nan
        made.append((pair[0], pair[1]))
    return made


def frozen(values: NDArray[np.float64]) -> dict[str, Any]:
    """Deciles of the reference with their counts."""
    spec: dict[str, Any] = {"kind": "number", "edges": np.nanquantile(values, np.arange(1, 10) / 10).tolist()}
    return spec | {"counts": bin_counts(spec, values)}


def by_hand(edges: list[float], before: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    """The same PSI, one value after the other."""
    counts = [[0] * (len(edges) + 2) for _ in range(2)]
    for side, values in enumerate((before, now)):
        for value in values.tolist():
            counts[side][len(edges) + 1 if math.isnan(value) else bisect_right(edges, value)] += 1
    pairs = [(max(e, 0.5) / len(before), max(a, 0.5) / len(now)) for e, a in zip(*counts, strict=True) if e or a]
    return sum((a - e) * math.log(a / e) for e, a in pairs)


def main() -> None:
    """Run and publish."""
    with progress(f"making {ROWS:,} rows x {COLUMNS} columns"):
        table = columns()
        specs = [frozen(before) for before, _ in table]
    start = time.perf_counter()
    for spec, (_, now) in zip(specs, table, strict=True):
        psi(spec["counts"], bin_counts(spec, now))
    seconds = time.perf_counter() - start
    differences = []
    for spec, (before, now) in list(zip(specs, table, strict=True))[::10]:
        parts = before[:CHECKED], now[:CHECKED]
        found = psi(*(bin_counts(spec, part) for part in parts))
        differences.append(abs(found - by_hand(spec["edges"], *parts)))
    publish(
        "monitoring",
        [
            line(f"PSI of {ROWS:,} rows x {COLUMNS} columns", seconds, unit="s"),
            line("greatest difference to the computation by hand", max(differences), bar="<= 1e-12"),
        ],
        title="monitoring",
    )


if __name__ == "__main__":
    main()
