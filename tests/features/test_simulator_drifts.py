"""Dated drifts: in finished rows, and in the simulated worlds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.errors import FeatureError
from configs.inputs import Drift
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.simulators.drifts import apply_drift, concept_offset
from features.simulators.world import simulate

TIMES = pd.date_range("2025-01-01", periods=1000, freq="h", tz="UTC")
FRAME = pd.DataFrame(
    {"amount": np.arange(1000.0), "term": np.arange(1000), "abroad": np.arange(1000) % 2 == 0, "channel": "online"}
)


def resized(name: str, **changes: Any) -> UseCase:
    """A use case with a small world."""
    use_case = load_use_case(name, Settings(profile="dev"))
    assert use_case.simulator is not None
    return use_case.model_copy(update={"simulator": use_case.simulator.model_copy(update=changes)})


def drifted(**fields: Any) -> pd.DataFrame:
    return apply_drift(FRAME, Drift(**fields), times=TIMES, rng=np.random.default_rng(1))


def test_a_feature_shift_changes_its_period_only_and_not_its_input() -> None:
    start, end = datetime(2025, 1, 11), datetime(2025, 1, 21)
    found = drifted(kind="feature_shift", column="amount", factor=2, offset=5, start=start, end=end)
    inside = np.arange(240, 480)
    np.testing.assert_array_equal(found["amount"].iloc[inside], 2.0 * inside + 5)
    np.testing.assert_array_equal(found["amount"].drop(inside), np.delete(np.arange(1000.0), inside))
    pd.testing.assert_frame_equal(found.drop(columns="amount"), FRAME.drop(columns="amount"))
    assert FRAME["amount"].equals(pd.Series(np.arange(1000.0)))


def test_a_shifted_integer_stays_an_integer() -> None:
    found = drifted(kind="feature_shift", column="term", factor=1.5)["term"]
    assert found.dtype == FRAME["term"].dtype
    assert found[3] == 4


@pytest.mark.parametrize("column", ["amount", "term", "abroad", "channel"])
def test_a_broken_feed_loses_its_share_and_keeps_the_rest(column: str) -> None:
    found = drifted(kind="broken_feed", column=column, share=0.3)[column]
    assert 0.25 < found.isna().mean() < 0.35
    kept = found.notna()
    assert (found[kept] == FRAME.loc[kept, column]).all()


def test_a_new_category_takes_its_share() -> None:
    found = drifted(kind="new_category", column="channel", value="wallet", share=0.2)["channel"]
    assert 0.15 < (found == "wallet").mean() < 0.25
    assert set(found) == {"online", "wallet"}


def test_naive_times_are_utc() -> None:
    drift = Drift(kind="broken_feed", column="amount", start=datetime(2025, 1, 11))
    rng = np.random.default_rng(0)
    assert apply_drift(FRAME, drift, times=TIMES.tz_localize(None), rng=rng)["amount"].isna().sum() == 760


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "feature_shift", "column": "amuont"}, "did you mean 'amount'"),
        ({"kind": "feature_shift", "column": "channel"}, "expected: a column of numbers"),
        ({"kind": "feature_shift", "column": "abroad"}, "expected: a column of numbers"),
        ({"kind": "new_category", "column": "channel"}, "expected: a category column and a `value`"),
        ({"kind": "concept_shift", "column": "amount"}, "simulator.drifts"),
    ],
)
def test_a_drift_that_does_not_fit_says_why(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FeatureError) as error:
        drifted(**fields)
    assert message in str(error.value)


def test_a_concept_shift_counts_numbers_above_the_median_true_and_the_named_category() -> None:
    drifts = [
        Drift(kind="concept_shift", column="amount", offset=1.0),
        Drift(kind="concept_shift", column="abroad", offset=10.0),
        Drift(kind="concept_shift", column="channel", offset=100.0, value="online"),
        Drift(kind="broken_feed", column="amount"),
    ]
    found = concept_offset(FRAME, drifts, times=TIMES)
    np.testing.assert_array_equal(found, 100 + 10 * FRAME["abroad"] + (FRAME["amount"] > 499.5))


@pytest.mark.parametrize(
    ("name", "column", "start"), [("credit", "amount", datetime(2022, 7, 1)), ("fraud", "amount", datetime(2025, 4, 1))]
)
def test_a_concept_shift_changes_labels_and_truth_but_no_feature(
    name: str, column: str, start: datetime, tmp_path: Path
) -> None:
    drift = Drift(kind="concept_shift", column=column, offset=1.5, start=start)
    use_case = load_use_case(name, Settings())
    frames = []
    for run, drifts in (("plain", ()), ("shifted", (drift,))):
        simulate(resized(name, rows=20_000, live_rows=0, drifts=drifts), tmp_path / run)
        frames.append(pd.read_parquet(tmp_path / run / use_case.event_table.path))
    plain, shifted = frames
    pd.testing.assert_frame_equal(plain[list(use_case.request)], shifted[list(use_case.request)])
    label = use_case.label.column
    moved = shifted["true_probability"] > plain["true_probability"] + 1e-12
    assert (shifted.loc[moved, use_case.event.time] >= pd.Timestamp(start, tz="UTC")).all()
    known = moved & shifted[label].notna()
    assert shifted.loc[known, label].mean() > 1.5 * plain.loc[known, label].mean()
    assert shifted.loc[known, label].mean() == pytest.approx(shifted.loc[known, "true_probability"].mean(), rel=0.15)


def test_reported_drifts_reach_history_live_rows_and_the_tables_beside(tmp_path: Path) -> None:
    drifts = (
        Drift(kind="feature_shift", column="annual_income", factor=0.5, start=datetime(2023, 1, 1)),
        Drift(kind="broken_feed", column="utilisation", start=datetime(2023, 1, 1)),
        Drift(kind="new_category", column="channel", value="partner", share=0.5, start=datetime(2025, 1, 1)),
    )
    simulate(resized("credit", rows=5_000, live_rows=500), tmp_path / "plain")
    simulate(resized("credit", rows=5_000, live_rows=500, drifts=drifts), tmp_path / "drifted")

    def both(table: str) -> list[pd.DataFrame]:
        return [pd.read_parquet(tmp_path / run / f"{table}.parquet") for run in ("plain", "drifted")]

    before, after = both("applications")
    late = before["applied_at"] >= pd.Timestamp("2023-01-01", tz="UTC")
    pd.testing.assert_series_equal(after["annual_income"], before["annual_income"] * np.where(late, 0.5, 1.0))
    pd.testing.assert_series_equal(after["defaulted"], before["defaulted"])
    assert 0.4 < (both("live_applications")[1]["channel"] == "partner").mean() < 0.6
    snapshots = both("bureau")[1]
    missing = snapshots["snapshot_at"] >= pd.Timestamp("2023-01-01", tz="UTC")
    assert (snapshots["utilisation"].isna() == missing).all()


@pytest.mark.parametrize("column", ["amuont", "defaulted", "applied_at", "true_probability"])
def test_a_drift_of_an_unknown_or_fixed_column_is_refused_before_anything_is_written(
    column: str, tmp_path: Path
) -> None:
    use_case = resized("credit", rows=200, live_rows=0, drifts=(Drift(kind="broken_feed", column=column),))
    with pytest.raises(FeatureError, match=column):
        simulate(use_case, tmp_path)
    assert not list(tmp_path.iterdir())
