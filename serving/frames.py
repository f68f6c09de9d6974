"""Rows of the decision log as pandas tables, for monitoring. The scoring worker never imports this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

_COLUMNS = (
    "decision_id", "event_id", "event_time", "decided_at", "release_version", "margin", "probability", "decision",
    "fallback", "latency_ms",
)  # fmt: skip


@dataclass(frozen=True)
class DecisionFrame:
    """Decisions of a period: `decisions` (with `label`, NaN while unknown, and `known`), `features`, raw requests.

    All three have the same rows. Numbers are float64 with NaN, categories text or None, times `datetime64[us, UTC]`.
    """

    decisions: pd.DataFrame
    features: pd.DataFrame
    requests: list[dict[str, Any]]


def decision_frame(rows: Sequence[Mapping[str, Any]], labels: Mapping[str, Mapping[str, Any]]) -> DecisionFrame:
    """The rows with their labels (by event id) and `known`, the time since when they are (NaT while unknown)."""
    decisions = pd.DataFrame([{name: row[name] for name in _COLUMNS} for row in rows], columns=list(_COLUMNS))
    known = [labels.get(row["event_id"]) for row in rows]
    decisions["label"] = pd.Series([None if one is None else one["label"] for one in known], dtype="float64")
    decisions["known"] = [None if one is None else one["known_at"] for one in known]
    for name in ("event_time", "decided_at", "known"):
        decisions[name] = pd.to_datetime(decisions[name], utc=True).astype("datetime64[us, UTC]")
    features = pd.DataFrame([row["features"] for row in rows], index=decisions.index)
    return DecisionFrame(decisions, features.apply(_typed), [dict(row["request"]) for row in rows])


def _typed(column: pd.Series[Any]) -> pd.Series[Any]:
    """float64 with NaN unless the column holds text."""
    if any(isinstance(value, str) for value in column):
        return pd.Series([None if pd.isna(value) else value for value in column], index=column.index, dtype=object)
    return column.astype("float64")
