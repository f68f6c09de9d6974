"""Measuring a part of the features leaves the lines of the others, and says when nothing was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import features
from benchmarks.bars import Line, line


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command with three made parts; gives the published lines."""
    figures = {"frame": 1.0, "state": 2.0}

    def lines(part: str):
        return lambda: iter([line(f"{part} time", figures[part], bar="<= 9")] if part in figures else [])

    made = SimpleNamespace(**{part: lines(part) for part in ("frame", "state", "handbook")})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "made_benchmark", made)
    monkeypatch.setattr(features, "PARTS", {part: ("made_benchmark", part) for part in ("frame", "state", "handbook")})

    def run(only: str, **changed: float) -> dict[str, float]:
        figures.update(changed)
        monkeypatch.setattr(sys, "argv", ["benchmarks.features", "--only", only])
        features.main()
        rows = json.loads((tmp_path / "build" / "bench" / "features.json").read_text())
        return {row["line"]: row["figure"] for row in rows}

    return run


def test_a_part_replaces_its_own_lines_and_keeps_the_others(measured) -> None:
    assert measured("frame,state") == {"frame time": 1.0, "state time": 2.0}
    assert measured("state", state=5.0) == {"frame time": 1.0, "state time": 5.0}


def test_a_part_without_its_table_is_told_and_the_others_are_published(measured, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"not measured: handbook.*RISK_DATA"):
        measured("handbook,frame")
    assert "frame time" in (tmp_path / "build" / "bench" / "features.json").read_text()


def test_merged_lines_stay_in_their_order() -> None:
    def each(name: str, figure: float) -> Line:
        return line(name, figure)

    found = features.merged([each("a", 1), each("b", 2)], [each("c", 3), each("a", 4)])
    assert [(one.line, one.figure) for one in found] == [("a", 4), ("b", 2), ("c", 3)]
