"""The report as PDF."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from configs.errors import RiskError, TrainingError
from training.report.pdf import as_pdf
from training.report.render import render_report
from training.report.writing import write_report

pytest.importorskip("weasyprint", exc_type=ImportError)


@pytest.fixture(scope="module")
def printed(whole: Path) -> bytes:
    return as_pdf(render_report(whole))


def test_the_report_prints_to_a_pdf(printed: bytes) -> None:
    assert printed.startswith(b"%PDF-") and printed.rstrip().endswith(b"%%EOF")


def test_pages_are_numbered_and_the_contents_name_them(printed: bytes, tmp_path: Path) -> None:
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("no pdftotext (Debian: apt-get install poppler-utils)")
    (tmp_path / "report.pdf").write_bytes(printed)
    done = subprocess.run(
        [reader, "-layout", str(tmp_path / "report.pdf"), "-"], capture_output=True, text=True, check=True
    )
    pages = done.stdout.rstrip("\f").split("\f")
    assert f"1 / {len(pages)}" in pages[0] and f"{len(pages)} / {len(pages)}" in pages[-1]
    line = next(line for line in pages[0].splitlines() if "Sign-off" in line)
    place = int(line.rsplit(".", 1)[1])
    assert "18 Sign-off" in pages[place - 1]


def test_nothing_is_fetched_while_printing() -> None:
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)

        def listen() -> None:
            try:
                server.accept()[0].close()
            except TimeoutError:
                return
            asked.set()

        listener = threading.Thread(target=listen)
        listener.start()
        port = server.getsockname()[1]
        html = f"<html lang='en'><title>t</title><img alt='x' src='http://127.0.0.1:{port}/x.png'><p>text</p></html>"
        assert as_pdf(html).startswith(b"%PDF-")
        listener.join()
    assert not asked.is_set()


def test_a_missing_engine_names_itself_and_the_html_stands(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(RiskError, match="the package 'weasyprint' is not installed") as caught:
        write_report(whole, pdf=True, output=tmp_path)
    assert "risk-platform[pdf]" in caught.value.fix
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "card.html"}


def test_a_missing_system_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "weasyprint":
                raise OSError("cannot load library 'libpango-1.0-0'")

    for name in [name for name in sys.modules if name.partition(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(TrainingError, match="libpango") as caught:
        as_pdf("<p>text</p>")
    assert "apt-get install libpango" in caught.value.fix
