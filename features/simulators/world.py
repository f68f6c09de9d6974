"""Simulated worlds: raw tables with a known truth, written straight to Parquet.

`simulate` writes the tables of the use case's world into a folder: the event table with the history
(`applications.parquet`, `transactions.parquet`), the live events after it (`live_applications.parquet`,
`live_transactions.parquet`, same columns), and the tables beside it (`bureau.parquet`, `customers.parquet`).
The same `simulator` section gives the same content byte for byte. How labels come about is documented in
`features.simulators.credit` and `features.simulators.fraud`.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from configs.errors import FeatureError
from configs.inputs import Drift, Simulator
from configs.use_case import Period, UseCase
from features.request import utc
from features.simulators import credit, fraud
from features.simulators.drifts import apply_drift, unknown_column
from features.simulators.truth import TRUTH, World, best_auc

if TYPE_CHECKING:
    from configs.console import Ticker

WORLDS = {"credit": credit.generate, "fraud": fraud.generate}


@dataclass(frozen=True)
class SimulationReport:
    """What was written. `best_auc` is the AUC of the true probability on the history's labels (None with one class).

    `bound` says what the true probability is conditioned on; `label_rate` is the positives' share of labelled rows.
    """

    world: str
    folder: str
    rows: dict[str, int]
    label_rate: float
    best_auc: float | None
    bound: str
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for tables and JSON, a line a table."""
        flat = asdict(self)
        rows = flat.pop("rows")
        return {**{f"rows in {name}": count for name, count in rows.items()}, **flat}


def simulate(use_case: UseCase, folder: Path, *, ticker: Ticker | None = None) -> SimulationReport:
    """Write the tables of the use case's simulated world into `folder`, replacing those of an earlier run.

    Every table is written beside its place and all are renamed at the end, so that a failure leaves the old ones.
    Raises FeatureError for a use case without a simulator, a drift that fits no column, and a folder that can't be
    written.
    """
    simulator = use_case.simulator
    if simulator is None:
        raise FeatureError(
            f"the use case {use_case.name!r} has no simulator",
            expected="a use case with a `simulator` section",
            fix="use its real tables (RISK_DATA), or choose the use case credit or fraud",
        )
    started = time.perf_counter()
    folder = _made(folder)
    world = WORLDS[simulator.world](simulator, ticker)
    if ticker:
        ticker.note("writing")
    tables = _split(world, _drifted(world.tables, use_case, simulator))
    _write(tables, folder)
    history = tables[world.events]
    return SimulationReport(
        world=simulator.world,
        folder=str(folder),
        rows={name: table.num_rows for name, table in tables.items()},
        label_rate=float(pc.mean(history.column(world.label)).as_py() or 0.0),
        best_auc=best_auc(history, label=world.label),
        bound=world.bound,
        seconds=time.perf_counter() - started,
    )


def best_auc_between(use_case: UseCase, folder: Path, period: Period) -> float | None:
    """The AUC that the true probability reaches on the labelled events of a period; None with one class only."""
    table = pq.read_table(folder / use_case.event_table.label)
    times = table.column(use_case.event.time)
    start, end = (pa.scalar(utc(moment), times.type) for moment in (period.start, period.end))
    inside = pc.and_(pc.greater_equal(times, start), pc.less(times, end))
    return best_auc(table.filter(inside), label=use_case.label.column)


def _drifted(tables: dict[str, pa.Table], use_case: UseCase, simulator: Simulator) -> dict[str, pa.Table]:
    """The tables as they are reported: with every drift but concept shifts, which are in the labels already."""
    fixed = {*use_case.entities.values(), use_case.event.id, use_case.label.column, use_case.label.known, *TRUTH}
    fixed |= {name for table in use_case.tables.values() for name in (table.time, table.created)}
    changed = dict(tables)
    for number, drift in enumerate(simulator.drifts):
        holders = [name for name, table in tables.items() if drift.column in set(table.column_names) - fixed]
        if not holders:
            open_names = {name for table in tables.values() for name in table.column_names} - fixed
            raise unknown_column(drift.column, sorted(open_names))
        for name in holders if drift.kind != "concept_shift" else ():
            rng = np.random.default_rng([simulator.seed, 1000 + number])
            changed[name] = _reported(changed[name], drift, time_column=use_case.tables[name].time, rng=rng)
    return changed


def _reported(table: pa.Table, drift: Drift, *, time_column: str | None, rng: np.random.Generator) -> pa.Table:
    times = table.column(time_column).to_pandas()
    frame = apply_drift(table.select([drift.column]).to_pandas(), drift, times=times, rng=rng)
    column = pa.Array.from_pandas(frame[drift.column], type=table.schema.field(drift.column).type)
    return table.set_column(table.column_names.index(drift.column), drift.column, column)


def _split(world: World, tables: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """History and live events apart."""
    events = tables[world.events]
    history = events.num_rows - world.live_rows
    live = {f"live_{world.events}": events.slice(history)} if world.live_rows else {}
    return {**tables, world.events: events.slice(0, history), **live}


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FeatureError(
            f"can't make the folder {folder}: {error.strerror}",
            expected="a folder for the simulated tables",
            fix="set RISK_HOME to a folder you may write",
        ) from None
    return folder


def _write(tables: dict[str, pa.Table], folder: Path) -> None:
    beside = {name: folder / f".{name}.{os.getpid()}.tmp" for name in tables}
    try:
        for name, table in tables.items():
            pq.write_table(table, beside[name], compression="zstd", compression_level=1, row_group_size=250_000)
        for name, path in beside.items():
            path.replace(folder / f"{name}.parquet")
    except OSError as error:
        raise FeatureError(
            f"can't write into {folder}: {error.strerror}",
            expected="a folder with room for the tables",
            fix="free space, or set RISK_HOME",
        ) from None
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)
