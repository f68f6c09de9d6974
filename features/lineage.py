"""Lineage: from a feature back to the source columns that it is computed from, and from a column to what it feeds."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from configs.conditions import named_columns
from configs.errors import FeatureError
from configs.inputs import Aggregate, Column
from configs.use_case import UseCase
from features.contracts import contract_of
from features.expressions import Expression, compile_derived
from features.sources import used_tables
from features.vector import AggregateFeature, Origin, aggregate_features, features_of, view_features

Use = Literal["value", "key", "time", "known since", "filter"]


@dataclass(frozen=True)
class SourceColumn:
    """A column of a raw table, by the table's name in the use case, and what it is read for."""

    table: str
    column: str
    use: Use

    def __str__(self) -> str:
        return f"{self.table}.{self.column}" + ("" if self.use == "value" else f" ({self.use})")


@dataclass(frozen=True)
class Lineage:
    """A feature or a field, what it is computed from, and the columns that it reads itself."""

    name: str
    origin: Origin | Literal["event"]
    inputs: tuple[Lineage, ...]
    own_columns: tuple[SourceColumn, ...]

    @property
    def columns(self) -> tuple[SourceColumn, ...]:
        """Every source column behind it, each once, in the order in which they are met."""
        return tuple(dict.fromkeys([*self.own_columns, *(found for each in self.inputs for found in each.columns)]))

    def as_dict(self) -> dict[str, Any]:
        """The whole tree as plain data."""
        return {
            "name": self.name,
            "origin": self.origin,
            "columns": [str(column) for column in self.own_columns],
            "inputs": [each.as_dict() for each in self.inputs],
        }


def lineage_of(use_case: UseCase) -> dict[str, Lineage]:
    """The lineage of every feature, in the order of the feature vector."""
    tracer = _Tracer(use_case)
    return {feature.name: tracer.trace(feature.name) for feature in features_of(use_case)}


def lineage(use_case: UseCase, feature: str) -> Lineage:
    """The lineage of one feature. Raises `FeatureError` for an unknown one, with the nearest name."""
    found = lineage_of(use_case)
    if feature not in found:
        raise unknown("feature", feature, list(found), fix=f"risk features list {use_case.name}")
    return found[feature]


def fed_by(use_case: UseCase, column: str) -> list[str]:
    """The features that would change with a source column, written `table.column`; keys, times and filters count.

    None for a column that is read for something else: the label, an id, a protected attribute. Raises `FeatureError`
    for one that the use case doesn't name.
    """
    found = {
        name: {f"{each.table}.{each.column}" for each in node.columns} for name, node in lineage_of(use_case).items()
    }
    read = {f"{table}.{name}" for table in used_tables(use_case) for name in contract_of(use_case, table).names}
    known = read.union(*found.values())
    if column not in known:
        raise unknown("source column", column, sorted(known), fix="write it as table.column")
    return [name for name, columns in found.items() if column in columns]


def unknown(what: str, name: str, known: Sequence[str], *, fix: str) -> FeatureError:
    """The error for a name that isn't there, with the nearest one that is."""
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return FeatureError(f"no {what} {name!r}{hint}", expected=f"one of {', '.join(known)}", fix=fix)


class _Tracer:
    """Follows names to what they are computed from; the definitions have no cycles."""

    def __init__(self, use_case: UseCase) -> None:
        self._use_case = use_case
        self._derived: dict[str, Expression] = compile_derived(use_case)
        self._aggregates = {feature.name: feature for feature in aggregate_features(use_case)}
        self._views = {
            name: (view, column) for view in use_case.views for name, column in view_features(use_case, view)
        }

    def trace(self, name: str) -> Lineage:
        if name in self._derived:
            inputs = tuple(self.trace(each) for each in sorted(self._derived[name].names))
            return Lineage(name, "derived", inputs, ())
        if name in self._aggregates:
            return self._aggregate(self._aggregates[name])
        if name in self._views:
            return Lineage(
                name, "view", (), tuple(dict.fromkeys(self._view(*self._views[name], name.partition("__")[2])))
            )
        if name in self._use_case.request:
            return Lineage(name, "request", (), (self._event(_raw(self._use_case.request[name], name), "value"),))
        return Lineage(name, "event", (), (self._event(self._use_case.event.time or name, "time"),))

    def _event(self, column: str, use: Use) -> SourceColumn:
        return SourceColumn(self._use_case.event.table, column, use)

    def _asking(self, *entities: str) -> Iterator[SourceColumn]:
        """What an event finds rows by: its keys and its time."""
        for entity in entities:
            yield self._event(self._use_case.key(entity), "key")
        if self._use_case.event.time:
            yield self._event(self._use_case.event.time, "time")

    def _view(self, view: str, column: Column, name: str) -> Iterator[SourceColumn]:
        definition = self._use_case.views[view]
        yield SourceColumn(definition.table, _raw(column, name), "value")
        yield SourceColumn(definition.table, self._use_case.key(definition.entity), "key")
        yield from self._times(definition.table)
        yield from self._asking(definition.entity)

    def _times(self, table: str) -> Iterator[SourceColumn]:
        definition = self._use_case.tables[table]
        if definition.time:
            yield SourceColumn(table, definition.time, "time")
        if definition.created:
            yield SourceColumn(table, definition.created, "known since")

    def _aggregate(self, feature: AggregateFeature) -> Lineage:
        part = feature.aggregate
        own = part.table in {None, self._use_case.event.table}
        columns = self._counted(part) if own else self._streamed(part, str(part.table))
        return Lineage(feature.name, "aggregate", (), tuple(dict.fromkeys(columns)))

    def _counted(self, part: Aggregate) -> Iterator[SourceColumn]:
        """Columns of the event table, where an aggregate may call them by the names of fields and entities."""
        label = self._use_case.label
        if part.column:
            yield self._event(self._column(part.column), "value")
        yield from self._asking(*part.entities)
        if part.column == label.column and label.known:
            yield self._event(label.known, "known since")
        for name in named_columns(part.where):
            yield self._event(self._column(name), "filter")

    def _streamed(self, part: Aggregate, table: str) -> Iterator[SourceColumn]:
        if part.column:
            yield SourceColumn(table, part.column, "value")
        for entity in part.entities:
            yield SourceColumn(table, self._use_case.key(entity), "key")
        yield from self._times(table)
        yield from self._asking(*part.entities)
        for name in named_columns(part.where):
            yield SourceColumn(table, name, "filter")

    def _column(self, name: str) -> str:
        """The raw column behind a field, an entity or `event_time`."""
        use_case = self._use_case
        if name in use_case.request:
            return _raw(use_case.request[name], name)
        if name == "event_time" and use_case.event.time:
            return use_case.event.time
        return use_case.entities.get(name, name)


def _raw(column: Column, name: str) -> str:
    return column.column or name
