"""`risk config`: check, show and describe use cases."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from configs.console import JsonOption, UseCaseArgument, application, opened, show

app = application("Check, show and describe use case files.")


@app.command()
def check(
    name: Annotated[str | None, typer.Argument(help="A use case or a YAML file; none: all that are found.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Read use cases and report every mistake at once, with its path and the nearest valid name."""
    from configs.loading import UseCaseError, available, load_use_case
    from configs.settings import load_settings

    settings = load_settings()
    rows, mistakes = [], []
    for each in [name] if name else available(settings):
        try:
            use_case = load_use_case(each, settings)
        except UseCaseError as error:
            if name:
                raise
            mistakes.append(str(error))
            continue
        rows.append({"use case": use_case.name, "kind": use_case.kind, "title": use_case.title, "valid": True})
    show(rows, as_json=as_json, title=f"use cases, profile {settings.profile}")
    if mistakes:
        typer.echo("\n".join(mistakes), err=True)
        raise typer.Exit(2)


@app.command(name="show")
def show_use_case(name: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Print a use case as the platform sees it: defaults filled in, the profile laid over it."""
    import yaml

    use_case, _ = opened(name)
    resolved = use_case.as_json()
    typer.echo(
        json.dumps(resolved, indent=2, ensure_ascii=False)
        if as_json
        else yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)
    )


@app.command()
def schema() -> None:
    """Print the JSON Schema of a use case file, for completion and checks in an editor."""
    from configs.use_case import UseCase

    typer.echo(json.dumps(UseCase.model_json_schema(by_alias=True), indent=2))
