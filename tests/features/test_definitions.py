"""Feast over a use case: objects in a SQL registry, historical features, the command line, and what goes online."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from feast.repo_config import load_repo_config

from features.backfill import backfill, parquet_path, repository_folder
from features.definitions import derive, opened, write_repository
from features.frame import training_frame
from features.online import OnlineFeatures
from features.store import FeatureStore
from features.traffic import history

CHANGES = {
    "aggregates": [
        {"entity": "card", "column": "amount", "functions": ["count", "mean"], "windows": ["1h"]},
        {"entity": ["card", "device"], "functions": ["count"], "windows": ["1d"]},
        {
            "entity": "device",
            "column": "is_fraud",
            "functions": ["sum"],
            "windows": ["1d"],
            "delay": "2d",
            "name": "device_fraud",
        },
    ],
    "views": {
        "profile": {
            "table": "profiles",
            "entity": "card",
            "ttl": "1d",
            "columns": {"points": {}, "tier": {"type": "category"}},
        }
    },
    "derived": {
        "ratio": {"sql": "amount / nullif(card_amount_mean_1h, 0)"},
        "score": {"sql": "ratio + profile__points + hour(event_time)"},
    },
}


@pytest.fixture
def ready(made):
    """Thirty payments with equal seconds, missing keys, and profiles with a late correction."""
    random = np.random.default_rng(1)
    made.payments(
        [
            {
                "at": int(second),
                "card_id": None if index == 7 else f"c{index % 3}",
                "device_id": None if index % 5 == 0 else f"d{index % 2}",
                "amount": round(float(random.lognormal(3, 1)), 2),
                "is_fraud": int(index % 4 == 0),
            }
            for index, second in enumerate(np.sort(random.integers(0, 40, 30)))
        ]
    )
    late = [("c0", 0, 0, 1.0), ("c0", 5, 5, 2.0), ("c0", 5, 20, 3.0), ("c1", 1, 30, 4.0), ("c1", 0, 0, 5.0)]
    table = pd.DataFrame(
        [(key, made.at(time), made.at(created), points, "gold") for key, time, created, points in late]
    )
    made.write(
        table.set_axis(["card_id", "valid_from", "created_at", "points", "tier"], axis="columns"), "profiles.parquet"
    )
    return made


def entity_rows(frame) -> pd.DataFrame:
    rows = pd.DataFrame({"card_id": frame.events["card"], "device_id": frame.events["device"]})
    rows["event_timestamp"] = rows["event_time"] = frame.events["event_time"]
    return rows.assign(amount=frame.features["amount"], channel=frame.features["channel"])


def test_feasts_historical_features_are_the_training_frame(ready) -> None:
    use_case = ready.use_case(**CHANGES)
    store = FeatureStore(use_case, ready.settings)
    store.backfill()
    store.apply()
    frame = store.training_frame()
    with opened(repository_folder(use_case, ready.settings)) as feast:
        service = feast.get_feature_service("made")
        found = feast.get_historical_features(
            entity_df=entity_rows(frame), features=service, full_feature_names=True
        ).to_df()
    names = {
        "profile__points": "profile__points",
        "card_amount_mean_1h": "card_aggregates__card_amount_mean_1h",
        "card_device_count_1d": "card_device_aggregates__card_device_count_1d",
        "device_fraud_sum_1d": "device_aggregates__device_fraud_sum_1d",
        "ratio": "derived__ratio",
        "score": "derived__score",
    }
    for ours, theirs in names.items():
        np.testing.assert_array_equal(frame.features[ours].to_numpy(), found[theirs].to_numpy(dtype=float), ours)
    assert list(found["profile__tier"]) == list(frame.features["profile__tier"])


def test_apply_lists_its_objects_and_deletes_those_that_are_gone(ready) -> None:
    settings = ready.settings
    first = FeatureStore(ready.use_case(**CHANGES), settings).apply()
    assert {"Entity card", "FeatureView profile", "OnDemandFeatureView derived", "FeatureService made"} <= set(first)
    fewer = ready.use_case(aggregates=CHANGES["aggregates"][:1])
    FeatureStore(fewer, settings).apply()
    with opened(repository_folder(fewer, settings)) as feast:
        assert [view.name for view in feast.list_batch_feature_views()] == ["card_aggregates"]
        assert feast.list_on_demand_feature_views() == []


@pytest.mark.slow
def test_the_plain_feast_command_line_works_on_the_repository(ready) -> None:
    use_case = ready.use_case(**CHANGES)
    store = FeatureStore(use_case, ready.settings)
    store.backfill()
    store.apply()
    feast = [str(Path(sys.executable).with_name("feast")), "-c", str(repository_folder(use_case, ready.settings))]
    quiet = os.environ | {"FEAST_USAGE": "False", "PYTHONWARNINGS": "ignore"}
    subprocess.run([*feast, "apply"], check=True, capture_output=True, env=quiet, timeout=100)
    listed = subprocess.run(
        [*feast, "feature-views", "list"], check=True, capture_output=True, text=True, env=quiet, timeout=100
    ).stdout
    assert all(name in listed for name in ("profile", "card_aggregates", "card_device_aggregates", "derived"))


def test_passwords_stay_out_of_the_repository_or_with_its_owner(ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment is named, and Feast reads it; an address from elsewhere is its owner's to read."""
    urls = {"database_url": "postgresql://risk:s3cret@db/risk", "redis_url": "redis://:s3cret@cache"}
    settings = ready.settings.model_copy(update=urls)
    use_case = ready.use_case(**CHANGES)
    path = write_repository(use_case, settings) / "feature_store.yaml"
    assert "path: postgresql+psycopg://risk:s3cret@db/risk" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    for name, url in urls.items():
        monkeypatch.setenv(f"RISK_{name.upper()}", url)
    write_repository(use_case, settings)
    assert "s3cret" not in path.read_text()
    config = load_repo_config(path.parent, path)
    assert config.registry.path == "postgresql+psycopg://risk:s3cret@db/risk"
    assert config.online_store.redis_url == urls["redis_url"]


