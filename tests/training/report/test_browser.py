"""The report as a person sees it, in Debian's Chromium with no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from training.report.chapters import CHAPTERS
from training.report.writing import write_report

playwright = pytest.importorskip("playwright.sync_api")

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def written(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(whole, output=tmp_path_factory.mktemp("written"))[0].parent


@pytest.fixture
def page(chromium: str) -> Iterator[playwright.Page]:
    """A page without a network that fails the test on a console error, a script error, or any request."""
    problems: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        context = browser.new_context(viewport={"width": 1200, "height": 1500}, offline=True)
        opened = context.new_page()
        opened.on("console", lambda message: problems.append(message.text))
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else problems.append(request.url),
        )
        yield opened
        browser.close()
    assert problems == []


def test_the_report_opens_without_a_network(page: playwright.Page, written: Path) -> None:
    page.goto((written / "report.html").as_uri())
    for chapter in CHAPTERS:
        assert page.locator(f"#{chapter.key} h2").is_visible()
    sizes = page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(sizes) > 15 and min(sizes) > 100
    hidden = page.locator(".scroll").evaluate_all("boxes => boxes.map(box => box.scrollWidth - box.clientWidth)")
    assert set(hidden) == {0}, "a table is wider than the page"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_link_of_the_contents_leads_to_its_chapter(page: playwright.Page, written: Path) -> None:
    page.goto((written / "report.html").as_uri())
    page.get_by_role("navigation").get_by_role("link", name="Limits").click()
    assert page.url.endswith("#limits")
    assert page.locator("#limits h2").bounding_box()["y"] < 100


def test_the_card_fits_a_page(page: playwright.Page, written: Path) -> None:
    page.goto((written / "card.html").as_uri())
    assert page.get_by_role("heading", name="Intended use").is_visible()
    assert page.evaluate("document.documentElement.scrollHeight") < 2600
