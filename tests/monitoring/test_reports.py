from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitoring import reports
from monitoring.reports import Rendered, Table, render

pytest.importorskip("evidently")
AT = datetime(2025, 7, 1, tzinfo=UTC)


def sample(rows: int, *, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    purpose = generator.choice(np.array(["car", "home", None], dtype=object), rows)
    return pd.DataFrame(
        {"amount": generator.normal(size=rows), "purpose": purpose, "probability": generator.random(rows)}
    )


def write(folder: Path, current: pd.DataFrame, reference: pd.DataFrame) -> Rendered | None:
    return render(
        current,
        reference,
        categories=["purpose"],
        tables=[Table("Frozen bins <b>", ("column", "PSI"), (("amount", "0.4321"),))],
        path=folder / "run" / "evidently.html",
        workspace=folder / "workspace",
        project="credit",
        title="Loans <b>",
        at=AT,
    )


def test_the_report_is_one_file_with_our_table_and_title(tmp_path: Path) -> None:
    found = write(tmp_path, sample(300, seed=1), sample(400, seed=2))
    assert found is not None
    page = found.path.read_text()
    assert "<title>Loans &lt;b&gt;</title>" in page
    assert "0.4321" in page
    assert "<script src=" not in page


def test_a_column_without_values_is_dropped_and_named(tmp_path: Path) -> None:
    current = sample(300, seed=1).assign(amount=np.nan)
    found = write(tmp_path, current, sample(400, seed=2))
    assert found is not None
    assert found.dropped == ("amount",)


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_small_windows_are_drawn_too(tmp_path: Path, rows: int) -> None:
    assert write(tmp_path, sample(rows, seed=1), sample(400, seed=2)) is not None


def test_there_is_no_report_of_nothing(tmp_path: Path) -> None:
    empty = sample(10, seed=1).iloc[:0]
    assert write(tmp_path, empty, sample(10, seed=2)) is None
    assert (
        write(tmp_path, sample(10, seed=2).assign(amount=np.nan, purpose=None, probability=np.nan), sample(10, seed=2))
        is None
    )
    assert not list(tmp_path.iterdir())


def test_writing_a_report_again_replaces_its_run_in_the_workspace(tmp_path: Path) -> None:
    for seed in (1, 2):
        write(tmp_path, sample(50, seed=seed), sample(50, seed=3))
    assert len(list((tmp_path / "workspace").glob("*/metadata.json"))) == 1
    (kept,) = (tmp_path / "workspace").glob("*/snapshots/*.json")
    assert "Frozen bins" in kept.read_text()
    assert json.loads(kept.read_text())["timestamp"].startswith("2025-07-01")


def test_large_tables_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MAX_ROWS", 40)
    seen = []
    original = reports._snapshot
    monkeypatch.setattr(
        reports,
        "_snapshot",
        lambda *tables, **rest: seen.append([len(each) for each in tables]) or original(*tables, **rest),
    )
    write(tmp_path, sample(300, seed=1), sample(30, seed=2))
    assert seen == [[40, 30]]
