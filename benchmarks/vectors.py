"""Online vectors: one key each of 5 views x 10 features, as scoring reads them and as Feast does.

Feast reads from its own SQLite and Redis stores, and from this platform's plugin, which shares its rows with scoring.
All of them must give the same values before anything is timed.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.bars import Line, line, publish
from benchmarks.worlds import payments
from configs.console import progress
from configs.errors import RiskError
from configs.settings import Settings, load_settings
from configs.use_case import UseCase
from features.backfill import CREATED, TIME
from features.materialize import materialize
from features.online import OnlineFeatures
from features.request import ScoringRequest
from features.stores.connections import RedisServer

VIEWS, COLUMNS, KEYS = 5, 10, 2_000
READS, WARM_UP = 400, 100
NOW = datetime(2025, 7, 1, 12, tzinfo=UTC)

Read = Callable[[ScoringRequest], Mapping[str, Any]]


@dataclass(frozen=True)
class Timings:
    """Seconds of each read, by who read."""

    ours: list[float]
    feast: list[float]
    plugin: list[float]


def lines() -> list[Line]:
    """p50 on SQLite and, where `RISK_REDIS_URL` names a server, on Redis. Raises `RiskError` for unequal values."""
    found: list[Line] = []
    settings = load_settings()
    for store, url in {"SQLite": None, "Redis": settings.redis_url}.items():
        if store == "SQLite" or url:
            with tempfile.TemporaryDirectory(prefix="risk-bench-") as folder:
                timings = measured(settings.model_copy(update={"redis_url": url}), Path(folder))
            found += judged(store, timings)
    return found


def judged(store: str, timings: Timings) -> list[Line]:
    """Median microseconds beside Feast's, and how many times lower they are."""
    ours, feast, plugin = (1e6 * float(np.median(each)) for each in (timings.ours, timings.feast, timings.plugin))
    name = f"vector of {VIEWS} views x {COLUMNS} features, {store}"
    return [
        line(f"{name}: p50", ours, unit="us", peer=feast),
        line(f"{name}: Feast's p50 over ours", feast / ours, unit="times", bar=">= 10"),
        line(f"{name}: p50 of Feast on our plugin", plugin, unit="us", peer=feast),
    ]


def measured(base: Settings, folder: Path) -> Timings:
    """Load the same made views into all stores, compare, and time them in turns."""
    settings = base.model_copy(update={"home": folder / "home", "data": folder / "data"})
    use_case = world(f"vectors{uuid.uuid4().hex[:8]}")
    tables = write_tables(use_case, settings)
    materialize(use_case, settings, until=NOW)
    with (
        closing(OnlineFeatures(use_case, settings)) as online,
        feast_store(use_case, folder / "feast", stock(settings, folder), tables) as stocked,
        feast_store(use_case, folder / "plugin", plugged(settings), {}) as plugin,
        forgotten(use_case, settings),
    ):
        ours: Read = lambda request: online.read(request).values  # noqa: E731, PD011
        readers = [ours, through(stocked, use_case), through(plugin, use_case)]
        return Timings(*_timed(readers, list(_requests())))


def world(name: str) -> UseCase:
    """A use case of nothing but views, each of an entity of its own."""
    numbers = range(VIEWS)
    return payments(
        name,
        tables={
            "payments": {"path": "payments.parquet", "time": "paid_at"},
            **{f"table{n}": {"path": f"table{n}.parquet", "time": "at"} for n in numbers},
        },
        entities={f"entity{n}": f"key{n}" for n in numbers},
        request={"amount": {"feature": False}},
        views={
            f"view{n}": {"table": f"table{n}", "entity": f"entity{n}", "ttl": "30d"}
            | {"columns": {f"x{column}": {} for column in range(COLUMNS)}}
            for n in numbers
        },
    )


