"""`risk reproduce`: rebuild a registered model and say bit-identical, or what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.console import JsonOption, opened, progress, show

if TYPE_CHECKING:
    from training.reproduce import Reproduction

SHOWN = 40
"""Differences that are listed on a terminal; `--json` has all."""

NameArgument = Annotated[
    str, typer.Argument(metavar="USE_CASE", help="Name of a use case, whose file may have changed since, or its file.")
]
VersionArgument = Annotated[int | None, typer.Argument(help="Version; none: the newest.")]
SearchOption = Annotated[bool, typer.Option("--search", help="Repeat the search too, not only the chosen fit.")]


def reproduce(
    use_case: NameArgument, version: VersionArgument = None, search: SearchOption = False, as_json: JsonOption = False
) -> None:
    """Rebuild a registered model from its recorded data, configuration and seeds; exit code 2 if anything differs."""
    from configs.settings import load_settings
    from training.reproduce import reproduce as rebuild

    name = opened(use_case)[0].name if use_case.endswith((".yaml", ".yml")) else use_case
    with progress(f"reproducing {name}") as ticker:
        made = rebuild(name, version, load_settings(), search=search, ticker=ticker)
    if as_json:
        show(made.as_json(), as_json=True)
    else:
        _show(made)
    if not made.identical:
        raise typer.Exit(2)


def _show(made: Reproduction) -> None:
    facts: dict[str, Any] = {
        "result": "bit-identical" if made.identical else "differs",
        "compared": f"{sum(made.files.values())} of {len(made.files)} files are the same",
        "search": "repeated" if made.searched else "as recorded",
        "not rebuilt": made.not_rebuilt,
        "seconds": made.seconds,
    }
    show(facts, as_json=False, title=f"{made.use_case}/{made.version}")
    if not made.differences:
        return
    rows = [
        {"what": each.kind, "part": each.part, "registered": _short(each.registered), "rebuilt": _short(each.rebuilt)}
        for each in made.differences[:SHOWN]
    ]
    show(rows, as_json=False, title="differences")
    if len(made.differences) > SHOWN:
        typer.echo(f"and {len(made.differences) - SHOWN} more: --json lists all")


def _short(value: Any) -> str:
    """Numbers with all digits, because they differ in the last ones; hashes and lists cut."""
    text = "-" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."
