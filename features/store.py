"""The facade: what training, serving and monitoring ask of features. Vendors are imported where they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from configs.console import Ticker
from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import Period, UseCase
from features.request import Outcome, ScoringRequest, utc

if TYPE_CHECKING:
    from features.frame import Frame


class FeatureStore:
    """The features of one use case: registry, backfill, online store, training frames and live traffic."""

    def __init__(self, use_case: UseCase, settings: Settings) -> None:
        self._use_case, self._settings = use_case, settings

    def apply(self) -> list[str]:
        """Write the Feast repository and apply its objects to the SQL registry; objects no longer defined are deleted.

        Returns the names of all objects. Afterwards `feast -c <home>/features/<use case> ...` works as well.
        """
        from features.definitions import apply, write_repository

        folder = write_repository(self._use_case, self._settings)
        return apply(self._use_case, folder)

    def backfill(self, *, ticker: Ticker | None = None) -> dict[str, Any]:
        """Write views and windowed aggregates of all history as Feast's sources; skipped if nothing has changed.

        Returns `rows` by view, `data_hash`, `definition_hash` and `skipped`.
        """
        from features.backfill import backfill

        return backfill(self._use_case, self._settings, ticker=ticker)

    def materialize(self, *, until: datetime | None = None, ticker: Ticker | None = None) -> dict[str, Any]:
        """Bring views (through Feast) and the recent events of history (into the activity state) online.

        Only what was known by `until` (none: everything) goes in, and events before it. May be repeated: nothing older
        replaces anything newer, and an event enters once. Returns the views loaded and the number of new events.
        """
        views = self._materialize_views(until, ticker) if self._use_case.views else []
        events = self._seed(until, ticker) if self._use_case.aggregates else 0
        return {"views": views, "new_events": events, "until": (utc(until) if until else datetime.now(UTC)).isoformat()}

    def training_frame(
        self, *, start: datetime | None = None, end: datetime | None = None, ticker: Ticker | None = None
    ) -> Frame:
        """Events from `start` to before `end` with their features as known at their time.

        Raises `FeatureError` for a table that can't be trained on: repeated event ids, outcomes of one class, no rows.
        """
        from features.contracts import check, enforce
        from features.frame import training_frame

        if ticker:
            ticker.note("checking contracts")
        enforce(check(self._use_case, self._settings), table=self._use_case.event_table.label)
        frame = training_frame(self._use_case, self._settings, start=start, end=end, ticker=ticker)
        if frame.events.empty:
            raise FeatureError(
                f"no events of {self._use_case.name} from {start} to {end}",
                expected="a period that the event table covers",
                fix="correct `split`, or the table",
            )
        return frame

    def requests(
        self, *, period: Period | None, limit: int | None = None, now: datetime | None = None
    ) -> Iterator[tuple[ScoringRequest, Outcome]]:
        """Live traffic in order of time: the event table's rows of a period, or the simulator's live events (None).

        For a table without a time: its rows in an order drawn with a fixed seed, a second apart, the last one at `now`.
        """
        from features.traffic import requests

        return requests(self._use_case, self._settings, period=period, limit=limit, now=now)

    def _materialize_views(self, until: datetime | None, ticker: Ticker | None) -> list[str]:
        from features.definitions import apply, materialize_views, write_repository

        self.backfill(ticker=ticker)
        folder = write_repository(self._use_case, self._settings)
        apply(self._use_case, folder)
        if ticker:
            ticker.note("materializing views")
        return materialize_views(self._use_case, folder, until=until)

    def _seed(self, until: datetime | None, ticker: Ticker | None) -> int:
        from features.state.activity import Activity
        from features.traffic import history, newest, stream

        use_case, settings = self._use_case, self._settings
        activity, added = Activity(use_case, settings), 0
        end = utc(until) if until else None
        start = (end or newest(use_case, settings)) - activity.reach
        tables = {part.table or use_case.event.table for part in use_case.aggregates}
        try:
            for table in sorted(tables):
                if ticker:
                    ticker.note(f"recent rows of {table}")
                if table == use_case.event.table:
                    added += activity.seed(history(use_case, settings, start=start, end=end))
                else:
                    entities, fields = activity.inputs(table)
                    rows = stream(use_case, settings, table, entities=entities, fields=fields, start=start, end=end)
                    added += activity.seed(rows, table=table)
        finally:
            activity.close()
        return added
