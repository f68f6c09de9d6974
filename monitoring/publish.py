"""Writes what people read about one window: our page, and Evidently's report where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from configs.settings import Settings
from configs.use_case import Monitoring
from monitoring.drift import ColumnDrift
from monitoring.history import Run
from monitoring.page import drift_page, figure, share
from monitoring.performance import Performance
from monitoring.reports import Rendered, Table, render, write
from monitoring.windows import Window
from training.governance.release import Release

PAGE, EVIDENTLY, WORKSPACE = "drift.html", "evidently.html", "workspace"


def reports_folder(use_case_name: str, settings: Settings) -> Path:
    """The folder of a use case's reports: one folder a window, and Evidently's workspace."""
    return settings.home / "reports" / use_case_name


def publish(
    run: Run,
    window: Window,
    release: Release,
    sample: pd.DataFrame | None,
    *,
    drifts: Sequence[ColumnDrift],
    performance: Performance,
    rules: Monitoring,
    settings: Settings,
) -> Run:
    """Write the reports of a run and return the run with the page's path."""
    folder = reports_folder(run.use_case, settings) / f"{run.span.start:%Y%m%dT%H%M%S}_{run.span.end:%Y%m%dT%H%M%S}"
    rendered, note = _evidently(run, window, release, sample, drifts=drifts, folder=folder)
    if rendered is None:
        (folder / EVIDENTLY).unlink(
            missing_ok=True
        )  # of an earlier run of this window, which would contradict the page
    page = drift_page(
        title=f"Drift and performance: {release.use_case.title}",
        subtitle=f"Decisions on {_period(run)}, compared with the test period of release {run.release_version}",
        facts=_facts(run, release),
        alarms=run.alarms,
        verdict=run.verdict,
        performance=performance,
        drifts=drifts,
        rules=rules,
        evidently=EVIDENTLY if rendered else None,
        notes=[note] if note else [],
    )
    write(page, folder / PAGE)
    return replace(run, report=str(folder / PAGE))


def _period(run: Run) -> str:
    return f"events from {run.span.start:%Y-%m-%d %H:%M} to {run.span.end:%Y-%m-%d %H:%M} UTC"


def _facts(run: Run, release: Release) -> list[tuple[str, str]]:
    mix = run.evidence["decisions"]
    total = sum(mix.values())
    return [
        ("decisions", f"{run.rows:,}"),
        ("release", f"{run.release_version} ({release.digest[:12]})"),
        ("outcomes as known at", f"{run.span.as_of:%Y-%m-%d %H:%M} UTC"),
        ("fallbacks", f"{run.evidence['fallbacks']:,}"),
        *((name, share(count / total)) for name, count in sorted(mix.items(), key=lambda item: -item[1])),
    ]


def _evidently(
    run: Run,
    window: Window,
    release: Release,
    sample: pd.DataFrame | None,
    *,
    drifts: Sequence[ColumnDrift],
    folder: Path,
) -> tuple[Rendered | None, str]:
    """Evidently's report, and a note on what is not in it."""
    if find_spec("evidently") is None:
        return None, "Evidently is not installed: pip install 'risk-platform[reports]' adds its report."
    if sample is None:
        return None, "The release keeps no reference sample, so there is no Evidently report."
    title = f"{release.use_case.title}: {_period(run)}"
    rendered = render(
        _current(window, release, sample),
        sample,
        categories=[feature.name for feature in release.model.features if feature.kind == "category"],
        tables=[drift_table(drifts)],
        path=folder / EVIDENTLY,
        workspace=folder.parent / WORKSPACE,
        project=release.use_case.name,
        title=title,
        at=run.span.end,
    )
    if rendered is None:
        return None, "There is nothing for Evidently to draw: no decisions, or no column with values on both sides."
    missing = ", ".join(rendered.dropped)
    return (
        rendered,
        f"Not in the Evidently report, because all values are missing on one side: {missing}." if missing else "",
    )


def _current(window: Window, release: Release, sample: pd.DataFrame) -> pd.DataFrame:
    """The window in the columns and types of the reference sample."""
    table = window.features.assign(probability=window.decisions["probability"]).reindex(columns=list(sample.columns))
    numbers = [feature.name for feature in release.model.features if feature.kind == "number"]
    return table.astype(dict.fromkeys([*numbers, "probability"], "float64"))


def drift_table(drifts: Sequence[ColumnDrift]) -> Table:
    """Our statistics as text, for the top of Evidently's report."""
    return Table(
        title="Drift on the release's frozen bins, which alarms come from (below: Evidently's own tests, on samples)",
        columns=("column", "PSI", "p (PSI)", "Jensen-Shannon", "missing", "was", "other", "importance"),
        rows=tuple(
            (
                drift.name,
                figure(drift.psi),
                figure(drift.psi_p),
                figure(drift.jensen_shannon),
                share(drift.missing),
                share(drift.missing_reference),
                share(drift.other),
                share(drift.importance),
            )
            for drift in drifts
        ),
    )
