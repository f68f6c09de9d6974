"""`risk validation`: the validation report and the model card of a registered version, checked by the audit chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from configs.console import JsonOption, UseCaseArgument, opened, show


def validation(
    use_case: UseCaseArgument,
    version: Annotated[int | None, typer.Argument(help="A version; none: the newest.")] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print the report to PDF too.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write into; none: reports/USE_CASE-VERSION in the home folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the validation report and the model card of a version."""
    import tempfile

    from training.governance.recorded import fetched
    from training.report.writing import write_report

    loaded, settings = opened(use_case)
    with tempfile.TemporaryDirectory() as scratch:
        recorded = fetched(loaded.name, version, settings, Path(scratch))
        place = output or settings.home / "reports" / f"{loaded.name}-{recorded.filing.version}"
        written = write_report(recorded.folder, pdf=pdf, output=place, filed=recorded.filing)
    facts = {"use case": loaded.name, "version": recorded.filing.version}
    show(facts | {path.name: str(path) for path in written}, as_json=as_json, title=recorded.filing.subject)
