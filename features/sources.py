"""Raw tables: where they are, what columns they have, and a DuckDB connection to read them with.

A table is a Parquet or CSV file, a folder of Parquet files (plain, or partitioned as `year=2024/month=1`), or rows of a
database, which are streamed into a Parquet file under the home folder first.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from configs.console import Ticker
from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.temporary import own_folder

_CHUNK = 1 << 20
_CSV = "sample_size=-1, null_padding=true, parallel=false"
"""All of a file tells its types; a short line is filled up, and a long one gives columns beyond the header's."""


@dataclass(frozen=True)
class Source:
    """One readable file or folder: its path, and the DuckDB type of every column.

    `notes` say what a reader should know about how it was read. `files` are those that are read in its place, and
    `relation` is a view over them. `texts` are columns of a CSV file that are read as they are written.
    """

    path: Path
    columns: Mapping[str, str]
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    relation: str | None = None
    texts: frozenset[str] = frozenset()

    @property
    def scan(self) -> str:
        """The table function that reads the rows, in the order of the files and of the rows in them."""
        return self.relation or _scan(self.path, self.files or table_files(self.path), self.texts)

    @property
    def beyond(self) -> tuple[str, ...]:
        """Columns of a CSV file without a name in its header: some line has more values than the header has names."""
        names = enumerate(self.columns) if _is_csv(self.path) else ()
        return tuple(name for index, name in names if re.fullmatch(f"column0*{index}", name))

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
            "temp_directory": str(own_folder(settings.home / "scratch")),
            "autoinstall_known_extensions": False,
            "asof_loop_join_threshold": 0,  # a wrong estimate would compare each event with the whole history
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def folder_of(use_case: UseCase, settings: Settings) -> Path:
    """Where the tables of a use case are: the simulator's folder, or RISK_DATA."""
    return settings.home / "raw" / use_case.name if use_case.simulator else settings.data


def table_path(use_case: UseCase, table: str, settings: Settings) -> Path:
    """File or folder of a table; one that isn't there is a `FeatureError` that says how to get it.

    For a table of a database it is the file that its rows were streamed to. Where some are personal, it goes with the
    process.
    """
    definition = use_case.tables[table]
    if definition.url:
        folder = settings.home / "databases" / use_case.name
        return (own_folder(folder) if use_case.personal else folder) / f"{table}.parquet"
    path = (folder_of(use_case, settings) / definition.label).resolve()
    if path.is_file() or path.is_dir():
        return path
    found = sorted(file.name for file in path.parent.glob("*")) if path.parent.is_dir() else []
    nearest = difflib.get_close_matches(path.name, found, n=1)
    raise FeatureError(
        f"no file {path} for the table {table!r}" + (f" (did you mean {nearest[0]!r}?)" if nearest else ""),
        expected="a Parquet or CSV file, or a folder of Parquet files",
        fix=f"risk simulate {use_case.name}" if use_case.simulator else "set RISK_DATA to the folder with the tables",
    )


def raw_path(use_case: UseCase, table: str, settings: Settings, *, ticker: Ticker | None = None) -> Path:
    """The file or folder with a table's rows as they are: nothing checked, nothing changed.

    A table of a database is read now, once a process within a quarter of an hour.
    """
    path = table_path(use_case, table, settings)
    if use_case.tables[table].url:
        from features.databases import snapshot

        snapshot(use_case.tables[table], path, ticker=ticker)
    return path


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


def source(connection: duckdb.DuckDBPyConnection, path: Path, *, texts: frozenset[str] = frozenset()) -> Source:
    """Open a file or a folder: its columns and their types. An unreadable one is a `FeatureError`.

    Of a CSV file the columns `texts` are texts, whatever they look like: a key 007 is not 7.

    A CSV file in another encoding than UTF-8 is read from a copy, which goes with the process.
    """
    files, notes = table_files(path), list[str]()
    if _is_csv(path):
        from features.encodings import as_utf8

        files, notes = as_utf8(path, _copies(connection))
    if not _is_csv(path):
        _refuse_wide(connection, path, files)
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM {_scan(path, files, frozenset())}").fetchall()
    except duckdb.Error as error:
        raise unreadable(path, error) from None
    columns = {str(name): str(type_) for name, type_, *_ in rows}
    texts = texts & columns.keys() if _is_csv(path) else frozenset()
    return Source(path, columns | dict.fromkeys(texts, "VARCHAR"), tuple(notes), files, texts=texts)


