"""How every measurement is reported: a table on the screen and `build/bench/<name>.json`, one entry for each bar."""

from __future__ import annotations

import json
import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from configs.console import show

FOLDER = Path("build") / "bench"
_COMPARISONS = {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Line:
    """One figure against its bar.

    `bar` reads `>= 0.865` or `< 10`; `peer` is the figure it stands beside (a published one, or another tool's in the
    same run), `ratio` is figure over peer. `met` is undefined (None) for a figure without a bar.
    """

    line: str
    figure: float
    unit: str
    peer: float | str | None
    ratio: float | None
    bar: str
    met: bool | None


def line(name: str, figure: float, *, unit: str = "", bar: str = "", peer: float | str | None = None) -> Line:
    """Judge a figure by its bar."""
    ratio = figure / peer if isinstance(peer, (int, float)) and peer else None
    met = None
    if bar:
        comparison, bound = bar.split()
        met = bool(_COMPARISONS[comparison](figure, float(bound)))
    return Line(name, figure, unit, peer, ratio, bar, met)


def publish(name: str, lines: Sequence[Line], *, title: str) -> None:
    """Print the table and write the JSON beside it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = [asdict(each) for each in lines]
    (FOLDER / f"{name}.json").write_text(json.dumps(rows, indent=2) + "\n")
    show(rows, as_json=False, title=title)
