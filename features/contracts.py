"""Contracts: what each table of a use case must hold, read off the use case once and used everywhere.

The same contract checks a table's rows when it is loaded (`features.intake.rules`), builds the model of scoring
requests, documents the columns, and makes rows for tests. A load refuses the rows that the endpoint would refuse.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from configs.conditions import named_columns
from configs.inputs import Column
from configs.use_case import UseCase
from features.exact import SUMMED, most

ROW_NUMBER = "row_number:"
"""Column of a loaded table with the row's number in its source, for events without an id of their own."""

AHEAD = timedelta(minutes=5)
"""How far the clock of whoever wrote a time may be ahead of this one: a later time is in the future."""

MAX_TEXT = 128
"""Most characters of a key or a category; control characters are refused, because some databases do."""

FIRST_YEAR, END_YEAR = 1900, 2200
"""Times from the first year to before the second are possible."""

Role = Literal["id", "time", "created", "label", "known", "key", "field", "protected", "outcome", "view", "counted"]
_BESIDE = {"protected", "outcome"}
"""Roles of what is never a feature: no row is refused for its sake."""
Check = Literal[
    "missing", "time", "type", "era", "future", "below", "above", "whole", "vocabulary", "empty", "long", "control"
]
_A = {"integer": "an integer", "time": "a time"}


@dataclass(frozen=True)
class Rule:
    """What a column of a row may not be. `reason` says it of the column, as in "amount is below 0"."""

    check: Check
    reason: str


@dataclass(frozen=True)
class ColumnContract:
    """A raw column in one of its roles. `owner` is the place in the use case that names it.

    `contract` is there for fields, view columns, protected attributes and outcomes; its range is narrowed to what
    exact sums take (`features.exact`) where an aggregate sums the column. Of a column that is only counted, that range
    is all it has.
    """

    name: str
    role: Role
    owner: str
    contract: Column | None = None
    field: str | None = None
    nullable: bool = True
    unique: bool = False
    personal: Literal["token", "mask"] | None = None
    past: bool = False

    @property
    def type(self) -> str:
        """Type of the values: that of the contract, or what the role asks for."""
        if self.contract:
            return self.contract.type
        return {"time": "time", "created": "time", "known": "time", "label": "label", "counted": "as found"}.get(
            self.role, "text"
        )

    def rules(self) -> tuple[Rule, ...]:
        """What a row is rejected for, in the order of reporting. Protected attributes and labels reject none."""
        return tuple(_rules(self))


