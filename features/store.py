"""The facade: what training, serving and monitoring ask of features. Vendors are imported where they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from configs.console import Ticker
from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import Period, UseCase
from features.request import Outcome, ScoringRequest

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

    def materialize(
        self, *, until: datetime | None = None, full: bool = False, ticker: Ticker | None = None
    ) -> dict[str, Any]:
        """Bring views and the recent events of history online, straight into the stores that scoring reads.

        Only what was known by `until` (none: everything) goes in, and events before it; read is only what became known
        since the last time, with an overlap for late rows (`Table.late`), or with `full` everything. May be killed and
        repeated: nothing older replaces anything newer, and an event enters once. Returns `views`, `new_events`,
        `until` and `loads`: rows, mode (full or incremental) and seconds of each part.
        """
        from features.materialize import materialize

        return materialize(self._use_case, self._settings, until=until, full=full, ticker=ticker)

    def training_frame(
        self, *, start: datetime | None = None, end: datetime | None = None, ticker: Ticker | None = None
    ) -> Frame:
        """Events from `start` to before `end` with their features as known at their time.

        Raises `FeatureError` for a table that can't be trained on: too many rejects, outcomes of one class, no rows.
        """
        from features.frame import training_frame
        from features.intake.loads import check_outcomes, passed

        load = passed(self._use_case, self._use_case.event.table, self._settings, ticker=ticker)
        check_outcomes(load, self._use_case.label.column)
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
