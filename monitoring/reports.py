"""Evidently renders and keeps: an HTML report of current against reference samples, and a workspace for `evidently ui`.

Only for the eye. Alarms come from our statistics on frozen bins, which are shown as the first table of the report;
Evidently's own drift tests use bins over both samples and drop missing values.
"""

from __future__ import annotations

import html
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import MonitoringError

if TYPE_CHECKING:
    import pandas as pd

MAX_ROWS = 50_000
"""Rows of a sample at most: Evidently holds several copies of a table, and plots gain nothing from more."""


@dataclass(frozen=True)
class Table:
    """A table of text above Evidently's own sections."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Rendered:
    """The written report; `dropped` columns have no value in one of the samples and are left out of it."""

    path: Path
    dropped: tuple[str, ...]


def render(
    current: pd.DataFrame,
    reference: pd.DataFrame,
    *,
    categories: Sequence[str],
    tables: Sequence[Table],
    path: Path,
    workspace: Path,
    project: str,
    title: str,
    at: datetime,
) -> Rendered | None:
    """Write a self-contained HTML report and put the run (of the time `at`) into the workspace's project of this name.

    `current` and `reference` hold the same columns: numbers, or text in `categories`. Samples of at most `MAX_ROWS`
    rows with a fixed seed are used. Writing the same path again replaces the run. None when a sample is empty or no
    column has values in both.
    """
    dropped = tuple(name for name in reference.columns if current[name].isna().all() or reference[name].isna().all())
    kept = [name for name in reference.columns if name not in dropped]
    if not kept or current.empty or reference.empty:
        return None
    with _quiet():
        samples = (_sampled(current[kept], categories), _sampled(reference[kept], categories))
        snapshot = _snapshot(*samples, categories=categories, tables=tables, at=at)
        page = snapshot.get_html_str(as_iframe=False).replace("<head>", f"<head><title>{html.escape(title)}</title>", 1)
        write(page, path)
        _keep(snapshot, workspace, project=project, mark=path.with_suffix(".run"))
    return Rendered(path, dropped)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without telemetry, and without the warnings that Evidently and its web framework give about themselves."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def write(content: str, path: Path) -> None:
    """Write beside and rename, so that a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}")
    beside.write_text(content, encoding="utf-8")
    beside.replace(path)


def _sampled(table: pd.DataFrame, categories: Sequence[str]) -> pd.DataFrame:
    sample = table.sample(min(len(table), MAX_ROWS), random_state=0).sort_index().reset_index(drop=True)
    return sample.assign(**{name: sample[name].astype(object) for name in categories if name in sample.columns})


def _snapshot(
    current: pd.DataFrame, reference: pd.DataFrame, *, categories: Sequence[str], tables: Sequence[Table], at: datetime
) -> Any:
    try:
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset
    except ImportError:
        raise MonitoringError.missing_extra("evidently", extra="reports") from None
    definition = DataDefinition(
        numerical_columns=[name for name in reference.columns if name not in categories],
        categorical_columns=[name for name in reference.columns if name in categories],
    )
    report = Report(
        [*(_container(table) for table in tables), DataDriftPreset(include_tests=False)], include_tests=False
    )
    return report.run(
        Dataset.from_pandas(current, definition), Dataset.from_pandas(reference, definition), timestamp=at
    )


def _container(table: Table) -> Any:
    """Our table as an Evidently container without metrics: rendered into the report, with nothing to load later."""
    from evidently.core.container import MetricContainer
    from evidently.legacy.renderers.html_widgets import table_data

    class FrozenBins(MetricContainer):  # type: ignore[misc, unused-ignore]
        title: str

        class Config:
            alias_required = False

        def generate_metrics(self, _context: Any) -> list[Any]:
            return []

        def render(self, _context: Any, child_widgets: Any = None) -> list[Any]:  # noqa: ARG002 Evidently's signature
            return [
                table_data(title=table.title, column_names=list(table.columns), data=[list(row) for row in table.rows])
            ]

    return FrozenBins(title=table.title, include_tests=False)


def _keep(snapshot: Any, workspace: Path, *, project: str, mark: Path) -> None:
    """Add the run; `mark` remembers its ids, so that a later run of the same report replaces it."""
    from evidently.ui.workspace import Workspace

    opened = Workspace.create(str(workspace))
    found = next((each for each in opened.list_projects() if each.name == project), None)
    kept = found or opened.create_project(project)
    earlier = mark.read_text(encoding="utf-8").split() if mark.exists() else []
    run = opened.add_run(kept.id, snapshot)
    write(f"{kept.id} {run.id}\n", mark)
    if len(earlier) == 2 and any(str(each) == earlier[1] for each in opened.list_runs(kept.id)):
        opened.delete_run(earlier[0], earlier[1])
