"""`risk leaks`: what the leak guard finds in a use case, without training anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from configs.console import JsonOption, UseCaseArgument, opened, progress, show

if TYPE_CHECKING:
    from training.leaks.findings import Finding


def leaks(use_case: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Look for leaks in the training rows, without training.

    Exits with 2 when a finding would stop training: take the column out, or overrule it under `leaks.accept`.
    """
    from training.leaks.findings import as_json as plain
    from training.leaks.run import found_in

    loaded, settings = opened(use_case)
    with progress(f"looking for leaks in {loaded.name}") as ticker:
        found = found_in(loaded, settings, ticker=ticker)
    show(plain(found) if as_json else [_brief(each) for each in found], as_json=as_json, title=f"leaks: {loaded.title}")
    if any(each.stops for each in found):
        raise typer.Exit(2)


def _brief(finding: Finding) -> dict[str, Any]:
    """As much of a finding as fits a terminal."""
    verdict = "stops training" if finding.stops else "accepted" if finding.accepted else "noted"
    reason = f"accepted: {finding.accepted}" if finding.accepted else finding.reason
    return {"column": finding.column, "kind": finding.kind, "verdict": verdict, "reason": reason}
