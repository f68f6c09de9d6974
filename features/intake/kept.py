"""What a load leaves behind: a folder with rows, rejects and reports, found again by what it was made of."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features.contracts import TableContract
from features.intake.privacy import Tokenizer
from features.sources import table_files
from features.temporary import is_own

KEPT = 3
"""Loads of a table that are kept, so that a reader of the one before last still finds its file."""

_FORMAT = 1


@dataclass(frozen=True)
class Load:
    """What came of loading a table. `reasons` count rows by column and reason; a row may be rejected for several.

    `expires`: when the first of the rows that lay in the future no longer does. `outcomes` count the labels of the good
    rows of an event table: positive, negative, unknown.
    """

    table: str
    label: str
    key: str
    rows: int
    rejected: int
    reasons: tuple[tuple[str, str, int], ...]
    notes: tuple[str, ...]
    loaded_at: str
    seconds: float
    expires: str | None = None
    outcomes: tuple[int, int, int] | None = None
    folder: Path = Path()

    @property
    def share(self) -> float:
        """Rejected rows over all rows; 0 for a table without rows."""
        return self.rejected / self.rows if self.rows else 0.0

    @property
    def good(self) -> Path:
        """The good rows, with the columns of the contract."""
        return self.folder / "rows.parquet"

    @property
    def rejects(self) -> Path:
        """The rejected rows: `row_number`, `column`, `reason` and `event_id`, a line for each reason."""
        return self.folder / "rejects.parquet"

    @property
    def report(self) -> Path:
        """The quality report as a page; the same as JSON is beside it."""
        return self.folder / "quality.html"

    def fails(self, contract: TableContract) -> bool:
        """Whether more rows are rejected than the table may have."""
        return self.rejected > contract.rejects * self.rows

    def as_dict(self) -> dict[str, Any]:
        """The load as plain data, for `--json`."""
        reasons = [{"column": column, "reason": reason, "rows": rows} for column, reason, rows in self.reasons]
        places = {"folder": str(self.folder), "rejects": str(self.rejects), "report": str(self.report)}
        return asdict(self) | {"reasons": reasons, "share": self.share} | places


def key_of(path: Path, contract: TableContract, tokenizer: Tokenizer | None) -> str:
    """Names a load by everything that decides what is in it: files, contract and the version of the token keys."""
    files = [[file.name, _digest(file)] if is_own(file) else [str(file), *_stamp(file)] for file in table_files(path)]
    version = tokenizer.version if tokenizer and contract.personal else 0
    return hashlib.sha256(json.dumps([_FORMAT, files, contract.digest, version]).encode()).hexdigest()[:20]


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _stamp(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def find(folder: Path, key: str) -> Load | None:
    """The newest load of that name, unless one of its future rows has become possible by now."""
    for load in reversed(kept(folder)):
        if load.key == key and (load.expires is None or datetime.fromisoformat(load.expires) > datetime.now(UTC)):
            return load
    return None


def kept(folder: Path) -> list[Load]:
    """All complete loads of a table, in the order in which they were made."""
    found = [_read(place) for place in _places(folder)]
    return [load for load in found if load]


def keep(load: Load, place: Path) -> None:
    """Put a load that was written beside in its place, at once; the oldest ones go."""
    content = asdict(load) | {"folder": None}
    (load.folder / "load.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    load.folder.rename(place)
    for outdated in _places(place.parent)[:-KEPT]:
        shutil.rmtree(outdated)


def _places(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*-*"))


def _read(place: Path) -> Load | None:
    try:
        found = json.loads((place / "load.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # removed by a load that was made meanwhile
        return None
    reasons = tuple((str(column), str(reason), int(rows)) for column, reason, rows in found["reasons"])
    outcomes = tuple(found["outcomes"]) if found["outcomes"] else None
    return Load(**found | {"reasons": reasons, "notes": tuple(found["notes"]), "outcomes": outcomes, "folder": place})


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the table's lock; the kernel frees it when the process ends. What a killed load left behind is removed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in folder.glob(".loading-*"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(descriptor)
