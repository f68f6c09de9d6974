"""Raw tables: where they are, what columns they have, and a DuckDB connection to read them with."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Source:
    """One readable file: its path, and the DuckDB type of every column."""

    path: Path
    columns: Mapping[str, str]

    @property
    def scan(self) -> str:
        """The table function that reads the file."""
        return _scan(self.path)

    def require(self, columns: Iterable[str], *, owner: str) -> None:
        """Raise `FeatureError` if a column is missing, with the nearest name and all that were found."""
        for column in columns:
            if column not in self.columns:
                nearest = difflib.get_close_matches(column, self.columns, n=1)
                hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
                raise FeatureError(
                    f"{self.path.name} has no column {column!r}{hint}, named by {owner}",
                    expected=f"one of its columns: {', '.join(self.columns)}",
                    fix="correct the name in the use case, or the table",
                )


def connect(settings: Settings) -> duckdb.DuckDBPyConnection:
    """A private in-memory DuckDB: limited memory and threads, spilling into the home folder, times in UTC."""
    connection = duckdb.connect(
        config={
            "memory_limit": settings.memory,
            "threads": settings.threads,
            "temp_directory": str(settings.home / "scratch"),
            "autoinstall_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def folder_of(use_case: UseCase, settings: Settings) -> Path:
    """Where the tables of a use case are: the simulator's folder, or RISK_DATA."""
    return settings.home / "raw" / use_case.name if use_case.simulator else settings.data


def table_path(use_case: UseCase, table: str, settings: Settings) -> Path:
    """File of a table; a file that isn't there is a `FeatureError` that says how to get it."""
    path = (folder_of(use_case, settings) / use_case.tables[table].label).resolve()
    if path.is_file():
        return path
    found = sorted(file.name for file in path.parent.glob("*")) if path.parent.is_dir() else []
    nearest = difflib.get_close_matches(path.name, found, n=1)
    raise FeatureError(
        f"no file {path} for the table {table!r}" + (f" (did you mean {nearest[0]!r}?)" if nearest else ""),
        expected="a Parquet or CSV file",
        fix=f"risk simulate {use_case.name}" if use_case.simulator else "set RISK_DATA to the folder with the tables",
    )


def live_path(use_case: UseCase, settings: Settings) -> Path:
    """The simulator's live events: `live_<event table>` beside the history."""
    path = folder_of(use_case, settings) / f"live_{Path(use_case.event_table.label).name}"
    if not path.is_file():
        raise FeatureError(
            f"no file {path}", expected="live events of the simulator", fix=f"risk simulate {use_case.name}"
        )
    return path


def accrued_paths(use_case: UseCase, settings: Settings) -> tuple[Path, ...]:
    """Exported live events with outcomes, oldest first; later files win over earlier ones."""
    return tuple(sorted((settings.home / "accrued" / use_case.name).glob("*.parquet")))


def source(connection: duckdb.DuckDBPyConnection, path: Path) -> Source:
    """Open a file: its columns and their types. An unreadable file is a `FeatureError`."""
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM {_scan(path)}").fetchall()
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise FeatureError(f"{path} can't be read: {reason}", expected="a Parquet or CSV file") from None
    return Source(path, {name: str(type_) for name, type_, *_ in rows})


def _scan(path: Path) -> str:
    quoted = "'" + str(path).replace("'", "''") + "'"
    if path.name.endswith((".csv", ".csv.gz")):
        return f"read_csv({quoted}, sample_size=-1)"
    return f"read_parquet({quoted})"


def quote(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text as a SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def used_tables(use_case: UseCase) -> set[str]:
    """Names of the tables that features are computed from."""
    aggregated = {part.table for part in use_case.aggregates if part.table}
    return {use_case.event.table, *aggregated, *(view.table for view in use_case.views.values())}


def data_hash(use_case: UseCase, settings: Settings) -> str:
    """SHA-256 over the bytes of every file that features read: tables in order of their names, then accrued events."""
    digest = hashlib.sha256()
    paths = [table_path(use_case, table, settings) for table in sorted(used_tables(use_case))]
    for path in [*paths, *accrued_paths(use_case, settings)]:
        digest.update(f"{path.name}:{path.stat().st_size}:".encode())
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
