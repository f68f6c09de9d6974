"""Feast on the packed online store: what it materializes is what scoring reads, and it reads the same values back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from configs.settings import Settings
from features.backfill import CREATED, TIME
from features.materialize import materialize
from features.online import OnlineFeatures
from features.request import ScoringRequest
from features.stores.packed import PackedStore, open_packed, read_rows
from features.stores.segments import PackedRow, ViewShape

feast = pytest.importorskip("feast")

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
NAMES = ("customer_id", "at", "seen", "limit", "segment", "count", "vip", "since")
HOUR, MONTH = timedelta(hours=1), timedelta(days=30)
ROWS = [
    dict(zip(NAMES, values, strict=True))
    for values in (
        ("K1", NOON, NOON, 0.1 + 0.2, "premium", 3, True, NOON),
        ("K1", NOON, NOON + HOUR, 7.0, None, 4, False, NOON),
        ("K2", NOON, NOON, None, "Zoë", 2**62, True, None),
        ("K3", NOON - MONTH, NOON, -0.0, "s", 0, True, NOON),
    )
]
FEATURES = ["limit", "segment", "count", "vip", "since"]
KINDS = ("number", "text", "integer", "flag", "time")
SHAPE = ViewShape("profile", "customer", tuple(zip(FEATURES, KINDS, strict=True)))


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, settings: Settings) -> dict[str, str]:
    if request.param == "redis":
        return {"redis_url": request.getfixturevalue("redis_url")}
    return {"path": str(settings.online_db)}


@pytest.fixture
def packed(place: dict[str, str]) -> Iterator[PackedStore]:
    store = open_packed(path=Path(place.get("path", "unused")), redis_url=place.get("redis_url"))
    yield store
    store.close()


@pytest.fixture
def store(place: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    times = dict.fromkeys(("at", "seen", "since"), "datetime64[us, UTC]")
    pd.DataFrame(ROWS).astype(times).to_parquet(tmp_path / "customers.parquet")
    opened = opened_store(f"test_{uuid.uuid4().hex[:12]}", place, tmp_path, objects(tmp_path / "customers.parquet"))
    yield opened
    opened.teardown()


def opened_store(project: str, place: dict[str, str], tmp_path: Path, found: list[Any]) -> Any:
    config = feast.RepoConfig(
        project=project,
        provider="local",
        registry={"registry_type": "sql", "path": f"sqlite:///{tmp_path}/registry.db"},
        offline_store={"type": "features.stores.offline.AsofOfflineStore"},
        online_store={"type": "features.stores.online.PackedOnlineStore"} | place,
        entity_key_serialization_version=3,
    )
    store = feast.FeatureStore(config=config)
    store.apply(found)
    return store


def objects(path: Path) -> list[Any]:
    from feast import types

    customer = feast.Entity(name="customer", join_keys=["customer_id"], value_type=feast.ValueType.STRING)
    kinds = [types.Float64, types.String, types.Int64, types.Bool, types.UnixTimestamp]
    view = feast.FeatureView(
        name="profile",
        entities=[customer],
        ttl=timedelta(days=3),
        schema=[feast.Field(name=name, dtype=kind) for name, kind in zip(FEATURES, kinds, strict=True)],
        source=feast.FileSource(path=str(path), timestamp_field="at", created_timestamp_column="seen"),
    )
    return [customer, view]


def materialized(store: Any) -> Any:
    store.materialize(NOON - timedelta(days=365), NOON + timedelta(days=1))
    return store


def asked(store: Any, *keys: str) -> dict[str, list[Any]]:
    rows = [{"customer_id": key} for key in keys]
    names = [f"profile:{name}" for name in FEATURES]
    found: dict[str, list[Any]] = store.get_online_features(features=names, entity_rows=rows).to_dict()
    return found


def test_what_feast_materializes_is_what_scoring_reads(store: Any, packed: PackedStore) -> None:
    materialized(store)
    (found,) = read_rows(packed, store.project, [(SHAPE, "K1")])
    values = {"limit": 7.0, "segment": None, "count": 4, "vip": False, "since": NOON}
    assert found == PackedRow(NOON, NOON + timedelta(hours=1), values)


def test_feast_reads_back_the_values_it_wrote(store: Any) -> None:
    found = asked(materialized(store), "K2", "K1", "K3")
    assert found["limit"] == [None, 7.0, -0.0]
    assert found["segment"] == ["Zoë", None, "s"]
    assert found["count"] == [2**62, 4, 0]
    assert found["vip"] == [True, False, True]
    assert found["since"] == [None, NOON, NOON]


def test_a_key_without_a_row_reads_as_none(store: Any) -> None:
    assert asked(materialized(store), "K9", "K1")["limit"] == [None, 7.0]


def test_an_older_push_changes_nothing(store: Any) -> None:
    materialized(store)
    older = pd.DataFrame([ROWS[0] | {"at": NOON - timedelta(hours=1), "limit": 99.0}])
    newer = pd.DataFrame([ROWS[2] | {"at": NOON + timedelta(hours=1), "limit": 98.0}])
    for pushed in (older, newer):
        store.write_to_online_store("profile", df=pushed)
    assert asked(store, "K1", "K2")["limit"] == [7.0, 98.0]


def test_materializing_again_changes_nothing(store: Any) -> None:
    first = asked(materialized(store), "K1", "K2", "K3")
    assert asked(materialized(store), "K1", "K2", "K3") == first


def test_a_deleted_view_leaves_no_rows(store: Any, packed: PackedStore) -> None:
    view = materialized(store).get_feature_view("profile")
    store.apply([], objects_to_delete=[view], partial=False)
    assert packed.values(store.project, [("customer", "K1")]) == [None]


VIEWS = {
    "profile": {
        "table": "profiles",
        "entity": "card",
        "ttl": "30d",
        "columns": {
            "points": {"missing": [-1]},
            "steps": {"type": "integer"},
            "vip": {"type": "boolean"},
            "tier": {"type": "category"},
            "opened": {"type": "time"},
        },
    }
}
DERIVED = {"opened_at": {"sql": "epoch(profile__opened)"}}


@pytest.fixture
def shared(made: Any, place: dict[str, str], tmp_path: Path) -> Iterator[tuple[OnlineFeatures, Any]]:
    """What scoring reads and Feast's store over the same rows, loaded from the use case's table."""
    from features.definitions import objects as objects_of

    card = {"card_id": ["c1", "c2"], "points": [0.1 + 0.2, -1.0], "steps": [3, 4], "vip": [True, False]}
    times = {"valid_from": [NOON, NOON], "created_at": [NOON, NOON], "opened": [NOON - MONTH, NOON]}
    made.write(pd.DataFrame(card | {"tier": ["gold", None]} | times), "profiles.parquet")
    use_case = made.use_case(name=f"test_{uuid.uuid4().hex[:12]}", views=VIEWS, derived=DERIVED)
    settings = made.settings.model_copy(update={"redis_url": place.get("redis_url")})
    materialize(use_case, settings)
    found = [each for each in objects_of(use_case, tmp_path).values() if each.name in {"card", "device", "profile"}]
    store = opened_store(use_case.name, place, tmp_path, found)
    with closing(OnlineFeatures(use_case, settings)) as online:
        yield online, store
    store.teardown()


def scored(online: OnlineFeatures, key: str) -> dict[str, Any]:
    request = ScoringRequest("e", NOON + HOUR, {"card": key, "device": "d"}, {"amount": 1.0, "channel": "chip"})
    vector = online.read(request)
    return dict(vars(vector))["values"]


def test_feast_reads_the_values_that_were_materialized_for_scoring(shared: tuple[OnlineFeatures, Any]) -> None:
    online, store = shared
    names = [f"profile:{name}" for name in VIEWS["profile"]["columns"]]
    rows = [{"card_id": key} for key in ("c2", "c1", "nobody")]
    found = store.get_online_features(features=names, entity_rows=rows, full_feature_names=True).to_dict()
    for index, key in enumerate(("c2", "c1", "nobody")):
        values = scored(online, key)
        for name in ("points", "steps", "vip", "tier"):
            assert found[f"profile__{name}"][index] == values[f"profile__{name}"]
        opened = found["profile__opened"][index]
        assert (opened and opened.timestamp()) == values["opened_at"]
    assert found["profile__points"] == [None, 0.1 + 0.2, None]


def test_scoring_reads_what_is_pushed_through_feast_with_codes_as_missing(shared: tuple[OnlineFeatures, Any]) -> None:
    online, store = shared
    row = {"card_id": "c1", "points": -1.0, "steps": 9.0, "vip": 0.0, "tier": "tin", "opened": NOON}
    store.write_to_online_store("profile", df=pd.DataFrame([row | {TIME: NOON + HOUR, CREATED: NOON + HOUR}]))
    values = scored(online, "c1")
    found = [values[f"profile__{name}"] for name in ("points", "steps", "vip", "tier")]
    assert (found, values["opened_at"]) == ([None, 9.0, 0.0, "tin"], NOON.timestamp())
