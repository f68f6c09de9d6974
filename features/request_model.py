"""The request side of a contract: the pydantic fields that accept exactly the values a load accepts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictStr

from configs.inputs import Column
from features.contracts import AHEAD, END_YEAR, FIRST_YEAR, MAX_TEXT, TableContract
from features.request import utc

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)?")
_PLAIN = r"^[^\x00-\x1f\x7f]*$"  # databases refuse some control characters, and no key or category needs one


def request_fields(contract: TableContract) -> dict[str, tuple[Any, Any]]:
    """Request field -> annotation and `Field`, for pydantic's `create_model`. The contract is the event table's."""
    found = {column.field: column.contract for column in contract.of("field")}
    return {name: _field(column) for name, column in found.items() if name and column}


def entity_fields(contract: TableContract) -> dict[str, tuple[Any, Any]]:
    """The same for the entity keys, each of which may be null."""
    names = [column.field for column in contract.of("key") if column.field and column.owner.startswith("entities.")]
    return {
        name: (Identifier | None, Field(description=f"key of the {name}; null when there is none")) for name in names
    }


def _timed(value: object) -> object:
    """Only RFC 3339 text: pydantic would also read seconds since 1970 and bare dates."""
    if not (isinstance(value, str) and _RFC3339.fullmatch(value)):
        raise ValueError("a time as RFC 3339 text, such as 2025-07-01T10:00:00Z")
    return value


def _in_range(value: datetime) -> datetime:
    """Years are those of the instant in UTC, as loads see it; the edges of the calendar don't convert."""
    if not FIRST_YEAR - 1 <= value.year <= END_YEAR or not FIRST_YEAR <= utc(value).year < END_YEAR:
        raise ValueError(f"a time between the years {FIRST_YEAR} and {END_YEAR}")
    return utc(value)


def _past(value: datetime) -> datetime:
    if value > datetime.now(UTC) + AHEAD:
        raise ValueError("a time that is not in the future")
    return value


def _whole(value: float) -> float:
    if not value.is_integer():
        raise ValueError("a whole number")
    return value


Time = Annotated[datetime, BeforeValidator(_timed), AfterValidator(_in_range), Field(strict=False)]
"""RFC 3339 text -> the time in UTC."""

EventTime = Annotated[Time, AfterValidator(_past)]
"""The same for something that has happened, clocks that are ahead by no more than `AHEAD` allowed for."""

Identifier = Annotated[StrictStr, Field(min_length=1, max_length=MAX_TEXT, pattern=_PLAIN)]
"""An event's id or an entity's key."""

_Text = Annotated[StrictStr, Field(max_length=MAX_TEXT, pattern=_PLAIN)]


def _field(column: Column) -> tuple[Any, Any]:
    annotation: Any = _annotated(column)
    if column.nullable:
        annotation = annotation | None
    if column.missing:
        annotation = Annotated[annotation, BeforeValidator(_without(column.missing))]
    other = f"any other value is read as {column.other!r}" if column.other else None
    parts = [column.description, column.unit and f"[{column.unit}]", other and f"({other})"]
    description = " ".join(filter(None, parts)) or None
    return annotation, Field(default=None if column.nullable else ..., description=description)


def _annotated(column: Column) -> Any:
    if column.type == "time":
        return Time
    if column.type == "boolean":
        return StrictBool
    if column.type == "category":
        return _category(column)
    number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=column.min, le=column.max)]
    return Annotated[number, AfterValidator(_whole)] if column.type == "integer" else number


def _category(column: Column) -> Any:
    if not column.values:
        return _Text
    vocabulary: Any = Literal[column.values]
    if column.other is None:
        return vocabulary
    return Annotated[vocabulary, BeforeValidator(_or_other(column.values, column.other))]


def _or_other(values: tuple[str, ...], other: str) -> Any:
    """Texts that the vocabulary doesn't have become `other`, as they do when a table is read."""

    def replace(value: object) -> object:
        return other if isinstance(value, str) and value not in values else value

    return replace


def _without(codes: tuple[float | str, ...]) -> Any:
    """Sentinel codes mean "unknown": they become null before the value is checked."""

    def replace(value: object) -> object:
        return None if not isinstance(value, bool) and value in codes else value

    return replace
