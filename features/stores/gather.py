"""Rows of Parquet files by their place: one column at a time and one row group at a time, in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from configs.errors import FeatureError
from features.asof import LINE
from features.sources import table_files, text

Columns = Iterator[tuple[str, pa.Array | pa.ChunkedArray]]


@dataclass(frozen=True)
class Files:
    """Parquet files of one table, in order. A row's place counts from 0 through all of them."""

    paths: tuple[Path, ...]
    stamps: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, path: Path) -> Self:
        """A file, or all Parquet files of a folder."""
        paths = table_files(path)
        return cls(paths, tuple(map(_stamp, paths)))

    def require_unchanged(self) -> None:
        """Raise `FeatureError` if a file is not the one that it was: places in another file mean nothing."""
        for path, stamp in zip(self.paths, self.stamps, strict=True):
            if _stamp(path) != stamp:
                raise FeatureError(
                    f"{path.name} was written anew while it was read", expected="the same file", fix="ask again"
                )

    @cached_property
    def footers(self) -> tuple[pq.FileMetaData, ...]:
        """Metadata of each file."""
        return tuple(pq.read_metadata(path) for path in self.paths)

    @cached_property
    def types(self) -> dict[str, pa.DataType]:
        """Arrow type of each column of any file; values of a dictionary count, not the dictionary.

        Raises `FeatureError` for a column whose types have none in common, and for names that DuckDB can't tell apart.
        """
        schema = pa.schema([])
        for path, footer in zip(self.paths, self.footers, strict=True):
            found = pa.schema([(field.name, _plain(field.type)) for field in footer.schema.to_arrow_schema()])
            try:
                schema = pa.unify_schemas([schema, found], promote_options="permissive")
            except pa.ArrowException as error:
                raise FeatureError(
                    f"{path.name} doesn't fit the files before it: {error}",
                    expected="columns of the same types in all files of a table",
                    fix="write the file again with the types of the others",
                ) from None
            _require_distinct(path, schema.names)
        return dict(zip(schema.names, schema.types, strict=True))

    @property
    def scan(self) -> str:
        """Query for all columns, and LINE, the place of each row. Raises `FeatureError` as `types` does."""
        _ = self.types
        starts = np.cumsum([0, *(footer.num_rows for footer in self.footers)])
        parts = (
            f"SELECT * EXCLUDE (file_row_number), file_row_number + {start} AS {LINE} "
            f"FROM read_parquet({text(str(path))}, file_row_number = true)"
            for path, start in zip(self.paths, starts[:-1], strict=True)
        )
        return " UNION ALL BY NAME ".join(parts)

    def groups(self) -> Iterator[tuple[int, int, int]]:
        """File, row group in it, and number of rows, in order of the places."""
        for file, footer in enumerate(self.footers):
            for group in range(footer.num_row_groups):
                yield file, group, footer.row_group(group).num_rows


def gathered(files: Files, columns: Mapping[str, str], places: NDArray[np.int64], *, threads: int = 1) -> Columns:
    """Values at `places` of each column: `columns` maps names in the result to names in the files.

    Values are null where a place is -1. Beside the results, memory holds a row group of one column for each thread.
    """
    missing = sorted(set(columns.values()) - set(files.types))
    if missing:
        raise FeatureError(
            f"{files.paths[0].name} has no column {missing[0]!r}",
            expected=f"one of {', '.join(files.types)}",
            fix="write the file again from the current definitions, or correct the view",
        )
    order = np.argsort(places, kind="stable")
    known = order[np.searchsorted(places[order], 0) :]
    position = np.full(len(places), -1)
    position[known] = np.arange(len(known))
    pieces = list(_pieces(files, places[known]))
    takes = pa.array(position, mask=position < 0)

    def one(column: str) -> pa.Array:
        parts = [_read(files, file, group, column).take(inside) for file, group, inside in pieces]
        return _joined(parts, files.types[column]).take(takes)

    with ThreadPoolExecutor(threads) as pool:
        for name, values in zip(columns, pool.map(one, columns.values()), strict=True):
            files.require_unchanged()
            yield name, values


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _pieces(files: Files, places: NDArray[np.int64]) -> Iterator[tuple[int, int, pa.Array]]:
    """The row groups that hold any of the sorted places, each with the places as they count inside it."""
    start = 0
    for file, group, rows in files.groups():
        first, last = np.searchsorted(places, [start, start + rows])
        if last > first:
            yield file, group, pa.array(places[first:last] - start)
        start += rows


def _read(files: Files, file: int, group: int, column: str) -> pa.Array:
    """A column of a row group, in the type that it has in all files; nulls where the file lacks it."""
    path, footer, kind = files.paths[file], files.footers[file], files.types[column]
    with pq.ParquetFile(path, metadata=footer) as opened:
        if column not in opened.schema_arrow.names:
            return pa.nulls(footer.row_group(group).num_rows, kind)
        found = opened.read_row_group(group, columns=[column], use_threads=False)[column]
    try:
        return _joined((found if kind == found.type else found.cast(kind)).chunks, kind)
    except pa.ArrowInvalid:
        raise FeatureError(
            f"{path.name} holds {found.type} in {column!r}, with values that are none as {kind}, the type of all files",
            expected="columns of the same types in all files of a table",
            fix="write the file again with the types of the others",
        ) from None


def _require_distinct(path: Path, names: Sequence[str]) -> None:
    """DuckDB's names have no case, and it gives one to the place of a row."""
    seen = {"file_row_number": "file_row_number"}
    for name in names:
        if name.lower() in seen:
            raise FeatureError(
                f"{path.name} has a column {name!r} that reads like {seen[name.lower()]!r}",
                expected="names that differ in more than capitals, and none called file_row_number",
                fix="write the file again with another name for it",
            )
        seen[name.lower()] = name


def _joined(parts: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    return pa.concat_arrays(parts) if parts else pa.array([], type=kind)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
