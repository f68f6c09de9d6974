"""`risk monitor|alerts|retrain|report`: judge windows of decisions, and train when the evidence says so."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.console import JsonOption, UseCaseArgument, opened, progress, show

if TYPE_CHECKING:
    from configs.settings import Settings
    from configs.use_case import UseCase
    from monitoring.history import Run

_UTC = "UTC, such as 2025-07-01 or 2025-07-01T12:00:00"
StartOption = Annotated[datetime | None, typer.Option(help=f"First event time of the window ({_UTC}).")]
EndOption = Annotated[datetime | None, typer.Option(help="Event time at which the window ends, itself excluded.")]
AsOfOption = Annotated[
    datetime | None, typer.Option(help="Look at outcomes as known then; without --end the window ends then, too.")
]


def monitor(
    name: UseCaseArgument,
    *,
    start: StartOption = None,
    end: EndOption = None,
    as_of: AsOfOption = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train a candidate if the verdict says so.")] = False,
    report: Annotated[bool, typer.Option(help="Write the HTML reports.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Judge a window of decisions: drift and performance.

    Prints drift, performance on matured outcomes, alarms, and whether to retrain; writes the HTML reports.
    """
    from monitoring.pipeline import monitor as judge_window

    use_case, settings = opened(name)
    with progress(f"monitoring {use_case.name}") as ticker:
        run = judge_window(use_case, settings, start=start, end=end, as_of=as_of, report=report, ticker=ticker)
    candidate = None
    if retrain and run.verdict.retrain:
        candidate = _train(run, use_case, settings)
    if as_json:
        show(_as_json(run) | ({"candidate": candidate} if retrain else {}), as_json=True)
        return
    _print(run)
    if candidate:
        show(candidate, as_json=False, title="a new candidate waits for approval")


def alerts(
    name: Annotated[str | None, typer.Argument(help="A use case; none: all.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most, the newest windows first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List the alarms of monitored windows."""
    from configs.settings import load_settings
    from monitoring.history import History, plain

    use_case = opened(name)[0].name if name else None
    with closing(History(load_settings())) as history:
        rows = plain(history.alarms(use_case, limit=limit)) if as_json else history.alarms(use_case, limit=limit)
    if not as_json:
        rows = [
            {
                "use case": row["use_case"],
                "window until": f"{row['window_end']:%Y-%m-%d %H:%M}",
                "severity": row["severity"],
                "what": row["subject"],
                "why": row["text"],
            }
            for row in rows
        ]
    show(rows, as_json=as_json, title="alarms")


def retrain(
    name: UseCaseArgument,
    force: Annotated[bool, typer.Option("--force", help="Train though the newest window gives no reason to.")] = False,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a new candidate if the newest window says so.

    It learns from history and matured live decisions, and waits for approval.
    """
    from monitoring.pipeline import monitor as judge_window

    use_case, settings = opened(name)
    person = settings.identity if force else None
    with progress(f"monitoring {use_case.name}") as ticker:
        run = judge_window(use_case, settings, as_of=as_of, requested_by=person, ticker=ticker)
    candidate = None
    if run.verdict.retrain:
        candidate = _train(run, use_case, settings, requested_by=person)
    outcome = {"retrained": run.verdict.retrain, "reasons": list(run.verdict.reasons)}
    show(outcome | (candidate or {}), as_json=as_json, title=f"retraining of {use_case.name}")


def report(name: UseCaseArgument, as_json: JsonOption = False) -> None:
    """Print where the reports of monitored windows are."""
    from monitoring.history import History, plain
    from monitoring.publish import WORKSPACE, reports_folder

    use_case, settings = opened(name)
    with closing(History(settings)) as history:
        runs = plain(history.runs(use_case.name))
    pages = [{key: run[key] for key in ("window_start", "window_end", "report")} for run in runs if run["report"]]
    if as_json or not pages:
        show(pages, as_json=as_json, title=f"reports of {use_case.name}")
        return
    for page in pages:  # plain lines, because a table would break the paths
        typer.echo(f"{page['window_start'][:16]} to {page['window_end'][:16]}  {page['report']}")
    workspace = reports_folder(use_case.name, settings) / WORKSPACE
    if workspace.exists():
        typer.echo(f"all of them in Evidently's own pages: evidently ui --workspace {workspace}")


def _train(run: Run, use_case: UseCase, settings: Settings, *, requested_by: str | None = None) -> dict[str, Any]:
    from monitoring.pipeline import retrain_on

    with progress(f"retraining {use_case.name}") as ticker:
        trained = retrain_on(run, use_case, settings, requested_by=requested_by, ticker=ticker)
    gates = "passed" if trained.verdict.passed else "not passed"
    command = f"risk approve {use_case.name} {trained.version} --as NAME --comment WHY"
    return {"version": trained.version, "gates": gates, "approve with": command}


def _as_json(run: Run) -> dict[str, Any]:
    from dataclasses import asdict

    from monitoring.history import plain

    return dict(plain(asdict(run)))


def _print(run: Run) -> None:
    from monitoring.history import plain

    evidence = plain(run.evidence)
    window = f"{run.use_case}, {run.span.start:%Y-%m-%d %H:%M} to {run.span.end:%Y-%m-%d %H:%M} UTC"
    drift = [
        {
            "column": row["name"],
            "PSI": row["psi"],
            "p": row["psi_p"],
            "missing": row["missing"],
            "was": row["missing_reference"],
            "importance": row["importance"],
        }
        for row in evidence["drift"]
    ]
    show(drift, as_json=False, title=f"drift: {window}, {run.rows:,} decisions, release {run.release_version}")
    performance = evidence["performance"]
    metrics = [
        {
            "metric": row["name"],
            "now": row["value"],
            "from": row["low"],
            "to": row["high"],
            "test period": row["baseline"],
        }
        for row in performance["metrics"]
    ]
    show(metrics, as_json=False, title=f"performance: {performance['note']}")
    alarms = [{"severity": alarm.severity, "what": alarm.subject, "why": alarm.text} for alarm in run.alarms]
    show(alarms, as_json=False, title="alarms")
    verdict = {"retrain": run.verdict.retrain, "reasons": "\n".join(run.verdict.reasons)}
    show(verdict, as_json=False)
    if run.report:
        typer.echo(f"report: {run.report}")


def demo(
    use_cases: Annotated[str, typer.Argument(help="Use cases, with commas between them.")] = "credit,fraud",
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the closing table instead of leaving servers running.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the whole loop in an empty home folder.

    Simulates or reads tables, trains, approves, serves, sends drifting traffic, monitors and retrains.
    """
    from configs.settings import load_settings
    from monitoring.demo import demo as run_demo

    run_demo([name.strip() for name in use_cases.split(",")], load_settings(), stay=not leave, as_json=as_json)


def mount(app: typer.Typer) -> None:
    """Add this room's commands to the front door."""
    for command in (monitor, alerts, retrain, report, demo):
        app.command()(command)
