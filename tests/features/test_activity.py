"""The activity state: exact under duplicates, disorder, late outcomes and several writers."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from configs.errors import FeatureError
from configs.inputs import Aggregate, Table
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.request import Outcome, ScoringRequest
from features.state.activity import Activity
from features.stores.connections import SqliteFile

START = datetime(2025, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def aggregate(**parts: Any) -> Aggregate:
    return Aggregate.model_validate({"entity": "card", "functions": ("count",), "windows": ("1h",)} | parts)


def use_case_with(settings: Settings, *aggregates: Aggregate) -> UseCase:
    parts = {
        "name": f"test_{uuid.uuid4().hex[:12]}",
        "simulator": None,
        "tables": {"transactions": Table(path="events.parquet", time="tx_time")},
        "views": {},
        "derived": {},
        "aggregates": aggregates,
        "label": load_use_case("fraud", settings).label.model_copy(update={"maturity": 3 * HOUR}),
    }
    return load_use_case("fraud", settings).model_copy(update=parts)


@pytest.fixture(params=["sqlite", "redis"])
def online(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return settings.model_copy(update={"redis_url": request.getfixturevalue("redis_url")})


@pytest.fixture
def activity(online: Settings) -> Iterator[Activity]:
    part = aggregate(column="amount", functions=("count", "sum", "since_last"), windows=("1h",))
    fraud = aggregate(entity="terminal", column="is_fraud", functions=("count", "sum"), windows=("1d",), delay="1h")
    state = Activity(use_case_with(online, part, fraud), online)
    yield state
    state.clear()
    state.close()


def event(event_id: str, minutes: float, **parts: Any) -> ScoringRequest:
    entities = {"card": "C1", "customer": "K1", "terminal": "T1", "device": "D1"} | parts.pop("entities", {})
    fields = {"amount": 10.0, "channel": "chip"} | parts
    return ScoringRequest(event_id, START + timedelta(minutes=minutes), entities, fields)


def test_an_event_counts_in_its_own_windows_recorded_or_not(activity: Activity) -> None:
    request = event("E1", 0)
    before = activity.values(request)
    activity.record(request)
    assert activity.values(request) == before
    assert before["card_amount_count_1h"] == 1.0


def test_the_same_event_id_enters_once(activity: Activity) -> None:
    activity.record(event("E1", 0))
    activity.record(event("E1", 5))
    assert activity.values(event("E2", 10))["card_amount_count_1h"] == 2.0


def test_a_missing_key_gives_missing_aggregates_and_touches_no_other_key(activity: Activity) -> None:
    nobody = {"card": None}
    activity.record(event("E1", 0, entities=nobody))
    values = activity.values(event("E2", 1, entities=nobody))
    assert (values["card_amount_count_1h"], values["terminal_is_fraud_count_1d"]) == (None, 0.0)
    assert activity.values(event("E3", 2))["card_amount_count_1h"] == 1.0


def test_an_outcome_counts_from_its_delay_on(activity: Activity) -> None:
    activity.record(event("E1", 0))
    assert activity.outcome("E1", 1, START + timedelta(minutes=30))
    assert activity.values(event("E2", 59))["terminal_is_fraud_sum_1d"] == 0.0
    assert activity.values(event("E2", 60))["terminal_is_fraud_sum_1d"] == 1.0


def test_an_outcome_that_came_after_its_delay_never_counts(activity: Activity) -> None:
    activity.record(event("E1", 0))
    activity.outcome("E1", 1, START + timedelta(minutes=61))
    assert activity.values(event("E2", 100))["terminal_is_fraud_sum_1d"] == 0.0


def test_a_corrected_outcome_replaces_the_first(activity: Activity) -> None:
    activity.record(event("E1", 0))
    activity.outcome("E1", 1, START)
    activity.outcome("E1", 0, START)
    assert activity.values(event("E2", 100))["terminal_is_fraud_sum_1d"] == 0.0
    assert activity.values(event("E2", 100))["terminal_is_fraud_count_1d"] == 1.0


def test_an_outcome_of_an_unknown_event_is_no_event(activity: Activity) -> None:
    assert not activity.outcome("E9", 1)


def test_seeding_again_adds_nothing_but_takes_over_outcomes(activity: Activity) -> None:
    history = [(event(f"E{index}", index), Outcome(None, None)) for index in range(30)]
    assert activity.seed(history) == 30
    assert activity.seed([(request, Outcome(1, START)) for request, _ in history]) == 0
    later = activity.values(event("L", 100))
    assert (later["terminal_is_fraud_sum_1d"], later["terminal_is_fraud_count_1d"]) == (30.0, 30.0)


def test_outcomes_of_a_batch_are_taken_over_in_one_transaction(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = aggregate(entity="terminal", column="is_fraud", functions=("sum",), windows=("1d",))
    history = [event(f"E{index}", index) for index in range(30)]
    with closing(Activity(use_case_with(settings, part), settings)) as state:
        state.seed([(request, Outcome(None, None)) for request in history])
        real, begun = SqliteFile.writing, []
        monkeypatch.setattr(SqliteFile, "writing", lambda file: begun.append(file) or real(file))
        state.seed([(request, Outcome(1, START)) for request in history])
        assert len(begun) == 4  # to add, to take over, to prune members and events
        assert state.values(event("L", 100))["terminal_is_fraud_sum_1d"] == 30.0


@pytest.mark.parametrize("newer", [0, 1])
def test_an_older_outcome_never_takes_the_place_of_a_newer_one(activity: Activity, newer: int) -> None:
    early, late = START + timedelta(minutes=10), START + timedelta(minutes=20)
    history = [(event("E1", 0), Outcome(1 - newer, early))]
    activity.seed(history)
    activity.outcome("E1", newer, late)
    activity.seed(history)
    assert activity.values(event("E2", 100))["terminal_is_fraud_sum_1d"] == float(newer)


@pytest.mark.parametrize("amount", [1.1e13, -1e200])
def test_a_value_too_large_for_exact_sums_is_refused_before_it_is_kept(activity: Activity, amount: float) -> None:
    with pytest.raises(FeatureError, match="too large for exact sums"):
        activity.record(event("E1", 0, amount=amount))
    assert activity.values(event("E2", 1))["card_amount_count_1h"] == 1.0


def test_recording_again_does_not_forget_an_outcome(activity: Activity) -> None:
    activity.record(event("E1", 0))
    activity.outcome("E1", 1, START)
    activity.record(event("E1", 0))
    activity.seed([(event("E1", 0), Outcome(None, None))])
    assert activity.values(event("E2", 100))["terminal_is_fraud_sum_1d"] == 1.0


def test_events_that_no_window_needs_are_dropped(activity: Activity) -> None:
    activity.record(event("E1", 0))
    activity.record(event("E2", 60 * 24 * 3))
    assert activity.values(event("E3", 1))["card_amount_count_1h"] == 1.0
    activity.outcome("E1", 1, START)
    assert activity.values(event("E3", 90))["terminal_is_fraud_count_1d"] == 0.0


def test_an_event_from_the_future_does_not_drop_the_present(activity: Activity) -> None:
    now = datetime.now(UTC)
    activity.record(replace(event("E1", 0), event_time=now - timedelta(minutes=5)))
    activity.record(replace(event("E2", 0), event_time=now + timedelta(days=3650)))
    assert activity.values(replace(event("E3", 0), event_time=now))["card_amount_count_1h"] == 2.0


def test_processes_that_record_the_same_events_at_once_count_each_once(online: Settings) -> None:
    use_case = use_case_with(online, aggregate(windows=("1d",)))
    program = textwrap.dedent(
        """
        import sys
        from datetime import UTC, datetime, timedelta
        from pathlib import Path
        from configs.settings import Settings
        from configs.use_case import UseCase
        from features.state.activity import Activity
        from features.request import ScoringRequest
        home, url, use_case = sys.argv[1:]
        state = Activity(UseCase.model_validate_json(use_case), Settings(home=Path(home), redis_url=url or None))
        for n in range(150):
            time = datetime(2025, 3, 1, tzinfo=UTC) + timedelta(seconds=n * 7 % 150)
            state.record(ScoringRequest(f"E{n * 7 % 150}", time, {"card": "C1"}, {"amount": 1.0}))
        state.close()
        """
    )
    arguments = [str(online.home), online.redis_url or "", use_case.model_dump_json()]
    writers = [subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE) for _ in range(3)]
    assert [writer.communicate(timeout=100)[1] for writer in writers] == [b"", b"", b""]
    with closing(Activity(use_case, online)) as state:
        values = state.values(event("L", 60))
        state.clear()
    assert values == {"card_count_1d": 151.0}


def test_another_definition_does_not_read_this_state(online: Settings) -> None:
    use_case = use_case_with(online, aggregate(column="amount", functions=("sum",)))
    changed = use_case.model_copy(update={"aggregates": (aggregate(column="amount", functions=("max",)),)})
    first, second = Activity(use_case, online), Activity(changed, online)
    first.record(event("E1", 0))
    assert second.values(event("E2", 1)) == {"card_amount_max_1h": 10.0}
    first.clear()
    first.close()
    second.close()


def test_a_pair_is_not_confused_with_another_pair_of_the_same_letters(online: Settings) -> None:
    state = Activity(use_case_with(online, aggregate(entity=("customer", "device"))), online)
    state.record(event("E1", 0, entities={"customer": "a|1:b", "device": "c"}))
    values = state.values(event("E2", 1, entities={"customer": "a", "device": "b|1:c"}))
    state.clear()
    state.close()
    assert values == {"customer_device_count_1h": 1.0}


def test_events_of_another_table_enter_by_seeding(online: Settings) -> None:
    part = aggregate(table="calls", column="seconds", functions=("sum",), where="kind = 'in'")
    use_case = use_case_with(online, part)
    tables = use_case.tables | {"calls": Table(path="calls.parquet", time="at")}
    use_case = use_case.model_copy(update={"tables": tables})
    state = Activity(use_case, online)
    assert state.inputs("calls") == (("card",), ("kind", "seconds"))
    kinds = enumerate(("in", "out", "in"))
    calls = [replace(event(f"A{n}", n), fields={"seconds": 1.5, "kind": kind}) for n, kind in kinds]
    state.seed([(call, Outcome(None, None)) for call in calls], table="calls")
    values = state.values(event("E1", 10))
    state.clear()
    state.close()
    assert values == {"card_seconds_sum_1h": 3.0}


def test_a_column_that_a_request_lacks_is_named(settings: Settings) -> None:
    with pytest.raises(FeatureError, match="amuont"):
        Activity(use_case_with(settings, aggregate(column="amuont", functions=("sum",))), settings)


def stored(settings: Settings) -> dict[str, int]:
    """Rows of events from before the second month, in each table that holds one for each."""
    before = int((START + timedelta(days=30)).timestamp() * 1e6)
    with closing(sqlite3.connect(settings.online_db)) as database:
        query = "SELECT count(*) FROM activity_{} WHERE time < ?"
        return {
            name: database.execute(query.format(name), (before,)).fetchone()[0] for name in ("event", "member", "text")
        }


def of_month(month: int, keys: int) -> list[ScoringRequest]:
    """One event of each of so many cards."""
    return [event(f"{month}E{n}", 60 * 24 * 60 * month, entities={"card": f"{month}C{n}"}) for n in range(keys)]


def test_keys_that_never_come_again_are_dropped_a_few_at_a_time(settings: Settings) -> None:
    part = aggregate(column="device", functions=("distinct",))
    with closing(Activity(use_case_with(settings, part), settings)) as state:
        state.record_many(of_month(0, 60))
        assert stored(settings) == {"event": 60, "member": 60, "text": 60}
        left = []
        for request in of_month(1, 40):
            state.record(request)
            left.append(stored(settings)["member"])
        assert stored(settings) == {"event": 0, "member": 0, "text": 0}
    assert max(before - after for before, after in pairwise([60, *left])) <= 4


def test_loading_drops_what_is_old_in_slices(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.stores.sqlite_activity.TURN", 7)
    part = aggregate(column="device", functions=("distinct",))
    with closing(Activity(use_case_with(settings, part), settings)) as state:
        for month in (0, 1):
            state.seed([(request, Outcome(None, None)) for request in of_month(month, 50)])
    assert stored(settings) == {"event": 0, "member": 0, "text": 0}
