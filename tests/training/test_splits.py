"""Which rows are trained on, tuned on and tested on."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.errors import TrainingError
from configs.use_case import Period, RandomSplit, TimeSplit
from training.folds import group_codes, stratified_folds
from training.splits import Split, split_events

DAY = timedelta(days=1)


def events(days: int = 40, per_day: int = 50, *, rate: float = 0.2, maturity: timedelta = 7 * DAY) -> pd.DataFrame:
    n = days * per_day
    time = pd.Series(pd.date_range("2024-01-01", periods=n, freq=f"{86400 // per_day}s", tz="UTC")).dt.as_unit("us")
    generator = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "event_id": [str(i) for i in range(n)],
            "event_time": time,
            "known": time + maturity,
            "label": (generator.random(n) < rate).astype(float),
            "card": [f"c{i}" for i in generator.integers(0, 200, n)],
        }
    )


def period(**extra: object) -> TimeSplit:
    train = Period(start=datetime(2024, 1, 1), end=datetime(2024, 1, 25))
    test = Period(start=datetime(2024, 2, 1), end=datetime(2024, 2, 8))
    return TimeSplit.model_validate({"train": train, "test": test} | extra)


def test_training_rows_have_matured_before_the_test_starts() -> None:
    table = events(maturity=10 * DAY)
    split = split_events(table, period(), maturity=10 * DAY, seed=1)
    last = table["event_time"].iloc[split.train].max()
    assert last + 10 * DAY <= pd.Timestamp("2024-02-01", tz="UTC") < last + 10 * DAY + timedelta(hours=1)


def test_early_known_positives_do_not_enter_training_before_they_mature() -> None:
    table = events(maturity=10 * DAY)
    table.loc[table["label"] == 1, "known"] = table["event_time"] + DAY
    split = split_events(table, period(), maturity=10 * DAY, seed=1)
    assert table["event_time"].iloc[split.train].max() < pd.Timestamp("2024-01-22 01:00", tz="UTC")


def test_rows_without_a_label_are_neither_trained_on_nor_tested_but_stay_in_the_reference() -> None:
    table = events()
    table.loc[::3, "label"] = np.nan
    split = split_events(table, period(), maturity=7 * DAY, seed=1)
    assert table["label"].iloc[np.concatenate([split.train, split.test])].notna().all()
    assert table["label"].iloc[split.reference].isna().any()
    assert set(split.test) < set(split.reference)


def test_known_compromised_cards_leave_the_test() -> None:
    table = events()
    split = split_events(table, period(drop_known="card"), maturity=7 * DAY, seed=1)
    day, first = table["event_time"].dt.floor("D"), {}
    for card, moment, label in zip(table["card"], day, table["label"], strict=True):
        if label == 1:
            first.setdefault(card, moment)
    within = np.flatnonzero(
        (day >= pd.Timestamp("2024-02-01", tz="UTC")) & (day < pd.Timestamp("2024-02-08", tz="UTC"))
    )
    kept = [row for row in within if not first.get(table["card"][row], day[row]) < day[row] - 7 * DAY]
    assert split.test.tolist() == kept
    assert len(kept) < len(within)


def test_an_event_without_a_card_is_never_dropped() -> None:
    table = events()
    table["card"] = None
    assert len(split_events(table, period(drop_known="card"), maturity=7 * DAY, seed=1).test) == 7 * 50


def test_tuning_folds_go_forward_in_time_with_the_label_delay() -> None:
    table = events(rate=0.4, maturity=3 * DAY)
    split = split_events(table, period(folds=2), maturity=3 * DAY, seed=1)
    assert split.notes == ()
    for fold in split.tuning:
        gap = table["event_time"].iloc[fold.valid].min() - table["event_time"].iloc[fold.train].max()
        assert gap >= 3 * DAY
    assert set(split.tuning[0].valid).isdisjoint(split.tuning[1].valid)


def test_an_outcome_that_came_late_is_not_tuned_on_before_it_was_known() -> None:
    table = events(rate=0.4, maturity=3 * DAY)
    table.loc[::5, "known"] = table["event_time"] + 6 * DAY
    split = split_events(table, period(folds=2), maturity=3 * DAY, seed=1)
    assert split.notes == ()
    for fold in split.tuning:
        assert table["known"].iloc[fold.train].max() <= table["event_time"].iloc[fold.valid].min()


def test_a_delay_that_empties_the_folds_is_dropped_and_noted() -> None:
    split = split_events(events(), period(folds=2), maturity=7 * DAY, seed=1)
    assert "ignore the label delay" in split.notes[0]
    assert all(fold.train.max() < fold.valid.min() for fold in split.tuning)


def test_folds_in_time_with_one_class_fall_back_to_stratified_folds() -> None:
    table = events()
    table["label"] = (np.arange(len(table)) < 60).astype(float)
    table.loc[table.index[-200:], "label"] = [1.0, 0.0] * 100
    split = split_events(table, period(folds=2), maturity=7 * DAY, seed=1)
    assert "stratified" in split.notes[0]
    assert all(set(np.unique(table["label"].iloc[fold.valid])) == {0.0, 1.0} for fold in split.tuning)


def test_random_folds_tile_the_table_and_say_that_time_was_not_tested() -> None:
    table = events().assign(event_time=pd.NaT, known=pd.NaT)
    split = split_events(table, RandomSplit(by="random", folds=4, repeats=1), maturity=7 * DAY, seed=1)
    assert sorted(np.concatenate([fold.valid for fold in split.outer])) == list(range(len(table)))
    assert set(np.concatenate([fold.valid for fold in split.tuning])) == set(split.outer[0].train)
    assert "time was not tested" in split.notes[0]


def test_repeated_random_folds_tile_the_table_once_a_repeat() -> None:
    table = events(days=10).assign(event_time=pd.NaT, known=pd.NaT)
    split = split_events(table, RandomSplit(by="random", folds=4, repeats=3), maturity=7 * DAY, seed=1)
    assert len(split.outer) == 12
    assert (np.bincount(np.concatenate([fold.valid for fold in split.outer])) == 3).all()


def straddling(split: Split, cards: np.ndarray) -> list[set[str]]:
    own = cards[split.train]
    return [set(own[fold.train]) & set(own[fold.valid]) for fold in (*split.tuning, *split.outer)]


def test_a_group_stands_on_one_side_of_every_fold_in_time() -> None:
    table = events(rate=0.4, maturity=3 * DAY)
    table["card"] = [f"c{i}" for i in np.random.default_rng(5).integers(0, 900, len(table))]
    split = split_events(table, period(folds=2, group="card"), maturity=3 * DAY, seed=1)
    assert straddling(split, table["card"].to_numpy()) == [set()] * 2
    assert set(table["card"].iloc[split.test]).isdisjoint(table["card"].iloc[split.train])
    assert "test rows left out: their card stands in the training rows" in split.notes[0]


def test_random_folds_keep_the_rows_of_a_repeating_entity_together() -> None:
    table = events(days=10).assign(event_time=pd.NaT, known=pd.NaT)
    table["shop"] = [f"s{i}" for i in range(len(table))]  # repeats nowhere: no group
    split = split_events(table, RandomSplit(by="random"), maturity=DAY, seed=1, entities=("shop", "card"))
    assert split.group == "card" and straddling(split, table["card"].to_numpy()) == [set()] * 18
    assert "all rows of one card" in split.notes[1]


def test_fewer_keys_than_folds_is_an_error_that_names_the_entity() -> None:
    table = events(days=10).assign(event_time=pd.NaT, known=pd.NaT, card="one")
    with pytest.raises(TrainingError, match="1 different keys of card"):
        split_events(table, RandomSplit(by="random"), maturity=DAY, seed=1, entities=("card",))


def test_rows_without_a_key_are_groups_of_their_own() -> None:
    assert group_codes(pd.Series(["a", None, "b", None, "a"])).tolist() == [0, 3, 1, 4, 0]


def test_rejects_are_matured_training_rows_without_an_outcome() -> None:
    table = events()
    table.loc[::3, "label"] = np.nan
    split = split_events(table, period(), maturity=7 * DAY, seed=1)
    assert set(split.rejects) == set(range(0, split.train.max() + 1, 3))
    assert set(split.rejects).isdisjoint(split.train)


def test_fewer_than_fifty_positives_are_too_few_to_train_on() -> None:
    table = events().assign(label=0.0)
    table.loc[:48, "label"] = 1.0
    table.loc[table.index[-400:], "label"] = 1.0
    with pytest.raises(TrainingError, match=r"49 positive and .* in the training period") as caught:
        split_events(table, period(), maturity=7 * DAY, seed=1)
    assert "at least 50 rows of each class" in str(caught.value)


def test_stratified_folds_have_equal_class_shares() -> None:
    label = np.array([1.0] * 40 + [0.0] * 400)
    assert {int(label[fold.valid].sum()) for fold in stratified_folds(label, folds=5, seed=2)} == {8}


def test_one_class_is_an_error_that_counts_both() -> None:
    with pytest.raises(TrainingError, match="0 positive and") as caught:
        split_events(events().assign(label=0.0), period(), maturity=7 * DAY, seed=1)
    assert "label.positive" in caught.value.fix


def test_an_empty_period_names_the_dates_that_were_found() -> None:
    late = TimeSplit(
        train=Period(start=datetime(2030, 1, 1), end=datetime(2030, 2, 1)),
        test=Period(start=datetime(2030, 3, 1), end=datetime(2030, 4, 1)),
    )
    with pytest.raises(TrainingError, match=r"training period 2030-01-01 .* events from 2024-01-01 to 2024-02-09"):
        split_events(events(), late, maturity=7 * DAY, seed=1)


def test_the_handbook_split_has_the_published_sizes(real_data: Path) -> None:
    raw = pd.read_parquet(real_data / "handbook_transactions.parquet")
    time = raw["tx_datetime"].dt.tz_localize("UTC").dt.as_unit("us")
    table = pd.DataFrame(
        {
            "event_time": time,
            "known": time + 7 * DAY,
            "label": raw["tx_fraud"].astype(float),
            "customer": raw["customer_id"],
        }
    )
    chapter = TimeSplit(
        train=Period(start=datetime(2018, 7, 25), end=datetime(2018, 8, 1)),
        test=Period(start=datetime(2018, 8, 8), end=datetime(2018, 8, 15)),
        drop_known="customer",
    )
    split = split_events(table, chapter, maturity=7 * DAY, seed=1)
    found = [(len(rows), int(table["label"].iloc[rows].sum())) for rows in (split.train, split.test)]
    assert found == [(67240, 598), (58264, 385)]
