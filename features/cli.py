"""`risk simulate` and `risk features`: tables in, features out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from configs.console import JsonOption, UseCaseArgument, application, opened, progress, show

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

app = application("Build, load and look at the features of a use case.")


def mount(front_door: typer.Typer) -> None:
    """Add this room's commands to the front door."""
    front_door.command()(simulate)
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
    as_json: JsonOption = False,
) -> None:
    """Load views and recent events into the online store."""
    from features.store import FeatureStore

    use_case, settings = opened(name)
    with progress(f"materializing {use_case.name}") as ticker:
        found = FeatureStore(use_case, settings).materialize(until=until and until.replace(tzinfo=UTC), ticker=ticker)
    show(found, as_json=as_json)


@app.command(name="show")
def show_features(
    name: UseCaseArgument,
    event: Annotated[str | None, typer.Option(help="An event id: print its values as known at its time.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the features, or with --event their values.

    The list says where each feature comes from and what it means.
    """
    from features.vector import features_of

    use_case, settings = opened(name)
    features = features_of(use_case)
    if event is None:
        rows = [
            {"feature": each.name, "kind": each.kind, "origin": each.origin, "description": each.description}
            for each in features
        ]
        show(rows, as_json=as_json, title=use_case.title)
        return
    from features.frame import event_values

    with progress(f"features of {event}") as ticker:
        values = event_values(use_case, settings, event, ticker=ticker)
    show(values, as_json=as_json, title=f"{use_case.title}: {event}")


@app.command()
def describe(name: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Check the event table against its contracts."""
    from dataclasses import asdict

    from features.contracts import check

    use_case, settings = opened(name)
    with progress(f"checking {use_case.name}"):
        found = check(use_case, settings)
    show(
        [asdict(finding) for finding in found],
        as_json=as_json,
        title=f"{use_case.event_table.label}: rows that break a rule",
    )
    if any(finding.fatal for finding in found):
        raise typer.Exit(2)
