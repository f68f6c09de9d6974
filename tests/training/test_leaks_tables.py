"""The leak guard on tables: request fields that are no features, times above all, and the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from typer.testing import CliRunner

from configs.console import application
from configs.loading import parse
from configs.settings import Settings
from training.leaks import cli
from training.leaks.findings import Finding
from training.leaks.run import found_in

USE_CASE = """
name: tiny
title: Tiny loans
kind: credit
description: Decides about tiny loans.
owner: tests
tables:
  loans: {path: loans.parquet, time: at}
entities: {person: person_id}
event: {table: loans, id: loan_id, time: at}
label: {column: bad, maturity: 30d}
request:
  amount: {}
  income: {}
  term: {}
split:
  by: time
  train: {start: 2024-01-01, end: 2024-10-01}
  test: {start: 2024-11-01, end: 2025-01-01}
  folds: 1
policy:
  bands: [{decision: approve, below: 0.5}, {decision: decline}]
  fallback: decline
  reasons: credit
  adverse: [decline]
rehearsal:
  drift: {kind: feature_shift, column: income, factor: 0.5}
"""
N = 5000


class Loans:
    """A table of loans and its use case, to which columns are added."""

    def __init__(self, folder: Path) -> None:
        generator = np.random.default_rng(3)
        self.generator, self.folder = generator, folder
        self.settings = Settings(home=folder / "home", data=folder)
        amount, income = generator.lognormal(8, 0.6, N).round(2), generator.lognormal(8, 0.5, N).round(2)
        self.bad = np.log(amount / income) + generator.logistic(size=N) > 1.9
        self.at = pd.Series(pd.date_range("2024-01-01", "2024-12-31", periods=N, unit="us"))
        self.table = pd.DataFrame(
            {
                "loan_id": [f"L{number}" for number in range(N)],
                "person_id": [f"P{number}" for number in generator.integers(0, 2000, N)],
                "at": self.at,
                "amount": amount,
                "income": income,
                "term": generator.choice([12, 24, 36, 48], N),
                "bad": self.bad.astype(int),
            }
        )
        self.raw: dict[str, Any] = yaml.safe_load(USE_CASE)

    def add(self, name: str, values: Any, **contract: Any) -> None:
        self.table[name] = values
        self.raw["request"][name] = contract

    def after(self, days: Any) -> pd.Series[Any]:
        return (self.at + pd.to_timedelta(np.asarray(days, dtype=float), unit="D")).dt.as_unit("us")

    @property
    def life(self) -> np.ndarray:
        """Days until the last payment: bad loans end early."""
        return np.where(self.bad, self.generator.uniform(10, 300, N), self.generator.uniform(100, 720, N))

    def found(self) -> tuple[Finding, ...]:
        self.table.to_parquet(self.folder / "loans.parquet")
        return found_in(parse(self.raw, file="tiny.yaml"), self.settings)


@pytest.fixture
def loans(tmp_path: Path) -> Loans:
    return Loans(tmp_path)


def test_honest_loans_have_no_findings(loans: Loans) -> None:
    assert loans.found() == ()


def test_a_time_after_the_event_that_tells_about_the_label_blocks_though_it_is_no_feature(loans: Loans) -> None:
    loans.add("last_seen", loans.after(loans.life), type="time")
    (finding,) = loans.found()
    assert (finding.column, finding.kind, finding.blocks) == ("last_seen", "after_event", True)
    assert finding.evidence["share_after"] == 1.0
    assert 200 < float(finding.evidence["median_days"] or 0) < 450


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%b-%Y", "%d.%m.%Y"])
def test_times_are_seen_in_texts(loans: Loans, form: str) -> None:
    loans.add("last_seen", loans.after(loans.life).dt.strftime(form), type="category")
    assert {(each.column, each.kind) for each in loans.found()} == {("last_seen", "after_event")}


def test_times_are_seen_in_numbers_of_digits(loans: Loans) -> None:
    loans.add("last_seen", loans.after(loans.life).dt.strftime("%Y%m%d").astype(int))
    assert {(each.column, each.kind) for each in loans.found()} == {("last_seen", "after_event")}


def test_the_time_of_a_charge_off_is_of_one_class(loans: Loans) -> None:
    charged = loans.after(np.full(N, 200.0)).where(pd.Series(loans.bad & (loans.generator.random(N) < 0.5)))
    loans.add("closed", charged, type="time")
    assert ("closed", "one_class") in {(each.column, each.kind) for each in loans.found() if each.blocks}


def test_a_planned_end_is_no_leak(loans: Loans) -> None:
    loans.add("ends", loans.after(loans.table["term"] * 30.4375), type="time")
    loans.table["days"] = loans.generator.integers(100, 3000, N)
    loans.raw["request"]["days"] = {}
    loans.add("due", loans.after(loans.table["days"]), type="time")
    assert loans.found() == ()


def test_a_wished_date_is_reported_and_does_not_block(loans: Loans) -> None:
    loans.add("wished", loans.after(loans.generator.gamma(2, 100, N)), type="time")
    (finding,) = loans.found()
    assert (finding.column, finding.kind, finding.blocks) == ("wished", "after_event", False)


def test_times_before_the_event_are_honest(loans: Loans) -> None:
    loans.add("first_account", loans.after(-loans.generator.gamma(2, 900, N)), type="time")
    loans.add("same_day", loans.at.dt.floor("D"), type="time")
    loans.add("born", loans.generator.integers(1950, 2005, N))
    assert loans.found() == ()


def test_a_month_of_an_event_known_by_its_month_is_not_after_it(loans: Loans) -> None:
    loans.add("applied", loans.at.copy(), type="time")
    loans.table["at"] = loans.at.dt.to_period("M").dt.to_timestamp().astype("datetime64[us]")
    assert loans.found() == ()


def test_what_was_paid_until_the_last_payment_belongs_to_the_same_record(loans: Loans) -> None:
    life = loans.life
    loans.add("last_seen", loans.after(life), type="time")
    rate = loans.generator.uniform(0.05, 0.3, N)
    loans.add("rate", rate)
    loans.add("interest", loans.table["amount"] * rate * life / 365 * loans.generator.lognormal(0, 0.2, N))
    found = {each.column: each for each in loans.found() if each.blocks}
    assert set(found) == {"last_seen", "interest"}
    assert found["interest"].kind == "same_record" and found["interest"].evidence["clock"] == "last_seen"


def test_a_name_lowers_the_bar_only_where_leaks_were_found(loans: Loans) -> None:
    fee = np.where(loans.generator.random(N) < np.where(loans.bad, 0.2, 0.05), loans.generator.gamma(2, 10, N), 0.0)
    loans.add("total_rec_late_fee", fee)
    assert loans.found() == ()
    loans.add("last_seen", loans.after(loans.life), type="time")
    loans.add("state", np.where(loans.bad, "lost", "paid"), type="category")
    assert {each.column for each in loans.found()} == {"total_rec_late_fee", "last_seen", "state"}
    loans.raw["request"]["fee"] = loans.raw["request"].pop("total_rec_late_fee") | {"column": "total_rec_late_fee"}
    assert {each.column for each in loans.found()} == {"last_seen", "state"}


def test_a_field_that_is_no_feature_is_judged_like_one(loans: Loans) -> None:
    loans.add("recovered", np.where(loans.bad & (loans.generator.random(N) < 0.5), 5.0, 0.0), feature=False)
    assert {(each.column, each.kind) for each in loans.found()} == {("recovered", "one_class")}


def test_a_view_that_was_written_later_than_it_says_is_reported(loans: Loans) -> None:
    files = pd.DataFrame(
        {
            "person_id": [f"P{number}" for number in range(2000)],
            "of": pd.Timestamp("2023-12-01"),
            "loaded_at": pd.Timestamp("2023-12-20"),
            "valid_to": pd.Timestamp("2026-01-01"),
            "debts": loans.generator.gamma(2, 100, 2000),
        }
    )
    files.to_parquet(loans.folder / "files.parquet")
    loans.raw["tables"]["files"] = {"path": "files.parquet", "time": "of"}
    loans.raw["views"] = {"file": {"table": "files", "entity": "person", "ttl": "900d", "columns": {"debts": {}}}}
    (finding,) = loans.found()
    assert (finding.column, finding.kind, finding.blocks) == ("file", "unavailable", False)
    assert finding.evidence == {"later": 1.0, "median_days": 19.0} and "loaded_at" in finding.reason
    loans.raw["tables"]["files"]["created"] = "loaded_at"
    assert loans.found() == ()


@pytest.fixture
def command(loans: Loans, monkeypatch: pytest.MonkeyPatch) -> tuple[Loans, typer.Typer]:
    app = application("Test.")
    app.command()(cli.leaks)
    monkeypatch.setenv("RISK_CONFIGS", str(loans.folder))
    monkeypatch.setenv("RISK_DATA", str(loans.folder))
    monkeypatch.setenv("RISK_HOME", str(loans.folder / "home"))
    return loans, app


def written(loans: Loans) -> None:
    loans.table.to_parquet(loans.folder / "loans.parquet")
    (loans.folder / "tiny.yaml").write_text(yaml.safe_dump(loans.raw))


def test_the_command_line_prints_findings_and_exits_with_2(command: tuple[Loans, typer.Typer]) -> None:
    loans, app = command
    loans.add("status", np.where(loans.bad, "lost", "paid"), type="category")
    written(loans)
    table = CliRunner().invoke(app, ["tiny"])
    assert table.exit_code == 2 and "stops training" in table.stdout and "gives_away" in table.stdout
    plain = CliRunner().invoke(app, ["tiny", "--json"])
    (row,) = json.loads(plain.stdout)
    assert plain.exit_code == 2 and row["column"] == "status" and row["evidence"]["auc"] == 1.0


def test_an_accepted_finding_exits_with_0_and_shows_its_reason(command: tuple[Loans, typer.Typer]) -> None:
    loans, app = command
    loans.add("status", np.where(loans.bad, "lost", "paid"), type="category")
    loans.raw["leaks"] = {"accept": {"status": "known at the counter"}}
    written(loans)
    found = CliRunner().invoke(app, ["tiny"])
    assert found.exit_code == 0 and "accepted: known at the counter" in found.stdout


def test_no_findings_are_said_to_be_none(command: tuple[Loans, typer.Typer]) -> None:
    loans, app = command
    written(loans)
    found = CliRunner().invoke(app, ["tiny"])
    assert found.exit_code == 0 and "nothing to show" in found.stdout
