"""How long scoring one event takes: probability and contributions, one row at a time, as the service does it."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from training.model import Model

Array = NDArray[np.float64]

BATCH = 100
"""Rows of a batch: enough for a 99th percentile that isn't just its slowest row."""
BATCHES = 7
WARM = 5
"""Rows scored before the clock counts: the first ones build what later ones reuse."""
SECONDS = 3.0
"""After this no further batch is begun: a slow model is measured by fewer."""


def scoring_latency(model: Model, X: Array, *, batches: int = BATCHES, seed: int = 0) -> dict[str, Any]:
    """Milliseconds to score single rows of the encoded X [n, f] with their contributions.

    `p50_ms` and `p99_ms` are medians over batches of each batch's percentile, so that a pause of the machine, which
    falls into one batch, doesn't count; `rows` were timed, in `batches`. None for both without rows. Nothing but the
    model's own work is timed: no store, no log, no network.
    """
    if not len(X):
        return {"p50_ms": None, "p99_ms": None, "rows": 0, "batches": 0}
    drawn = np.random.default_rng(seed).integers(0, len(X), (batches, BATCH))
    for index in drawn[0, :WARM]:
        _seconds(model, X[index : index + 1])
    found, begun = [], time.perf_counter()
    with _without_collector():
        for places in drawn:
            times = [_seconds(model, X[index : index + 1]) for index in places]
            found.append(np.quantile(times, [0.5, 0.99]))
            if time.perf_counter() - begun > SECONDS:
                break
    p50, p99 = np.median(found, axis=0) * 1000
    return {"p50_ms": float(p50), "p99_ms": float(p99), "rows": len(found) * BATCH, "batches": len(found)}


def _seconds(model: Model, row: Array) -> float:
    start = time.perf_counter()
    model.probability(row)
    model.contributions(row)
    return time.perf_counter() - start


@contextmanager
def _without_collector() -> Iterator[None]:
    """As in the service, which freezes what it has loaded: garbage of training is not scoring's."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
