"""`risk`: every verb is listed, documented and quick to start."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer

from risk import app

HEAVY = {
    "bentoml",
    "duckdb",
    "evidently",
    "feast",
    "lightgbm",
    "mlflow",
    "numpy",
    "optuna",
    "pandas",
    "pydantic",
    "shap",
    "sqlalchemy",
}


def commands() -> list[tuple[str, Any]]:
    """Every command, groups included, with its path."""

    def walk(path: str, command: Any) -> list[tuple[str, Any]]:
        inner = getattr(command, "commands", {})
        return [
            (path, command),
            *(found for name, each in inner.items() for found in walk(f"{path} {name}".strip(), each)),
        ]

    return walk("", typer.main.get_command(app))[1:]


@pytest.mark.parametrize(("path", "command"), commands(), ids=[path for path, _ in commands()])
def test_every_command_and_option_says_what_it_is_for(path: str, command: Any) -> None:
    assert command.help, path
    undocumented = [each.name for each in command.params if not getattr(each, "help", None) and each.name != "help"]
    assert not undocumented


def test_every_reporting_command_has_json() -> None:
    without = {"config schema"}
    plain = {
        path
        for path, each in commands()
        if not hasattr(each, "commands") and "as_json" not in {p.name for p in each.params}
    }
    assert plain == without


def test_help_lists_every_verb_with_one_line() -> None:
    listed = subprocess.run([sys.executable, "-m", "risk", "--help"], capture_output=True, text=True, check=True).stdout
    verbs = {path.split()[0] for path, _ in commands()}
    assert all(any(row.strip().startswith(verb) for row in listed.splitlines()) for verb in verbs)


def test_nothing_heavy_is_imported_at_the_start() -> None:
    code = "import sys, risk; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not HEAVY & set(loaded)
