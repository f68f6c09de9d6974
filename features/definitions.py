"""Feast objects from a use case: entities, views, backfilled aggregates, on-demand columns and a feature service."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import timedelta
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    OnDemandFeatureView,
    RequestSource,
    ValueType,
)
from feast.data_format import ParquetFormat
from feast.errors import FeatureViewNotFoundException
from feast.types import Float64, PrimitiveFeastType, String, UnixTimestamp

from configs.inputs import Column
from configs.secret_files import publish
from configs.settings import Settings
from configs.use_case import UseCase
from features.backfill import CREATED, TIME, aggregate_groups, parquet_path, repository_folder
from features.expressions import Expression, compile_derived, compile_expression
from features.vector import AggregateFeature, features_of

_INSTANT = timedelta(microseconds=1)
_DERIVED = "derived"
_TYPES: Mapping[str, PrimitiveFeastType] = {"category": String, "time": UnixTimestamp}
_UDF = """def derived(inputs):
    from features.definitions import derive

    return derive(inputs, {raw!r})
"""
_LOADER = '''"""Feast objects of {title}, from use_case.json beside this file. Written by `risk features apply`."""

from pathlib import Path

from features.definitions import load_objects

globals().update(load_objects(Path(__file__).parent))
'''


def objects(use_case: UseCase, folder: Path) -> dict[str, Any]:
    """Every Feast object by a Python name. `folder` is the repository, whose backfilled files the views read."""
    entities = {name: _entity(use_case, name) for name in use_case.entities}
    views = {name: _view(use_case, name, entities, folder) for name in use_case.views}
    views |= {
        name: _aggregates(use_case, name, features, entities, folder)
        for name, features in aggregate_groups(use_case).items()
    }
    request = RequestSource(name="request", schema=_request_schema(use_case), description="what a request carries")
    served: list[Any] = list(views.values())
    if use_case.derived:
        served.append(_derived(use_case, [*views.values(), request]))
    service = FeatureService(name=use_case.name, features=served, description=use_case.title, owner=use_case.owner)
    found = {f"entity_{name}": entity for name, entity in entities.items()} | {
        f"view_{view.name}": view for view in served
    }
    return found | {"service": service} if served else found


def load_objects(folder: Path) -> dict[str, Any]:
    """The objects of a repository, from the use case that was written into it."""
    return objects(UseCase.model_validate_json((folder / "use_case.json").read_text(encoding="utf-8")), folder)


def write_repository(use_case: UseCase, settings: Settings) -> Path:
    """Write feature_store.yaml, use_case.json and definitions.py, for their owner only; returns the folder."""
    folder = repository_folder(use_case, settings)
    (folder / "backfill").mkdir(parents=True, exist_ok=True)
    for name, content in repository_files(use_case, settings).items():
        publish(content.encode(), folder / name, overwrite=True)
    return folder


@contextmanager
def opened(folder: Path) -> Iterator[FeatureStore]:
    """Feast's store of a repository, its connections closed at the end."""
    store = FeatureStore(repo_path=str(folder))
    try:
        yield store
    finally:
        registry: Any = store.registry
        registry.write_engine.dispose()
        registry.read_engine.dispose()
        online: Any = store.provider.online_store
        online.shut()  # Feast's own close() needs an event loop


def apply(use_case: UseCase, folder: Path) -> list[str]:
    """Apply the use case's objects and delete those it no longer defines; returns the names of what is there."""
    found = list(objects(use_case, folder).values())
    names = {(type(each), each.name) for each in found}
    with _quiet(), opened(folder) as store:
        before: list[Any] = [*store.list_entities(), *store.list_batch_feature_views(), *store.list_feature_services()]
        stale = [each for each in before if (type(each), each.name) not in names]
        store.apply(found, objects_to_delete=stale, partial=False)
        if not use_case.derived:  # by name: listing on-demand views would run the code stored with them
            with suppress(FeatureViewNotFoundException):
                store.registry.delete_feature_view(_DERIVED, project=use_case.name)
    return [f"{type(each).__name__} {each.name}" for each in found]