def write_tables(use_case: UseCase, settings: Settings) -> dict[str, pd.DataFrame]:
    """A row for every key in every view; one value in ten is missing. Returns the tables by view."""
    settings.data.mkdir(parents=True)
    rng = np.random.default_rng(7)
    tables = {}
    for n, view in enumerate(use_case.views):
        values = rng.normal(size=(KEYS, COLUMNS))
        values[rng.random(values.shape) < 0.1] = np.nan
        table = pd.DataFrame(values, columns=[f"x{column}" for column in range(COLUMNS)])
        table.insert(0, f"key{n}", [f"k{key}" for key in range(KEYS)])
        table["at"] = pd.Series([NOW - timedelta(hours=n + 1)] * KEYS, dtype="datetime64[us, UTC]")
        table.to_parquet(settings.data / f"table{n}.parquet")
        tables[view] = table
    return tables


def stock(settings: Settings, folder: Path) -> dict[str, Any]:
    """Feast's own online store."""
    if settings.redis_url is None:
        return {"type": "sqlite", "path": str(folder / "stock.db")}
    return {"type": "redis", "connection_string": settings.redis_url.removeprefix("redis://")}


def plugged(settings: Settings) -> dict[str, Any]:
    """This platform's store as Feast's plugin."""
    place = {"redis_url": settings.redis_url} if settings.redis_url else {"path": str(settings.online_db)}
    return {"type": "features.stores.online.PackedOnlineStore"} | place


@contextmanager
def feast_store(
    use_case: UseCase, folder: Path, online: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> Iterator[Any]:
    """A Feast store with the use case's objects, in which tables were written; torn down at the end."""
    from feast import FeatureStore, RepoConfig

    from features.definitions import objects

    folder.mkdir()
    config = RepoConfig(
        project=use_case.name,
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "features.stores.offline.AsofOfflineStore"},
        online_store=dict(online),
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply(list(objects(use_case, folder).values()))
    for view, table in tables.items():
        store.write_to_online_store(view, df=table.rename(columns={"at": TIME}).assign(**{CREATED: NOW}))
    try:
        yield store
    finally:
        store.teardown()


def through(store: Any, use_case: UseCase) -> Read:
    """Reading as Feast's users do."""
    service = store.get_feature_service(use_case.name)
    keys = use_case.entities

    def read(request: ScoringRequest) -> dict[str, Any]:
        row = {keys[entity]: key for entity, key in request.entities.items()}
        found = store.get_online_features(features=service, entity_rows=[row], full_feature_names=True).to_dict()
        return {name: values[0] for name, values in found.items() if "__" in name}

    return read


@contextmanager
def forgotten(use_case: UseCase, settings: Settings) -> Iterator[None]:
    """Delete what the use case left in Redis."""
    try:
        yield
    finally:
        if settings.redis_url:
            with closing(RedisServer(settings.redis_url)) as server:
                server.forget(f"risk:{use_case.name}:*")


def _requests() -> Iterator[ScoringRequest]:
    drawn = np.random.default_rng(8).integers(KEYS, size=(WARM_UP + READS, VIEWS))
    for n, keys in enumerate(drawn):
        yield ScoringRequest(f"e{n}", NOW, {f"entity{v}": f"k{key}" for v, key in enumerate(keys)}, {"amount": 1.0})


def _timed(readers: list[Read], requests: list[ScoringRequest]) -> list[list[float]]:
    for request in requests[:WARM_UP]:
        first, *others = (dict(read(request)) for read in readers)
        if len(first) != VIEWS * COLUMNS or any(other != first for other in others):
            raise RiskError(f"the vectors of {request.event_id} differ", expected="equal values from every store")
    return [
        list(each)
        for each in zip(*([_seconds(read, asked) for read in readers] for asked in requests[WARM_UP:]), strict=True)
    ]


def _seconds(read: Read, request: ScoringRequest) -> float:
    began = time.perf_counter()
    read(request)
    return time.perf_counter() - began


if __name__ == "__main__":
    with progress("online vectors"):
        measurements = lines()
    publish("vectors", measurements, title=f"One key each of {VIEWS} views x {COLUMNS} features")