def unreadable(path: Path, error: duckdb.Error) -> FeatureError:
    """What DuckDB says of a file or folder, as an error to be raised."""
    return FeatureError(
        f"{path} can't be read: {str(error).splitlines()[0]}",
        expected="a Parquet or CSV file, or a folder of Parquet files whose folders are named alike",
        fix="export the table again, or take out the file that doesn't belong to it",
    )


def _refuse_wide(connection: duckdb.DuckDBPyConnection, path: Path, files: tuple[Path, ...]) -> None:
    """Raise `FeatureError` for decimals of more than 38 digits: DuckDB reads them as numbers that aren't there."""
    listed = ", ".join(text(str(file)) for file in files)
    query = f"SELECT DISTINCT name FROM parquet_schema([{listed}]) WHERE precision > 38 ORDER BY name"
    try:
        wide = [str(name) for (name,) in connection.execute(query).fetchall()]
    except duckdb.Error as error:
        raise unreadable(path, error) from None
    if wide:
        raise FeatureError(
            f"{path} has decimals of more than 38 digits in {', '.join(wide)}",
            expected="decimals of at most 38 digits, doubles or texts",
            fix="write the column with another type",
        )


def table_files(path: Path) -> tuple[Path, ...]:
    """The file itself, or a folder's Parquet files in order of their paths, without hidden ones and Spark's marks.

    A folder in it that can't be read is an `OSError`: its rows would be missed in silence.
    """
    if not path.is_dir():
        return (path,)
    found = [
        Path(folder, name)
        for folder, _, names in os.walk(path, onerror=_raise)
        for name in names
        if name.endswith(".parquet") and not _hidden(Path(folder, name).relative_to(path))
    ]
    if not found:
        raise FeatureError(
            f"the folder {path} holds no Parquet files",
            expected="*.parquet in it or its folders",
            fix="name another folder, or a file",
        )
    return tuple(sorted(found))


def _hidden(file: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.parts)


def _raise(error: OSError) -> None:
    raise error


def _copies(connection: duckdb.DuckDBPyConnection) -> Path:
    row = connection.execute("SELECT current_setting('temp_directory')").fetchone()
    return Path(row[0] if row and row[0] else ".") / "transcoded"


def _is_csv(path: Path) -> bool:
    return path.name.endswith((".csv", ".csv.gz"))


def _scan(path: Path, files: tuple[Path, ...], texts: frozenset[str]) -> str:
    if _is_csv(path):
        types = ", ".join(f"{text(name)}: 'VARCHAR'" for name in sorted(texts))
        return f"read_csv({text(str(files[0]))}, {_CSV}{f', types={{{types}}}' if types else ''})"
    if not path.is_dir():
        return f"read_parquet({text(str(files[0]))})"
    listed = ", ".join(text(str(file)) for file in files)
    partitioned = any("=" in part for file in files for part in file.relative_to(path).parts[:-1])
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = {partitioned})"


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
    """SHA-256 over the bytes of every file that features read: tables in order of their names, then accrued events.

    A folder counts with all its files, in order of their paths; a database's table with the rows as they were read.
    """
    digest = hashlib.sha256()
    paths = [raw_path(use_case, table, settings) for table in sorted(used_tables(use_case))]
    for path in [*paths, *accrued_paths(use_case, settings)]:
        for file in table_files(path):
            name = file.relative_to(path.parent).as_posix()
            digest.update(f"{name}:{file.stat().st_size}:".encode())
            with file.open("rb") as opened:
                while chunk := opened.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()
