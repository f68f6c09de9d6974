"""The feature vector of one event: views, windowed aggregates and derived columns, light enough for a request."""

from __future__ import annotations

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
from features.stores.packed import open_packed
from features.stores.segments import shapes_of
from features.stores.vectors import VectorReader, ViewVector
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
        self._required = [view for view, definition in use_case.views.items() if definition.required]
        self._reader = VectorReader([(shape, use_case.views[view].ttl) for view, shape in shapes_of(use_case).items()])
        self._codes = {
            name: frozenset(column.missing)
            for view in use_case.views
            for name, column in view_features(use_case, view)
            if column.missing
        }
        self._activity = Activity(use_case, settings)
        self._packed = open_packed(path=settings.online_db, redis_url=settings.redis_url)

    @property
    def activity(self) -> Activity:
        """The state behind the windowed aggregates."""
        return self._activity

    def read(self, request: ScoringRequest) -> OnlineVector:
        """The vector at the event's time; the event itself is in its windows, recorded or not."""
        views = self._views(request)
        values: dict[str, Any] = {"event_time": request.event_time, **self._fields(request), **views.others}
        for name, number in zip(self._reader.names, views.numbers, strict=True):
            values[name] = None if number != number else number  # noqa: PLR0124  # NaN: missing
        for name, codes in self._codes.items():  # in rows that Feast wrote
            values[name] = None if values[name] in codes else values[name]
        values.update(self._activity.values(request))
        for name, expression in self._derived.items():
            values[name] = expression.evaluate(values)
        missing = tuple(view for view in self._required if view not in views.times)
        stale = tuple(view for view in self._use_case.views if view in views.stale)
        features = {feature.name: values[feature.name] for feature in self._features}
        return OnlineVector(features, missing, stale, views.times)

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
        self._packed.values(self._use_case.name, [("", "")])

    def close(self) -> None:
        """Close the connections."""
        self._packed.close()
        self._activity.close()

    def _fields(self, request: ScoringRequest) -> dict[str, Any]:
        return {name: _typed(column, request.fields.get(name)) for name, column in self._use_case.request.items()}

    def _views(self, request: ScoringRequest) -> ViewVector:
        keys = [request.entities.get(entity) for entity in self._reader.entities]
        places = [(entity, key) for entity, key in zip(self._reader.entities, keys, strict=True) if key is not None]
        found = iter(self._packed.values(self._use_case.name, places) if places else ())
        return self._reader.read([None if key is None else next(found) for key in keys], request.event_time)


def _typed(column: Column, value: Any) -> Any:
    """A value as models and expressions take it: a double, text or a time; sentinel codes are missing."""
    if value is None or (column.missing and value in column.missing):
        return None
    return str(value) if column.type == "category" else plain(value)
