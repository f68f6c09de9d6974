"""Back-fill of the Fraud Detection Handbook's twelve window features beside a DuckDB query written by hand."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bars import Line, line
from configs.loading import load_use_case
from configs.settings import Settings, load_settings
from configs.use_case import UseCase
from features.backfill import backfill, parquet_path, repository_folder
from features.intake.loads import loaded

_WRITTEN_BY_HAND = """
COPY (
  SELECT CAST(customer_id AS VARCHAR) AS customer_id, CAST(terminal_id AS VARCHAR) AS terminal_id, tx_datetime,
    {columns}
  FROM (SELECT *, CAST(round(tx_amount * 100) AS BIGINT) AS cents FROM '{source}')
  WINDOW {windows}
) TO '{target}' (FORMAT parquet)"""
_DAYS = (1, 7, 30)


def lines() -> Iterator[Line]:
    """Seconds of both, from the table to Parquet; stops if a value differs. No lines without the table in RISK_DATA.

    Ours reads the good rows of the load, which is made before and timed apart: the query by hand checks nothing.
    """
    import duckdb

    settings = load_settings()
    if not (settings.data / "handbook_transactions.parquet").exists():
        return
    use_case = _twelve(load_use_case("handbook_fraud", settings))
    with tempfile.TemporaryDirectory(prefix="risk-bench-") as name, duckdb.connect() as connection:
        own = settings.model_copy(update={"home": Path(name)})
        begin = time.perf_counter()
        loaded(use_case, use_case.event.table, own)
        load = time.perf_counter() - begin
        connection.execute(f"SET threads = {settings.threads}")
        begin = time.perf_counter()
        connection.execute(_by_hand(settings, Path(name)))
        theirs = time.perf_counter() - begin
        begin = time.perf_counter()
        rows = sum(backfill(use_case, own)["rows"].values())
        ours = time.perf_counter() - begin
        _check_equal(connection, repository_folder(use_case, own), Path(name))
    yield line("handbook_fraud load: rows checked and profiled, once", load, unit="s")
    yield line(f"handbook_fraud back-fill, 12 aggregates, {rows:,} rows written", ours, unit="s", peer=theirs)
    yield line("handbook_fraud back-fill: times a query by hand", ours / theirs, unit="x", bar="<= 3")


def _twelve(use_case: UseCase) -> UseCase:
    """The use case with the book's own features alone: counts and means of three windows, twice."""
    parts = tuple(part for part in use_case.aggregates if set(part.functions) == {"count", "mean"})
    return use_case.model_copy(update={"aggregates": parts, "derived": {}})


def _by_hand(settings: Settings, folder: Path) -> str:
    columns, windows = [], []
    for days in _DAYS:
        first = f"INTERVAL '{days} days' - INTERVAL '1 microsecond'"
        windows += [
            f"c{days} AS (PARTITION BY customer_id ORDER BY tx_datetime "
            f"RANGE BETWEEN {first} PRECEDING AND CURRENT ROW)",
            f"t{days} AS (PARTITION BY terminal_id ORDER BY tx_datetime "
            f"RANGE BETWEEN INTERVAL '7 days' + {first} PRECEDING AND INTERVAL '7 days' PRECEDING)",
        ]
        columns += [
            f"CAST(count(*) OVER c{days} AS DOUBLE) AS customer_count_{days}",
            f"CAST(sum(cents) OVER c{days} AS DOUBLE) / (100 * count(*) OVER c{days}) AS customer_mean_{days}",
            f"CAST(count(*) OVER t{days} AS DOUBLE) AS terminal_count_{days}",
            f"CAST(sum(tx_fraud) OVER t{days} AS DOUBLE) / nullif(count(*) OVER t{days}, 0) AS terminal_mean_{days}",
        ]
    source, target = settings.data / "handbook_transactions.parquet", folder / "by_hand.parquet"
    return _WRITTEN_BY_HAND.format(
        columns=",\n    ".join(columns), windows=",\n  ".join(windows), source=source, target=target
    )


def _check_equal(connection: Any, folder: Path, by_hand: Path) -> None:
    """Exit unless every key and time has the same twelve values, bit for bit."""
    execute = connection.execute
    for entity, stem in (("customer", "customer_tx_amount"), ("terminal", "terminal_fraud")):
        pairs = [(f"{stem}_{name}_{days}d", f"{entity}_{name}_{days}") for name in ("count", "mean") for days in _DAYS]
        ours = ", ".join(name for name, _ in pairs)
        theirs = ", ".join(name for _, name in pairs)
        written = f"SELECT {entity}_id, CAST(event_timestamp AS TIMESTAMP), {ours} FROM '{{}}'"
        asked = f"SELECT DISTINCT {entity}_id, tx_datetime, {theirs} FROM '{by_hand / 'by_hand.parquet'}'"
        found = written.format(parquet_path(folder, f"{entity}_aggregates"))
        execute("SET TimeZone = 'UTC'")
        differing = execute(
            f"SELECT count(*) FROM ((({found}) EXCEPT ALL ({asked})) UNION ALL (({asked}) EXCEPT ALL ({found})))"
        ).fetchone()[0]
        if differing:
            sys.exit(f"{differing} rows of {entity}_aggregates differ from the query by hand")
