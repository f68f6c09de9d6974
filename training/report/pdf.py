"""The report's HTML as PDF, by WeasyPrint: pages, page numbers, bookmarks and tags, without a browser or a network."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from configs.errors import TrainingError


def as_pdf(html: str) -> bytes:
    """A tagged PDF of a self-contained page; what would have to be loaded from elsewhere is left out.

    Raises `TrainingError` that names the package, or the system library that it draws with, if it isn't installed.
    """
    engine = _engine()
    fetcher = engine.urls.URLFetcher(allowed_protocols=["data"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fonts without a glyph and the like are no failure of the document
        content: bytes = engine.HTML(string=html, url_fetcher=fetcher).write_pdf(pdf_variant="pdf/ua-1")
    return content


def _engine() -> Any:
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    try:
        import weasyprint
    except ModuleNotFoundError:
        raise TrainingError.missing_extra("weasyprint", extra="pdf") from None
    except OSError as error:
        raise TrainingError(
            f"WeasyPrint can't load what it draws with: {error}",
            expected="the library Pango on this system",
            fix="install it (Debian: apt-get install libpango-1.0-0 libpangoft2-1.0-0); the HTML needs nothing",
        ) from None
    return weasyprint
