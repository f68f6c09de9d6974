"""The bytes of a packed value: one segment for each view of an entity, the numbers of each ready to be copied.

A value is its segments one after the other, everything little-endian and nothing aligned:

    bytes   type      what
    8                 the view: BLAKE2b of its name
    8                 the signature: BLAKE2b of this layout's version, the view's name and its columns' names and kinds
    4       uint32    bytes that follow the head
    8       int64     event time, microseconds since 1970
    8       int64     created time, the same; -2**63: known at once
    8 each  float64   numbers in the order of the columns; NaN: missing
    8 each  int64     integers, flags (0, 1) and times (microseconds) in the order of the columns; -2**63: missing
    4 + n   uint32,   texts in the order of the columns: bytes of the UTF-8 that follows; 2**32 - 1: missing
            bytes

A view whose columns were added, removed, reordered or given another kind has another signature: what was written
before then reads as absent, never as something else, until it is materialized again.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from hashlib import blake2b
from operator import index
from typing import Any, Literal

from configs.errors import FeatureError
from configs.use_case import UseCase
from features.language.operators import EPOCH, microseconds
from features.request import Value

VERSION = 1
"""Of the layout. Another one has other signatures, and the stores keep it at another place."""

Kind = Literal["number", "integer", "flag", "time", "text"]

HEAD = struct.Struct("<8s8sIqq")
_LENGTH = struct.Struct("<I")
_ABSENT = 2**32 - 1
_NEVER = -(2**63)  # sorts before every time: a row that doesn't say when it was created is the older one
_NAN = math.nan


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A view's columns for one key, the time they speak of, and the time they became known (None: at once)."""

    event_time: datetime
    created: datetime | None
    values: Mapping[str, Value]


@dataclass(frozen=True)
class ViewShape:
    """Everything that must be known to write or read a view: its name, its entity, its columns' names and kinds."""

    view: str
    entity: str
    columns: tuple[tuple[str, Kind], ...]

    @cached_property
    def id(self) -> bytes:
        """The view in a head."""
        return view_id(self.view)

    @cached_property
    def signature(self) -> bytes:
        """What the view looks like, in a head."""
        return _digest(json.dumps([VERSION, self.view, self.columns]))

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Columns in the block of float64 numbers."""
        return tuple(name for name, kind in self.columns if kind == "number")

    @cached_property
    def whole(self) -> tuple[tuple[str, Kind], ...]:
        """Columns in the block of int64 numbers."""
        return tuple((name, kind) for name, kind in self.columns if kind in ("integer", "flag", "time"))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Columns in the block of texts."""
        return tuple(name for name, kind in self.columns if kind == "text")

    @cached_property
    def blocks(self) -> struct.Struct:
        """Both blocks of numbers."""
        return struct.Struct(f"<{len(self.numbers)}d{len(self.whole)}q")


def shapes_of(use_case: UseCase) -> dict[str, ViewShape]:
    """The shape of each view of a use case: categories are texts, times are times, everything else is a number."""
    kinds: Mapping[str, Kind] = {"category": "text", "time": "time"}
    return {
        name: ViewShape(
            name, view.entity, tuple((column, kinds.get(it.type, "number")) for column, it in view.columns.items())
        )
        for name, view in use_case.views.items()
    }


def packed(shape: ViewShape, row: PackedRow) -> bytes:
    """The segment of a row. A column that the row doesn't have is missing. Raises for values of another kind."""
    get = row.values.get
    try:
        numbers = [_NAN if (value := get(name)) is None else value for name in shape.numbers]
        whole = [_whole(kind, get(name)) for name, kind in shape.whole]
        body = shape.blocks.pack(*numbers, *whole) + b"".join([_text(get(name)) for name in shape.texts])
        created = _NEVER if row.created is None else microseconds(row.created)
        return HEAD.pack(shape.id, shape.signature, len(body), microseconds(row.event_time), created) + body
    except (struct.error, TypeError, ValueError, AttributeError, OverflowError):
        raise FeatureError(
            f"a row of the view {shape.view} with a value of the wrong kind",
            expected=", ".join(f"{name}: {kind}" for name, kind in shape.columns),
            fix="write the columns as the view declares them",
        ) from None


