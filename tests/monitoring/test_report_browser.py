"""The written reports as a person sees them, in Debian's Chromium with no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from configs.settings import Settings
from configs.use_case import UseCase
from monitoring.pipeline import monitor

pytest.importorskip("evidently")
playwright = pytest.importorskip("playwright.sync_api")

START = datetime(2024, 3, 1, tzinfo=UTC)
END = START + timedelta(days=30)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture
def page(chromium: str) -> Iterator[playwright.Page]:
    """A page that fails the test on a console error, a script error, or a request that leaves the host."""
    problems: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, headless=True, args=list(FLAGS))
        opened = browser.new_page(viewport={"width": 1300, "height": 1500})
        opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: problems.append(str(error)))
        opened.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:", "blob:")) else problems.append(request.url)
            ),
        )
        yield opened
        browser.close()
    assert problems == []


@pytest.fixture
def report(traffic: Callable[..., None], credit: UseCase, settings: Settings) -> Path:
    def change(features):
        missing = np.random.default_rng(0).random(len(features)) < 0.3
        return features.assign(amount=features["amount"] * 2, annual_income=features["annual_income"].mask(missing))

    traffic(400, START, END, change=change, known=END + timedelta(days=300))
    return Path(str(monitor(credit, settings, start=START, end=END, as_of=END + timedelta(days=366)).report))


def test_the_reports_show_alarms_and_distributions_without_a_network(page: playwright.Page, report: Path) -> None:
    page.goto(report.as_uri())
    assert page.title() == "Drift and performance: Personal loan applications (simulated)"
    assert page.get_by_role("row", name="high amount PSI").is_visible()
    assert page.get_by_role("cell", name="auc", exact=True).is_visible()
    assert page.get_by_text("its PSI is above 0.1 and, with the false-discovery rate of 1.0%").is_visible()
    hidden = page.locator(".scroll").evaluate_all("boxes => boxes.map(box => box.scrollWidth - box.clientWidth)")
    assert set(hidden) == {0}, "a table is wider than the page"
    drawn = page.get_by_role("img", name="Shares of rows in the bins of amount, reference and this window")
    assert drawn.bounding_box()["width"] > 100
    assert drawn.locator("rect").count() == drawn.locator("path").count() == 11
    page.get_by_role("link", name="Distributions drawn by Evidently").click()
    page.get_by_text("Drift on the release's frozen bins").wait_for()
    assert (
        page.title() == "Personal loan applications (simulated): events from 2024-03-01 00:00 to 2024-03-31 00:00 UTC"
    )
    assert page.locator("canvas").count() == 2 * 4  # each column's reference and current distribution
    page.get_by_role("row", name="annual_income").last.get_by_role("button").click()
    page.locator(".js-plotly-plot svg.main-svg").first.wait_for()
