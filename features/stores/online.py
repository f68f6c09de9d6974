"""Feast's view of the packed online store: `materialize` and `get_online_features` work on the rows that scoring reads.

The shape of a view comes from its fields in Feast. For the views of a use case that is the shape which
`features.stores.segments` derives from the use case, so that either side reads what the other wrote. Feast's own
timestamps are whole seconds: a column of times that goes through Feast, in or out, loses its microseconds.
In `feature_store.yaml`: `online_store: {type: features.stores.online.PackedOnlineStore, path: /absolute/online.db}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from feast import Entity, FeatureView, Field, RepoConfig
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import FeastConfigBaseModel
from feast.value_type import ValueType

from configs.errors import FeatureError
from features.request import Value, joined_key, utc
from features.stores.marks import drop_view
from features.stores.packed import PackedStore, open_packed, read_rows
from features.stores.segments import Kind, PackedRow, ViewShape

_FIELDS: Mapping[ValueType, tuple[str, Kind, Callable[[Any], Any]]] = {
    ValueType.DOUBLE: ("double_val", "number", float),
    ValueType.FLOAT: ("float_val", "number", float),
    ValueType.INT64: ("int64_val", "integer", int),
    ValueType.INT32: ("int32_val", "integer", int),
    ValueType.BOOL: ("bool_val", "flag", bool),
    ValueType.STRING: ("string_val", "text", str),
    ValueType.UNIX_TIMESTAMP: ("unix_timestamp_val", "time", lambda time: int(time.timestamp())),
}
_NO_TIME = -(2**63)  # how Feast writes a missing timestamp

WriteRow = tuple[EntityKey, dict[str, ValueProto], datetime, datetime | None]
ReadRow = tuple[datetime | None, dict[str, ValueProto] | None]


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """Where the packed online store is: the SQLite file at `path`, or Redis at `redis_url`."""

    type: Literal["features.stores.online.PackedOnlineStore"] = "features.stores.online.PackedOnlineStore"
    path: str | None = None
    redis_url: str | None = None


class PackedOnlineStore(OnlineStore):
    """The rows of a view in the packed values of its entity's keys; a project is a use case."""

    _opened: PackedStore | None = None

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[WriteRow], progress: Callable[[int], Any] | None
    ) -> None:
        """Store rows, except those that are older than what is there; rows without an entity key are nobody's."""
        self._store(config).write(config.project, shape_of(table), _rows(data))
        if progress:
            progress(len(data))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[ReadRow]:
        """The rows of entity keys, in their order. Feast has no TTL here: `features.online` enforces it."""
        kinds = {field.name: field.dtype.to_value_type() for field in table.features}
        names = [name for name in requested_features or kinds if name in kinds]
        shape, keys = shape_of(table), [_key(entity_key) for entity_key in entity_keys]
        wanted = [(shape, key) for key in keys if key is not None]
        found = iter(read_rows(self._store(config), config.project, wanted))
        rows = [None if key is None else next(found) for key in keys]
        return [
            (row.event_time, {name: _proto(kinds[name], row.values.get(name)) for name in names})
            if row
            else (None, None)
            for row in rows
        ]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Delete the rows of views that are no longer defined; views to keep need no preparation."""
        for table in tables_to_delete:
            drop_view(self._store(config), config.project, table.name)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Delete the rows of all views and close the store."""
        store = self._store(config)
        for table in tables:
            drop_view(store, config.project, table.name)
        self.shut()

    def shut(self) -> None:
        """Close the store's connections; it opens again when it is used."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    async def close(self) -> None:
        """The same in Feast's interface."""
        self.shut()

    def _store(self, config: RepoConfig) -> PackedStore:
        if self._opened is None:
            place = config.online_store
            if not place.path and not place.redis_url:
                raise FeatureError(
                    "the online store has no place", expected="`path` or `redis_url` in feature_store.yaml"
                )
            path = Path(place.path or "online.db")
            self._opened = open_packed(path=(config.repo_path or Path()) / path, redis_url=place.redis_url)
        return self._opened


def shape_of(table: FeatureView) -> ViewShape:
    """The shape of a Feast view. Raises `FeatureError` for a field of a type that the store doesn't keep."""
    return ViewShape(table.name, "+".join(sorted(table.entities)), tuple(map(_column, table.features)))


def _column(field: Field) -> tuple[str, Kind]:
    kind = field.dtype.to_value_type()
    if kind not in _FIELDS:
        raise FeatureError(
            f"the feature {field.name!r} of Feast's type {kind.name}",
            expected=f"one of {', '.join(known.name for known in _FIELDS)}",
            fix="declare the view's columns with these types",
        )
    return field.name, _FIELDS[kind][1]


def _rows(data: Sequence[WriteRow]) -> Iterator[tuple[str, PackedRow]]:
    for entity_key, values, event_time, created in data:
        key = _key(entity_key)
        if key is not None:
            unpacked = {name: _python(value) for name, value in values.items()}
            yield key, PackedRow(utc(event_time), _created(created), unpacked)


def _created(time: datetime | None) -> datetime | None:
    return None if time is None or time != time else utc(time)  # noqa: PLR0124  # pandas has NaT for a missing time


def _key(entity_key: EntityKey) -> str | None:
    """An entity key as the request has it: text, the parts of a joint key in the order of their names."""
    parts = sorted(zip(entity_key.join_keys, entity_key.entity_values, strict=True), key=lambda part: part[0])
    values = [_python(value) for _, value in parts]
    return joined_key([None if value is None else str(value) for value in values])


def _python(proto: ValueProto) -> Value:
    field = proto.WhichOneof("val")
    if field is None or field == "null_val":
        return None
    value = getattr(proto, field)
    if field == "unix_timestamp_val":
        return None if value == _NO_TIME else datetime.fromtimestamp(value, UTC)
    if field not in {name for name, *_ in _FIELDS.values()}:
        raise FeatureError(
            f"a value of Feast's type {field.removesuffix('_val')!r}",
            expected="a number, text, boolean or timestamp",
            fix="declare the view's columns with these types",
        )
    return None if isinstance(value, float) and math.isnan(value) else value


def _proto(kind: ValueType, value: Value) -> ValueProto:
    if value is None:
        return ValueProto()
    field, _, convert = _FIELDS[kind]
    return ValueProto(**{field: convert(value)})
