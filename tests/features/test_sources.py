"""Finding, opening and uniting raw tables."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import FeatureError
from configs.use_case import Period
from features.frame import training_frame
from features.sources import connect, data_hash, source, table_files, table_path
from features.traffic import requests


def test_a_missing_file_names_the_nearest_one(made) -> None:
    made.payments([{}, {}], file="payment.parquet")
    with pytest.raises(FeatureError, match=r"no file .*payments\.parquet.*did you mean 'payment\.parquet'") as caught:
        table_path(made.use_case(), "payments", made.settings)
    assert "RISK_DATA" in caught.value.fix


def test_a_missing_simulated_table_says_how_to_make_it(made) -> None:
    simulator = {"world": "fraud", "rows": 10, "start": "2025-01-01", "months": 1}
    with pytest.raises(FeatureError) as caught:
        table_path(made.use_case(simulator=simulator), "payments", made.settings)
    assert caught.value.fix == "risk simulate made"


def test_a_missing_column_names_the_nearest_one_and_all_that_were_found(made) -> None:
    made.payments([{}, {}])
    use_case = made.use_case(request={"amuont": {}})
    with pytest.raises(
        FeatureError, match=r"no column 'amuont' \(did you mean 'amount'\?\), named by request\.amuont"
    ) as caught:
        training_frame(use_case, made.settings)
    assert "card_id" in caught.value.expected


def test_a_file_that_is_no_table_is_a_clear_error(made) -> None:
    path = made.settings.data / "payments.parquet"
    path.write_text("not parquet")
    with connect(made.settings) as connection, pytest.raises(FeatureError, match="can't be read"):
        source(connection, path)


@pytest.mark.parametrize("file", ["payments.csv", "payments.csv.gz"])
def test_csv_gives_the_same_frame_as_parquet(made, file: str) -> None:
    rows = [{"amount": 12.5}, {"amount": 7.25, "channel": None}, {"card_id": None}]
    made.payments(rows)
    made.payments(rows, file=file)
    tables = {"payments": {"path": file, "time": "paid_at"}}
    csv = training_frame(made.use_case(tables=tables), made.settings)
    parquet = training_frame(
        made.use_case(tables={"payments": {"path": "payments.parquet", "time": "paid_at"}}), made.settings
    )
    pd.testing.assert_frame_equal(csv.events, parquet.events)
    pd.testing.assert_frame_equal(csv.features, parquet.features)


def test_naive_times_are_utc_and_zoned_ones_are_converted(made) -> None:
    for zone, time in {
        "naive": "2025-01-01 10:00",
        "utc": "2025-01-01 10:00Z",
        "rome": "2025-01-01 11:00+01:00",
    }.items():
        made.payments([{"paid_at": pd.Timestamp(time)}, {"paid_at": pd.Timestamp(time)}], file=f"{zone}.parquet")
        tables = {"payments": {"path": f"{zone}.parquet", "time": "paid_at"}}
        frame = training_frame(made.use_case(tables=tables), made.settings)
        assert frame.events["event_time"][0] == pd.Timestamp("2025-01-01 10:00Z")
        assert str(frame.events["event_time"].dtype) == "datetime64[us, UTC]"


def test_a_partitioned_folder_is_one_table_with_its_folders_as_columns(made) -> None:
    made.payments([{"month": 1 + index % 2, "amount": 1.0 * index} for index in range(6)])
    whole = pd.read_parquet(made.settings.data / "payments.parquet")
    folder = made.settings.data / "payments"
    for month, part in whole.groupby("month"):
        place = folder / "year=2025" / f"month={month}"
        place.mkdir(parents=True)
        part.drop(columns="month").to_parquet(place / "part.parquet")
    (folder / "_SUCCESS").touch()
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "half.parquet").write_text("half a file")
    request = {"amount": {}, "month": {"type": "integer"}, "year": {}}
    tables = {"payments": {"path": "payments", "time": "paid_at"}}
    use_case = made.use_case(tables=tables, request=request)
    frame = training_frame(use_case, made.settings)
    assert list(frame.features["month"]) == [1.0, 2.0] * 3
    assert set(frame.features["year"]) == {2025.0}
    before = data_hash(use_case, made.settings)
    whole.head(1).drop(columns="month").assign(payment_id="new").to_parquet(folder / "year=2025/month=1/more.parquet")
    assert data_hash(use_case, made.settings) != before
    assert len(training_frame(use_case, made.settings).events) == 7


def test_files_of_a_folder_may_lack_columns_and_differ_in_types(made) -> None:
    made.payments([{"amount": 1}, {"amount": 2}])
    first = pd.read_parquet(made.settings.data / "payments.parquet")
    folder = made.settings.data / "payments"
    folder.mkdir()
    first.to_parquet(folder / "a.parquet")
    second = first.assign(payment_id=["x", "y"], amount=[0.5, 1.5]).drop(columns="channel")
    second.to_parquet(folder / "b.parquet")
    use_case = made.use_case(tables={"payments": {"path": "payments", "time": "paid_at"}})
    features = training_frame(use_case, made.settings).features
    assert sorted(features["amount"]) == [0.5, 1.0, 1.5, 2.0]
    assert features["channel"].isna().sum() == 2


def test_a_folder_without_tables_and_a_damaged_gz_are_clear_errors(made) -> None:
    (made.settings.data / "empty").mkdir()
    (made.settings.data / "cut.csv.gz").write_bytes(gzip.compress(b"payment_id\n" * 1000)[:-20])
    for name, message in {"empty": "holds no Parquet files", "cut.csv.gz": "is damaged, or no gzip file"}.items():
        use_case = made.use_case(tables={"payments": {"path": name, "time": "paid_at"}})
        with pytest.raises(FeatureError, match=message):
            training_frame(use_case, made.settings)


def test_a_folder_that_cant_be_read_is_not_left_out_in_silence() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("a", "b"):
            (folder / part).mkdir()
            pd.DataFrame({"amount": [1]}).to_parquet(folder / part / "rows.parquet")
        folder.chmod(0o755)
        (folder / "b").chmod(0o000)
        root = os.geteuid() == 0
        try:
            if root:  # who may read everything
                os.seteuid(65534)
            with pytest.raises(PermissionError):
                table_files(folder)
        finally:
            if root:
                os.seteuid(0)
            (folder / "b").chmod(0o755)
        assert [file.parent.name for file in table_files(folder)] == ["a", "b"]


def test_decimals_that_would_be_read_as_other_numbers_are_refused(made) -> None:
    path = made.settings.data / "payments.parquet"
    pq.write_table(pa.table({"amount": pa.array([1], pa.decimal256(60, 2))}), path)
    with connect(made.settings) as connection, pytest.raises(FeatureError, match="more than 38 digits in amount"):
        source(connection, path)


def accrue(made, table: pd.DataFrame, name: str = "20250101_20250102") -> None:
    folder = made.settings.home / "accrued" / "made"
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / f"{name}.parquet")


def test_accrued_events_win_over_raw_ones_but_keep_their_protected_attributes(made) -> None:
    made.payments([{"sex": "f"}, {"sex": "m"}])
    live = pd.DataFrame(
        {
            "payment_id": ["p001", "p900"],
            "paid_at": [made.at(1), made.at(50)],
            "card_id": ["c1", "c9"],
            "amount": [99.0, 5.0],
            "is_fraud": [0, 1],
        }
    )
    accrue(made, live)
    use_case = made.use_case(protected={"sex": {"type": "category"}})
    frame = training_frame(use_case, made.settings)
    assert list(frame.events["event_id"]) == ["p000", "p001", "p900"]
    assert list(frame.features["amount"]) == [10.0, 99.0, 5.0]
    assert list(frame.events["label"]) == [0.0, 0.0, 1.0]
    assert list(frame.events["sex"]) == ["f", "m", None]
    period = Period(start=made.at(0), end=made.at(10))
    sent = [request.fields["amount"] for request, _ in requests(use_case, made.settings, period=period)]
    assert sent == [10.0, 10.0], "traffic is the raw table, not what was scored before"


def test_the_data_hash_changes_with_any_byte_and_with_accrued_events(made) -> None:
    use_case = made.use_case(tables={"payments": {"path": "payments.parquet", "time": "paid_at"}})
    made.payments([{}, {}])
    before = data_hash(use_case, made.settings)
    assert data_hash(use_case, made.settings) == before
    made.payments([{}, {"amount": 11.0}])
    changed = data_hash(use_case, made.settings)
    accrue(made, pd.DataFrame({"payment_id": ["x"], "paid_at": [made.at(1)]}))
    assert len({before, changed, data_hash(use_case, made.settings)}) == 3
