"""`risk simulate` and `risk features`: tables in, features out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from configs.console import JsonOption, UseCaseArgument, application, opened, progress, show
from features import init_cli, inspect_cli
from features.intake import keys_cli, validate_cli

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

app = application("Build, load and look at the features of a use case.")


def mount(front_door: typer.Typer) -> None:
    """Add this room's commands to the front door."""
    front_door.command()(init_cli.init)
    front_door.command()(simulate)
    app.add_typer(keys_cli.app, name="keys")
    app.command()(validate_cli.validate)
    inspect_cli.mount(app)
    front_door.add_typer(app, name="features")


def simulate(name: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Write the history and live events of a simulated world."""
    from configs.errors import FeatureError
    from features.simulators.world import simulate as simulate_world
    from features.sources import folder_of

    use_case, settings = opened(name)
    if use_case.simulator is None:
        raise FeatureError(
            f"{use_case.name} has real tables", expected="a use case with a `simulator`", fix="risk features backfill"
        )
    with progress(f"simulating {use_case.name}") as ticker:
        report = simulate_world(use_case, folder_of(use_case, settings), ticker=ticker)
    show(report.as_dict(), as_json=as_json, title=use_case.title)


@app.command()
def apply(name: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Define the use case in Feast's registry.

    Afterwards `feast -c <folder>` works on the same objects.
    """
    from features.backfill import repository_folder
    from features.store import FeatureStore

    use_case, settings = opened(name)
    with progress(f"applying {use_case.name}"):
        found = FeatureStore(use_case, settings).apply()
    show({"repository": str(repository_folder(use_case, settings)), "objects": found}, as_json=as_json)


@app.command()
def backfill(name: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Write views and windowed aggregates of all history.

    They become Parquet files, Feast's sources. Nothing is done if nothing changed.
    """
    from features.store import FeatureStore

    use_case, settings = opened(name)
    with progress(f"backfilling {use_case.name}") as ticker:
        found = FeatureStore(use_case, settings).backfill(ticker=ticker)
    show(found if as_json else found["rows"] | {"skipped": found["skipped"]}, as_json=as_json)


@app.command()
def materialize(
    name: UseCaseArgument,
    until: Annotated[
        datetime | None,
        typer.Option(help="Only what was known by this time (UTC); none: everything.", formats=_FORMATS),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Read all of history again, not only what is new.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Load views and recent events into the online store.

    Read is what became known since the last time, with an overlap for late rows. It may be interrupted and run again:
    nothing is loaded twice, and nothing older replaces anything newer.
    """
    from features.store import FeatureStore

    use_case, settings = opened(name)
    before = until and until.replace(tzinfo=UTC)
    with progress(f"materializing {use_case.name}") as ticker:
        found = FeatureStore(use_case, settings).materialize(until=before, full=full, ticker=ticker)
    if as_json:
        show(found, as_json=True)
    else:
        show(found["loads"], as_json=False, title=f"{use_case.title}: online as of {found['until']}")
