"""The feature vector of one event: views, windowed aggregates and derived columns, light enough for a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from configs.inputs import Column
from configs.settings import Settings
from configs.use_case import UseCase
from features.expressions import compile_derived
from features.language.operators import plain
from features.request import ScoringRequest
from features.state.activity import Activity
from features.stores.packed import PackedRow, open_packed
from features.vector import features_of, view_features


@dataclass(frozen=True)
class OnlineVector:
    """Every feature of one event, and what was wrong with its views.

    `values`: one entry a feature, missing ones None. `missing`: required views without a row that was known at the
    event's time.
    `stale`: views whose row is older than their TTL (their values are None). `times`: the time of each view's row.
    """

    values: dict[str, float | str | None]
    missing: tuple[str, ...]
    stale: tuple[str, ...]
    times: dict[str, datetime]


class OnlineFeatures:
    """Online features of one use case, from SQLite (`settings.online_db`) or Redis (`settings.redis_url`)."""

    def __init__(self, use_case: UseCase, settings: Settings) -> None:
        self._use_case = use_case
        self._features = features_of(use_case)
        self._derived = compile_derived(use_case)
        self._views = {view: view_features(use_case, view) for view in use_case.views}
        self._names = {view: tuple(definition.columns) for view, definition in use_case.views.items()}
        self._activity = Activity(use_case, settings)
        self._packed = open_packed(path=settings.online_db, redis_url=settings.redis_url)

    @property
    def activity(self) -> Activity:
        """The state behind the windowed aggregates."""
        return self._activity

    def read(self, request: ScoringRequest) -> OnlineVector:
        """The vector at the event's time; the event itself is in its windows, recorded or not."""
        views = self._read_views(request)
        missing = tuple(view for view, row in views.items() if row is None and self._use_case.views[view].required)
        stale = tuple(view for view, row in views.items() if row is not None and self._is_stale(view, row, request))
        values: dict[str, Any] = {"event_time": request.event_time, **self._fields(request)}
        for view, row in views.items():
            values.update(self._columns(view, row if view not in stale else None))
        values.update(self._activity.values(request))
        for name, expression in self._derived.items():
            values[name] = expression.evaluate(values)
        times = {view: row.event_time for view, row in views.items() if row is not None}
        return OnlineVector({feature.name: values[feature.name] for feature in self._features}, missing, stale, times)

    def record(self, request: ScoringRequest) -> None:
        """Let the event enter the windows of later events. The same event id enters once."""
        self._activity.record(request)

    def outcome(self, event_id: str, label: int, known: datetime | None = None) -> None:
        """Tell what an event turned out to be, for windows over the label; `known`: since when (None: maturity).

        Where the use case records no time of knowing, training takes the maturity for it, and so does this.
        """
        self._activity.outcome(event_id, label, known if self._use_case.label.known else None)

    def ping(self) -> None:
        """Raise `FeatureError` when the online store does not answer."""
        self._packed.read(self._use_case.name, "", "")

    def close(self) -> None:
        """Close the connections."""
        self._packed.close()
        self._activity.close()

    def _fields(self, request: ScoringRequest) -> dict[str, Any]:
        return {name: _typed(column, request.fields.get(name)) for name, column in self._use_case.request.items()}

    def _read_views(self, request: ScoringRequest) -> dict[str, PackedRow | None]:
        """Each view's row. One that speaks of, or became known at, a later time than the event's is not used."""
        keys = {view: request.entities.get(definition.entity) for view, definition in self._use_case.views.items()}
        wanted = [(view, key) for view, key in keys.items() if key is not None]
        found: dict[str, PackedRow | None] = dict.fromkeys(keys)
        rows = self._packed.read_many(self._use_case.name, wanted) if wanted else []
        for (view, _), row in zip(wanted, rows, strict=True):
            if row is not None and max(row.event_time, row.created or row.event_time) <= request.event_time:
                found[view] = row
        return found

    def _is_stale(self, view: str, row: PackedRow, request: ScoringRequest) -> bool:
        """A value exactly as old as its TTL is still fresh, as in training."""
        return request.event_time - row.event_time > self._use_case.views[view].ttl

    def _columns(self, view: str, row: PackedRow | None) -> dict[str, Any]:
        values: Mapping[str, Any] = row.values if row else {}
        names = zip(self._views[view], self._names[view], strict=True)
        return {feature: _typed(column, values.get(name)) for (feature, column), name in names}


def _typed(column: Column, value: Any) -> Any:
    """A value as models and expressions take it: a double, text or a time; sentinel codes are missing."""
    if value is None or (column.missing and value in column.missing):
        return None
    return str(value) if column.type == "category" else plain(value)
