"""The simulated worlds: what is written, and that the truth is true."""

from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import roc_auc_score

from configs.errors import FeatureError
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.simulators import bureau
from features.simulators.posterior import terminal_posterior
from features.simulators.truth import auc
from features.simulators.world import SimulationReport, simulate

MICROS = pa.timestamp("us", tz="UTC")


def resized(name: str, **changes: Any) -> UseCase:
    """A use case with a small world."""
    use_case = load_use_case(name, Settings(profile="dev"))
    assert use_case.simulator is not None
    return use_case.model_copy(update={"simulator": use_case.simulator.model_copy(update=changes)})


@pytest.fixture(scope="module")
def credit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulationReport]:
    folder = tmp_path_factory.mktemp("credit")
    return folder, simulate(resized("credit", rows=20_000, live_rows=2_000), folder)


@pytest.fixture(scope="module")
def fraud(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulationReport]:
    folder = tmp_path_factory.mktemp("fraud")
    return folder, simulate(resized("fraud", rows=150_000, live_rows=15_000), folder)


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ["credit", "fraud"])
def test_the_same_seed_writes_the_same_bytes(name: str, tmp_path: Path) -> None:
    for run in ("first", "second"):
        simulate(resized(name, rows=3_000, live_rows=300), tmp_path / run)
    assert hashes(tmp_path / "first") == hashes(tmp_path / "second")


@pytest.mark.parametrize("name", ["credit", "fraud"])
def test_another_seed_writes_another_world(name: str, tmp_path: Path) -> None:
    for seed in (1, 2):
        simulate(resized(name, rows=3_000, live_rows=300, seed=seed), tmp_path / str(seed))
    assert not set(hashes(tmp_path / "1").values()) & set(hashes(tmp_path / "2").values())


@pytest.mark.parametrize("name", ["credit", "fraud"])
def test_a_tiny_world_without_live_rows_is_written(name: str, tmp_path: Path) -> None:
    report = simulate(resized(name, rows=20, live_rows=0), tmp_path)
    use_case = load_use_case(name, Settings())
    assert report.rows[use_case.event.table] == 20
    assert not list(tmp_path.glob("live_*"))


@pytest.mark.parametrize("name", ["credit", "fraud"])
def test_the_tables_have_every_column_that_the_use_case_names(name: str, request: pytest.FixtureRequest) -> None:
    folder, _ = request.getfixturevalue(name)
    use_case = load_use_case(name, Settings())
    schemas = {table: pq.read_schema(folder / spec.path) for table, spec in use_case.tables.items()}
    events = schemas[use_case.event.table]
    named = {use_case.event.id, use_case.label.column, use_case.label.known, "true_probability"}
    named |= {*use_case.entities.values(), *use_case.request, *use_case.protected}
    assert named <= set(events.names)
    for view in use_case.views.values():
        assert {*view.columns, use_case.key(view.entity)} <= set(schemas[view.table].names)
    for table, spec in use_case.tables.items():
        assert all(schemas[table].field(column).type == MICROS for column in (spec.time, spec.created) if column)
    assert pq.read_schema(folder / f"live_{use_case.event.table}.parquet") == events


