"""Score and performance month by month."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from configs.use_case import UseCase
from training.evidence.metrics import auc, score_psi
from training.evidence.stability import months_of, stability_evidence
from training.evidence.stability_plots import stability_figures
from training.evidence.tested import Tested


def scored(use_case: UseCase, n: int = 3000, *, seed: int = 1, times: bool = True, lift: float = 1.0) -> Tested:
    generator = np.random.default_rng(seed)
    day = np.sort(generator.integers(0, 90, n))
    p = 1 / (1 + np.exp(-generator.normal(-1.5, 1, n)))
    y = (generator.random(n) < np.clip(p * lift, 0, 1)).astype(float)
    time = pd.Series(pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(day, unit="D"))
    events = pd.DataFrame({"event_time": time if times else pd.NaT, "label": y})
    parts = (slice(None),) if times else (slice(0, n // 2), slice(n // 2, n))
    return Tested(use_case, events, pd.DataFrame(index=events.index), y, p, day.astype(np.int64), parts, 7)


def test_months_are_the_calendars_in_utc() -> None:
    times = pd.to_datetime(["2024-01-31T23:59:59Z", "2024-02-01T00:00:00Z"])
    found = months_of(pd.DataFrame({"event_time": times}))
    assert found is not None and found.tolist() == ["2024-01", "2024-02"]
    assert months_of(pd.DataFrame({"event_time": pd.to_datetime(["2024-01-31T00:00:00Z", None])})) is None


def test_each_month_has_its_own_figures(credit: UseCase) -> None:
    tested = scored(credit)
    trained = scored(credit, seed=2).probability
    found = stability_evidence(scored(credit, seed=3), tested, trained=trained)
    assert [one["month"] for one in found["months"]] == ["2024-01", "2024-02", "2024-03"]
    february = tested.events["event_time"].dt.month.to_numpy() == 2
    one = found["months"][1]
    assert one["rows"] == february.sum()
    assert one["auc"] == pytest.approx(auc(tested.y[february], tested.probability[february]))
    assert one["psi"] == pytest.approx(score_psi(trained, tested.probability[february]))
    assert one["auc_interval"][0] < one["auc"] < one["auc_interval"][1]
    for each in found["months"]:
        low, high = each["observed_interval"]
        assert each["calibrated"] == (low <= each["predicted"] <= high)
        assert each["psi"] < 2 * each["psi_chance"]
    json.dumps(found, allow_nan=False)


def test_a_rate_that_left_its_prediction_is_seen(credit: UseCase) -> None:
    tested = scored(credit, lift=0.5)
    found = stability_evidence(tested, tested, trained=tested.probability)
    assert [one["calibrated"] for one in found["months"]] == [False, False, False]


def test_without_a_time_folds_stand_for_months(credit: UseCase) -> None:
    tested = scored(credit, times=False)
    found = stability_evidence(tested, tested, trained=tested.probability)
    assert found["by"] == "fold"
    assert [one["month"] for one in found["months"]] == ["fold 1", "fold 2"]
    assert found["development"] == []


def test_a_month_with_one_class_has_no_auc(credit: UseCase) -> None:
    tested = scored(credit)
    tested.y[tested.events["event_time"].dt.month.to_numpy() == 3] = 0
    found = stability_evidence(tested, tested, trained=tested.probability)
    assert found["months"][2]["auc"] is None and found["months"][2]["auc_interval"] is None
    assert stability_figures(found, title="t")["stability"].startswith(b"\x89PNG")
