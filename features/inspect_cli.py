"""`risk features list|describe|lineage|show|diff`: what a use case's features are, mean, come from and amount to."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from configs.console import JsonOption, UseCaseArgument, opened, progress, show

FeatureOption = Annotated[str | None, typer.Argument(help="Name of a feature; none: all of them.")]


def mount(app: typer.Typer) -> None:
    """Add these commands to `risk features`."""
    for command in (list_features, describe, lineage, show_values, diff):
        app.command(name={list_features: "list", show_values: "show"}.get(command))(command)


def list_features(name: UseCaseArgument, as_json: JsonOption = False) -> None:
    """List the features in the order of the vector.

    The list says where each comes from, and what it means.
    """
    from features.vector import features_of

    use_case, _ = opened(name)
    rows = [
        {"feature": each.name, "kind": each.kind, "origin": each.origin, "description": each.description}
        for each in features_of(use_case)
    ]
    show(rows, as_json=as_json, title=use_case.title)


def describe(
    name: UseCaseArgument,
    table: Annotated[str | None, typer.Argument(help="Name of a table in the use case; none: all of them.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Describe the columns of the tables: the contracts.

    For each column: its role, type, unit, range, values, codes for missing, and whether it is personal.
    """
    from features.contracts import contract_of
    from features.lineage import unknown
    from features.sources import used_tables

    use_case, _ = opened(name)
    tables = sorted(used_tables(use_case))
    if table is not None and table not in tables:
        raise unknown("used table", table, tables, fix=f"risk features describe {use_case.name}")
    found = {each: contract_of(use_case, each).describe() for each in ([table] if table else tables)}
    if as_json:
        show(found, as_json=True)
        return
    for each, rows in found.items():
        show([_brief(row) for row in rows], as_json=False, title=f"{each}: {use_case.tables[each].label}")


def _brief(row: dict[str, Any]) -> dict[str, Any]:
    """What fits a screen; `--json` has everything."""
    possible = ", ".join(row["values"]) or row["range"]
    facts = [
        "" if row["nullable"] else "never missing",
        "unique" if row["unique"] else "",
        f"personal: {row['personal']}" if row["personal"] else "",
        f"codes for missing: {', '.join(map(str, row['missing codes']))}" if row["missing codes"] else "",
        f"anything else is {row['other']}" if row["other"] else "",
    ]
    meaning = " ".join(filter(None, [row["description"], row["unit"] and f"[{row['unit']}]"]))
    return {
        "column": row["column"],
        "role": row["role"] if row["field"] in {None, row["column"]} else f"{row['role']} {row['field']}",
        "type": row["type"],
        "possible": possible,
        "facts": "; ".join(filter(None, facts)),
        "meaning": meaning,
    }


def lineage(
    name: UseCaseArgument,
    feature: FeatureOption = None,
    column: Annotated[
        str | None, typer.Option(help="The other way round: which features a source column feeds (table.column).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Trace features back to the source columns.

    Keys, times and filters count as well: whatever would change the feature's value.
    """
    from configs.errors import FeatureError
    from features.lineage import fed_by, lineage_of
    from features.lineage import lineage as trace

    use_case, _ = opened(name)
    if column is not None and feature is not None:
        raise FeatureError(
            f"both the feature {feature!r} and --column {column}",
            expected="one of them",
            fix=f"risk features lineage {use_case.name} {feature}, or risk features lineage {use_case.name} "
            f"--column {column}",
        )
    if column is not None:
        fed = fed_by(use_case, column)
        title = f"fed by {column}" if fed else f"{column} feeds no feature"
        show([{"feature": each} for each in fed], as_json=as_json, title=title)
    elif feature is None:
        rows = [
            {"feature": each.name, "origin": each.origin, "columns": [str(found) for found in each.columns]}
            for each in lineage_of(use_case).values()
        ]
        show(rows, as_json=as_json, title=use_case.title)
    elif as_json:
        show(trace(use_case, feature).as_dict(), as_json=True)
    else:
        _print_tree(trace(use_case, feature))


def _print_tree(node: Any) -> None:
    from rich.console import Console
    from rich.tree import Tree

    def grown(branch: Any, each: Any) -> Any:
        for column in each.own_columns:
            branch.add(str(column))
        for below in each.inputs:
            grown(branch.add(f"{below.name} [{below.origin}]".replace("[", "\\[")), below)
        return branch

    Console().print(grown(Tree(f"{node.name} \\[{node.origin}]"), node))


def show_values(
    name: UseCaseArgument,
    event: Annotated[str, typer.Argument(help="An event id of the event table.")],
    as_json: JsonOption = False,
) -> None:
    """Show the features of one event, as known at its time."""
    from features.frame import event_values

    use_case, settings = opened(name)
    with progress(f"features of {event}") as ticker:
        values = event_values(use_case, settings, event, ticker=ticker)
    show(values, as_json=as_json, title=f"{use_case.title}: {event}")


def diff(
    name: UseCaseArgument,
    events: Annotated[int, typer.Option(help="How many events are drawn and compared.", min=1)] = 1_000,
    live: Annotated[
        bool, typer.Option("--live", help="Compare the store that scoring reads, at its latest events.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 7,
    as_json: JsonOption = False,
) -> None:
    """Compare offline with online feature values.

    History is told again to an online store of its own, which is asked on the way as scoring would have been: every
    value must equal that of the training frame to the last bit. With --live, the store is the one that scoring reads.
    Exit code 1 when a value differs.
    """
    from dataclasses import asdict

    from features.diff import live as live_diff
    from features.diff import replay

    use_case, settings = opened(name)
    with progress(f"comparing {use_case.name}") as ticker:
        found = (live_diff if live else replay)(use_case, settings, events=events, seed=seed, ticker=ticker)
    if as_json:
        show(asdict(found) | {"found": found.found}, as_json=True)
    else:
        summary = {
            "store": found.store,
            "events": found.events,
            "values compared": found.compared,
            "values left out": found.left_out,
            "differences": found.found,
        }
        show(summary, as_json=False, title=use_case.title)
        if found.found:
            rows = [{"feature": feature, "events": count} for feature, count in found.by_feature().items()]
            show(rows, as_json=False, title="events that differ")
            show([vars(each) for each in found.differences[:20]], as_json=False, title="the first of them")
    if found.found:
        raise typer.Exit(1)
