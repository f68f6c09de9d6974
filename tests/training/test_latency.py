"""The measured time of scoring one row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.evidence import latency
from training.evidence.latency import scoring_latency
from training.model import Model


@pytest.mark.parametrize("name", ["lightgbm", "scorecard"])
def test_single_rows_are_timed_and_the_tail_is_not_faster_than_the_middle(
    candidate_folders: Callable[[str], Path], name: str
) -> None:
    model = Model.load(candidate_folders(name) / "model")
    found = scoring_latency(model, np.zeros((10, 3)), batches=2)
    assert 0 < found["p50_ms"] <= found["p99_ms"] < 1000
    assert (found["rows"], found["batches"]) == (200, 2)
    json.dumps(found, allow_nan=False)


def test_a_pause_of_the_machine_does_not_count(
    candidate_folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five milliseconds a row, but for one batch in seven, in which every row takes a second."""
    model = Model.load(candidate_folders("lightgbm") / "model")
    rows = iter(range(10_000))
    monkeypatch.setattr(latency, "WARM", 0)
    monkeypatch.setattr(latency, "_seconds", lambda *_: 1.0 if 200 <= next(rows) < 300 else 0.005)
    found = scoring_latency(model, np.zeros((10, 3)))
    assert (found["p50_ms"], found["p99_ms"]) == (pytest.approx(5.0), pytest.approx(5.0))


def test_a_slow_model_is_measured_by_one_batch(
    candidate_folders: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(candidate_folders("lightgbm") / "model")
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    assert scoring_latency(model, np.zeros((10, 3)))["batches"] == 1


def test_without_rows_nothing_is_measured(candidate_folders: Callable[[str], Path]) -> None:
    model = Model.load(candidate_folders("lightgbm") / "model")
    assert scoring_latency(model, np.zeros((0, 3)))["p99_ms"] is None
