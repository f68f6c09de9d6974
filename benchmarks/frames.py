"""Training frames through Feast's own interface: this platform's offline store beside Feast's DuckDB store.

Each side runs in a process of its own, over the same files and with the same as-known rule. Every key has 60 rows of
history in each of two views, 30 % of them written late; there are 50 entity rows a key.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.bars import Line, line

ROWS, LARGE = 1_000_000, 10_000_000
_STORES = {"ours": "features.stores.offline.AsofOfflineStore", "feast": "duckdb"}
_KEYS, _HISTORY, _COLUMNS = "customer_id", 60, 20
_VIEWS = ("profile", "behaviour")


def lines(rows: int = ROWS) -> Iterator[Line]:
    """Time and peak memory of both stores; stops if a value differs."""
    with tempfile.TemporaryDirectory(prefix="risk-bench-") as name:
        folder = Path(name)
        write(folder, rows)
        ours, theirs = (measured(folder, side, keep=True) for side in ("ours", "feast"))
        check_equal(folder)
    frame = f"training frame, {rows:,} rows x 2 views x {_COLUMNS}"
    yield line(f"{frame}: time", ours["seconds"], unit="s", peer=theirs["seconds"])
    yield line(f"{frame}: times faster", theirs["seconds"] / ours["seconds"], unit="x", bar=">= 10")
    yield line(f"{frame}: peak memory", ours["peak"], unit="GiB", peer=theirs["peak"])
    yield line(f"{frame}: share of the peer's peak", ours["peak"] / theirs["peak"], bar="<= 0.2")


def large_lines(rows: int = LARGE, *, small: int = ROWS) -> Iterator[Line]:
    """Time against that of a tenth of the rows, and peak memory."""
    found = {}
    for size in (small, rows):
        with tempfile.TemporaryDirectory(prefix="risk-bench-") as name:
            write(Path(name), size)
            found[size] = measured(Path(name), "ours")
    times = found[rows]["seconds"] / found[small]["seconds"]
    yield line(f"training frame, {rows:,} rows: time", found[rows]["seconds"], unit="s", peer=found[small]["seconds"])
    yield line(f"training frame, {rows:,} rows: times as long as {small:,}", times, unit="x", bar="<= 12")
    yield line(f"training frame, {rows:,} rows: peak memory", found[rows]["peak"], unit="GiB", bar="< 8")


def write(folder: Path, rows: int) -> None:
    """Two views and the entity rows as Parquet files, the same for the same number of rows."""
    import duckdb

    keys = max(rows // 50, 1)
    with duckdb.connect(config={"threads": 1, "memory_limit": "2GB", "temp_directory": str(folder)}) as connection:
        connection.execute("SET TimeZone = 'UTC'; SELECT setseed(0.42)")
        start = "TIMESTAMPTZ '2025-01-01' + to_seconds(CAST(floor(random() * {seconds}) AS BIGINT) + {offset})"
        for view in _VIEWS:
            columns = ", ".join(f"random() AS {view}_{index}" for index in range(_COLUMNS))
            at = start.format(seconds=3 * 86_400, offset="3 * 86400 * place.range")
            late = "to_seconds(CASE WHEN random() < 0.3 THEN CAST(random() * 864000 AS BIGINT) ELSE 0 END)"
            rows_sql = (
                f"SELECT 'k' || key.range AS {_KEYS}, {at} AS event_timestamp, {columns} "
                f"FROM range({_HISTORY}) AS place, range({keys}) AS key"
            )
            connection.execute(
                f"COPY (SELECT *, event_timestamp + {late} AS created_timestamp FROM ({rows_sql})) "
                f"TO '{folder / view}.parquet' (FORMAT parquet)"
            )
        at = start.format(seconds=190 * 86_400, offset=0)
        connection.execute(
            f"COPY (SELECT 'k' || CAST(floor(random() * {keys}) AS BIGINT) AS {_KEYS}, {at} AS event_timestamp, "
            f"range AS place FROM range({rows})) TO '{folder / 'rows.parquet'}' (FORMAT parquet)"
        )


def measured(folder: Path, side: str, *, keep: bool = False) -> dict[str, float]:
    """Seconds, and GiB at the peak, of a process that retrieves the frame; `keep` leaves it in `<side>.parquet`."""
    command = [sys.executable, "-m", "benchmarks.frames", side, str(folder), *(["keep"] if keep else [])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def retrieve(folder: Path, side: str, *, keep: bool) -> dict[str, float]:
    """One side, in this process."""
    import pandas as pd

    store = _store(folder, side)
    rows = pd.read_parquet(folder / "rows.parquet")
    names = [f"{view}:{view}_{index}" for view in _VIEWS for index in range(_COLUMNS)]
    begin = time.perf_counter()
    job = store.get_historical_features(entity_df=rows, features=names, filter_by_created_timestamp=True)
    frame = job.to_df()
    figures = {"seconds": time.perf_counter() - begin, "peak": peak()}
    if keep:
        frame.to_parquet(folder / f"{side}.parquet")
    return figures


def _store(folder: Path, side: str) -> Any:
    import feast
    from feast.types import Float64, String

    customer = feast.Entity(name="customer", join_keys=[_KEYS], value_type=feast.ValueType.STRING)
    views = [
        feast.FeatureView(
            name=view,
            entities=[customer],
            ttl=timedelta(days=90),
            schema=[feast.Field(name=f"{view}_{index}", dtype=Float64) for index in range(_COLUMNS)]
            + [feast.Field(name=_KEYS, dtype=String)],
            source=feast.FileSource(
                name=f"{view}_source",
                path=str(folder / f"{view}.parquet"),
                timestamp_field="event_timestamp",
                created_timestamp_column="created_timestamp",
            ),
        )
        for view in _VIEWS
    ]
    config = feast.RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"{side}.db"),
        offline_store={"type": _STORES[side]},
        online_store={"type": "sqlite", "path": str(folder / f"{side}-online.db")},
        entity_key_serialization_version=3,
    )
    store = feast.FeatureStore(config=config)
    store.apply([customer, *views])
    return store


def peak() -> float:
    """GiB that this process held at most; what it was started from doesn't count."""
    status = Path("/proc/self/status")
    if status.exists():
        row = next(row for row in status.read_text(encoding="utf-8").splitlines() if row.startswith("VmHWM"))
        return int(row.split()[1]) / 2**20
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (30 if sys.platform == "darwin" else 20)


def check_equal(folder: Path) -> None:
    """Exit unless both sides gave the same values for every entity row."""
    import numpy as np
    import pyarrow.parquet as pq

    ours, theirs = (pq.ParquetFile(folder / f"{side}.parquet") for side in _STORES)
    ours_at, at = (np.argsort(file.read(["place"])["place"].to_numpy()) for file in (ours, theirs))
    if sorted(ours.schema.names) != sorted(theirs.schema.names) or len(at) != len(ours_at):
        sys.exit("the two stores gave different columns or rows")
    for name in ours.schema.names:
        left, right = (file.read([name])[name].take(order) for file, order in ((ours, ours_at), (theirs, at)))
        if not left.combine_chunks().equals(right.combine_chunks().cast(left.type)):
            sys.exit(f"the two stores differ in {name}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    side, folder, *rest = sys.argv[1:]
    figures = retrieve(Path(folder), side, keep=bool(rest))
    sys.stdout.write(json.dumps(figures) + "\n")
