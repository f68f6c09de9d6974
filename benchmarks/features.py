"""Features beside Feast's own stores and plain DuckDB: training frames, back-fill, online vectors, online state.

`python -m benchmarks.features --only frame,handbook` measures a part; every figure is of one run on one machine.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks.bars import Line, publish
from configs.console import progress

PARTS = {
    "frame": ("benchmarks.frames", "lines"),
    "large": ("benchmarks.frames", "large_lines"),
    "handbook": ("benchmarks.backfill", "lines"),
    "vectors": ("benchmarks.vectors", "lines"),
    "state": ("benchmarks.state", "lines"),
}


def main() -> None:
    """Measure the chosen parts; exit 1 when a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.features", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, separated by commas: {','.join(PARTS)}")
    chosen = parser.parse_args().only.split(",")
    unknown = sorted(set(chosen) - set(PARTS))
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; expected some of {','.join(PARTS)}")
    found: list[Line] = []
    for part in chosen:
        with progress(f"measuring {part}"):
            module, function = PARTS[part]
            found += getattr(importlib.import_module(module), function)()
    publish("features", found, title="Features beside Feast and DuckDB")
    if not all(each.met in {True, None} for each in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
