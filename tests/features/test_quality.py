"""The quality report: what it counts, what changed since the last load, and that it tells nothing personal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.intake.changes import changes
from features.intake.loads import loaded
from features.intake.privacy import tokenizer_of
from features.intake.quality import read_report
from features.intake.quality_page import place, share

from .conftest import Made

REQUEST = {"amount": {"missing": [-9]}, "channel": {"type": "category", "values": ["chip", "online"]}}


def report(made: Made, rows: list[dict[str, Any]] | None = None, **changes: Any) -> dict[str, Any]:
    if rows is not None:
        made.payments(rows)
    tables = {"payments": {"path": "payments.parquet", "time": "paid_at", "rejects": 1.0}}
    use_case = made.use_case(**{"tables": tables, "request": REQUEST} | changes)
    return read_report(loaded(use_case, "payments", made.settings))


def column(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in found["columns"] if each["column"] == name)


def inconsistencies(found: dict[str, Any]) -> dict[tuple[str, str], int]:
    return {(each["column"], each["what"]): each["count"] for each in found["consistency"]}


def test_completeness_counts_missing_values_and_codes_in_all_rows(made: Made) -> None:
    found = report(made, [{"amount": None}, {"amount": -9.0}, {"amount": 1.0, "channel": "fax"}, {"channel": None}])
    assert column(found, "amount")["missing"] == 2
    assert column(found, "channel")["missing"] == 1


def test_completeness_takes_nan_as_missing_as_the_load_does(made: Made) -> None:
    made.payments([{}, {}])
    table = pq.read_table(made.settings.data / "payments.parquet")
    table = table.set_column(table.schema.get_field_index("amount"), "amount", pa.array([float("nan"), 1.0]))
    pq.write_table(table, made.settings.data / "payments.parquet")
    assert column(read_report(loaded(made.use_case(), "payments", made.settings)), "amount")["missing"] == 1


def test_uniqueness_counts_repeated_ids_and_distinct_keys(made: Made) -> None:
    found = report(made, [{"payment_id": "a", "card_id": "c1"}, {"payment_id": "a"}, {"card_id": "c2"}])
    assert found["repeated_ids"] == 1
    assert column(found, "card_id")["distinct"] == 2


def test_validity_counts_rejected_rows_by_reason(made: Made) -> None:
    found = report(made, [{"channel": "fax"}, {"channel": "telex"}, {}])
    assert (found["rows"], found["rejected"]) == (3, 2)
    assert found["reasons"] == [{"column": "channel", "reason": "is not in the vocabulary", "rows": 2}]


def test_numbers_are_summed_up_and_outliers_lie_beyond_the_fences(made: Made) -> None:
    found = report(made, [{"amount": float(value)} for value in [*range(1, 100), 1000]])
    numbers = column(found, "amount")["numbers"]
    assert (numbers["least"], numbers["most"], numbers["outliers"]) == (1, 1000, 1)
    assert numbers["mean"] == pytest.approx(59.5)
    assert numbers["quantiles"][3] == pytest.approx(50.5, abs=1)


def test_without_a_spread_nothing_is_an_outlier(made: Made) -> None:
    numbers = column(report(made, [{"amount": 1.0}] * 50 + [{"amount": 7.0}]), "amount")["numbers"]
    assert (numbers["fences"], numbers["outliers"]) == (None, 0)


def test_numbers_of_any_size_are_summed_up(made: Made) -> None:
    numbers = column(report(made, [{"amount": value} for value in (1e300, -1.7e308, 1.0, 2.0, 3.0)]), "amount")[
        "numbers"
    ]
    assert (numbers["least"], numbers["most"], numbers["mean"]) == (-1.7e308, 1e300, 2.0)
    huge = column(report(made, [{"amount": 1e300}, {"amount": 1e301}]), "amount")
    assert huge["numbers"] is None


def test_categories_and_times_show_what_is_there(made: Made) -> None:
    found = report(made, [{}, {"channel": "online"}, {}])
    assert column(found, "channel")["categories"] == [["chip", 2], ["online", 1]]
    assert column(found, "paid_at")["span"] == ["2025-01-01 00:00:00", "2025-01-01 00:00:02"]


def test_an_outcome_known_before_its_event_or_after_the_maturity_is_inconsistent(made: Made) -> None:
    label = {"column": "is_fraud", "maturity": "2d", "known": "told_at"}
    rows = [{"told_at": made.at(-5)}, {"told_at": made.at(3 * 86400)}, {"told_at": made.at(60)}]
    assert inconsistencies(report(made, rows, label=label)) == {
        ("told_at", "lies before paid_at"): 1,
        ("told_at", "is later than the label's maturity"): 1,
    }


def test_a_label_younger_than_its_maturity_is_inconsistent(made: Made) -> None:
    rows = [{}, {"paid_at": datetime.now(UTC) - timedelta(days=1)}]
    assert inconsistencies(report(made, rows)) == {("is_fraud", "is there before the label's maturity"): 1}


def test_rows_known_before_their_time_and_late_ones_are_inconsistent(made: Made) -> None:
    times = {"paid_at": [made.at(0)] * 3, "written": [made.at(-1), made.at(9 * 86400), made.at(5)]}
    rows = [dict(zip(times, pair, strict=True)) for pair in zip(*times.values(), strict=True)]
    tables = {"payments": {"path": "payments.parquet", "time": "paid_at", "created": "written", "rejects": 1.0}}
    assert inconsistencies(report(made, rows, tables=tables)) == {
        ("written", "lies before paid_at"): 1,
        ("written", "is later than paid_at by more than `late`"): 1,
    }


def test_keys_in_two_forms_and_labels_with_many_values_are_inconsistent(made: Made) -> None:
    rows = [{"card_id": "C7", "is_fraud": 0}, {"card_id": " c7", "is_fraud": 1}, {"card_id": "00c7", "is_fraud": 2}]
    assert inconsistencies(report(made, [*rows, {"card_id": "C8"}])) == {
        ("card_id", "has keys that differ only in case, blanks or leading zeros"): 3,
        ("is_fraud", "has more than two values"): 3,
    }


def test_the_first_load_has_no_changes_and_an_equal_one_none_either(made: Made) -> None:
    first = report(made, [{}, {}])
    assert (first["previous"], first["changes"]) == (None, [])
    again = report(made, [{}, {}])
    assert (again["previous"], again["changes"]) == (first["loaded_at"], [])


def test_changes_since_the_last_load_are_told(made: Made) -> None:
    channels = {"request": {"amount": {}, "channel": {"type": "category"}}}
    report(made, [{"amount": float(value)} for value in range(100)], **channels)
    rows = [{"amount": value + 50.0 if value % 4 else None, "channel": "online"} for value in range(200)]
    found = {
        (each["column"], each["what"]): (each["before"], each["now"])
        for each in report(made, rows, **channels)["changes"]
    }
    assert found["", "rows"] == ("100", "200")
    assert found["amount", "missing"] == ("0.0%", "25.0%")
    assert found["amount", "mean"] == ("49.5", "150")
    assert {("amount", "median"), ("channel", "new category online"), ("channel", "vanished category chip")} <= set(
        found
    )


def test_a_failed_load_is_not_what_the_next_one_is_compared_with(made: Made) -> None:
    strict = {"tables": {"payments": {"path": "payments.parquet", "time": "paid_at"}}}
    first = report(made, [{}, {}], **strict)
    assert report(made, [{"channel": "fax"}, {}, {}], **strict)["fails"]
    assert report(made, [{}] * 4, **strict)["previous"] == first["loaded_at"]


def test_a_column_that_is_read_for_the_first_time_is_a_change() -> None:
    plain = {"column": "a", "missing": 0, "numbers": None, "personal": None, "categories": [], "distinct": None}
    before = {"rows": 1, "rejected": 0, "columns": [plain]}
    now = before | {"columns": [plain | {"column": "b"}]}
    assert [(each["column"], each["now"]) for each in changes(before, now)] == [("b", "read"), ("a", "not read")]


def test_the_page_tells_the_verdict_the_reasons_and_escapes_what_it_shows(made: Made) -> None:
    rows = [{"channel": "<script>x</script>"}, {"channel": "fax"}, {}]
    made.payments(rows)
    use_case = made.use_case(request={"channel": {"type": "category"}, "amount": {"max": 5}})
    page = loaded(use_case, "payments", made.settings).report.read_text()
    assert "load fails" in page
    assert "is above 5" in page
    assert "<script" not in page


def test_nothing_is_shown_of_personal_columns(made: Made) -> None:
    rows = [{"holder": name, "card_id": f"secret-{name}"} for name in ("Ann", "Bob")]
    request = REQUEST | {"holder": {"type": "category", "feature": False}}
    found = report(made, rows, request=request, personal={"card_id": "token", "holder": "mask"})
    card, holder = column(found, "card_id"), column(found, "holder")
    assert (card["distinct"], card["categories"], holder["categories"]) == (2, [], [])
    folder = made.settings.home / "loads" / "made" / "payments"
    written = "".join(path.read_text() for path in folder.rglob("quality.*"))
    assert written
    tokenizer = tokenizer_of(made.use_case(personal={"card_id": "token"}), made.settings)
    assert tokenizer
    assert not [word for word in ("Ann", "Bob", "secret", tokenizer.token("secret-Ann")) if word in written]


@pytest.mark.parametrize(("part", "whole", "told"), [(1, 8, "12.5%"), (1, 10**6, "<0.1%"), (0, 5, "0%"), (0, 0, "-")])
def test_a_small_share_is_not_called_none(part: int, whole: int, told: str) -> None:
    assert share(part, whole) == told


def test_a_value_beyond_the_axis_is_drawn_at_its_end() -> None:
    numbers = {"fences": [0.0, 10.0], "least": -5.0, "most": 100.0}
    assert place(0.0, numbers) < place(5.0, numbers) < place(10.0, numbers) == place(99.0, numbers)