@pytest.mark.parametrize(("name", "rows"), [("credit", (20_000, 2_000)), ("fraud", (150_000, 15_000))])
def test_events_are_as_many_as_asked_in_time_order_and_within_their_vocabularies(
    name: str, rows: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    folder, report = request.getfixturevalue(name)
    use_case = load_use_case(name, Settings())
    table = use_case.event.table
    assert (report.rows[table], report.rows[f"live_{table}"]) == rows
    events = pd.concat(pd.read_parquet(folder / f"{prefix}{table}.parquet") for prefix in ("", "live_"))
    assert events[use_case.event.time].is_monotonic_increasing
    assert events[use_case.event.id].is_unique
    vocabularies = {field: column.model_dump()["values"] for field, column in use_case.request.items()}
    for field, vocabulary in vocabularies.items():
        assert not vocabulary or set(events[field]) == set(vocabulary)


@pytest.mark.parametrize("name", ["credit", "fraud"])
def test_the_reported_auc_is_that_of_the_true_probability(name: str, request: pytest.FixtureRequest) -> None:
    folder, report = request.getfixturevalue(name)
    use_case = load_use_case(name, Settings())
    events = pd.read_parquet(folder / use_case.event_table.path).dropna(subset=[use_case.label.column])
    assert report.best_auc == pytest.approx(roc_auc_score(events[use_case.label.column], events["true_probability"]))


@pytest.mark.parametrize("name", ["credit", "fraud"])
def test_the_true_probability_is_calibrated(name: str, request: pytest.FixtureRequest) -> None:
    folder, _ = request.getfixturevalue(name)
    use_case = load_use_case(name, Settings())
    events = pd.read_parquet(folder / use_case.event_table.path).dropna(subset=[use_case.label.column])
    truth, label = events["true_probability"], events[use_case.label.column]
    for _, group in events.groupby(pd.cut(truth, [0, 0.02, 0.1, 0.3, 0.6, 1.0]), observed=True):
        p, n = truth[group.index], len(group)
        error = label[group.index].mean() - p.mean()
        # runs and terminals make outcomes cluster: five times the variance of independent ones
        assert abs(error) < 4 * np.sqrt(5 * (p * (1 - p)).mean() / n) + 0.002


def test_credit_has_the_promised_rates(credit: tuple[Path, SimulationReport]) -> None:
    folder, report = credit
    applications = pd.read_parquet(folder / "applications.parquet")
    assert report.best_auc is not None
    assert 0.78 <= report.best_auc <= 0.83
    assert 0.075 <= report.label_rate <= 0.105
    assert 0.65 <= (applications["legacy_decision"] == "accept").mean() <= 0.8


def test_rejected_applications_have_no_outcome(credit: tuple[Path, SimulationReport]) -> None:
    applications = pd.read_parquet(credit[0] / "applications.parquet")
    accepted = applications["legacy_decision"] == "accept"
    assert applications.loc[~accepted, ["defaulted", "outcome_at"]].isna().all(axis=None)
    assert applications.loc[accepted, ["defaulted", "outcome_at"]].notna().all(axis=None)


def test_defaults_become_known_90_to_365_days_after_the_application(credit: tuple[Path, SimulationReport]) -> None:
    known = pd.read_parquet(credit[0] / "applications.parquet").dropna(subset=["defaulted"])
    days = (known["outcome_at"] - known["applied_at"]).dt.total_seconds() / 86400
    assert (days[known["defaulted"] == 0] == 365).all()
    assert days[known["defaulted"] == 1].between(90 - 1e-4, 365).all()


def test_live_applications_begin_when_every_outcome_of_the_history_is_known(
    credit: tuple[Path, SimulationReport],
) -> None:
    history = pd.read_parquet(credit[0] / "applications.parquet")
    live = pd.read_parquet(credit[0] / "live_applications.parquet")
    assert live["applied_at"].min() >= history["outcome_at"].max()


def test_an_income_that_is_not_stated_is_a_bad_sign(credit: tuple[Path, SimulationReport]) -> None:
    applications = pd.read_parquet(credit[0] / "applications.parquet")
    silent = applications["annual_income"].isna()
    assert 0.08 < silent.mean() < 0.15
    assert (
        applications.loc[silent, "true_probability"].mean() > 1.5 * applications.loc[~silent, "true_probability"].mean()
    )


def test_region_is_a_proxy_of_sex(credit: tuple[Path, SimulationReport]) -> None:
    applications = pd.read_parquet(credit[0] / "applications.parquet")
    male = applications["sex"] == "male"
    assert roc_auc_score(male, male.groupby(applications["region"]).transform("mean")) > 0.6


def test_some_applicants_have_no_bureau_file(credit: tuple[Path, SimulationReport]) -> None:
    applications = pd.read_parquet(credit[0] / "applications.parquet")
    snapshots = pd.read_parquet(credit[0] / "bureau.parquet")
    assert 0.08 < (~applications["applicant_id"].isin(snapshots["applicant_id"])).mean() < 0.18


def test_bureau_corrections_repeat_a_snapshot_later_with_other_values(credit: tuple[Path, SimulationReport]) -> None:
    snapshots = pd.read_parquet(credit[0] / "bureau.parquet").sort_values(["applicant_id", "snapshot_at", "created_at"])
    again = snapshots.duplicated(["applicant_id", "snapshot_at"])
    assert 0.02 < again.mean() < 0.04
    earlier, later = snapshots[again.shift(-1, fill_value=False)], snapshots[again]
    assert (later["created_at"].to_numpy() > earlier["created_at"].to_numpy()).all()
    assert (later["utilisation"].to_numpy() > earlier["utilisation"].to_numpy()).mean() > 0.99


def test_as_known_is_the_point_in_time_join_of_the_written_table() -> None:
    rng = np.random.default_rng(3)
    applied = np.sort(rng.integers(0, 90 * 86_400, 400))
    panel = bureau.draw_panel(
        rng, applied=applied, start=date(2021, 1, 1), age=np.full(400, 40.0), income=np.full(400, 3e4)
    )
    snapshots = bureau.table(panel, start=date(2021, 1, 1), applicants=400).to_pandas()
    moments = pd.Timestamp("2021-01-01", tz="UTC") + pd.to_timedelta(applied, unit="s")
    requests = pd.DataFrame({"applicant_id": [f"A{code:04d}" for code in range(400)], "applied_at": moments})
    joined = requests.merge(snapshots, how="left")
    joined = joined[(joined["created_at"] <= joined["applied_at"]) & (joined["snapshot_at"] <= joined["applied_at"])]
    newest = joined.sort_values(["snapshot_at", "created_at"]).groupby("applicant_id").tail(1)
    expected = requests.merge(newest, how="left", on="applicant_id")
    for name, values in panel.as_known(applied).items():
        np.testing.assert_array_equal(values, expected[name].to_numpy(dtype=float))


def test_fraud_has_the_promised_rates(fraud: tuple[Path, SimulationReport]) -> None:
    _, report = fraud
    assert report.best_auc is not None
    assert 0.9 <= report.best_auc <= 0.99
    assert 0.007 <= report.label_rate <= 0.013
    assert "upper bound" in report.bound


def test_every_kind_of_fraud_happens_and_only_frauds_have_one(fraud: tuple[Path, SimulationReport]) -> None:
    payments = pd.read_parquet(fraud[0] / "transactions.parquet")
    kinds = payments.groupby("fraud_scenario")["is_fraud"].agg(["size", "min", "max"])
    assert set(kinds.index) == {"genuine", "compromised_terminal", "stolen_card", "account_takeover", "card_testing"}
    assert (kinds["min"] == kinds["max"]).all()
    assert kinds.loc["genuine", "max"] == 0
    assert (kinds["size"] > 100).all()


def test_frauds_are_reported_within_14_days_and_the_rest_count_as_genuine_then(
    fraud: tuple[Path, SimulationReport],
) -> None:
    payments = pd.read_parquet(fraud[0] / "transactions.parquet")
    delay = payments["outcome_at"] - payments["tx_time"]
    bad = payments["is_fraud"] == 1
    assert (delay[~bad] == pd.Timedelta(days=14)).all()
    assert (delay[bad] < pd.Timedelta(days=14)).all()
    assert pd.Timedelta(days=2) < delay[bad].median() < pd.Timedelta(days=4)


def test_only_online_and_contactless_payments_carry_a_device(fraud: tuple[Path, SimulationReport]) -> None:
    payments = pd.read_parquet(fraud[0] / "transactions.parquet")
    assert (payments["device_id"].isna() == payments["channel"].isin(["chip", "atm"])).all()


def test_takeovers_come_from_devices_that_the_customer_never_used(fraud: tuple[Path, SimulationReport]) -> None:
    payments = pd.read_parquet(fraud[0] / "transactions.parquet").dropna(subset=["device_id"])
    used = payments.groupby("device_id")["fraud_scenario"].agg(set)
    assert {"account_takeover"} in list(used)
    assert not any("account_takeover" in kinds and "genuine" in kinds for kinds in used)


def test_payments_follow_day_and_week(fraud: tuple[Path, SimulationReport]) -> None:
    moment = pd.read_parquet(fraud[0] / "transactions.parquet", columns=["tx_time"])["tx_time"]
    by_hour, by_day = moment.dt.hour.value_counts(), moment.dt.dayofweek.value_counts()
    assert by_hour[18] > 5 * by_hour[3]
    assert by_day[5] > 1.2 * by_day[6]


def test_the_sizes_are_in_proportion(fraud: tuple[Path, SimulationReport]) -> None:
    payments = pd.read_parquet(fraud[0] / "transactions.parquet")
    assert 55 < len(payments) / payments["card_id"].nunique() < 95
    assert 150 < len(payments) / payments["terminal_id"].nunique() < 320


def test_every_payment_has_a_known_profile_but_those_in_an_accounts_first_hours(
    fraud: tuple[Path, SimulationReport],
) -> None:
    payments = pd.read_parquet(fraud[0] / "transactions.parquet")
    profiles = pd.read_parquet(fraud[0] / "customers.parquet").sort_values("created_at")
    joined = pd.merge_asof(payments, profiles, left_on="tx_time", right_on="created_at", by="customer_id")
    assert joined["tenure_days"].isna().mean() < 0.001
    assert (profiles["created_at"] >= profiles["valid_from"]).all()


def test_a_long_world_has_no_drift_of_its_own(tmp_path: Path) -> None:
    simulate(resized("fraud", rows=60_000, live_rows=0, months=24), tmp_path)
    payments = pd.read_parquet(tmp_path / "transactions.parquet")
    profiles = pd.read_parquet(tmp_path / "customers.parquet").sort_values("valid_from")
    joined = pd.merge_asof(payments, profiles, left_on="tx_time", right_on="valid_from", by="customer_id")
    first, last = joined.iloc[:15_000], joined.iloc[-15_000:]
    assert abs(np.log(first["tenure_days"].median() / last["tenure_days"].median())) < 0.25
    assert abs(np.log(first["amount"].median() / last["amount"].median())) < 0.05


def test_a_terminal_is_suspected_only_after_its_outcomes_matured() -> None:
    survival = np.append(np.ones(28), np.linspace(1, 0.1, 12))
    evidence = np.full((2, 40), -1.0)
    evidence[0, 5:10] = 3.0
    belief = terminal_posterior(evidence, start_rate=np.array([1e-3, 1e-3]), survival=survival, delay=14)
    np.testing.assert_allclose(belief[0, :19], belief[1, :19])
    assert belief[0, 23] > 0.9
    assert belief[1, 23] < 0.1


def test_auc_counts_ties_half_and_is_undefined_for_one_class() -> None:
    rng = np.random.default_rng(0)
    label, score = rng.random(500) < 0.3, np.round(rng.random(500), 1)
    assert auc(label, score) == pytest.approx(roc_auc_score(label, score))
    assert auc(np.ones(5, bool), np.arange(5.0)) is None


def test_a_use_case_of_real_tables_has_nothing_to_simulate(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="no simulator"):
        simulate(load_use_case("lending_club", Settings()), tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("")
    with pytest.raises(FeatureError, match="can't make the folder"):
        simulate(resized("credit", rows=200, live_rows=0), tmp_path / "raw")


def test_a_failed_write_leaves_no_half_written_file(tmp_path: Path) -> None:
    (tmp_path / "applications.parquet").mkdir()
    with pytest.raises(FeatureError, match="can't write into"):
        simulate(resized("credit", rows=200, live_rows=0), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["applications.parquet"]
