"""Training frames: shape, time and labels."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.errors import FeatureError
from configs.loading import load_use_case
from configs.settings import Settings
from features.backfill import backfill
from features.frame import content_hash, definition_hash, event_values, training_frame
from features.vector import features_of

AGGREGATES = [
    {"entity": "card", "column": "amount", "functions": ["count", "mean", "std", "distinct"], "windows": ["1h", "1d"]},
    {
        "entity": "device",
        "column": "is_fraud",
        "functions": ["mean"],
        "windows": ["1d"],
        "delay": "2d",
        "name": "device_fraud",
    },
    {"entity": "card", "functions": ["since_last"], "windows": ["1d"]},
]
VIEWS = {
    "profile": {
        "table": "profiles",
        "entity": "card",
        "ttl": "1d",
        "columns": {
            "score": {"column": "points", "missing": [-1]},
            "tier": {"type": "category"},
            "opened": {"type": "time"},
        },
    }
}
DERIVED = {
    "ratio": {"sql": "amount / nullif(card_amount_mean_1d, 0)"},
    "age": {"sql": "(epoch(event_time) - epoch(profile__opened)) / 3600"},
    "band": {"sql": "CASE WHEN ratio > 1 THEN 'high' ELSE profile__tier END", "type": "category"},
}


def profiles(made, rows) -> None:
    full = [{"card_id": "c1", "points": 5.0, "tier": "gold", "opened": made.at(-7200)} | row for row in rows]
    table = pd.DataFrame([{name: value for name, value in row.items() if name != "at"} for row in full])
    table["valid_from"] = [made.at(row["at"]) for row in rows]
    table["created_at"] = [row.get("created_at", made.at(row["at"])) for row in rows]
    made.write(table, "profiles.parquet")


def test_rows_are_sorted_by_time_and_id_and_typed(made) -> None:
    made.payments([{"at": 5}, {"at": 1}, {"at": 1, "payment_id": "a"}])
    frame = training_frame(made.use_case(protected={"device_id": {"type": "category"}}), made.settings)
    assert list(frame.events["event_id"]) == ["a", "p001", "p000"]
    assert list(frame.events.columns) == ["event_id", "event_time", "known", "label", "card", "device", "device_id"]
    assert list(frame.features.columns) == ["amount", "channel"]
    assert frame.features["amount"].dtype == np.float64
    assert frame.features["channel"].dtype == object
    assert frame.events.index.equals(pd.RangeIndex(3))
    assert frame.features.index.equals(pd.RangeIndex(3))


def test_columns_follow_the_feature_vector(made) -> None:
    made.payments([{}, {}])
    profiles(made, [{"at": 0}])
    use_case = made.use_case(aggregates=AGGREGATES, views=VIEWS, derived=DERIVED)
    frame = training_frame(use_case, made.settings)
    assert list(frame.features.columns) == [feature.name for feature in features_of(use_case)]
    kinds = {feature.name: feature.kind for feature in features_of(use_case)}
    assert {
        name: "number" if dtype == np.float64 else "category" for name, dtype in frame.features.dtypes.items()
    } == kinds


def test_a_period_includes_its_start_and_excludes_its_end(made) -> None:
    made.payments([{"at": second} for second in range(5)])
    frame = training_frame(made.use_case(), made.settings, start=made.at(1), end=made.at(3))
    assert list(frame.events["event_id"]) == ["p001", "p002"]


def test_views_are_renamed_cleaned_and_expire(made) -> None:
    made.payments([{"at": 0}, {"at": 86400}, {"at": 86401}, {"at": 86401, "card_id": None}])
    profiles(made, [{"at": 0}, {"at": 0, "points": -1.0, "created_at": made.at(500)}])
    frame = training_frame(made.use_case(views=VIEWS, derived={"age": DERIVED["age"]}), made.settings).features
    np.testing.assert_array_equal(frame["profile__score"], [5.0, np.nan, np.nan, np.nan])
    assert list(frame["profile__tier"]) == ["gold", "gold", None, None]
    np.testing.assert_array_equal(frame["age"], [2.0, 26.0, np.nan, np.nan])


@pytest.mark.parametrize("ours", [["1", "2"], [1, 2], [1.0, 2.0], [Decimal("1.00"), Decimal("2.00")]])
@pytest.mark.parametrize("theirs", [["1", "2"], [1, 2], [1.0, 2.0], [Decimal("1.0"), Decimal("2.0")]])
def test_keys_join_whatever_type_they_are_kept_as(made, ours: list[Any], theirs: list[Any]) -> None:
    made.payments([{"at": 5, "card_id": key} for key in ours])
    profiles(made, [{"at": 0, "card_id": key, "points": float(index)} for index, key in enumerate(theirs)])
    frame = training_frame(made.use_case(views=VIEWS), made.settings)
    assert list(frame.events["card"]) == ["1", "2"]
    assert list(frame.features["profile__score"]) == [0.0, 1.0]


def test_decimal_codes_read_as_numbers_do(made) -> None:
    made.payments([{"channel": Decimal(code)} for code in ("1.50", "2.00", "-0.10", "10.00")])
    frame = training_frame(made.use_case(request={"channel": {"type": "category"}}), made.settings)
    assert list(frame.features["channel"]) == ["1.5", "2", "-0.1", "10"]


def test_a_derived_column_may_use_an_earlier_one(made) -> None:
    made.payments([{"amount": 10.0}, {"amount": 30.0}])
    profiles(made, [{"at": 0}])
    frame = training_frame(made.use_case(aggregates=AGGREGATES, views=VIEWS, derived=DERIVED), made.settings).features
    assert list(frame["ratio"]) == [1.0, 1.5]
    assert list(frame["band"]) == ["gold", "high"]


def test_labels_are_positive_negative_or_unknown_and_known_in_time(made) -> None:
    made.payments(
        [
            {"is_fraud": "yes", "noted": made.at(60)},
            {"is_fraud": "no", "noted": None},
            {"is_fraud": None, "noted": None},
        ]
    )
    label = {"column": "is_fraud", "positive": "yes", "maturity": "1h", "known": "noted"}
    events = training_frame(made.use_case(label=label), made.settings).events
    np.testing.assert_array_equal(events["label"], [1.0, 0.0, np.nan])
    assert list(events["known"]) == [made.at(60), made.at(3601), made.at(3602)]


def test_rewriting_the_future_leaves_earlier_rows_bit_identical(made) -> None:
    random = np.random.default_rng(3)
    rows = [
        {
            "at": int(at),
            "amount": round(float(amount), 2),
            "card_id": f"c{card}",
            "device_id": f"d{device}",
            "is_fraud": int(fraud),
        }
        for at, amount, card, device, fraud in zip(
            np.sort(random.integers(0, 4 * 86400, 400)),
            random.lognormal(3, 1, 400),
            random.integers(0, 9, 400),
            random.integers(0, 5, 400),
            random.random(400) < 0.2,
            strict=True,
        )
    ]
    history = [
        {"at": int(at), "points": float(at), "card_id": f"c{at % 9}", "created_at": made.at(int(at) + 600)}
        for at in range(0, 4 * 86400, 997)
    ]
    use_case = made.use_case(aggregates=AGGREGATES, views=VIEWS, derived=DERIVED)
    made.payments(rows)
    profiles(made, history)
    before = training_frame(use_case, made.settings, end=made.at(2 * 86400))
    now = 2 * 86400
    made.payments(
        [
            row if row["at"] < now else row | {"amount": 1e6, "is_fraud": 1 - row["is_fraud"], "card_id": "c0"}
            for row in rows
        ]
    )
    profiles(made, [row if row["at"] + 600 < now else row | {"points": -7.0} for row in history])
    after = training_frame(use_case, made.settings)
    count = len(before.events)
    assert 100 < count < 300
    pd.testing.assert_frame_equal(before.events, after.events[:count])
    for name in before.features:
        left, right = before.features[name], after.features[name][:count]
        if left.dtype == np.float64:
            assert left.to_numpy().tobytes() == right.to_numpy().tobytes(), name
        else:
            assert list(left) == list(right), name


def test_a_table_without_a_time_has_no_times_and_no_aggregates(made) -> None:
    made.payments([{}, {}])
    events = training_frame(made.timeless(), made.settings).events
    assert events["event_time"].isna().all()
    assert str(events["known"].dtype) == "datetime64[us, UTC]"
    with pytest.raises(FeatureError, match="aggregates need times"):
        training_frame(made.timeless(aggregates=AGGREGATES), made.settings)


def test_times_as_text_keep_their_offset(made) -> None:
    at = ["2025-01-01T02:00:00+02:00", "2025-01-01 00:00:01", "2025-01-01T00:00:02Z", "soon"]
    made.payments([{"paid_at": text} for text in at])
    tables = {"payments": {"path": "payments.parquet", "time": "paid_at", "rejects": 0.25}}
    events = training_frame(made.use_case(tables=tables), made.settings).events
    assert events["event_time"].tolist() == [made.at(0), made.at(1), made.at(2)]


@pytest.mark.parametrize("part", ["event", "request"])
def test_a_time_column_of_flags_is_a_clear_error(made, part: str) -> None:
    changes = {"request": {"opened": {"type": "time"}}} if part == "request" else {}
    made.payments([{"opened": True} | ({"paid_at": True} if part == "event" else {})])
    with pytest.raises(FeatureError, match="holds BOOLEAN, which is no time"):
        training_frame(made.use_case(**changes), made.settings)


def test_request_fields_may_have_any_name(made) -> None:
    made.payments([{"row": 1.0, "label": 2.0, "t": 3.0, "key": 4.0, "value": 5.0}, {}])
    names = ["row", "label", "t", "key", "value"]
    request = {name: {} for name in ["amount", *names]}
    parts = [{"entity": "card", "column": "value", "functions": ["sum"], "windows": ["1h"]}]
    frame = training_frame(
        made.use_case(request=request, aggregates=parts, derived={"line": {"sql": "row + t"}}), made.settings
    )
    assert list(frame.features.iloc[0]) == [10.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 4.0]


def test_the_definition_hash_changes_with_features_and_not_with_the_policy(made) -> None:
    plain = made.use_case()
    policy = {"bands": [{"decision": "deny"}], "fallback": "deny", "reasons": "fraud", "adverse": []}
    assert definition_hash(plain) == definition_hash(made.use_case(policy=policy))
    assert definition_hash(plain) != definition_hash(made.use_case(aggregates=AGGREGATES))


def test_the_values_of_one_event_are_its_row_of_the_frame(made) -> None:
    made.payments([{"amount": 10.0}, {"amount": 30.0}])
    use_case = made.use_case(aggregates=AGGREGATES)
    found = event_values(use_case, made.settings, "p001")
    assert (found["card_amount_count_1h"], found["card_amount_mean_1h"]) == (2.0, 20.0)
    with pytest.raises(FeatureError, match="no event 'p9'") as caught:
        event_values(use_case, made.settings, "p9")
    assert caught.value.fix


AGAIN = {"table": "again", "entity": "card", "functions": ["count"], "windows": ["1d"], "name": "again"}


@pytest.mark.parametrize("part", [{"where": "is_fraud = 1"}, {"where": "gender = 1"}, {"column": "gender"}])
@pytest.mark.parametrize("linked", ["symlink_to", "hardlink_to"])
def test_the_event_file_by_another_name_does_not_leak_into_aggregates(made, part, linked: str) -> None:
    made.payments([{"gender": 1.0}, {"gender": 0.0}])
    getattr(made.settings.data / "linked.parquet", linked)(made.settings.data / "payments.parquet")
    tables = {
        "payments": {"path": "payments.parquet", "time": "paid_at"},
        "again": {"path": "linked.parquet", "time": "paid_at"},
    }
    use_case = made.use_case(tables=tables, aggregates=[AGAIN | part], protected={"gender": {}})
    with pytest.raises(FeatureError, match=r"aggregates\.0\.(where|column) names '(is_fraud|gender)', over the event"):
        training_frame(use_case, made.settings)
    harmless = made.use_case(tables=tables, aggregates=[AGAIN | {"where": "amount > 1"}], protected={"gender": {}})
    assert list(training_frame(harmless, made.settings).features["again_count_1d"]) == [1.0, 2.0]


def test_the_event_file_by_another_name_does_not_leak_into_views(made) -> None:
    made.payments([{}, {}])
    (made.settings.data / "again").mkdir()
    (made.settings.data / "again" / "part.parquet").symlink_to(made.settings.data / "payments.parquet")
    tables = {
        "payments": {"path": "payments.parquet", "time": "paid_at"},
        "again": {"path": "again", "time": "paid_at"},
    }
    views = {"past": {"table": "again", "entity": "card", "ttl": "1d", "columns": {"was": {"column": "is_fraud"}}}}
    with pytest.raises(FeatureError, match=r"views\.past\.columns\.was names 'is_fraud'"):
        training_frame(made.use_case(tables=tables, views=views), made.settings)


def test_the_hash_tells_frames_of_the_same_files_apart(made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that lies in the future today is one of the frame tomorrow."""
    now = datetime.now(UTC)
    made.payments([{"paid_at": now - timedelta(days=1)}] * 200 + [{"paid_at": now + timedelta(minutes=6)}])
    use_case = made.use_case(event={"table": "payments", "time": "paid_at"})
    before = training_frame(use_case, made.settings)
    made.loads_at(now + timedelta(hours=1), monkeypatch)
    after = training_frame(use_case, made.settings)
    assert (len(before.events), len(after.events)) == (200, 201)
    assert before.data_hash != after.data_hash == content_hash(use_case, made.settings)


def test_an_overflow_is_explained_without_the_value(made) -> None:
    made.payments([{"amount": 1e13}] * 20_000)
    parts = [{"entity": "card", "column": "amount", "functions": ["std"], "windows": ["1d"]}]
    use_case = made.use_case(aggregates=parts)
    for computed in (training_frame, backfill):
        with pytest.raises(FeatureError, match=r"2\*\*127 units") as caught:
            computed(use_case, made.settings)
        assert not re.search(r"\d{5}|\de\d", str(caught.value))


@pytest.fixture
def real(settings: Settings, real_data) -> Settings:
    return settings.model_copy(update={"data": real_data})


@pytest.mark.parametrize(("name", "rows", "columns"), [("lending_club", 42535, 23), ("taiwan_default", 30000, 25)])
def test_frames_of_the_other_real_tables_build(real: Settings, name: str, rows: int, columns: int) -> None:
    frame = training_frame(load_use_case(name, real), real)
    assert frame.features.shape == (rows, columns)
    assert set(frame.events["label"].unique()) == {0.0, 1.0}
