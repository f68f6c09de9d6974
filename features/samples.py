"""Rows for tests, made from a contract: valid ones, and for each rule a row that breaks this rule alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from configs.inputs import Column
from configs.use_case import UseCase
from features.contracts import END_YEAR, FIRST_YEAR, MAX_TEXT, Check, ColumnContract, Rule, TableContract
from features.request import rfc3339

_START = datetime(2024, 1, 1, tzinfo=UTC)
_DAY = 86_400
_WORDS = ("amber", "basalt", "cedar", "delta", "ember")
_NO_VALUE = "no value of this type"


@dataclass(frozen=True)
class Sample:
    """A row by raw column. `column` and `reason` tell the rule that it breaks; None for a valid one."""

    row: Mapping[str, Any]
    column: str | None = None
    reason: str | None = None


def valid_rows(contract: TableContract, count: int, *, seed: int) -> list[Sample]:
    """Rows that a load accepts, with missing values, sentinel codes and the ends of ranges among them.

    Columns that aggregates only count have no declared type; they hold numbers.
    """
    rng = random.Random(seed)  # noqa: S311  # samples, no secrets
    return [Sample(_row(contract, rng, number)) for number in range(count)]


def invalid_rows(contract: TableContract, *, seed: int) -> list[Sample]:
    """A row for each rule of each column that can be broken by one value."""
    rng = random.Random(seed)  # noqa: S311  # samples, no secrets
    found: dict[tuple[str, str], Sample] = {}
    for column in contract.columns:
        for rule in column.rules():
            row = _row(contract, rng, len(found), prefix="broken")
            sample = Sample(row | {column.name: _broken(column, rule)}, column.name, rule.reason)
            found.setdefault((column.name, rule.reason), sample)
    return list(found.values())


def request_of(use_case: UseCase, row: Mapping[str, Any]) -> dict[str, Any]:
    """The body with which a caller would send a row of the event table; without a time there, a fixed one."""
    event = use_case.event
    fields = {name: _wire(row[column.column or name]) for name, column in use_case.request.items()}
    return {
        "event_id": row[event.id] if event.id else "sample",
        "event_time": _wire(row[event.time] if event.time else _START),
        "entities": {entity: row[key] for entity, key in use_case.entities.items()},
        "fields": fields,
    }


def request_paths(use_case: UseCase, column: str) -> set[str]:
    """Where a raw column is in a request: `event_id`, `fields.amount`, `entities.card`, in several places or none."""
    event = use_case.event
    paths = {"event_id": event.id, "event_time": event.time}
    paths |= {f"entities.{entity}": key for entity, key in use_case.entities.items()}
    paths |= {f"fields.{name}": declared.column or name for name, declared in use_case.request.items()}
    return {path for path, raw in paths.items() if raw == column}


def _wire(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value


def _row(contract: TableContract, rng: random.Random, number: int, *, prefix: str = "sample") -> dict[str, Any]:
    made: dict[str, Any] = {}
    for column in sorted(contract.columns, key=lambda each: each.contract is None):  # declared types come first
        if column.name not in made:
            made[column.name] = _valid(column, rng, f"{prefix}-{number:05}", number)
    return made


def _valid(column: ColumnContract, rng: random.Random, name: str, number: int) -> Any:
    if column.contract:
        unknown = column.nullable and rng.random() < 0.2
        return rng.choice([None, *column.contract.missing]) if unknown else _value(column.contract, rng)
    later = _START + timedelta(seconds=number, days=column.role != "time")
    found: dict[str, Any] = {"id": name, "label": number % 2, "time": later, "created": later, "known": later}
    if column.role in found:
        return found[column.role]
    return f"{column.field}-{rng.randrange(9)}" if column.role == "key" else float(rng.randrange(100))


def _value(contract: Column, rng: random.Random) -> Any:
    if contract.type == "time":
        return _START - timedelta(seconds=rng.randrange(1000 * _DAY))
    if contract.type == "boolean":
        return rng.random() < 0.5
    if contract.type == "category":
        return rng.choice(contract.values or _WORDS)
    least = contract.min if contract.min is not None else (contract.max or 0.0) - 1000.0
    most = contract.max if contract.max is not None else least + 1000.0
    if contract.type == "integer":
        return next(each for each in _whole(least, most, rng) if each not in contract.missing)
    drawn = (rng.choice([least, most, rng.uniform(least, most)]) for _ in iter(int, 1))
    return next(each for each in drawn if each not in contract.missing)


def _whole(least: float, most: float, rng: random.Random) -> Iterator[int]:
    while True:
        yield rng.randint(int(-(-least // 1)), int(most // 1))


def _broken(column: ColumnContract, rule: Rule) -> Any:
    contract = column.contract or Column()
    half = (contract.min if contract.min is not None else (contract.max or 1.0) - 1) + 0.5
    values: dict[Check, Any] = {
        "missing": None,
        "time": None,
        "type": _NO_VALUE,
        "era": datetime(FIRST_YEAR - 1, 12, 31, 23, 59, 59, tzinfo=UTC),
        "future": datetime(END_YEAR - 1, 12, 31, tzinfo=UTC),
        "below": (contract.min or 0.0) - 1,
        "above": (contract.max or 0.0) + 1,
        "whole": half,
        "vocabulary": _NO_VALUE,
        "empty": "",
        "long": "x" * (MAX_TEXT + 1),
        "control": "a\x1bb",
    }
    return values[rule.check]
