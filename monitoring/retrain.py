"""From the decision log back to training: export matured decisions, move the test forward, train one job at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import MonitoringError
from configs.inputs import Column, Label
from configs.settings import Settings
from configs.use_case import Period, RandomSplit, TimeSplit, UseCase
from features.contracts import event_id_column
from features.intake.privacy import tokenizer_of
from features.request import utc
from monitoring.windows import Log, Span, Window, read_window

if TYPE_CHECKING:
    import pandas as pd

    from configs.console import Ticker
    from training.pipeline import TrainedVersion

SERVICE = "retraining"
"""The identity that automatic candidates have as their author; it can't approve."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Export:
    """Matured decisions that were written for training; `path` is None and `rows` 0 when there were none."""

    path: Path | None
    rows: int
    newest: datetime | None


def retrain(
    use_case: UseCase,
    settings: Settings,
    log: Log,
    *,
    as_of: datetime,
    reason: str,
    author: str = SERVICE,
    ticker: Ticker | None = None,
) -> TrainedVersion:
    """Train a candidate on history and the live decisions matured at `as_of`, under the lock of the use case.

    The author is the service identity `retraining`, or the person who asked for it and so can't approve it. Only an
    approval by another person makes the candidate a champion.
    Raises `MonitoringError` when another retraining of the use case is running.
    """
    from training.pipeline import train

    with only_job(use_case.name, settings):
        export = export_matured(use_case, settings, log, as_of=as_of)
        split = moved_split(use_case.split, export.newest)
        return train(use_case, settings, author=author, reason=reason, split=split, ticker=ticker)


@contextmanager
def only_job(name: str, settings: Settings) -> Iterator[None]:
    """Hold the lock of a use case's retraining. The kernel frees it when the process ends, however it ends."""
    path = settings.home / "locks" / f"retrain-{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MonitoringError(
                f"a retraining of {name} is already running",
                expected="one job at a time",
                fix=f"wait for it to end; its candidate shows in `risk models {name}`",
            ) from None
        yield
    finally:
        os.close(descriptor)


def export_matured(use_case: UseCase, settings: Settings, log: Log, *, as_of: datetime) -> Export:
    """Write every matured decision with an outcome to accrued/<use case>/<start>_<end>.parquet, as event table rows.

    The export starts at the log's first decision, because late outcomes belong to old events; earlier exports that it
    covers are removed after it is in place.
    """
    until = as_of - use_case.label.maturity
    if until <= _BEGINNING:
        return Export(None, 0, None)
    window = read_window(log, use_case, Span(_BEGINNING, until, as_of)).with_outcome()
    window = window.upgraded(tokenizer_of(use_case, settings))
    if not window.rows:
        return Export(None, 0, None)
    times = window.decisions["event_time"]
    oldest, newest = times.iloc[0].to_pydatetime(), times.iloc[-1].to_pydatetime()
    folder = settings.home / "accrued" / use_case.name
    path = folder / f"{_stamp(oldest)}_{_stamp(newest)}.parquet"
    _write(event_rows(use_case, window), path)
    for earlier in folder.glob("*_*.parquet"):
        first, last = earlier.stem.split("_", 1)
        if earlier != path and _stamp(oldest) <= first and last <= _stamp(newest):
            earlier.unlink()
    return Export(path, window.rows, newest)


def event_rows(use_case: UseCase, window: Window) -> pd.DataFrame:
    """The window's decisions with the raw event table's column names, so that both can be read as one table.

    Columns: event id, event time, entity keys, request fields, label, and the time the outcome was known (the last two
    as the use case names them; without a name for it the known time is left out). Protected attributes are not in the
    log, so they are missing here and fairness is tested on the history alone.
    """
    import pandas as pd

    decisions, label = window.decisions, use_case.label
    columns: dict[str, Any] = {}
    if use_case.event.time:
        columns[use_case.event.time] = decisions["event_time"]
    for name, column in use_case.request.items():
        values = [request["fields"].get(name) for request in window.requests]
        columns[column.column or name] = _typed(values, column)
    for entity, key in use_case.entities.items():
        columns[key] = pd.Series([request["entities"].get(entity) for request in window.requests], dtype="string")
    columns[event_id_column(use_case)] = decisions["event_id"].astype("string")
    columns[label.column] = [_raw_label(value, label) for value in decisions["label"]]
    if label.known:
        columns[label.known] = decisions["known"]
    return pd.DataFrame(columns)


def _typed(values: list[Any], column: Column) -> pd.Series[Any]:
    """float64, boolean, text or UTC time, with missing values where the caller sent none."""
    import pandas as pd

    raw = pd.Series(values, dtype=object)
    if column.type == "time":
        return pd.to_datetime(raw, utc=True, format="ISO8601").astype("datetime64[us, UTC]")
    if column.type == "category":
        return raw.astype("string")
    return raw.astype("boolean") if column.type == "boolean" else raw.astype("float64")


def _raw_label(value: float, label: Label) -> int | str | bool:
    if value == 1:
        return label.positive
    if isinstance(label.positive, bool):
        return not label.positive
    return f"not {label.positive}" if isinstance(label.positive, str) else int(label.positive == 0)


def _write(rows: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}-{os.getpid()}")
    rows.to_parquet(beside, index=False)
    beside.replace(path)


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S%f")


def moved_split(split: TimeSplit | RandomSplit, newest: datetime | None) -> TimeSplit | RandomSplit:
    """The split with its test ending at the newest matured event; training grows by as much, and the gap stays.

    Unchanged for a random split and where nothing newer than the present test has matured.
    """
    if isinstance(split, RandomSplit) or newest is None:
        return split
    forward = newest + timedelta(microseconds=1) - utc(split.test.end)
    if forward <= timedelta(0):
        return split
    return split.model_copy(
        update={
            "train": Period(start=split.train.start, end=split.train.end + forward),
            "test": Period(start=split.test.start + forward, end=split.test.end + forward),
        }
    )
