"""The validation report and the model card of a candidate as self-contained HTML, from the documents of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import TrainingError
from training.report.chapters import CHAPTERS
from training.report.documents import Documents, read_documents
from training.report.duties import DUTIES, TITLES
from training.report.limits import limits_of
from training.report.pictures import pictures
from training.report.words import FILTERS

if TYPE_CHECKING:
    from jinja2 import Environment

    from training.governance.ledger import Filing

METRICS = {
    "auc": "AUC: chance that a positive scores above a negative",
    "gini": "Gini: 2 AUC - 1",
    "ks": "KS: greatest distance of the classes' score distributions",
    "average_precision": "average precision: area under the precision-recall curve",
    "brier": "Brier: mean squared error of the probability (less is better)",
    "ece": "ECE: mean gap of observed and predicted rate in ten bins (less is better)",
    "recall_at_1pct_fpr": "recall at a false-positive rate of 1 %",
    "score_psi": "PSI of the score, training to test (less is better)",
}
"""What each metric means, and which way is better."""


@dataclass(frozen=True)
class Page:
    """A chapter as HTML. number: `1`, or `A` of an appendix."""

    key: str
    number: str
    title: str
    appendix: bool
    html: str


def render_report(folder: Path, *, filed: Filing | None = None) -> str:
    """The report as one HTML page: no script, nothing loaded from elsewhere, all text escaped.

    filed: what the audit chain holds of the registered version; none for a folder that isn't registered. Raises
    `TrainingError` where a document can't be read, or where evidence lacks what a chapter shows: it names the chapter.
    """
    from markupsafe import Markup

    documents = read_documents(folder)
    context = _context(documents, filed)
    pages = [
        Page(chapter.key, context["numbers"][chapter.key], chapter.title, chapter.appendix, Markup(html))  # noqa: S704  # rendered here, escaped
        for chapter in CHAPTERS
        for html in [_rendered(f"{chapter.key}.html", context | {"absence": chapter.absence(documents)})]
    ]
    return _rendered("page.html", context | {"pages": pages})


def render_card(folder: Path, *, filed: Filing | None = None) -> str:
    """The model card (Mitchell et al. 2019) as one HTML page; see `render_report`."""
    return _rendered("card.html", _context(read_documents(folder), filed))


def numbers() -> dict[str, str]:
    """Number of each chapter: 1, 2, ... and A, B, ... of appendices."""
    plain = [chapter.key for chapter in CHAPTERS if not chapter.appendix]
    appendices = [chapter.key for chapter in CHAPTERS if chapter.appendix]
    found = {key: str(place + 1) for place, key in enumerate(plain)}
    return found | {key: chr(ord("A") + place) for place, key in enumerate(appendices)}


def _context(documents: Documents, filed: Filing | None) -> dict[str, Any]:
    try:
        limits = limits_of(documents)
    except KeyError as error:
        raise _lacking("the list of limits", f"no {error}") from None
    return {
        "use_case": documents.use_case,
        "evidence": documents.evidence,
        "search": documents.evidence["search"],
        "reference": documents.reference,
        "verdict": documents.verdict,
        "figures": pictures(documents.figures),
        "placed": set(),
        "filed": filed,
        "limits": limits,
        "numbers": numbers(),
        "titles": {chapter.key: chapter.title for chapter in CHAPTERS},
        "metric_names": METRICS,
        "duties": DUTIES,
        "sources": TITLES,
    }


def _rendered(name: str, context: Mapping[str, Any]) -> str:
    from jinja2 import UndefinedError

    try:
        return _environment().get_template(f"report/{name}").render(context)
    except UndefinedError as error:
        raise _lacking(f"{name.removesuffix('.html')} of the report", str(error.message)) from None


def _lacking(what: str, detail: str) -> TrainingError:
    return TrainingError(
        f"the evidence lacks what {what} shows: {detail}",
        expected="evidence written by this version",
        fix="train again, or render with the version that wrote it",
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    return environment
