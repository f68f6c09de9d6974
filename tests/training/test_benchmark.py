"""The model beside others on the same rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from configs.use_case import UseCase
from training.evidence.benchmark import benchmark_evidence
from training.evidence.metrics import auc
from training.evidence.tested import Tested


def test_a_better_model_leads_by_the_difference_and_a_monotone_copy_by_nothing(credit: UseCase) -> None:
    generator, n = np.random.default_rng(1), 2000
    signal = generator.normal(size=n)
    y = (generator.random(n) < 1 / (1 + np.exp(1.5 - 2 * signal))).astype(float)
    p = 1 / (1 + np.exp(1.5 - 2 * signal))
    tested = Tested(credit, pd.DataFrame(), pd.DataFrame(), y, p, np.arange(n) // 20, (slice(None),), 1)
    worse = signal + generator.normal(size=n)
    found = benchmark_evidence(tested, {"worse": worse, "copy": 3 * signal})
    assert [one["name"] for one in found] == ["worse", "copy"]
    assert found[0]["metrics"]["auc"] == pytest.approx(auc(y, worse))
    assert found[0]["paired"]["difference"] == pytest.approx(auc(y, p) - auc(y, worse))
    assert found[0]["paired"]["low"] > 0
    assert found[1]["paired"]["difference"] == 0
    json.dumps(found, allow_nan=False)
