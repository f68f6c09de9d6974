"""Comparing a rebuilt candidate folder with the registered one: bytes of files, and figures of the evidence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training.governance.release import file_hashes

Kind = Literal["data", "code", "library", "file", "evidence"]

BESIDE = frozenset({"data_hash", "libraries", "latency", "seconds"})
"""Parts of the evidence that are no result: what went in, which is compared by itself, and what a clock said."""
CLOCK = "seconds"
"""Key of wall-clock times, wherever it stands in the evidence."""


@dataclass(frozen=True)
class Difference:
    """One thing that is not as it was registered. None: it isn't there."""

    kind: Kind
    part: str
    registered: Any
    rebuilt: Any


def compared(registered: Path, rebuilt: Path, *, searched: bool) -> tuple[list[Difference], dict[str, bool]]:
    """Differences between two candidate folders, and by file whether it is the same.

    Files that only the registered one has don't count, but for those of the model; nor does what the clock said. Where
    the search was repeated (`searched`), trials that the clock had cut are left out, and the budget is another one.
    """
    before, after = file_hashes(registered), file_hashes(rebuilt)
    same = {name: before.get(name) == digest for name, digest in after.items()}
    same |= {name: False for name in before.keys() - after.keys() if name.startswith("model/")}
    if searched:
        del same["use_case.json"]
    figures = _figures(evidence_of(registered), evidence_of(rebuilt), searched=searched)
    same["evidence.json"] = not figures
    files = [
        Difference("file", name, before.get(name), after.get(name))
        for name, equal in sorted(same.items())
        if not equal and name != "evidence.json"
    ]
    return files + figures, dict(sorted(same.items()))


def evidence_of(folder: Path) -> dict[str, Any]:
    """The evidence in a candidate folder."""
    found: dict[str, Any] = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    return found


def leaf_differences(kind: Kind, before: Any, after: Any, part: str = "") -> Iterator[Difference]:
    """Differences of plain data, one for each leaf; lists of other lengths count as one leaf."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            yield from leaf_differences(kind, before.get(key), after.get(key), f"{part}.{key}" if part else str(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from leaf_differences(kind, one, other, f"{part}.{place}")
    elif before != after:
        yield Difference(kind, part, before, after)


def not_rebuilt(registered: Path, rebuilt: Path) -> tuple[str, ...]:
    """Files, and parts of the evidence, that only the registered folder has."""
    files = file_hashes(registered).keys() - file_hashes(rebuilt).keys()
    parts = evidence_of(registered).keys() - evidence_of(rebuilt).keys()
    left = [name for name in files if not name.startswith("model/")] + [f"evidence.json: {part}" for part in parts]
    return tuple(sorted(left))


def _figures(before: Mapping[str, Any], after: Mapping[str, Any], *, searched: bool) -> list[Difference]:
    def results(evidence: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in evidence.items() if name in after and name not in BESIDE}
        return {name: _timeless(value, searched=searched) for name, value in kept.items()}

    return list(leaf_differences("evidence", results(before), results(after)))


def _timeless(value: Any, *, searched: bool) -> Any:
    if isinstance(value, Mapping):
        return {key: _timeless(each, searched=searched) for key, each in value.items() if key != CLOCK}
    if not isinstance(value, list):
        return value
    cut = searched and value and isinstance(value[0], Mapping) and "state" in value[0]
    return [_timeless(each, searched=searched) for each in value if not (cut and each["state"] == "late")]
