"""The notebooks run from their committed sources, and are committed with what they showed."""

from __future__ import annotations

from itertools import pairwise

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from notebooks import build

IMAGES = {"data_scientist": 6, "application_developer": 1, "reviewer": 6}
"""Plots that each shows at least."""


def committed(name: str) -> NotebookNode:
    return nbformat.read(build.FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(notebook: NotebookNode) -> list[list[str]]:
    """What each code cell shows: streams by name (a long one may come in pieces), all else by its richest form."""
    shown = [[output.get("name") or max(output.data, key=len) for output in cell.outputs] for cell in code(notebook)]
    streams = {"stdout", "stderr"}
    return [
        [kind for before, kind in pairwise([None, *cell]) if kind not in streams or kind != before] for cell in shown
    ]


def said(text: str) -> NotebookNode:
    output = new_output("stream", name="stdout", text=text)
    return new_notebook(cells=[new_code_cell("print(...)", outputs=[output], execution_count=1)])


def test_there_is_one_notebook_for_each_kind_of_user() -> None:
    assert {path.stem for path in build.FOLDER.glob("*.ipynb")} == set(build.NAMES) == set(IMAGES)


@pytest.mark.parametrize("name", build.NAMES)
def test_committed_notebooks_are_executed_in_order_without_errors_or_warnings(name: str) -> None:
    cells = code(committed(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")
    assert sum("image/png" in output.get("data", ()) for output in outputs) >= IMAGES[name]


@pytest.mark.parametrize("name", build.NAMES)
def test_committed_notebooks_are_small_and_hold_only_shared_metadata(name: str) -> None:
    path = build.FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < build.MOST_BYTES
    notebook = committed(name)
    assert build.cleared(committed(name)).metadata == notebook.metadata
    assert not any(cell.metadata for cell in notebook.cells)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", build.NAMES)
def test_notebooks_run_and_show_what_is_committed(name: str, request: pytest.FixtureRequest) -> None:
    if name == "data_scientist":
        request.getfixturevalue("real_data")
    fresh = build.executed(build.FOLDER / f"{name}.ipynb")
    assert kinds(fresh) == kinds(committed(name))


def test_outputs_that_tell_a_path_are_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(build.UnfitError, match="tells a path of this machine"):
        build.require_fit(said(f"written to {tmp_path}/report.html"), name="n")


def test_outputs_that_tell_a_secret_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_TOKEN", "hushhush-123")
    with pytest.raises(build.UnfitError, match="tells the value of REGISTRY_TOKEN"):
        build.require_fit(said("with hushhush-123"), name="n")
    with pytest.raises(build.UnfitError, match="tells a secret"):
        build.require_fit(said("postgresql://someone:pass@server/risk"), name="n")


def test_large_notebooks_are_refused() -> None:
    with pytest.raises(build.UnfitError, match="bytes, expected"):
        build.require_fit(said("x" * build.MOST_BYTES), name="n")


def test_ordinary_outputs_are_fit() -> None:
    build.require_fit(said("releases/credit/1/model.json scored /v1/credit in 3 ms"), name="n")