@dataclass(frozen=True)
class TableContract:
    """All that a use case says of one table. A column stands in `columns` once for every role it has."""

    use_case: str
    table: str
    label: str
    columns: tuple[ColumnContract, ...]
    rejects: float

    @property
    def names(self) -> tuple[str, ...]:
        """Raw columns, each once: all that is loaded."""
        return tuple(dict.fromkeys(column.name for column in self.columns))

    @property
    def texts(self) -> frozenset[str]:
        """Raw columns whose values are texts in every role: a file of texts is not asked what else they look like."""
        return frozenset(self.names) - {
            column.name for column in self.columns if column.type not in {"text", "category"}
        }

    @property
    def personal(self) -> dict[str, str]:
        """Personal columns of this table: raw column -> token or mask."""
        return {column.name: column.personal for column in self.columns if column.personal}

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides which rows are good and what is loaded of them."""
        parts = [
            [
                column.name, column.role, column.field, column.nullable, column.unique, column.personal, column.past,
                column.contract.model_dump(mode="json") if column.contract else None,
            ]
            for column in self.columns
        ]  # fmt: skip
        return hashlib.sha256(json.dumps([_FORMAT, parts], sort_keys=True).encode()).hexdigest()

    def of(self, *roles: Role) -> tuple[ColumnContract, ...]:
        """The columns in these roles."""
        return tuple(column for column in self.columns if column.role in roles)

    def one(self, role: Role) -> str | None:
        """The raw column with a role that at most one has."""
        return next((column.name for column in self.of(role)), None)

    def describe(self) -> list[dict[str, Any]]:
        """A row for each column and role: what it means and what is possible."""
        return [_described(column) for column in self.columns]


_FORMAT = 1


def event_id_column(use_case: UseCase) -> str:
    """The column of a loaded event table that identifies the event."""
    return use_case.event.id or ROW_NUMBER


def contract_of(use_case: UseCase, table: str) -> TableContract:
    """The contract of a table: the columns that the use case names, in the order in which it names them."""
    found = [*(_event_columns(use_case) if table == use_case.event.table else ())]
    found += [*_view_columns(use_case, table), *_counted_columns(use_case, table)]
    definition = use_case.tables[table]
    distinct = {(column.name, column.role, column.field, column.owner): column for column in reversed(found)}
    return TableContract(use_case.name, table, definition.label, tuple(reversed(distinct.values())), definition.rejects)


def _event_columns(use_case: UseCase) -> Iterator[ColumnContract]:
    event, label, personal = use_case.event, use_case.label, use_case.personal
    if event.id:
        shield = personal.get(event.id)
        yield ColumnContract(event.id, "id", "event", nullable=False, unique=True, personal=shield)
    if event.time:
        yield ColumnContract(event.time, "time", "event", nullable=False, past=True)
    if use_case.event_table.created:
        yield ColumnContract(use_case.event_table.created, "created", f"tables.{event.table}")
    yield ColumnContract(label.column, "label", "label")
    if label.known:
        yield ColumnContract(label.known, "known", "label")
    for entity, key in use_case.entities.items():
        yield ColumnContract(key, "key", f"entities.{entity}", field=entity, personal=personal.get(key))
    for name, column in use_case.request.items():
        summed = _summable(use_case, event.table, name, column.column)
        yield _contracted(use_case, name, _narrowed(column, summed), "field", f"request.{name}")
    for name, column in use_case.protected.items():
        yield _contracted(use_case, name, column, "protected", f"protected.{name}")
    for name, column in use_case.outcomes.items():
        yield _contracted(use_case, name, column, "outcome", f"outcomes.{name}")


def _view_columns(use_case: UseCase, table: str) -> Iterator[ColumnContract]:
    for view, definition in use_case.views.items():
        if definition.table == table:
            yield from _times(use_case, table, f"views.{view}", past=False)
            yield _key(use_case, definition.entity, f"views.{view}")
            for name, column in definition.columns.items():
                yield _contracted(use_case, name, column, "view", f"views.{view}.columns")


def _counted_columns(use_case: UseCase, table: str) -> Iterator[ColumnContract]:
    if table == use_case.event.table:  # they count what a request carries
        return
    for part in use_case.aggregates:
        if part.table == table:
            owner = f"aggregates ({part.stem})"
            yield from _times(use_case, table, owner, past=True)
            for entity in part.entities:
                yield _key(use_case, entity, owner)
            for name in [*([part.column] if part.column else []), *named_columns(part.where)]:
                summed = _summable(use_case, table, name)
                bounds = None if summed is None else _narrowed(Column(), summed)
                yield ColumnContract(name, "counted", owner, bounds, personal=use_case.personal.get(name))


def _summable(use_case: UseCase, table: str, *names: str | None) -> float | None:
    """The largest value of a column of a table, known by these names, that its aggregates can sum; None: none does."""
    decimals = [
        part.decimals
        for part in use_case.aggregates
        if (part.table or use_case.event.table) == table and part.column in names and SUMMED & set(part.functions)
    ]
    return most(max(decimals)) if decimals else None


def _narrowed(column: Column, summed: float | None) -> Column:
    """The column, in the range of values that can be summed."""
    if summed is None or column.type not in {"number", "integer"}:
        return column
    least = -summed if column.min is None else max(column.min, -summed)
    return column.model_copy(update={"min": least, "max": summed if column.max is None else min(column.max, summed)})


def _times(use_case: UseCase, table: str, owner: str, *, past: bool) -> Iterator[ColumnContract]:
    definition = use_case.tables[table]
    if definition.time:
        yield ColumnContract(definition.time, "time", owner, nullable=False, past=past)
    if definition.created:
        yield ColumnContract(definition.created, "created", owner)


def _key(use_case: UseCase, entity: str, owner: str) -> ColumnContract:
    key = use_case.key(entity)
    return ColumnContract(key, "key", owner, field=entity, personal=use_case.personal.get(key))


def _contracted(use_case: UseCase, name: str, column: Column, role: Role, owner: str) -> ColumnContract:
    raw = column.column or name
    nullable = column.nullable or role in _BESIDE
    return ColumnContract(raw, role, owner, column, name, nullable, personal=use_case.personal.get(raw))


def _rules(column: ColumnContract) -> Iterator[Rule]:
    if column.role in {*_BESIDE, "label"}:
        return
    if column.role == "counted":
        yield from _range_rules(column.contract) if column.contract else ()
        return
    if column.type == "time":
        yield from _time_rules(column)
    elif not column.nullable:
        yield Rule("missing", "is missing")
    if column.role in {"id", "key"}:
        yield from (Rule("empty", "is empty"), *_TEXT_RULES)
    if column.contract and column.type != "time":
        yield from _value_rules(column.contract)


_TEXT_RULES = (Rule("long", f"is longer than {MAX_TEXT} characters"), Rule("control", "holds control characters"))


def _time_rules(column: ColumnContract) -> Iterator[Rule]:
    if column.nullable:
        yield Rule("type", "is no time")
    else:
        yield Rule("time", "is missing or no time")
    yield Rule("era", f"is not between the years {FIRST_YEAR} and {END_YEAR}")
    if column.past:
        yield Rule("future", "is in the future")


def _value_rules(contract: Column) -> Iterator[Rule]:
    if contract.type != "category":
        yield Rule("type", f"is not {_A.get(contract.type, f'a {contract.type}')}")
    elif contract.values and contract.other is None:
        yield Rule("vocabulary", "is not in the vocabulary")
    elif not contract.values:
        yield from _TEXT_RULES
    if contract.type in {"number", "integer"}:
        yield from _range_rules(contract)
    if contract.type == "integer":
        yield Rule("whole", "is not whole")


def _range_rules(contract: Column) -> Iterator[Rule]:
    if contract.min is not None:
        yield Rule("below", f"is below {contract.min:g}")
    if contract.max is not None:
        yield Rule("above", f"is above {contract.max:g}")


def _described(column: ColumnContract) -> dict[str, Any]:
    contract = column.contract
    bounds = [contract.min, contract.max] if contract and contract.type in {"number", "integer"} else [None, None]
    return {
        "column": column.name,
        "role": column.role,
        "field": column.field,
        "type": column.type,
        "unit": contract.unit if contract else None,
        "range": _range(*bounds),
        "values": list(contract.values) if contract else [],
        "other": contract.other if contract else None,
        "missing codes": list(contract.missing) if contract else [],
        "nullable": column.nullable,
        "unique": column.unique,
        "personal": column.personal,
        "description": contract.description if contract else None,
    }


def _range(least: float | None, most: float | None) -> str | None:
    if least is not None and most is not None:
        return f"{least:g} to {most:g}"
    return None if least is None and most is None else f"at most {most:g}" if least is None else f"at least {least:g}"