def unpacked(shape: ViewShape, value: bytes | None) -> PackedRow | None:
    """The row of a view in a value; None if the view isn't in it, or with other columns than these."""
    for at, end, view, signature, event_time, created in segments(value or b""):
        if view == shape.id:
            if signature != shape.signature:
                return None
            known = None if created == _NEVER else time_at(created)
            return PackedRow(time_at(event_time), known, _values(shape, value or b"", at + HEAD.size, end))
    return None


def merged(value: bytes | None, segment: bytes) -> bytes:
    """The value with a segment in it, unless it holds a newer one of the view, by (event time, created time)."""
    held, new = value or b"", HEAD.unpack_from(segment)
    at, end, times = _find(held, new[0])
    return held if times and times > new[3:] else held[:at] + segment + held[end:]


def without(value: bytes, view: bytes) -> bytes:
    """The value with the segment of a view taken out."""
    at, end, _ = _find(value, view)
    return value[:at] + value[end:]


def _find(value: bytes, view: bytes) -> tuple[int, int, tuple[int, int] | None]:
    """Start, end and times of a view's segment; for one that is not there, what is damaged, at the end of the value."""
    end = 0
    with suppress(FeatureError):  # whatever is written anew takes the place of damaged bytes
        for at, end, found, _, event_time, created in segments(value):
            if found == view:
                return at, end, (event_time, created)
    return end, len(value), None


def segments(value: bytes) -> Iterator[tuple[int, int, bytes, bytes, int, int]]:
    """(start, end, view, signature, event time, created) of each segment. Raises `FeatureError` for damaged bytes."""
    at, size = 0, len(value)
    while at < size:
        try:
            view, signature, length, event_time, created = HEAD.unpack_from(value, at)
        except struct.error:
            raise _damaged() from None
        end = at + HEAD.size + length
        if end > size:
            raise _damaged()
        yield at, end, view, signature, event_time, created
        at = end


def _values(shape: ViewShape, value: bytes, at: int, end: int) -> dict[str, Value]:
    numbers = struct.unpack_from(f"<{len(shape.numbers)}d", value, at)
    found: dict[str, Value] = {
        name: None if number != number else number  # noqa: PLR0124  # NaN: missing
        for name, number in zip(shape.numbers, numbers, strict=True)
    }
    found.update(beside_numbers(shape, value, at, end))
    return {name: found[name] for name, _ in shape.columns}


def beside_numbers(shape: ViewShape, value: bytes, at: int, end: int) -> Iterator[tuple[str, Value]]:
    """Columns that aren't numbers, from the body of a segment that lies between two places of a value."""
    at += 8 * len(shape.numbers)
    for name, kind in shape.whole:
        yield name, _plain(kind, struct.unpack_from("<q", value, at)[0])
        at += 8
    for name in shape.texts:
        (length,) = _LENGTH.unpack_from(value, at)
        at += _LENGTH.size
        if length == _ABSENT:
            yield name, None
            continue
        yield name, value[at : at + length].decode()
        at += length
    if at != end:
        raise _damaged()


def _whole(kind: Kind, value: Any) -> int:
    if value is None or value != value:  # noqa: PLR0124  # NaN: missing
        return _NEVER
    number = microseconds(value) if kind == "time" else index(value)
    if number == _NEVER:
        raise ValueError("this number means missing")
    return number


def _plain(kind: Kind, number: int) -> Value:
    if number == _NEVER:
        return None
    return time_at(number) if kind == "time" else bool(number) if kind == "flag" else number


def _text(value: Any) -> bytes:
    if value is None or value != value:  # noqa: PLR0124  # NaN: missing
        return _LENGTH.pack(_ABSENT)
    content = str(value).encode()
    return _LENGTH.pack(len(content)) + content


def time_at(value: int) -> datetime:
    """The time that lies `value` microseconds after 1970 began (UTC)."""
    return EPOCH + timedelta(microseconds=value)


def view_id(view: str) -> bytes:
    """A view's name in eight bytes."""
    return _digest(view)


def _digest(content: str) -> bytes:
    return blake2b(content.encode(), digest_size=8).digest()


def _damaged() -> FeatureError:
    return FeatureError(
        "a damaged value in the online store",
        expected="segments as `features.stores.segments` describes them",
        fix="run `risk features materialize --full`",
    )
