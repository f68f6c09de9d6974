"""Loads: every room asks here for a table of a use case, and gets its good rows, checked, tokenized and kept.

A load is a folder under `home/loads/<use case>/<table>`: the good rows, the rejects, and a quality report. It is used
again until the table's files, its contract or the token keys change.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from configs.console import Ticker
from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.contracts import ROW_NUMBER, contract_of
from features.intake.kept import Load, alone, find, keep, kept, key_of
from features.intake.privacy import Tokenizer, tokenizer_of
from features.sources import Source, connect, quote, raw_path, source, text, used_tables

_SHOWN = 5


def opened(
    connection: duckdb.DuckDBPyConnection,
    use_case: UseCase,
    table: str,
    settings: Settings,
    *,
    ticker: Ticker | None = None,
) -> Source:
    """The good rows of a table, ready to be queried over `connection`: loaded now, or before from the same files.

    They have the columns of the contract, and an event table without ids also ROW_NUMBER. Raises `FeatureError` for a
    column that isn't there, and for a table with more rejects than it may have.
    """
    load = passed(use_case, table, settings, ticker=ticker)
    return replace(source(connection, load.good), notes=load.notes)


def passed(use_case: UseCase, table: str, settings: Settings, *, ticker: Ticker | None = None) -> Load:
    """The load of a table, if it has no more rejects than it may have; else a `FeatureError` with the reasons."""
    load, contract = loaded(use_case, table, settings, ticker=ticker), contract_of(use_case, table)
    if load.fails(contract):
        raise FeatureError(
            f"{load.label}: {load.rejected:,} of {load.rows:,} rows are rejected ({load.share:.2%}): {_told(load)}",
            expected=f"at most {contract.rejects:.2%} (tables.{table}.rejects)",
            fix=f"correct the table or its contract; the rows are in {load.rejects}, the report is {load.report}",
        )
    return load


def loaded(use_case: UseCase, table: str, settings: Settings, *, ticker: Ticker | None = None) -> Load:
    """The load of a table whatever its rejects: the one that is there for the same files, or a new one.

    Of two processes that want the same load one makes it and the other waits for it.
    """
    loading = _Loading.of(use_case, table, settings, ticker)
    found = find(loading.folder, loading.key)
    if found:
        return found
    with alone(loading.folder):
        return find(loading.folder, loading.key) or loading.made()


def validated(use_case: UseCase, settings: Settings, *, ticker: Ticker | None = None) -> list[tuple[Load, bool]]:
    """The load of every table that features are computed from, and whether it fails."""
    loads = [loaded(use_case, table, settings, ticker=ticker) for table in sorted(used_tables(use_case))]
    return [(load, load.fails(contract_of(use_case, load.table))) for load in loads]


def accepted(connection: duckdb.DuckDBPyConnection, use_case: UseCase, settings: Settings) -> Source:
    """The event table as it came, personal data included, without the rows that its load rejects: what callers send."""
    from features.intake.loading import numbered

    table = use_case.event.table
    load, contract = passed(use_case, table, settings), contract_of(use_case, table)
    raw = source(connection, raw_path(use_case, table, settings), texts=contract.texts)
    view = quote(f"accepted:{table}")
    rejected = f"SELECT row_number FROM read_parquet({text(str(load.rejects))})"
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW {view} AS SELECT * FROM ({numbered(raw)}) "
        f"WHERE {quote(ROW_NUMBER)} NOT IN ({rejected})"
    )
    return replace(raw, columns={**raw.columns, ROW_NUMBER: "BIGINT"}, relation=view)


def check_outcomes(load: Load, label: str) -> None:
    """Raise `FeatureError` for an event table that nothing can be learned from: no rows, or outcomes of one class."""
    positive, negative, unknown = load.outcomes or (0, 0, 0)
    if not positive + negative + unknown:
        raise FeatureError(f"{load.label} has no rows", expected="events", fix="correct the table, or its path")
    if positive and negative:
        return
    only = f"is {'always' if positive else 'never'} positive" if positive + negative else "has no outcomes"
    raise FeatureError(
        f"{load.label}: {label} {only} ({positive + negative:,} outcomes, {unknown:,} unknown)",
        expected="outcomes of both classes",
        fix="correct the table, or `label` in the use case",
    )


@dataclass(frozen=True)
class _Loading:
    """A table to be loaded: where its rows are, what they must hold, and where the load goes."""

    use_case: UseCase
    table: str
    settings: Settings
    ticker: Ticker | None
    path: Path
    tokenizer: Tokenizer | None

    @classmethod
    def of(cls, use_case: UseCase, table: str, settings: Settings, ticker: Ticker | None) -> _Loading:
        path = raw_path(use_case, table, settings, ticker=ticker)
        return cls(use_case, table, settings, ticker, path, tokenizer_of(use_case, settings))

    @property
    def folder(self) -> Path:
        return self.settings.home / "loads" / self.use_case.name / self.table

    @property
    def key(self) -> str:
        return key_of(self.path, contract_of(self.use_case, self.table), self.tokenizer)

    def made(self) -> Load:
        """Load the table beside, then put it in place."""
        if self.ticker:
            self.ticker.note(f"loading {self.use_case.tables[self.table].label}")
        beside = Path(tempfile.mkdtemp(dir=self.folder, prefix=".loading-"))
        try:
            load = self._written(beside)
            place = self.folder / f"{time.time_ns()}-{load.key}"
            keep(load, place)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return replace(load, folder=place)

    def _written(self, beside: Path) -> Load:
        from features.intake.loading import readable, written
        from features.intake.quality import report

        began, now, key = time.perf_counter(), datetime.now(UTC), self.key
        contract = contract_of(self.use_case, self.table)
        with connect(self.settings) as connection, readable(contract):
            raw = source(connection, self.path, texts=contract.texts)
            for column in contract.columns:
                raw.require([column.name], owner=column.owner)
            facts = written(connection, self.use_case, contract, raw, beside, tokenizer=self.tokenizer, now=now)
            load = Load(
                self.table, contract.label, key, notes=raw.notes, loaded_at=now.isoformat(), seconds=0.0,
                folder=beside, **facts,
            )  # fmt: skip
            earlier = [each for each in kept(self.folder) if not each.fails(contract)]
            report(connection, self.use_case, contract, load, raw=raw, previous=earlier[-1] if earlier else None)
        return replace(load, seconds=round(time.perf_counter() - began, 3))


def _told(load: Load) -> str:
    """The most frequent reasons with their counts."""
    most = sorted(load.reasons, key=lambda each: -each[2])
    more = f" and {len(most) - _SHOWN} more reasons" if len(most) > _SHOWN else ""
    return ", ".join(f"{column} {reason} ({rows:,})" for column, reason, rows in most[:_SHOWN]) + more
