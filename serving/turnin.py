"""Outcomes from a file to the service: read, checked for their columns, and turned in over HTTP in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from configs.console import Ticker
from configs.errors import ServingError
from features.request import rfc3339
from serving.client import Client
from serving.contract import MAX_OUTCOMES

_COLUMNS = ("event_id", "label", "known_at")


def read_outcomes(file: Path) -> list[dict[str, Any]]:
    """Rows of a Parquet, CSV or JSON-lines file as the service takes them; times without a zone are UTC.

    Raises `ServingError` for a file that can't be read or lacks a column. Rows are judged by the service.
    """
    table = _table(file)
    absent = [name for name in _COLUMNS if name not in table.columns]
    if absent:
        raise ServingError(f"{file} has no column {', '.join(absent)}", expected="event_id, label and known_at")
    try:
        if pd.api.types.is_numeric_dtype(table["known_at"]) and table["known_at"].notna().any():
            raise TypeError("a bare number has no unit")  # pandas would read nanoseconds since 1970
        known = pd.to_datetime(
            table["known_at"], utc=True, format="ISO8601" if table["known_at"].dtype == object else None
        )
    except (ValueError, TypeError):
        raise ServingError(f"{file}: known_at holds something that is no time", expected="RFC 3339 times") from None
    labels = pd.to_numeric(table["label"], errors="coerce")
    rows = zip(table["event_id"].astype(str), labels, known, strict=True)
    return [
        {
            "event_id": event,
            "label": _label(label),
            "known_at": None if pd.isna(time) else rfc3339(time.to_pydatetime()),
        }
        for event, label, time in rows
    ]


def turn_in(client: Client, rows: Sequence[dict[str, Any]], *, ticker: Ticker | None = None) -> dict[str, Any]:
    """Send all rows, at most 1,000 a request; gives the sums and the rejected rows by their place in `rows`."""
    total: dict[str, Any] = {"accepted": 0, "duplicates": 0, "contradictions": [], "rejected": []}
    for start in range(0, len(rows), MAX_OUTCOMES):
        piece = rows[start : start + MAX_OUTCOMES]
        report = client.outcomes(piece)
        total["accepted"] += report["accepted"]
        total["duplicates"] += report["duplicates"]
        total["contradictions"] += [start + index for index in report["contradictions"]]
        total["rejected"] += [{"index": start + one["index"], "reason": one["reason"]} for one in report["rejected"]]
        if ticker:
            ticker.advance(len(piece))
    return total


def _table(file: Path) -> pd.DataFrame:
    readers: dict[str, Any] = {
        ".parquet": pd.read_parquet,
        ".csv": lambda path: pd.read_csv(path, dtype={"event_id": str}),
        ".jsonl": lambda path: pd.read_json(path, lines=True, dtype={"event_id": str}, convert_dates=False),
    }
    if file.suffix not in readers:
        raise ServingError(f"{file} has the suffix {file.suffix!r}", expected=f"one of {', '.join(readers)}")
    try:
        return readers[file.suffix](file)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise ServingError(
            f"{file} can't be read ({type(error).__name__})", expected="a table", fix="check the file"
        ) from None


def _label(value: Any) -> Any:
    """A whole number where it is one; anything else goes to the service as null, which names it."""
    return int(value) if not pd.isna(value) and float(value).is_integer() else None