def test_backfill_is_skipped_until_data_or_definitions_change(ready) -> None:
    store = FeatureStore(ready.use_case(**CHANGES), ready.settings)
    first = store.backfill()
    assert (first["skipped"], first["rows"]["profile"]) == (False, 5)
    assert store.backfill() == first | {"skipped": True}
    fewer = ready.use_case(**CHANGES | {"aggregates": CHANGES["aggregates"][:1]})
    assert FeatureStore(fewer, ready.settings).backfill()["skipped"] is False
    ready.payments([{}, {}])
    assert FeatureStore(fewer, ready.settings).backfill()["skipped"] is False


def test_an_interrupted_backfill_is_not_a_complete_one(ready, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back to the definitions of before: the old stamp must not vouch for files that were half replaced."""
    store = FeatureStore(ready.use_case(**CHANGES), ready.settings)
    store.backfill()
    fewer = FeatureStore(ready.use_case(**CHANGES | {"aggregates": CHANGES["aggregates"][:1]}), ready.settings)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("features.backfill.build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fewer.backfill()
    monkeypatch.undo()
    assert store.backfill()["skipped"] is False


def test_backfill_writes_again_when_a_row_is_no_longer_in_the_future(made, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    made.payments([{"paid_at": now - timedelta(days=1, seconds=index)} for index in range(201)])
    payments = pd.read_parquet(made.settings.data / "payments.parquet")
    payments.loc[200, "paid_at"] = pd.Timestamp(now + timedelta(minutes=6)).as_unit("us")
    made.write(payments, "payments.parquet")
    use_case = made.use_case(aggregates=CHANGES["aggregates"][:1])
    assert backfill(use_case, made.settings)["rows"] == {"card_aggregates": 200}
    made.loads_at(now + timedelta(hours=1), monkeypatch)
    again = backfill(use_case, made.settings)
    assert (again["skipped"], again["rows"]) == (False, {"card_aggregates": 201})


def test_peers_with_values_of_their_own_have_none_in_feast(made) -> None:
    """Feast keeps one row a key and time, and could serve the ratio of one payment for the other."""
    rows = [{"at": 0, "amount": 30.0}, {"at": 1, "amount": 20.0}, {"at": 1, "amount": 40.0}, {"at": 2, "amount": 10.0}]
    made.payments([*rows, {"at": 3, "amount": 25.0}, {"at": 3, "amount": 25.0}])
    part = {"entity": "card", "column": "amount", "functions": ["sum", "ratio", "deviation"], "windows": ["1h"]}
    use_case = made.use_case(aggregates=[part])
    backfill(use_case, made.settings)
    found = pd.read_parquet(parquet_path(repository_folder(use_case, made.settings), "card_aggregates"))
    frame = training_frame(use_case, made.settings).features
    assert list(frame["card_amount_ratio_1h"][:4]) == [1.0, 20 / 30, 40 / 30, 0.4]
    assert list(found["card_amount_sum_1h"]) == [30.0, 90.0, 100.0, 150.0]
    np.testing.assert_array_equal(found["card_amount_ratio_1h"], [1.0, np.nan, 0.4, frame["card_amount_ratio_1h"][5]])
    np.testing.assert_array_equal(found["card_amount_deviation_1h"].isna(), [True, True, False, False])


def test_backfilled_times_are_utc_and_keys_are_text(ready) -> None:
    import pyarrow.parquet

    use_case = ready.use_case(**CHANGES)
    FeatureStore(use_case, ready.settings).backfill()
    schema = pyarrow.parquet.read_schema(parquet_path(repository_folder(use_case, ready.settings), "card_aggregates"))
    assert str(schema.field("event_timestamp").type) == "timestamp[us, tz=UTC]"
    assert str(schema.field("card_id").type) == "string"


def test_an_event_with_a_missing_key_keeps_the_aggregates_of_its_other_keys(ready) -> None:
    use_case = ready.use_case(**CHANGES)
    rows = FeatureStore(use_case, ready.settings).backfill()["rows"]
    payments = pd.read_parquet(ready.settings.data / "payments.parquet")
    assert rows["card_aggregates"] == len(payments.dropna(subset="card_id").drop_duplicates(["card_id", "paid_at"]))
    assert rows["device_aggregates"] == len(
        payments.dropna(subset="device_id").drop_duplicates(["device_id", "paid_at"])
    )


def test_online_vectors_equal_the_training_frame_bit_for_bit(ready) -> None:
    use_case = ready.use_case(**CHANGES)
    store, until = FeatureStore(use_case, ready.settings), ready.at(32)
    frame = store.training_frame(start=until)
    rows = {row["event_id"]: index for index, row in enumerate(frame.events.to_dict("records"))}
    done = store.materialize(until=until)
    assert done["views"] == ["profile"]
    assert done["new_events"] == 30 - len(rows)
    assert store.materialize(until=until)["new_events"] == 0
    with closing(OnlineFeatures(use_case, ready.settings)) as online:
        for request, outcome in history(use_case, ready.settings, start=until, end=None):
            vector = online.read(request)
            offline = frame.features.iloc[rows[request.event_id]].to_dict()
            expected = {name: None if value != value else value for name, value in offline.items()}  # noqa: PLR0124
            assert dict(vars(vector))["values"] == expected
            online.record(request)
            online.outcome(request.event_id, outcome.label, outcome.known)
    assert len(rows) > 3


def test_materializing_until_a_time_takes_only_what_was_known_by_then(ready) -> None:
    use_case = ready.use_case(**CHANGES)
    FeatureStore(use_case, ready.settings).materialize(until=ready.at(10))
    requests = {
        request.entities["card"]: request for request, _ in history(use_case, ready.settings, start=None, end=None)
    }
    with closing(OnlineFeatures(use_case, ready.settings)) as online:

        def points(key: str) -> object:
            return dict(vars(online.read(requests[key])))["values"]["profile__points"]

        assert points("c0") == 2.0, "the correction came at 20"
        assert points("c1") == 5.0, "the newer row came at 30"


def test_derived_columns_on_demand_take_lists() -> None:
    found = derive({"a": [1.0, 2.0], "b": [2.0, 0.0]}, '{"c": ["a / b", "number"], "d": ["c + 1", "number"]}')
    np.testing.assert_array_equal(found["c"], [0.5, np.nan])
    np.testing.assert_array_equal(found["d"], [1.5, np.nan])


def test_ttl_of_backfilled_aggregates_ends_at_the_event(ready) -> None:
    """A window is wrong a moment later, so Feast never serves it for another one."""
    use_case = ready.use_case(**CHANGES)
    store = FeatureStore(use_case, ready.settings)
    store.backfill()
    store.apply()
    frame = store.training_frame()
    later = entity_rows(frame)[["card_id", "event_timestamp"]].dropna()
    later["event_timestamp"] += timedelta(microseconds=2)
    with opened(repository_folder(use_case, ready.settings)) as feast:
        found = feast.get_historical_features(
            entity_df=later, features=["card_aggregates:card_amount_count_1h"]
        ).to_df()
    assert found["card_amount_count_1h"].isna().all()
