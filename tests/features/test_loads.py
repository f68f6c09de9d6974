"""Loads: good rows and rejects, kept and used again; real mess is reported and not crashed on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import FeatureError
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.contracts import ROW_NUMBER
from features.frame import training_frame
from features.intake import kept
from features.intake.kept import Load
from features.intake.loads import accepted, loaded, opened, validated
from features.intake.privacy import MASK, is_token, tokenizer_of
from features.sources import connect, data_hash

from .conftest import Made

REQUEST = {"amount": {"min": 0}, "channel": {"type": "category", "values": ["chip", "online"]}}


def tables(rejects: float = 1.0, **changes: Any) -> dict[str, Any]:
    return {"payments": {"path": "payments.parquet", "time": "paid_at", "rejects": rejects} | changes}


def lenient(made: Made, **changes: Any) -> UseCase:
    return made.use_case(**{"tables": tables(), "request": REQUEST} | changes)


def load(made: Made, **changes: Any) -> Load:
    return loaded(lenient(made, **changes), "payments", made.settings)


def good(load: Load) -> pd.DataFrame:
    return pd.read_parquet(load.good)


def rejects(load: Load) -> list[tuple[Any, ...]]:
    return [tuple(each.values()) for each in pq.read_table(load.rejects).to_pylist()]


def test_good_rows_and_rejects_are_kept_apart(made: Made) -> None:
    made.payments([{}, {"amount": -1.0, "channel": "fax"}, {}])
    found = load(made)
    assert (found.rows, found.rejected, found.share) == (3, 1, pytest.approx(1 / 3))
    assert list(good(found)["payment_id"]) == ["p000", "p002"]
    assert rejects(found) == [
        (2, "amount", "is below 0", "p001"),
        (2, "channel", "is not in the vocabulary", "p001"),
    ]


def test_only_the_columns_of_the_contract_are_loaded(made: Made) -> None:
    made.payments([{"holder": "Ann"}, {"holder": "Bob"}])
    columns = ["payment_id", "paid_at", "is_fraud", "card_id", "device_id", "amount", "channel"]
    assert list(good(load(made)).columns) == columns


def test_the_first_good_row_keeps_a_repeated_id(made: Made) -> None:
    ids = ["a", "b", "a", "a", "b"]
    made.payments(
        [{"payment_id": name, "amount": -1.0 if index == 0 else 1.0 * index} for index, name in enumerate(ids)]
    )
    found = load(made)
    assert list(good(found)["amount"]) == [1.0, 2.0]
    assert [(row, reason) for row, _, reason, _ in rejects(found)] == [
        (1, "is below 0"),
        (4, "repeats that of an earlier row"),
        (5, "repeats that of an earlier row"),
    ]


def test_above_the_threshold_the_load_fails_whole_and_counts_the_reasons(made: Made) -> None:
    made.payments([{"amount": -1.0}, {"amount": -2.0}, {"channel": "fax"}, {}])
    use_case = lenient(made, tables=tables(0.5))
    with connect(made.settings) as connection, pytest.raises(FeatureError) as caught:
        opened(connection, use_case, "payments", made.settings)
    assert "3 of 4 rows are rejected (75.00%)" in caught.value.found
    assert "amount is below 0 (2), channel is not in the vocabulary (1)" in caught.value.found
    assert "tables.payments.rejects" in caught.value.expected
    [(failed, fails)] = validated(use_case, made.settings)
    assert fails
    assert failed.rejects.is_file()


def test_at_the_threshold_the_load_passes(made: Made) -> None:
    made.payments([{"amount": -1.0}, {}])
    assert len(training_frame(lenient(made, tables=tables(0.5)), made.settings).events) == 1


def test_a_load_is_used_again_until_the_file_changes(made: Made) -> None:
    made.payments([{}, {}])
    first = load(made)
    assert load(made) == first
    made.payments([{}, {}, {}])
    assert (load(made).rows, load(made).folder == first.folder) == (3, False)


def test_a_load_is_made_anew_for_another_contract_but_not_for_another_threshold(made: Made) -> None:
    made.payments([{}, {}])
    first = load(made)
    assert load(made, tables=tables(0.2)).folder == first.folder
    assert load(made, request={"amount": {"min": 1}}).folder != first.folder


def test_the_last_loads_are_kept_and_older_ones_removed(made: Made) -> None:
    for rows in range(1, kept.KEPT + 3):
        made.payments([{}] * rows)
        last = load(made)
    assert [each.rows for each in kept.kept(last.folder.parent)] == [3, 4, 5]


def test_what_a_killed_load_left_behind_is_removed(made: Made) -> None:
    made.payments([{}, {}])
    place = load(made).folder.parent / ".loading-killed"
    place.mkdir()
    (place / "rows.parquet").write_text("half")
    made.payments([{}, {}, {}])
    assert load(made).rows == 3
    assert not place.exists()


def test_a_load_that_fails_leaves_nothing_behind(made: Made) -> None:
    made.write(pd.DataFrame({"payment_id": ["a"]}), "payments.parquet")
    with pytest.raises(FeatureError, match="no column 'paid_at'"):
        load(made)
    assert [path.name for path in (made.settings.home / "loads" / "made" / "payments").iterdir()] == [".lock"]


_LOADING = """
import json, sys
from configs.loading import parse
from configs.settings import Settings
from features.intake.loads import loaded
print("ready", flush=True)
found = loaded(parse(json.loads(sys.argv[1])), "payments", Settings())
print(found.rows, found.folder)
"""


def test_processes_that_load_the_same_table_at_once_make_one_load(made: Made) -> None:
    made.payments([{} for _ in range(2000)])
    raw = json.dumps(lenient(made).as_json())
    environment = {**os.environ, "RISK_HOME": str(made.settings.home), "RISK_DATA": str(made.settings.data)}
    with kept.alone(made.settings.home / "loads" / "made" / "payments"):
        workers = [
            subprocess.Popen([sys.executable, "-c", _LOADING, raw], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        for worker in workers:
            assert worker.stdout
            assert worker.stdout.readline() == "ready\n"
    found = {worker.communicate(timeout=60)[0] for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert len(found) == 1
    assert found.pop().startswith("2000 ")


def test_the_hash_of_the_data_is_that_of_the_raw_files(made: Made) -> None:
    made.payments([{}, {}])
    use_case = made.use_case(tables=tables())
    before = data_hash(use_case, made.settings)
    loaded(use_case, "payments", made.settings)
    assert data_hash(use_case, made.settings) == before


def test_events_without_an_id_are_numbered_as_in_the_file(made: Made) -> None:
    made.payments([{"amount": 1.0}, {"amount": -1.0}, {"amount": 3.0}])
    use_case = lenient(made, event={"table": "payments", "time": "paid_at"})
    assert list(good(loaded(use_case, "payments", made.settings))[ROW_NUMBER]) == [1, 3]
    assert list(training_frame(use_case, made.settings).events["event_id"]) == ["1", "3"]


def test_the_order_of_the_rows_is_kept(made: Made) -> None:
    made.payments([{"payment_id": f"{index * 7919 % 5000:04}", "amount": index % 50 - 1.0} for index in range(5000)])
    found = good(load(made, personal={"card_id": "token"}))
    assert list(found["payment_id"]) == [f"{index * 7919 % 5000:04}" for index in range(5000) if index % 50]


# Mess


def test_mixed_types_are_read_as_what_they_say(made: Made) -> None:
    made.payments([{"amount": "12.5"}, {"amount": "1e2"}, {"amount": "twelve"}, {"amount": None}, {"amount": "inf"}])
    found = load(made)
    assert [(row, column, reason) for row, column, reason, _ in rejects(found)] == [
        (3, "amount", "is not a number"),
        (5, "amount", "is not a number"),
    ]
    frame = training_frame(lenient(made), made.settings)
    assert list(frame.features["amount"][:2]) == [12.5, 100.0]


def test_naive_and_mixed_time_zones_are_one_utc(made: Made) -> None:
    texts = ["2025-01-01 00:00:00", "2025-01-01T02:00:01+02:00", "2024-12-31T19:00:02-05:00", "2025-01-01T00:00:03Z"]
    made.payments([{"paid_at": text} for text in [*texts, "31/12/2024 at noon"]])
    found = load(made)
    assert list(good(found)["paid_at"]) == [pd.Timestamp(2025, 1, 1, 0, 0, second) for second in range(4)]
    assert rejects(found) == [(5, "paid_at", "is missing or no time", "p004")]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_resolution_are_loaded(made: Made, unit: str) -> None:
    made.payments([{}, {}])
    table = pd.read_parquet(made.settings.data / "payments.parquet")
    table["paid_at"] = table["paid_at"].dt.tz_localize(None).dt.as_unit(unit)
    table.to_parquet(made.settings.data / "payments.parquet")
    assert list(good(load(made))["paid_at"]) == [pd.Timestamp(2025, 1, 1), pd.Timestamp(2025, 1, 1, 0, 0, 1)]


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("kind", [int, float])
def test_numbers_since_1970_are_times_in_the_unit_of_their_size(made: Made, unit: int, kind: type) -> None:
    made.payments([{"paid_at": kind(int(made.at(second).timestamp()) * unit)} for second in range(2)])
    assert list(good(load(made))["paid_at"]) == [pd.Timestamp(2025, 1, 1), pd.Timestamp(2025, 1, 1, 0, 0, 1)]


def test_dates_as_digits_are_times(made: Made) -> None:
    made.payments([{"paid_at": 20250101}, {"paid_at": 20250230}])
    found = load(made)
    assert list(good(found)["paid_at"]) == [pd.Timestamp(2025, 1, 1)]
    assert rejects(found) == [(2, "paid_at", "is missing or no time", "p001")]


def test_late_rows_are_loaded_and_future_ones_rejected_until_their_time_has_come(made: Made) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    made.payments([{"paid_at": datetime(1999, 1, 1, tzinfo=UTC)}, {"paid_at": soon}, {}])
    found = load(made)
    assert rejects(found) == [(2, "paid_at", "is in the future", "p001")]
    assert load(made) == found
    record = json.loads((found.folder / "load.json").read_text())
    assert datetime.fromisoformat(record["expires"]) == soon - timedelta(minutes=5)
    (found.folder / "load.json").write_text(json.dumps(record | {"expires": "2025-01-01T00:00:00+00:00"}))
    assert load(made).folder != found.folder, "a load in which a future row has become possible is made anew"


def test_impossible_years_are_rejected(made: Made) -> None:
    made.payments([{"paid_at": "1066-10-14"}, {"paid_at": "infinity"}, {"paid_at": "2025-01-01"}])
    assert [(row, reason) for row, _, reason, _ in rejects(load(made))] == [
        (1, "is not between the years 1900 and 2200"),
        (2, "is not between the years 1900 and 2200"),
        (2, "is in the future"),
    ]


def test_an_undocumented_code_is_rejected_or_becomes_other(made: Made) -> None:
    made.payments([{"channel": "chip"}, {"channel": "fax"}])
    assert rejects(load(made)) == [(2, "channel", "is not in the vocabulary", "p001")]
    other = {"channel": {"type": "category", "values": ["chip", "online"], "other": "online"}}
    assert load(made, request=other).rejected == 0
    assert list(training_frame(lenient(made, request=other), made.settings).features["channel"]) == ["chip", "online"]


def test_columns_without_any_value_are_loaded(made: Made) -> None:
    nothing = dict.fromkeys(["amount", "channel", "device_id", "opened", "flag", "is_fraud"])
    made.payments([nothing, nothing])
    request = REQUEST | {"opened": {"type": "time"}, "flag": {"type": "boolean"}}
    found = load(made, request=request)
    assert (found.rejected, found.outcomes) == (0, (0, 0, 2))
    assert good(found)[list(nothing)].isna().all(axis=None)


@pytest.mark.parametrize("file", ["payments.csv", "payments.csv.gz"])
def test_a_csv_file_in_latin_1_is_loaded_with_a_note(made: Made, file: str) -> None:
    made.payments([{"merchant": "Caf\u00e9"}, {"merchant": "M\u00fcller"}], file="payments.csv")
    table = pd.read_csv(made.settings.data / "payments.csv")
    table.to_csv(made.settings.data / file, index=False, encoding="latin-1")
    request = {"merchant": {"type": "category"}}
    found = load(made, tables=tables(path=file), request=request)
    assert list(good(found)["merchant"]) == ["Caf\u00e9", "M\u00fcller"]
    assert found.notes == (f"{file} is not UTF-8: it was read as windows-1252",)


def test_lines_of_a_csv_file_that_are_too_long_are_rejected_and_short_ones_filled_up(made: Made) -> None:
    made.payments([{}, {}, {}], file="payments.csv")
    path = made.settings.data / "payments.csv"
    header, first, second, third = path.read_text().splitlines()
    path.write_text("\n".join([header, first, second + ",surplus", third.rsplit(",", 1)[0]]) + "\n")
    found = load(made, tables=tables(path="payments.csv"))
    assert rejects(found) == [
        (2, "(line)", "has more values than the header has names", "p001"),
        (3, "paid_at", "is missing or no time", "p002"),
    ]


def test_line_breaks_within_quotes_are_no_new_rows(made: Made) -> None:
    made.payments([{"note": "two\nlines"}, {"note": "one"}], file="payments.csv")
    assert load(made, tables=tables(path="payments.csv")).rows == 2


def test_keys_and_codes_of_a_csv_file_stay_as_they_are_written(made: Made) -> None:
    made.payments([{"card_id": "007", "channel": "01"}, {"card_id": "08", "channel": "1"}], file="payments.csv")
    found = good(load(made, tables=tables(path="payments.csv"), request={"channel": {"type": "category"}}))
    assert (list(found["card_id"]), list(found["channel"])) == (["007", "08"], ["01", "1"])


def test_whole_keys_and_codes_that_missing_ones_made_fractions_are_as_callers_write_them(made: Made) -> None:
    made.payments([{}, {}])
    table = pq.read_table(made.settings.data / "payments.parquet")
    for name in ("payment_id", "card_id", "channel"):
        fractions = pa.array([1.0, 2.0 if name == "payment_id" else float("nan")])
        table = table.set_column(table.schema.get_field_index(name), name, fractions)
    pq.write_table(table, made.settings.data / "payments.parquet")
    use_case = lenient(made, request={"amount": {}, "channel": {"type": "category", "values": ["1"]}})
    rows = good(loaded(use_case, "payments", made.settings))
    assert (list(rows["payment_id"]), list(rows["card_id"])) == (["1", "2"], ["1", None])
    assert list(training_frame(use_case, made.settings).features["channel"]) == ["1", None]


def test_ids_that_are_no_number_are_missing(made: Made) -> None:
    made.payments([{}, {}])
    table = pq.read_table(made.settings.data / "payments.parquet")
    table = table.set_column(table.schema.get_field_index("payment_id"), "payment_id", pa.array([float("nan"), 2.0]))
    pq.write_table(table, made.settings.data / "payments.parquet")
    assert rejects(load(made)) == [(1, "payment_id", "is missing", None)]


def test_nested_values_in_a_number_are_rejected(made: Made) -> None:
    made.payments([{}, {}])
    table = pq.read_table(made.settings.data / "payments.parquet")
    nested = pa.array([{"value": "4711"}, {"value": "4712"}])
    table = table.set_column(table.schema.get_field_index("amount"), "amount", nested)
    pq.write_table(table, made.settings.data / "payments.parquet")
    assert [(row, reason) for row, _, reason, _ in rejects(load(made))] == [
        (1, "is not a number"),
        (2, "is not a number"),
    ]


# Privacy


PERSONAL = {"card_id": "token", "holder": "mask", "born": "mask", "street": "token"}
PRIVATE = REQUEST | {
    "holder": {"type": "category", "feature": False},
    "born": {"type": "time", "feature": False},
    "street": {"type": "category", "missing": ["n/a"]},
}


def private(made: Made) -> UseCase:
    row = {
        "holder": "Ann Archer",
        "born": datetime(1970, 5, 17, tzinfo=UTC),
        "street": "Elm Row 5",
        "card_id": "4711-12",
    }
    bad = {"holder": "Zoe\x00Zuse", "card_id": "", "street": "Oak Lane 7" + "x" * 130}
    made.payments([row, row | {"holder": None, "street": "n/a"}, row | bad])
    return lenient(made, request=PRIVATE, personal=PERSONAL)


def test_personal_columns_are_tokenized_and_masked_on_the_way_in(made: Made) -> None:
    use_case = private(made)
    found, tokenizer = good(loaded(use_case, "payments", made.settings)), tokenizer_of(use_case, made.settings)
    assert tokenizer
    assert list(found["card_id"]) == [tokenizer.token("4711-12")] * 2
    assert list(found["holder"]) == [MASK, None]
    assert found["born"].isna().all()
    assert is_token(found["street"][0])
    assert found["street"][1] is None, "a code for missing is no value to be tokenized"


def test_no_personal_value_is_in_anything_that_a_load_writes(made: Made) -> None:
    found = loaded(private(made), "payments", made.settings)
    assert found.rejected == 1
    assert {event for *_, event in rejects(found)} == {"p002"}
    written = b"".join(path.read_bytes() for path in made.settings.home.rglob("*") if path.is_file())
    for table in (found.good, found.rejects):
        written += pq.read_table(table).to_pandas().to_csv().encode()
    for value in (b"Ann", b"1970-05-17", b"Elm", b"4711-12", b"Zuse", b"Oak"):
        assert value not in written


def test_a_load_with_other_token_keys_is_another_load(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    use_case = private(made)
    keys = "1:" + "A" * 43 + "="
    monkeypatch.setenv("RISK_TOKEN_KEYS", keys)
    before = loaded(use_case, "payments", made.settings)
    monkeypatch.setenv("RISK_TOKEN_KEYS", f"{keys},2:" + "B" * 42 + "A=")
    (made.settings.home / "tokens" / "made.json").unlink()
    after = loaded(use_case, "payments", made.settings)
    assert after.key != before.key
    tokenizer = tokenizer_of(use_case, made.settings)
    assert tokenizer
    assert list(good(after)["card_id"]) == [tokenizer.token("4711-12")] * 2


def test_callers_send_the_accepted_rows_with_their_personal_data(made: Made) -> None:
    use_case = private(made)
    with connect(made.settings) as connection:
        raw = accepted(connection, use_case, made.settings)
        rows = connection.execute(f"SELECT holder, card_id FROM {raw.scan}").fetchall()
    assert rows == [("Ann Archer", "4711-12"), (None, "4711-12")]


# Size


def test_a_table_several_times_larger_than_the_memory_is_loaded(made: Made) -> None:
    rows, names = 400_000, [f"note_{index}" for index in range(5)]
    with duckdb.connect() as connection:
        notes = ", ".join(
            f"repeat(md5(CAST(range + {index} AS VARCHAR)), 4) AS {name}" for index, name in enumerate(names)
        )
        connection.execute(
            f"COPY (SELECT range % 5000 AS card_id, TIMESTAMP '2025-01-01' + to_seconds(range) AS at, {notes} "
            f"FROM range({rows})) TO '{made.settings.data / 'logins.parquet'}' (FORMAT parquet, ROW_GROUP_SIZE 10000)"
        )
    small = made.settings.model_copy(update={"memory": "64MB"})
    assert rows * 5 * 128 == 4 * 64e6
    part = {"table": "logins", "entity": "card", "functions": ["distinct"], "windows": ["1d"]}
    use_case = lenient(
        made,
        tables=tables() | {"logins": {"path": "logins.parquet", "time": "at"}},
        aggregates=[part | {"column": name} for name in names],
        personal={"card_id": "token"},
    )
    found = loaded(use_case, "logins", small)
    assert (found.rows, found.rejected) == (rows, 0)
    assert pq.read_metadata(found.good).num_rows == rows


@pytest.mark.parametrize("name", ["handbook_fraud", "lending_club", "taiwan_default"])
def test_the_real_tables_keep_their_contracts(name: str, settings: Settings, real_data: Path) -> None:
    use_case = load_use_case(name, settings.model_copy(update={"configs": Settings().configs}))
    for found, fails in validated(use_case, settings):
        assert (found.rejected, fails) == (0, False)
        assert found.rows > 1000
    assert found.folder.stat().st_mode & 0o077 == 0
