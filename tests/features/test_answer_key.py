"""The answer key: the Fraud Detection Handbook's own window features, reproduced from its raw transactions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.loading import load_use_case
from configs.settings import Settings
from features.frame import Frame, training_frame

START, END = datetime(2018, 7, 25, tzinfo=UTC), datetime(2018, 8, 15, tzinfo=UTC)
DAYS = (1, 7, 30)
NAMES = {
    "customer": [(f"customer_tx_amount_count_{days}d", f"customer_id_nb_tx_{days}day_window") for days in DAYS]
    + [(f"customer_tx_amount_mean_{days}d", f"customer_id_avg_amount_{days}day_window") for days in DAYS],
    "terminal": [(f"terminal_fraud_count_{days}d", f"terminal_id_nb_tx_{days}day_window") for days in DAYS]
    + [(f"terminal_fraud_mean_{days}d", f"terminal_id_risk_{days}day_window") for days in DAYS],
}


@pytest.fixture(scope="module")
def reproduced(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Frame, pd.DataFrame]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), data=real_data)
    frame = training_frame(load_use_case("handbook_fraud", settings), settings, start=START, end=END)
    key = pd.read_parquet(real_data / "handbook_reference_features.parquet")
    return frame, key.set_index(key["transaction_id"].astype(str)).loc[frame.events["event_id"]]


def differing(reproduced: tuple[Frame, pd.DataFrame], entity: str) -> dict[str, np.ndarray]:
    """Rows at which a feature and the book disagree. The book writes 0 for the risk of a terminal without payments."""
    frame, key = reproduced
    found = {}
    for ours, theirs in NAMES[entity]:
        values = frame.features[ours].to_numpy()
        values = np.nan_to_num(values) if entity == "terminal" else values
        found[ours] = np.flatnonzero(~np.isclose(values, key[theirs].to_numpy(), rtol=1e-12, atol=1e-9))
    return found


def test_every_row_of_the_key_is_compared_over_twelve_features(reproduced) -> None:
    frame, key = reproduced
    assert len(frame.events) == len(key) == 201_295
    assert sum(len(pairs) for pairs in NAMES.values()) == 12
    assert not key[[theirs for pairs in NAMES.values() for _, theirs in pairs]].isna().any().any()


def test_terminal_features_agree_on_every_row(reproduced) -> None:
    assert {name: len(rows) for name, rows in differing(reproduced, "terminal").items() if len(rows)} == {}


def test_customer_features_agree_but_for_payments_of_one_customer_in_one_second(reproduced) -> None:
    """The book puts the row at hand and those before it in the file into the window; here they are all peers."""
    frame, _ = reproduced
    rows = sorted({row for found in differing(reproduced, "customer").values() for row in found})
    assert 1 - len(rows) / len(frame.events) >= 0.99998
    twins = frame.events.duplicated(["customer", "event_time"], keep=False)
    assert len(rows) > 0, "the key has such rows"
    assert twins.iloc[rows].all(), "every differing row shares customer and second with another one"


def test_of_twins_the_book_counts_one_more_each_in_an_order_of_its_own(reproduced) -> None:
    frame, key = reproduced
    for days in DAYS:
        ours, theirs = f"customer_tx_amount_count_{days}d", f"customer_id_nb_tx_{days}day_window"
        lacking = frame.features[ours].to_numpy() - key[theirs].to_numpy()
        for row in differing(reproduced, "customer")[ours]:
            event = frame.events.iloc[row]
            same = frame.events["customer"].eq(event["customer"]) & frame.events["event_time"].eq(event["event_time"])
            assert sorted(lacking[same]) == list(range(same.sum()))
