"""The quality report as one self-contained HTML file: no script, nothing loaded from elsewhere, all text escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

WIDTH = 180
"""Width in pixels of a distribution."""


def page(report: Mapping[str, Any]) -> str:
    """The page of a report as `quality.json` holds it."""
    return str(_template().render(report=report, rows=report["rows"], place=place, width=WIDTH))


@cache
def _template() -> Any:
    """Compiled once: that takes longer than most tables take to be checked."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent.parent / "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(share=share, figure=figure, count=count)
    return environment.get_template("quality.html")


def share(part: float, whole: float) -> str:
    """A part of a whole in percent; a small one is never said to be 0.

    >>> share(1, 8), share(0, 8), share(1, 1_000_000), share(0, 0)
    ('12.5%', '0%', '<0.1%', '-')
    """
    if not whole:
        return "-"
    found = part / whole
    return "0%" if not found else f"{found:.1%}" if found >= 0.001 else "<0.1%"


def figure(value: float | None) -> str:
    """A number with up to five significant digits; `-` for none.

    >>> figure(1234567.0), figure(0.25), figure(None)
    ('1.2346e+06', '0.25', '-')
    """
    return "-" if value is None else f"{value:.5g}"


def count(value: int | None) -> str:
    """A number of rows with separators; `-` for none."""
    return "-" if value is None else f"{value:,}"


def place(value: float, numbers: Mapping[str, Any]) -> float:
    """Where a value is on the axis of its column, in pixels. The axis spans the fences, or all values without them."""
    fences = numbers["fences"] or (numbers["least"], numbers["most"])
    low, high = max(float(fences[0]), float(numbers["least"])), min(float(fences[1]), float(numbers["most"]))
    if high <= low:
        return WIDTH / 2
    return round(min(max((value - low) / (high - low), 0.0), 1.0) * (WIDTH - 4) + 2, 1)
