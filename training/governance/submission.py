"""What is registered of a model, as plain data: a candidate on its way in, and a version as the registry knows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

CANDIDATE: Final = "candidate"
"""Folder of a run's artifacts with the candidate, and the alias of the latest one."""

CHAMPION: Final = "champion"
Alias = Literal["candidate", "champion"]


@dataclass(frozen=True)
class SourceTable:
    """A raw table that a candidate was trained on, for lineage. `digest`: SHA-256 over the data, hexadecimal."""

    name: str
    path: str
    rows: int | None
    digest: str


@dataclass(frozen=True)
class Submission:
    """A candidate to be registered: its folder, and what is tracked about it."""

    use_case: str
    folder: Path
    learner: str
    features: tuple[str, ...]
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    tables: tuple[SourceTable, ...]
    started_at: datetime


@dataclass(frozen=True)
class ModelVersion:
    """A registered version as MLflow knows it."""

    use_case: str
    version: int
    run_id: str
    created_at: datetime
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the out-of-time test, as registered."""
        return dict(json.loads(self.tags.get("metrics", "{}")))