@contextmanager
def _quiet() -> Iterator[None]:
    """Feast prints its progress, which would end up in machine-readable output, and warns of its own features."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "On demand feature view is an experimental", RuntimeWarning)
        yield


def repository_files(use_case: UseCase, settings: Settings) -> dict[str, str]:
    """File name -> content of a repository that the plain `feast` command line reads."""
    online = {
        "path": str(settings.online_db),
        "redis_url": _named("RISK_REDIS_URL", settings.redis_url, settings.redis_url),
    }
    registry = _named("RISK_DATABASE_URL", settings.database_url, settings.database("feast"))
    offline = {
        "memory_limit": settings.memory,
        "threads": settings.threads,
        "temp_directory": str(settings.home / "scratch"),
    }
    config = {
        "project": use_case.name,
        "provider": "local",
        "registry": {"registry_type": "sql", "path": registry, "cache_ttl_seconds": 60},
        "offline_store": {"type": "features.stores.offline.AsofOfflineStore"} | offline,
        "online_store": {"type": "features.stores.online.PackedOnlineStore"}
        | {key: value for key, value in online.items() if value},
        "materialization": {"pull_latest_features": True, "online_write_batch_size": 10_000},
        "entity_key_serialization_version": 3,
        "auth": {"type": "no_auth"},
    }
    return {
        "feature_store.yaml": yaml.safe_dump(config, sort_keys=False),
        "use_case.json": json.dumps(use_case.as_json(), indent=2) + "\n",
        "definitions.py": _LOADER.format(title=use_case.name),
    }


def _named(variable: str, url: str | None, otherwise: str | None) -> str | None:
    """A reference to the variable that holds an address, which Feast resolves: there may be a password in it.

    Feast knows no `postgres://`.
    """
    held = url and os.environ.get(variable) == url and not url.startswith("postgres://")
    return f"${{{variable}}}" if held else otherwise


def _entity(use_case: UseCase, name: str) -> Entity:
    return Entity(name=name, join_keys=[use_case.key(name)], value_type=ValueType.STRING, owner=use_case.owner)


def _source(name: str, path: Path, *, created: bool) -> FileSource:
    return FileSource(
        name=f"{name}_source",
        path=str(path),
        file_format=ParquetFormat(),
        timestamp_field=TIME,
        created_timestamp_column=CREATED if created else "",
    )


def _field(name: str, column: Column) -> Field:
    described = column.description or ""
    return Field(
        name=name,
        dtype=_TYPES.get(column.type, Float64),
        description=described,
        tags={"unit": column.unit} if column.unit else {},
    )


def _view(use_case: UseCase, name: str, entities: Mapping[str, Entity], folder: Path) -> FeatureView:
    view = use_case.views[name]
    return FeatureView(
        name=name,
        entities=[entities[view.entity]],
        ttl=view.ttl,
        schema=[Field(name=use_case.key(view.entity), dtype=String), *(_field(*item) for item in view.columns.items())],
        source=_source(name, parquet_path(folder, name), created=True),
        online=True,
        owner=use_case.owner,
    )


def _aggregates(
    use_case: UseCase, name: str, features: Sequence[AggregateFeature], entities: Mapping[str, Entity], folder: Path
) -> FeatureView:
    """A group's backfilled values. They hold at the event's own time only, and never go online.

    They expire after a microsecond: to Feast a time to live of 0 is none.
    """
    names = features[0].aggregate.entities
    described = {feature.name: feature.description for feature in features_of(use_case)}
    return FeatureView(
        name=name,
        entities=[entities[entity] for entity in names],
        ttl=_INSTANT,
        schema=[
            *(Field(name=use_case.key(entity), dtype=String) for entity in names),
            *(Field(name=feature.name, dtype=Float64, description=described[feature.name]) for feature in features),
        ],
        source=_source(name, parquet_path(folder, name), created=False),
        online=False,
        description="windowed aggregates at the time of each event; online they come from the activity state",
        owner=use_case.owner,
    )


def _request_schema(use_case: UseCase) -> list[Field]:
    return [
        *(_field(name, column) for name, column in use_case.request.items()),
        Field(name="event_time", dtype=UnixTimestamp),
    ]


def _derived(use_case: UseCase, sources: list[Any]) -> OnDemandFeatureView:
    raw = json.dumps(
        {name: [expression.text, use_case.derived[name].type] for name, expression in compile_derived(use_case).items()}
    )

    def derived(inputs: dict[str, Any]) -> dict[str, Any]:
        return derive(inputs, raw)

    udf: Any = derived
    return OnDemandFeatureView(
        name=_DERIVED,
        sources=sources,
        schema=[Field(name=name, dtype=_TYPES.get(part.type, Float64)) for name, part in use_case.derived.items()],
        udf=udf,
        udf_string=_UDF.format(raw=raw),
        mode="python",
        description="columns computed from request fields, views and aggregates",
        owner=use_case.owner,
    )


def derive(inputs: Mapping[str, Sequence[Any]], expressions: str) -> dict[str, list[Any]]:
    """Derived columns for lists of inputs. `expressions` is JSON: name -> [SQL, type], each may use those before it.

    A missing number is NaN, because Feast infers a column's type from its first value.
    """
    compiled = _compiled(expressions, tuple(sorted(inputs)))
    rows = [dict(zip(inputs, row, strict=True)) for row in zip(*inputs.values(), strict=True)]
    found: dict[str, list[Any]] = {name: [] for name in compiled}
    for row in rows:
        for name, expression in compiled.items():
            row[name] = expression.evaluate(row)
            missing = row[name] is None and expression.kind == "number"
            found[name].append(math.nan if missing else row[name])
    return found


@lru_cache(maxsize=32)
def _compiled(expressions: str, names: tuple[str, ...]) -> dict[str, Expression]:
    known, compiled = set(names), {}
    for name, (text, kind) in json.loads(expressions).items():
        compiled[name] = compile_expression(text, allowed=known, gives=kind)
        known.add(name)
    return compiled
