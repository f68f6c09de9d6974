"""Writing the report and the card beside each other: the HTML first, so that a PDF that can't be made loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from training.report.pdf import as_pdf
from training.report.render import render_card, render_report

if TYPE_CHECKING:
    from training.governance.ledger import Filing

REPORT, CARD, PRINTED = "report.html", "card.html", "report.pdf"


def write_report(
    folder: Path, *, pdf: bool = False, output: Path | None = None, filed: Filing | None = None
) -> tuple[Path, ...]:
    """Write the report and the model card of a candidate's folder into `output` (none: the folder itself).

    Returns the files written: `report.html`, `card.html` and, with `pdf`, `report.pdf`. Raises `TrainingError` where
    the PDF can't be made: the HTML stands by then.
    """
    place = output or folder
    place.mkdir(parents=True, exist_ok=True)
    report = render_report(folder, filed=filed)
    files = {REPORT: report.encode(), CARD: render_card(folder, filed=filed).encode()}
    for name, content in files.items():
        (place / name).write_bytes(content)
    written = tuple(place / name for name in files)
    if pdf:
        (place / PRINTED).write_bytes(as_pdf(report))
        written += (place / PRINTED,)
    return written
