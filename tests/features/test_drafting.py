"""Drafts of use cases: what is guessed of real and of made tables, and that a draft is valid and trains."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from configs.console import application
from configs.errors import FeatureError
from configs.loading import load_use_case
from configs.settings import Settings
from features import init_cli
from features.intake.drafting import Draft, draft
from features.intake.periods import periods_of
from features.intake.roles import Wishes
from features.intake.suspects import Evidence, leak, named_protected, number_codes
from features.store import FeatureStore

REAL = {
    "lending_club.parquet": ("charged_off", "loan_id", "issue_d", {"loan": "loan_id"}),
    "handbook_transactions.parquet": (
        "tx_fraud",
        "transaction_id",
        "tx_datetime",
        {"customer": "customer_id", "terminal": "terminal_id"},
    ),
    "handbook_reference_features.parquet": (
        "tx_fraud",
        "transaction_id",
        "tx_datetime",
        {"customer": "customer_id", "terminal": "terminal_id"},
    ),
    "taiwan_default.parquet": ("default_next_month", "client_id", None, {"client": "client_id"}),
    "sba_case_california.parquet": ("default", "loan_number", "approval_date", {"loan": "loan_number"}),
    "german_credit.csv.gz": ("bad", None, None, {}),
}


def columns(made: Draft, *roles: str) -> set[str]:
    return {each.profile.name for each in made.guesses.roles.of(*roles)}


def loans(rows: int = 1200) -> pd.DataFrame:
    """Applications with everything that a draft should notice."""
    rng = np.random.default_rng(5)
    income = rng.gamma(3.0, 900.0, rows).round(2)
    applied = pd.Series(pd.date_range("2023-01-01", "2024-06-30", periods=rows)).dt.floor("s")
    bad = rng.random(rows) < 0.1 + 0.4 * (income < 1500)
    return pd.DataFrame(
        {
            "Application ID": [f"A{number:05}" for number in range(rows)],
            "customer_email": [f"canary{number % 300}@example.com" for number in range(rows)],
            "full_name": [f"Canary Person {number}" for number in range(rows)],
            "applied_at": applied,
            "employed_since": applied - pd.to_timedelta(rng.integers(30, 4000, rows), unit="D"),
            "closed_on": applied + pd.to_timedelta(rng.integers(100, 300, rows), unit="D"),
            "income_eur": income,
            "years_at_address": np.where(rng.random(rows) < 0.1, -9, rng.integers(0, 30, rows)),
            "dependants": np.where(rng.random(rows) < 0.05, 98, rng.integers(0, 6, rows)),
            "channel": rng.choice(["branch", "online", "other"], rows),
            "rating": np.where(rng.random(rows) < 0.1, "NA", rng.integers(300, 850, rows).astype(str)),
            "sex": rng.choice(["f", "m"], rows),
            "recoveries": np.where(bad, rng.gamma(2.0, 50.0, rows), 0.0),
            "country": "NL",
            "seen": None,
            "defaulted": np.where(bad, "yes", "no"),
        }
    )


def payments(file: Path, *, rows: int = 3000, **options: Any) -> None:
    """Payments as a CSV file; large ones are fraud more often."""
    rng = np.random.default_rng(2)
    amount = rng.gamma(2.0, 30.0, rows).round(2)
    table = {
        "payment_id": range(rows),
        "paid_at": pd.date_range("2025-01-01", "2025-03-31", periods=rows).astype(str),
        "card_id": rng.integers(0, 200, rows),
        "amount": amount,
        "shop": rng.choice(["café", "kiosk"], rows),
        "is_fraud": rng.random(rows) < 0.05 + 0.2 * (amount > 80),
    }
    pd.DataFrame(table).to_csv(file, index=False, **options)


@pytest.fixture
def made(settings: Settings, tmp_path: Path) -> Draft:
    loans().to_parquet(tmp_path / "Loans 2024.parquet")
    return draft(str(tmp_path / "Loans 2024.parquet"), settings)


@pytest.fixture(scope="module")
def drafted(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Draft]:
    """Drafts of the real tables, each made once."""
    return cache(lambda table: draft(table, Settings(home=tmp_path_factory.mktemp("home"))))


@pytest.mark.parametrize("table", REAL)
def test_a_real_table_drafts_to_a_valid_use_case(
    table: str, drafted: Callable[[str], Draft], settings: Settings, tmp_path: Path
) -> None:
    made = drafted(table)
    roles = made.guesses.roles
    assert (roles.label.column, roles.id, roles.time, dict(roles.entities)) == REAL[table]
    file = tmp_path / "drafted.yaml"
    file.write_text(made.text)
    use_case = load_use_case(str(file), settings)
    assert use_case.event_table.path == table
    assert use_case.split.by == ("time" if roles.time else "random")


def test_every_leak_of_lending_club_is_suspected_and_no_application_field_is(
    real_data: Path, drafted: Callable[[str], Draft]
) -> None:
    with (real_data / "lending_club_columns.csv").open() as file:
        documented = {row["column"]: row["role"] for row in csv.DictReader(file)}
    made = drafted("lending_club.parquet")
    leaks = {name for name, role in documented.items() if role.startswith("after_outcome")}
    known = {name for name, role in documented.items() if role == "known_at_application"}
    assert leaks <= columns(made, "leak")
    assert known == known & columns(made, "field", "time")


def test_known_leaks_of_other_real_tables_are_suspected(drafted: Callable[[str], Draft]) -> None:
    sba = drafted("sba_case_california.parquet")
    assert {"chg_off_date", "chg_off_prin_gr", "balance_gross", "mis_status"} <= columns(sba, "leak")
    assert sba.guesses.known is not None
    assert sba.guesses.known.column == "chg_off_date"
    handbook = drafted("handbook_transactions.parquet")
    assert columns(handbook, "leak") == {"tx_fraud_scenario"}
    assert columns(handbook, "useless") == {"tx_time_seconds", "tx_time_days"}


def test_attributes_of_real_tables_are_protected_by_name(drafted: Callable[[str], Draft]) -> None:
    assert set(drafted("taiwan_default.parquet").use_case.protected) == {"sex", "marriage", "age"}
    german = drafted("german_credit.csv.gz").use_case
    assert set(german.protected) == {"personal_status_sex", "age_years", "foreign_worker"}
    assert not set(german.protected) & set(german.request)


def trained_auc(made: Draft, settings: Settings) -> float:
    """The test AUC of a draft as it is, but for its budget and its folds."""
    from training.candidate import build_candidate

    budget = made.use_case.training.model_copy(update={"learners": ("lightgbm",), "trials": 4, "seconds": 20})
    split = made.use_case.split.model_copy(update={"folds": 2})
    use_case = made.use_case.model_copy(update={"training": budget, "split": split})
    frame = FeatureStore(use_case, settings).training_frame()
    return build_candidate(use_case, frame, settings).metrics["auc"]


def test_the_draft_of_a_table_without_key_and_time_trains(drafted: Callable[[str], Draft], settings: Settings) -> None:
    assert trained_auc(drafted("german_credit.csv.gz"), settings) > 0.7


def test_the_draft_of_a_made_table_trains(made: Draft, settings: Settings) -> None:
    assert trained_auc(made, settings) > 0.6


def test_the_draft_of_payments_without_keys_trains(settings: Settings, tmp_path: Path) -> None:
    payments(tmp_path / "payments.csv", columns=["paid_at", "amount", "shop", "is_fraud"], encoding="latin-1")
    made = draft(str(tmp_path / "payments.csv"), settings)
    assert (made.guesses.roles.id, made.use_case.entities) == (None, {})
    assert "is not UTF-8" in made.text
    assert trained_auc(made, settings) > 0.6


def test_roles_of_a_made_table(made: Draft) -> None:
    roles, use_case = made.guesses.roles, made.use_case
    assert (use_case.name, use_case.kind) == ("loans_2024", "credit")
    assert (use_case.label.column, use_case.label.positive) == ("defaulted", "yes")
    assert (roles.id, roles.time, dict(roles.entities)) == (
        "Application ID",
        "applied_at",
        {"customer_email": "customer_email"},
    )
    assert columns(made, "leak") == {"closed_on", "recoveries"}
    assert columns(made, "useless") == {"country", "seen"}
    assert use_case.personal == {"customer_email": "token", "full_name": "mask"}
    assert set(use_case.protected) == {"sex"}


def test_a_key_that_missing_values_made_a_fraction_is_a_key(settings: Settings, tmp_path: Path) -> None:
    table = loans().assign(customer_id=lambda rows: np.where(rows.index % 9, rows.index % 200, np.nan))
    table.to_parquet(tmp_path / "loans.parquet")
    assert draft(str(tmp_path / "loans.parquet"), settings).guesses.roles.entities["customer"] == "customer_id"


def test_fields_of_a_made_table_carry_types_codes_units_and_vocabularies(made: Draft) -> None:
    fields = made.use_case.request
    assert fields["years_at_address"].missing == (-9,)
    assert fields["dependants"].missing == (98,)
    assert (fields["rating"].type, fields["rating"].missing) == ("number", ("NA",))
    assert (fields["channel"].other, set(fields["channel"].model_dump()["values"])) == (
        "other",
        {"branch", "online", "other"},
    )
    assert (fields["income_eur"].unit, fields["income_eur"].min) == ("EUR", 0)
    assert fields["employed_since"].type == "time"
    assert "employed_since_years_ago" in made.use_case.derived


def test_leaks_stand_as_comments_with_their_reason(made: Draft) -> None:
    line = next(line for line in made.text.splitlines() if "recoveries:" in line)
    assert line.lstrip().startswith("# recoveries:")
    assert "positives" in line or "AUC" in line
    assert "recoveries" not in yaml.safe_load(made.text)["request"]


def test_no_personal_value_reaches_a_draft(made: Draft) -> None:
    assert "canary" not in made.text.lower()


def test_the_test_starts_once_the_last_training_rows_have_matured(made: Draft) -> None:
    periods = made.guesses.periods
    assert periods is not None
    assert periods.test[0] - periods.train[1] == periods.maturity == made.use_case.label.maturity
    assert made.use_case.rehearsal.period is not None


def test_payments_get_windows_over_their_keys_and_delayed_outcomes(settings: Settings, tmp_path: Path) -> None:
    payments(tmp_path / "payments.csv")
    made = draft(str(tmp_path / "payments.csv"), settings)
    assert (made.use_case.kind, made.use_case.label.positive) == ("fraud", True)
    outcome = next(part for part in made.use_case.aggregates if part.column == "is_fraud")
    assert (outcome.entity, outcome.delay) == ("card", made.use_case.label.maturity)


def test_dates_written_as_digits_are_the_time_of_the_event(settings: Settings, tmp_path: Path) -> None:
    table = loans()
    table["applied_at"] = table["applied_at"].dt.strftime("%Y%m%d").astype(int)
    table.rename(columns={"applied_at": "application_date"}).to_parquet(tmp_path / "loans.parquet")
    made = draft(str(tmp_path / "loans.parquet"), settings)
    assert made.use_case.event.time == "application_date"
    assert made.guesses.periods is not None
    assert made.guesses.periods.train[0] == datetime(2023, 1, 1)


def test_whole_numbers_named_as_the_time_are_read_as_times(settings: Settings, tmp_path: Path) -> None:
    table = loans().drop(columns=["applied_at", "employed_since", "closed_on"])
    table.assign(second=np.arange(1200) * 3600).to_parquet(tmp_path / "loans.parquet")
    made = draft(str(tmp_path / "loans.parquet"), settings, wishes=Wishes(time="second"))
    assert made.guesses.periods is not None
    assert made.guesses.periods.train[0] == datetime(1970, 1, 1)


def test_a_partitioned_folder_and_a_database_draft_like_a_file(settings: Settings, tmp_path: Path) -> None:
    table = loans().drop(columns="seen")
    table.assign(year=table["applied_at"].dt.year).to_parquet(tmp_path / "loans", partition_cols=["year"])
    folder = draft(str(tmp_path / "loans"), settings)
    with sqlite3.connect(tmp_path / "bank.db") as connection:
        table.astype({"applied_at": str, "employed_since": str, "closed_on": str}).to_sql("loans", connection)
    connection.close()
    url = f"sqlite:///{tmp_path / 'bank.db'}"
    database = draft(url, settings, query="loans")
    assert folder.use_case.label == database.use_case.label
    assert (database.use_case.event_table.url, database.use_case.event_table.query) == (url, "loans")
    assert columns(folder, "leak") == columns(database, "leak") == {"closed_on", "recoveries"}


def wrong(table: pd.DataFrame, settings: Settings, folder: Path, **wishes: Any) -> FeatureError:
    table.to_parquet(folder / "wrong.parquet")
    with pytest.raises(FeatureError) as caught:
        draft(str(folder / "wrong.parquet"), settings, wishes=Wishes(**wishes))
    return caught.value


def test_without_a_label_the_candidates_are_listed(settings: Settings, tmp_path: Path) -> None:
    error = wrong(pd.DataFrame({"a": [1, 2, 3], "went_well": [0, 1, 1]}), settings, tmp_path)
    assert "went_well" in error.found
    assert "--label went_well" in error.fix


def test_a_label_of_many_values_asks_for_the_positive_one(settings: Settings, tmp_path: Path) -> None:
    table = loans().assign(defaulted=np.resize(["paid", "late", "lost"], 1200))
    assert "--positive" in wrong(table, settings, tmp_path, label="defaulted").fix
    table.to_parquet(tmp_path / "loans.parquet")
    made = draft(str(tmp_path / "loans.parquet"), settings, wishes=Wishes(label="defaulted", positive="lost"))
    assert made.use_case.label.positive == "lost"


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"label": "defualted"}, "did you mean 'defaulted'"),
        ({"label": "country"}, "one value only"),
        ({"positive": "perhaps"}, "no value 'perhaps'"),
        ({"time": "channel"}, "which is no time"),
        ({"id": "channel"}, "missing or repeated values"),
    ],
)
def test_a_wish_that_the_table_cant_meet_is_refused(
    wishes: dict[str, str], said: str, settings: Settings, tmp_path: Path
) -> None:
    assert said in wrong(loans(), settings, tmp_path, **wishes).found


def test_an_empty_table_and_one_without_fields_are_refused(settings: Settings, tmp_path: Path) -> None:
    assert "has no rows" in wrong(loans().iloc[:0], settings, tmp_path).found
    assert "left to predict from" in wrong(loans()[["defaulted", "country"]], settings, tmp_path).found


@pytest.mark.parametrize(
    ("table", "query", "said"),
    [
        ("nothing.parquet", None, "no file or folder"),
        ("torn.parquet", None, "can't be read"),
        ("blank.csv", None, "blank.csv"),
        ("header.csv", None, "has no rows"),
        ("loans.xlsx", None, "has the format .xlsx"),
        ("postgresql://me:secret@host/bank", "loans", "holds a password"),
        ("postgresql://host/bank", None, "without --query"),
    ],
)
def test_a_source_that_cant_be_read_is_refused(
    table: str, query: str | None, said: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in {"loans.xlsx": "", "torn.parquet": "PAR1", "blank.csv": "", "header.csv": "a,b\n"}.items():
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FeatureError) as caught:
        draft(table, settings, query=query)
    assert said in caught.value.found
    assert "secret" not in str(caught.value)


def test_init_writes_a_draft_once(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loans().to_parquet(tmp_path / "lending_club.parquet")
    monkeypatch.chdir(tmp_path)
    app, runner = application("risk"), CliRunner()
    app.command()(init_cli.init)
    first = runner.invoke(app, ["lending_club.parquet", "--json"])
    assert first.exit_code == 0, first.output
    facts = json.loads(first.stdout)
    assert facts["file"] == "lending_club_draft.yaml"  # the platform has a use case of that name
    assert facts["suspected leaks"].keys() == {"closed_on", "recoveries"}
    assert load_use_case(facts["file"], settings).name == "lending_club_draft"
    again = runner.invoke(app, ["lending_club.parquet"])
    assert isinstance(again.exception, FeatureError)
    assert "--force" in again.exception.fix
    assert runner.invoke(app, ["lending_club.parquet", "--force"]).exit_code == 0
    assert isinstance(runner.invoke(app, ["lending_club.parquet", "--name", "credit"]).exception, FeatureError)
    assert "--output x.yaml" in runner.invoke(app, ["lending_club.parquet", "--output", "x.txt"]).exception.fix


def test_periods_leave_a_gap_and_give_way_to_scarce_outcomes() -> None:
    days = np.arange(1000) * 86_400_000_000.0
    plenty = periods_of(days, np.arange(1000) % 4 == 0, "fraud")
    assert plenty is not None
    assert (plenty.maturity, plenty.test[0] - plenty.train[1]) == (timedelta(days=7), timedelta(days=7))
    assert periods_of(days, np.arange(1000) == 3, "fraud") is None
    assert periods_of(np.zeros(1000), np.arange(1000) % 4 == 0, "fraud") is None


def test_a_table_whose_time_leaves_no_test_gets_random_folds(settings: Settings, tmp_path: Path) -> None:
    table = loans()
    table["applied_at"] = table["applied_at"].iloc[0]
    table.drop(columns="closed_on").to_parquet(tmp_path / "loans.parquet")
    made = draft(str(tmp_path / "loans.parquet"), settings)
    assert (made.use_case.split.by, made.use_case.event.time) == ("random", None)
    assert "applied_at looks like the event's time" in made.text


def test_a_column_found_with_positives_only_is_a_leak() -> None:
    assert "with 100% positives" in leak("fee", Evidence(0.6, "0", 50, 1.0), base=0.1)
    assert "negative class only" in leak("bonus", Evidence(0.6, "0", 5000, 0.0), base=0.1)
    assert not leak("income", Evidence(0.7, "0", 5000, 0.12), base=0.1)


def test_codes_are_values_far_beyond_the_others() -> None:
    usual = {float(value): 100 for value in range(10)}
    assert number_codes(usual | {98.0: 40, -9.0: 30}) == (-9.0, 98.0)
    assert number_codes({float(value): 100 for value in range(100)}) == ()
    assert not named_protected("account_age")
