"""Rows of unknown types into one Parquet file: chunks in, types widened when a value asks for it, memory flat."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 65_536
BYTES = 32 << 20
"""A row group is written at whichever comes first."""

EXACT = 2**53
"""Whole numbers beyond this are not all doubles; a column with such and fractions becomes text."""

_ZONED = pa.timestamp("us", tz="UTC")
_NAIVE = pa.timestamp("us")
_DECLARED = {
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    str: pa.string(),
    datetime: _NAIVE,
    date: pa.date32(),
}
_WIDER = {
    frozenset({pa.bool_(), pa.int64()}): pa.int64(),
    frozenset({pa.bool_(), pa.float64()}): pa.float64(),
    frozenset({pa.int64(), pa.float64()}): pa.float64(),
    frozenset({pa.date32(), _NAIVE}): _NAIVE,
    frozenset({pa.date32(), _ZONED}): _ZONED,
    frozenset({_NAIVE, _ZONED}): _ZONED,
}


class Growing:
    """A Parquet file that grows by chunks of rows; it is complete when the context ends without an error.

    As long as types hold, rows go to one file. A chunk that needs a wider type starts another one, and at the end all
    are rewritten with the widest types, a row group at a time.
    """

    def __init__(self, target: Path, names: Sequence[str], declared: Mapping[str, type]) -> None:
        self._target, self.rows = target, 0
        self._schema = pa.schema([(name, _DECLARED.get(declared.get(name), pa.null())) for name in names])  # type: ignore[arg-type]
        self._parts: list[Path] = []
        self._writer: Any = None
        self._waiting: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        if self._writer:
            self._writer.close()
        if kind is None:
            self._finish()

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Append rows; each has one value a column, in the order of the names."""
        columns = list(zip(*rows, strict=True))
        arrays = [array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        found = pa.schema([(field.name, part.type) for field, part in zip(self._schema, arrays, strict=True)])
        if found != self._schema:
            self._flush()
            self._schema = found
            if self._writer:
                self._writer.close()
                self._writer = None
        self._waiting.append(pa.table(arrays, schema=self._schema))
        self.rows += len(rows)
        if sum(len(part) for part in self._waiting) >= ROWS or sum(part.nbytes for part in self._waiting) >= BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write the waiting rows, or at least an empty file with the columns."""
        if self._writer is None and (self._waiting or not self._parts):
            self._parts.append(self._target.with_name(f"{self._target.name}.{len(self._parts)}"))
            self._writer = pq.ParquetWriter(self._parts[-1], self._schema, compression="zstd")
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=ROWS)
            self._waiting = []

    def _finish(self) -> None:
        if len(self._parts) == 1:
            self._parts[0].rename(self._target)
            return
        schema = pa.schema([field.with_type(pa.string()) if self._lossy(field) else field for field in self._schema])
        with pq.ParquetWriter(self._target, schema, compression="zstd") as writer:
            for path in self._parts:
                with pq.ParquetFile(path) as part:
                    for group in range(part.num_row_groups):
                        writer.write_table(_cast(part.read_row_group(group), schema))
                path.unlink()

    def _lossy(self, field: Any) -> bool:
        """Whether a column of doubles began with whole numbers that no double holds exactly: maybe they are keys."""
        if field.type != pa.float64():
            return False
        return any(_beyond(pq.read_metadata(path), field.name) for path in self._parts)


def array(values: Sequence[Any], so_far: Any) -> Any:
    """The values as an Arrow array of the narrowest type that holds them and `so_far`."""
    plain = [_plain(value) for value in values]
    try:
        type_ = wider(so_far, _found(plain))
        return pa.array(_fitted(plain, type_), type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # mixed, or beyond the type's range
        return pa.array([None if value is None else text_of(value) for value in plain], pa.string())


def _found(plain: Sequence[Any]) -> Any:
    kinds = {type(value) for value in plain} - {type(None)}
    found = pa.null()
    for kind in sorted(kinds, key=lambda each: each.__name__):
        if kind is Decimal:
            inferred = pa.array([value for value in plain if isinstance(value, Decimal)]).type
            found = wider(found, pa.decimal128(38, inferred.scale))
        elif kind is datetime:
            zoned = any(value.tzinfo for value in plain if isinstance(value, datetime))
            found = wider(found, _ZONED if zoned else _NAIVE)
        else:
            found = wider(found, _DECLARED[kind])
    return found


def wider(one: Any, other: Any) -> Any:
    """The narrowest type that holds values of both; text holds everything."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    decimals = [each for each in (one, other) if pa.types.is_decimal(each)]
    if len(decimals) == 2:
        return max(decimals, key=lambda each: each.scale)
    if decimals:
        rest = other if one is decimals[0] else one
        return {pa.int64(): decimals[0], pa.float64(): pa.float64()}.get(rest, pa.string())
    return _WIDER.get(frozenset({one, other}), pa.string())


def _plain(value: Any) -> Any:
    """A value of a type that Arrow holds: what a database may also give (JSON, UUID, bytes, intervals) as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value
    if isinstance(value, Decimal) and not value.is_finite():
        return float(value)
    if value is None or type(value) in {int, float, bool, str, Decimal, date}:
        return value
    return text_of(value)


def text_of(value: Any) -> str:
    """A value as text; JSON for lists and mappings, hexadecimal digits for bytes."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, default=str, ensure_ascii=False)
    return bytes(value).hex() if isinstance(value, (bytes, bytearray, memoryview)) else str(value)


def _fitted(plain: Sequence[Any], type_: Any) -> Sequence[Any]:
    """Values as Python values of the type's own kind, where Arrow wouldn't convert them itself."""
    if type_ == pa.string():
        return [None if value is None else text_of(value) for value in plain]
    if type_ == pa.float64() and any(type(value) is int and abs(value) > EXACT for value in plain):
        raise OverflowError("whole numbers that no double holds")
    if type_ in {pa.float64(), pa.int64()}:
        make: Any = float if type_ == pa.float64() else int
        return [None if value is None else make(value) for value in plain]
    if type_ in {_NAIVE, _ZONED}:
        zone = UTC if type_ == _ZONED else None
        return [value if value is None else _moment(value, zone) for value in plain]
    return plain


def _moment(value: date, zone: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001  # as found
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment


def _beyond(metadata: Any, name: str) -> bool:
    """Whether a part's column has whole numbers beyond `EXACT`."""
    column = metadata.schema.names.index(name)
    if metadata.schema.column(column).physical_type != "INT64":
        return False
    found = [metadata.row_group(group).column(column).statistics for group in range(metadata.num_row_groups)]
    return any(each.has_min_max and max(abs(each.min), abs(each.max)) > EXACT for each in found if each)


def _cast(table: Any, schema: Any) -> Any:
    arrays = []
    for column, field in zip(table.columns, schema, strict=True):
        if pa.types.is_string(field.type) and not pa.types.is_string(column.type):
            arrays.append(
                pa.array([None if each is None else text_of(each) for each in column.to_pylist()], field.type)
            )
        elif column.type == _NAIVE and field.type == _ZONED:
            arrays.append(column.cast(pa.int64()).cast(_ZONED))
        else:
            arrays.append(column.cast(field.type, safe=False))
    return pa.table(arrays, schema=schema)
