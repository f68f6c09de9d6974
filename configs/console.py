"""What every command shares: `--json`, tables, progress, and one way to fail. Imports nothing heavy at start."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from configs.errors import RiskError
    from configs.settings import Settings
    from configs.use_case import UseCase

UseCaseArgument = Annotated[str, typer.Argument(help="Name of a use case, or the path of its YAML file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON instead of a table.")]


EXIT_CODES = (
    "Exit codes: 0 done; 2 wrong input, or refused, with one message on standard error that says what was found, what"
    " was expected and how to fix it; 1 an unexpected failure; 130 interrupted."
)


def application(help_text: str) -> typer.Typer:
    """A group of commands in the platform's manner: help on no arguments, no tracebacks with local values."""
    return typer.Typer(
        help=help_text,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_show_locals=False,
        rich_markup_mode=None,
    )


def opened(name: str) -> tuple[UseCase, Settings]:
    """The use case and the settings that a command works on."""
    from configs.loading import load_use_case
    from configs.settings import load_settings

    settings = load_settings()
    return load_use_case(name, settings), settings


def show(data: Mapping[str, Any] | Sequence[Mapping[str, Any]], *, as_json: bool, title: str = "") -> None:
    """Print a mapping as two columns or a list of mappings as a table; as JSON when asked."""
    if as_json:
        print(json.dumps(data, indent=2, default=str, ensure_ascii=False), flush=True)
        return
    from rich.console import Console
    from rich.table import Table

    rows = [{"": key, "value": value} for key, value in data.items()] if isinstance(data, Mapping) else data
    if not rows:
        print(f"{title}: nothing to show" if title else "nothing to show")
        return
    table = Table(title=title or None, title_justify="left", show_header=not isinstance(data, Mapping))
    for column in rows[0]:
        numeric = all(isinstance(row.get(column), (int, float)) for row in rows)
        copied = column.endswith("_id")  # an id that is broken over lines can't be copied
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=copied)
    for row in rows:
        table.add_row(*(cell(row.get(column)) for column in rows[0]))
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no edge to wrap at
        console = Console(width=200)
    console.print(table)


def cell(value: Any) -> str:
    """A value as people read it: four significant digits, thousands separated, `-` for nothing."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value)
    return str(value)


class Ticker:
    """Progress of one long step; `advance` and `note` are safe to call from anywhere in the step."""

    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: float = 1) -> None:
        """Move the bar on."""
        self._progress.advance(self._task, steps)

    def note(self, text: str) -> None:
        """Say what is being done, or the best figure so far."""
        self._progress.update(self._task, note=text)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Ticker]:
    """Show progress on stderr with elapsed time; `total=None` shows a pulse. Lines, not a bar, without a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Ticker(bar, bar.add_task(description, total=total, note=""))


def run(app: typer.Typer) -> None:
    """Run the front door. A `RiskError` becomes one message on stderr (JSON with `--json`) and its exit code.

    So does what the operating system refuses: a folder that can't be written, a full disk, a file in a folder's place.
    """
    from configs.errors import RiskError

    try:
        app()
    except RiskError as error:
        _fail(error)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _fail(
            RiskError(
                f"{place}{error.strerror or type(error).__name__}",
                expected="files and folders that this user can read and write",
                fix="check the path, its owner and the space on its disk; RISK_HOME names another home folder",
            )
        )


def _fail(error: RiskError) -> NoReturn:
    if "--json" in sys.argv:
        print(json.dumps(error.as_dict(), indent=2), file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
