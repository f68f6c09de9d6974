"""Which bytes a model was trained on: a hash for each table, so that a later difference can be named."""

from __future__ import annotations

import hashlib
from pathlib import Path

from configs.settings import Settings
from configs.use_case import UseCase
from features.sources import accrued_paths, raw_path, table_files, used_tables

ACCRUED = "accrued:"
"""What the name of a file of accrued events begins with; no table's does."""

_CHUNK = 1 << 20


def table_digests(use_case: UseCase, settings: Settings) -> dict[str, str]:
    """SHA-256 of every table that features are computed from, by name, then of every file of accrued events.

    A folder counts with all its files in order of their paths, a database's table with the rows as they were read.
    Accrued events are named `accrued:<file>`.
    """
    tables = {name: raw_path(use_case, name, settings) for name in sorted(used_tables(use_case))}
    accrued = {f"{ACCRUED}{path.name}": path for path in accrued_paths(use_case, settings)}
    return {name: _digest(path) for name, path in (tables | accrued).items()}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for file in table_files(path):
        digest.update(f"{file.relative_to(path.parent).as_posix()}:{file.stat().st_size}:".encode())
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
