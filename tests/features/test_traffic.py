"""Events as scoring sees them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from configs.errors import FeatureError
from configs.use_case import Period
from features.store import FeatureStore
from features.traffic import history

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def test_a_period_of_the_event_table_becomes_requests_with_outcomes(made) -> None:
    made.payments([{"at": 3, "amount": -1.0}, {"at": 1, "device_id": None, "is_fraud": None}, {"at": 9}])
    use_case = made.use_case(request={"amount": {"missing": [-1]}, "channel": {"type": "category"}})
    store = FeatureStore(use_case, made.settings)
    period = Period(start=made.at(1), end=made.at(9))
    (first, unknown), (second, outcome) = store.requests(period=period)
    assert (first.event_id, first.entities, unknown.label) == ("p001", {"card": "c1", "device": None}, None)
    assert (second.fields, second.event_time) == ({"amount": None, "channel": "chip"}, made.at(3))
    assert (outcome.label, outcome.known, outcome.event_id) == (0, made.at(3) + timedelta(days=2), "p000")


def test_a_limit_takes_the_first_events(made) -> None:
    made.payments([{} for _ in range(9)])
    period = Period(start=made.at(0), end=made.at(100))
    found = [
        request.event_id for request, _ in FeatureStore(made.use_case(), made.settings).requests(period=period, limit=3)
    ]
    assert found == ["p000", "p001", "p002"]


def test_booleans_and_times_keep_their_type(made) -> None:
    made.payments([{"abroad": True, "opened": made.at(-5)}, {"abroad": None, "opened": None}])
    use_case = made.use_case(request={"abroad": {"type": "boolean"}, "opened": {"type": "time"}})
    period = Period(start=made.at(0), end=made.at(9))
    fields = [request.fields for request, _ in FeatureStore(use_case, made.settings).requests(period=period)]
    assert fields == [{"abroad": True, "opened": made.at(-5)}, {"abroad": None, "opened": None}]


def test_a_table_without_a_time_gives_the_same_order_every_time(made) -> None:
    made.payments([{} for _ in range(20)])
    store = FeatureStore(made.timeless(), made.settings)
    first, again = (list(store.requests(period=None, now=NOW)) for _ in range(2))
    assert first == again
    assert [request.event_id for request, _ in first] != sorted(request.event_id for request, _ in first)
    assert first[-1][0].event_time == NOW
    assert first[0][0].event_time == NOW - timedelta(seconds=19)


def test_live_events_of_the_simulator_have_a_file_of_their_own(made) -> None:
    simulator = {"world": "fraud", "rows": 10, "start": "2025-01-01", "months": 1, "live_rows": 2}
    use_case = made.use_case(simulator=simulator)
    store = FeatureStore(use_case, made.settings)
    with pytest.raises(FeatureError, match=r"live_payments\.parquet"):
        list(store.requests(period=None))
    folder = made.settings.home / "raw" / "made"
    folder.mkdir(parents=True)
    made.payments([{}, {}], file="live_payments.parquet")
    (made.settings.data / "live_payments.parquet").rename(folder / "live_payments.parquet")
    assert [request.event_id for request, _ in store.requests(period=None)] == ["p000", "p001"]


def test_without_a_simulator_live_events_need_a_period(made) -> None:
    with pytest.raises(FeatureError, match="no simulator"):
        FeatureStore(made.use_case(), made.settings).requests(period=None)


def test_history_hides_outcomes_that_were_not_yet_known(made) -> None:
    made.payments([{"at": 0, "is_fraud": 1}, {"at": 86400, "is_fraud": 1}, {"at": 2 * 86400}])
    found = [
        outcome.label for _, outcome in history(made.use_case(), made.settings, start=None, end=made.at(2 * 86400))
    ]
    assert found == [1, None]


def test_times_with_another_zone_arrive_in_utc(made) -> None:
    made.payments(
        [{"paid_at": pd.Timestamp("2025-01-01 11:00+01:00")}, {"paid_at": pd.Timestamp("2025-01-01 12:00+01:00")}]
    )
    period = Period(start=datetime(2025, 1, 1, 10, tzinfo=UTC), end=datetime(2025, 1, 1, 10, 30, tzinfo=UTC))
    ((request, _),) = FeatureStore(made.use_case(), made.settings).requests(period=period)
    assert request.event_time == datetime(2025, 1, 1, 10, tzinfo=UTC)
