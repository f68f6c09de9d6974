"""`risk init`: from a table to the first draft of a use case."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from configs.console import JsonOption, progress, show

if TYPE_CHECKING:
    from configs.settings import Settings
    from features.intake.guesses import Guesses

_STEPS = 3


TableArgument = Annotated[
    str, typer.Argument(help="Parquet or CSV file, folder of Parquet files, or the address of a database.")
]
LabelOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="What became of the event.")]
PositiveOption = Annotated[str | None, typer.Option(metavar="VALUE", help="The label's value to predict.")]
TimeOption = Annotated[str | None, typer.Option(metavar="COLUMN", help="When the event happened.")]
IdOption = Annotated[str | None, typer.Option("--id", metavar="COLUMN", help="What identifies the event.")]
KindOption = Annotated[Literal["credit", "fraud"] | None, typer.Option(help="Which words the policy speaks.")]
NameOption = Annotated[str | None, typer.Option(help="Name of the use case; none: that of the table.")]
QueryOption = Annotated[str | None, typer.Option(metavar="SQL", help="Table or SELECT, for a database.")]
OutputOption = Annotated[Path | None, typer.Option(help="The file to write; none: NAME.yaml in RISK_CONFIGS.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace a file that is already there.")]


def init(  # noqa: PLR0917  # typer passes by name
    table: TableArgument,
    label: LabelOption = None,
    positive: PositiveOption = None,
    time: TimeOption = None,
    id_: IdOption = None,
    kind: KindOption = None,
    name: NameOption = None,
    query: QueryOption = None,
    output: OutputOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Draft a use case from a table, with the reason for every guess.

    Keys, times, categories, codes for 'unknown', suspected leaks, personal and protected attributes are guessed from
    names and values. The draft trains as it is; its comments say what to check. Without RISK_CONFIGS it is written to
    the working folder.

    Example: risk init loans.csv --label defaulted --time applied_on, then risk config check loans.yaml.
    From a database: risk init 'postgresql://me:${DB_PASSWORD}@host/bank' --query 'SELECT * FROM loans'.
    """
    from configs.settings import load_settings
    from features.intake.drafting import draft
    from features.intake.roles import Wishes

    settings = load_settings()
    wishes = Wishes(label=label, positive=positive, time=time, id=id_, kind=kind)
    if name is not None:
        _require_free(name, settings)
    with progress("drafting a use case", total=_STEPS) as ticker:
        made = draft(table, settings, wishes=wishes, name=name, query=query, taken=_taken(settings), ticker=ticker)
    target = output or (settings.configs or Path()) / f"{made.use_case.name}.yaml"
    _write(target, made.text, force=force)
    facts = {"file": str(target), **_facts(made.guesses, as_json=as_json)}
    show(facts, as_json=as_json, title=f"{made.use_case.name}: a first draft")
    if not as_json:
        known = settings.configs is not None and target.resolve().parent == settings.configs
        called = shlex.quote(target.stem if known else str(target))
        typer.echo(f"read its comments, then: risk config check {called} && risk train {called}")


def _taken(settings: Settings) -> frozenset[str]:
    """Names of use cases other than earlier drafts, which `--force` may replace."""
    from configs.loading import FOLDER, available

    return frozenset(name for name, path in available(settings).items() if path.parent == FOLDER)


def _require_free(name: str, settings: Settings) -> None:
    from configs.errors import FeatureError
    from features.intake.suspects import slug

    if name != slug(name):
        raise FeatureError(
            f"--name {name!r}",
            expected="lower-case letters, digits and underscores, a letter first",
            fix=f"--name {slug(name)}",
        )
    if name in _taken(settings):
        raise FeatureError(
            f"there is a use case {name!r} already", expected="a name of its own", fix=f"--name {name}_draft"
        )


def _write(target: Path, text: str, *, force: bool) -> None:
    from configs.errors import FeatureError

    if target.suffix not in {".yaml", ".yml"}:
        raise FeatureError(
            f"--output {target}", expected="a file called *.yaml", fix=f"--output {target.with_suffix('.yaml')}"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise FeatureError(
            f"{target} is already there",
            expected="a new file",
            fix="name another with --output, or replace it with --force",
        ) from None


def _facts(guesses: Guesses, *, as_json: bool) -> dict[str, Any]:
    """What was guessed, as a short table or as data."""
    roles, periods = guesses.roles, guesses.periods
    leaks = {each.profile.name: each.reason for each in roles.of("leak")}
    names = {role: [each.profile.name for each in roles.of(role)] for role in ("protected", "personal", "useless")}
    facts = {
        "rows": guesses.rows,
        "kind": guesses.kind,
        "label": f"{roles.label.column} = {roles.label.text} in {roles.label.rate:.2%} of the rows",
        "event id": roles.id or "the row's number",
        "event time": roles.time,
        "entities": [f"{entity} ({key})" for entity, key in roles.entities.items()],
        "fields": [each.profile.name for each in roles.of("field", "time")],
        "suspected leaks": leaks if as_json else list(leaks),
        "protected": names["protected"],
        "personal": list(guesses.personal),
        "left out": names["useless"],
        "test": f"{periods.test[0]:%Y-%m-%d} to {periods.test[1]:%Y-%m-%d}" if periods else "random folds",
    }
    return facts if as_json else {name: value for name, value in facts.items() if value not in (None, [])}
