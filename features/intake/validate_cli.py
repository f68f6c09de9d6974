"""`risk features validate`: what loading the tables of a use case came to."""

from __future__ import annotations

import typer

from configs.console import JsonOption, UseCaseArgument, opened, progress, show


def validate(name: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Load every table and report the rejected rows.

    Gives rows, rejects by reason, and where the quality report is. Exit code 2 when a load fails.
    """
    from features.intake.loads import validated

    use_case, settings = opened(name)
    with progress(f"validating {use_case.name}") as ticker:
        found = validated(use_case, settings, ticker=ticker)
    if as_json:
        show([load.as_dict() | {"fails": fails} for load, fails in found], as_json=True)
    else:
        tables = [
            {
                "table": load.table,
                "rows": f"{load.rows:,}",
                "rejected": f"{load.rejected:,} ({load.share:.2%})",
                "load": "fails" if fails else "passes",
                "report": str(load.report),
            }
            for load, fails in found
        ]
        show(tables, as_json=False, title=use_case.title)
        reasons = [
            {"table": load.table, "column": column, "reason": reason, "rows": f"{rows:,}"}
            for load, _ in found
            for column, reason, rows in load.reasons
        ]
        if reasons:
            show(reasons, as_json=False, title="rejected for")
    if any(fails for _, fails in found):
        raise typer.Exit(2)
