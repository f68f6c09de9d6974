"""`risk train`, `leaks`, `models`, `approve`, `refuse`, `reproduce`, `audit`: from a use case to a release."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from configs.console import JsonOption, UseCaseArgument, application, opened, progress, show

if TYPE_CHECKING:
    from configs.use_case import UseCase
    from training.governance.ledger import Filing

audit = application("Show and verify the audit chain.")

IdentityOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Who acts; otherwise RISK_IDENTITY, or the system's user.")
]
VersionArgument = Annotated[int | None, typer.Argument(help="Version; none: the one that waits as @candidate.")]
CommentOption = Annotated[str, typer.Option("--comment", help="Why; it goes into the audit chain.")]


def mount(app: typer.Typer) -> None:
    """Add this room's commands to the front door."""
    from training.leaks.cli import leaks
    from training.report.cli import validation
    from training.reproduce_cli import reproduce

    for command in (leaks, train, models, validation, approve, refuse, reproduce):
        app.command()(command)
    app.add_typer(audit, name="audit")


def train(
    use_case: UseCaseArgument,
    identity: IdentityOption = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of the search over all learners.")] = None,
    seconds: Annotated[int | None, typer.Option(min=1, help="Wall-clock budget of training, in seconds.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the search and the learners.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the search (PostgreSQL only).")] = 1,
    reason: Annotated[str, typer.Option(help="Why this training was started, for the audit chain.")] = "requested",
    as_json: JsonOption = False,
) -> None:
    """Tune, fit and test models; register the best as the candidate."""
    loaded, settings = opened(use_case)
    chosen = _budgeted(loaded, {"trials": trials, "seconds": seconds, "seed": seed})
    from training import pipeline

    with progress(f"training {chosen.name}", total=chosen.training.trials + pipeline.STEPS) as ticker:
        author = identity or settings.identity
        made = pipeline.train(chosen, settings, author=author, reason=reason, workers=workers, ticker=ticker)
    facts: dict[str, Any] = {
        "use case": made.use_case,
        "version": made.version,
        "verdict": "passed" if made.verdict.passed else "failed: " + ", ".join(g.name for g in made.verdict.failed),
        **{
            name: value if as_json else _with_interval(value, made.intervals.get(name))
            for name, value in made.metrics.items()
        },
        "seconds": round(made.seconds, 1),
        "run": made.run_id,
        "folder": str(made.folder),
    }
    if as_json:
        facts = facts | {"verdict": made.verdict.to_json(), "metrics": made.metrics, "intervals": made.intervals}
    show(facts, as_json=as_json, title=f"{made.use_case}/{made.version}")
    if made.verdict.passed and not as_json:
        typer.echo(f"another person may now approve it: risk approve {made.use_case} --as NAME --comment WHY")


