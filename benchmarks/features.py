"""Features beside Feast's own stores and plain DuckDB: training frames, back-fill, online vectors, online state.

`python -m benchmarks.features --only frame,handbook` measures a part, and keeps the other lines as they are in
`build/bench/features.json`. Every figure is of one run on one machine.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from benchmarks.bars import FOLDER, Line, publish
from configs.console import progress

TITLE = "Features beside Feast and DuckDB"
PARTS = {
    "frame": ("benchmarks.frames", "lines"),
    "large": ("benchmarks.frames", "large_lines"),
    "handbook": ("benchmarks.backfill", "lines"),
    "vectors": ("benchmarks.vectors", "lines"),
    "state": ("benchmarks.state", "lines"),
}


def main() -> None:
    """Measure the chosen parts; exit 1 when a bar is missed or a part has no table to measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.features", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, separated by commas: {','.join(PARTS)}")
    chosen = parser.parse_args().only.split(",")
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; expected some of {','.join(PARTS)}")
    found: list[Line] = []
    missed = []
    for part in chosen:
        with progress(f"measuring {part}"):
            module, function = PARTS[part]
            lines = list(getattr(importlib.import_module(module), function)())
        found += lines
        missed += [] if lines else [part]
    publish("features", merged([] if set(chosen) == set(PARTS) else _published(), found), title=TITLE)
    if missed:
        sys.exit(f"not measured: {', '.join(missed)}. Set RISK_DATA to the folder with the real tables")
    if not all(each.met in {True, None} for each in found):
        sys.exit(1)


def merged(before: Sequence[Line], found: Sequence[Line]) -> list[Line]:
    """Lines in the order of before, those measured again as they are now, then the new ones."""
    return list(({each.line: each for each in before} | {each.line: each for each in found}).values())


def _published() -> list[Line]:
    path = FOLDER / "features.json"
    return [Line(**row) for row in json.loads(path.read_text())] if path.exists() else []


if __name__ == "__main__":
    main()