def models(
    use_case: Annotated[str | None, typer.Argument(help="A use case; none: all that were trained.")] = None,
    version: Annotated[int | None, typer.Argument(help="A version, to see its gates, metrics and lineage.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List model versions and their verdicts, or show one in detail."""
    from configs.settings import load_settings
    from training.governance.ledger import Ledger
    from training.governance.release import current_version

    settings = opened(use_case)[1] if use_case else load_settings()
    ledger = Ledger(settings)
    names = [opened(use_case)[0].name] if use_case else ledger.use_cases()
    if version is not None:
        _show_version(ledger.filing(names[0], version), as_json=as_json)
        return
    rows = []
    for name in names:
        current = current_version(name, settings)
        newest_first = sorted(ledger.filings(name).items(), reverse=True)
        rows += [_row(filing, champion=number == current) for number, filing in newest_first]
    show(rows if as_json else [_brief(row) for row in rows], as_json=as_json, title="model versions")


def approve(
    use_case: UseCaseArgument,
    comment: CommentOption,
    version: VersionArgument = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve another person's candidate; write its signed release."""
    from training.governance.approvals import approve as decide

    loaded, settings = opened(use_case)
    approver = identity or settings.identity
    folder = decide(loaded, version, approver=approver, comment=comment, settings=settings)
    facts = {"use case": loaded.name, "version": int(folder.name), "approver": approver, "release": str(folder)}
    show(facts, as_json=as_json, title="release in force")


def refuse(
    use_case: UseCaseArgument,
    comment: CommentOption,
    version: VersionArgument = None,
    identity: IdentityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a candidate for a stated reason, for good."""
    from training.governance.approvals import refuse as decide

    loaded, settings = opened(use_case)
    approver = identity or settings.identity
    number = decide(loaded, version, approver=approver, comment=comment, settings=settings)
    show({"use case": loaded.name, "version": number, "refused by": approver}, as_json=as_json, title="refused")


@audit.command(name="show")
def show_audit(
    subject: Annotated[str | None, typer.Argument(help="A use case, or a version such as credit/3; none: all.")] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the latest rows.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List who did what to which version, oldest first."""
    from configs.settings import load_settings
    from training.governance.audit import AuditLog

    rows = AuditLog(load_settings()).rows(subject=subject)[-last:]
    columns = ("seq", "at", "actor", "action", "subject")
    brief = [{name: getattr(row, name) for name in columns} for row in rows]
    show([row.as_dict() for row in rows] if as_json else brief, as_json=as_json, title="audit chain")


@audit.command()
def verify(as_json: JsonOption = False) -> None:
    """Check every row of the chain, and those that signed releases name."""
    from configs.settings import load_settings
    from training.governance.audit import AuditLog
    from training.governance.release import anchors

    settings = load_settings()
    log = AuditLog(settings)
    known = anchors(settings)
    log.require_intact(anchors=known)
    show({"rows": len(log.rows()), "named by releases": len(known), "unbroken": True}, as_json=as_json)


def _with_interval(value: float, bounds: tuple[float, float] | None) -> str:
    return f"{value:.4f}" + (f"  (95 %: {bounds[0]:.4f} to {bounds[1]:.4f})" if bounds else "")


def _budgeted(use_case: UseCase, budget: dict[str, int | None]) -> UseCase:
    stated = {name: value for name, value in budget.items() if value is not None}
    return use_case.model_copy(update={"training": use_case.training.model_copy(update=stated)})


def _row(filing: Filing, *, champion: bool) -> dict[str, Any]:
    return {
        "use case": filing.use_case,
        "version": filing.version,
        "status": "champion" if champion else "replaced" if filing.status == "approved" else filing.status,
        "verdict": "passed" if filing.verdict.passed else "failed",
        "metrics": dict(filing.metrics),
        "author": filing.author,
        "decided by": filing.decision.approver if filing.decision else None,
        "reason": filing.reason,
        "filed": filing.filed_at,
    }


def _brief(row: dict[str, Any]) -> dict[str, Any]:
    """As much of a row as fits a terminal."""
    shown = {name: row[name] for name in ("use case", "version", "status", "verdict")}
    return shown | {"auc": row["metrics"].get("auc")} | {name: row[name] for name in ("author", "decided by")}


def _show_version(filing: Filing, *, as_json: bool) -> None:
    if as_json:
        show(asdict(filing), as_json=True)
        return
    lineage = {name: value for name, value in (filing.lineage or {}).items() if name != "tables"}
    decided = filing.decision
    show(
        lineage
        | {"run": filing.run_id, "digest": filing.digest, "status": filing.status}
        | ({"decided": f"{decided.at[:16]} {decided.approver}: {decided.comment}"} if decided else {}),
        as_json=False,
        title=filing.subject,
    )
    show(dict(filing.metrics), as_json=False, title="out-of-time test")
    columns = ("name", "passed", "reason")
    gates = [{name: getattr(gate, name) for name in columns} for gate in filing.verdict.gates]
    show(gates, as_json=False, title="gates")
    tables = (filing.lineage or {}).get("tables", [])
    show([{name: table[name] for name in ("name", "rows", "path")} for table in tables], as_json=False, title="data")
