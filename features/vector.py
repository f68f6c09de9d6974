"""The feature vector a use case defines: names, kinds and order, the same in training, scoring and monitoring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from configs.durations import render
from configs.errors import FeatureError
from configs.inputs import Aggregate, Column
from configs.use_case import UseCase

Kind = Literal["number", "category"]
Origin = Literal["request", "view", "aggregate", "derived"]


@dataclass(frozen=True)
class Feature:
    """One column of the vector. Booleans and integers are numbers; an empty `vocabulary` is learned in training."""

    name: str
    kind: Kind
    origin: Origin
    description: str
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True)
class AggregateFeature:
    """One function over one window of an aggregate."""

    name: str
    aggregate: Aggregate
    function: str
    window: timedelta


def features_of(use_case: UseCase) -> tuple[Feature, ...]:
    """Every feature: request fields, views, aggregates, derived columns, named as `configs.references` names them."""
    return (
        *_request(use_case),
        *_views(use_case),
        *_aggregates(use_case),
        *_derived(use_case),
    )


def aggregate_features(use_case: UseCase) -> tuple[AggregateFeature, ...]:
    """One entry for each function and window of each aggregate, in the order of the feature vector."""
    return tuple(
        AggregateFeature(f"{part.stem}_{function}_{render(window)}", part, function, window)
        for part in use_case.aggregates
        for function in part.functions
        for window in part.windows
    )


def request_field(use_case: UseCase, part: Aggregate) -> str | None:
    """The numeric request field that an aggregate over the event table reads; None where it reads none."""
    if part.table not in {None, use_case.event.table}:
        return None
    numbers = {name: column for name, column in use_case.request.items() if column.type not in {"category", "time"}}
    return next((name for name, column in numbers.items() if part.column in {name, column.column}), None)


def check_aggregate(use_case: UseCase, part: Aggregate) -> None:
    """Raise `FeatureError` for an aggregate whose functions have nothing to work on.

    `ratio` and `deviation` set the scored event's own value against the window: a numeric request field. Only the label
    of the event table has an outcome to enter with.
    """
    compared = [function for function in part.functions if function in {"ratio", "deviation"}]
    if compared and request_field(use_case, part) is None:
        raise FeatureError(
            f"aggregates ({part.stem}) ask for {compared[0]} of {part.column!r}, no number that the scored event has",
            expected="a numeric request field, over the event table",
            fix="aggregate mean or std instead, and compare in a derived column",
        )
    own = part.table in {None, use_case.event.table}
    if part.enters == "outcome" and not (own and part.column == use_case.label.column):
        raise FeatureError(
            f"aggregates ({part.stem}) let events enter with their outcome, and aggregate {part.column!r}",
            expected=f"column: {use_case.label.column} (the label), over the event table",
            fix="leave `enters` out",
        )


def view_features(use_case: UseCase, view: str) -> tuple[tuple[str, Column], ...]:
    """(feature name, contract) of every column of a view, including those that only feed derived columns."""
    return tuple((f"{view}__{name}", column) for name, column in use_case.views[view].columns.items())


def kind_of(column: Column) -> Kind:
    """How a model sees a column: everything but a category is a number."""
    return "category" if column.type == "category" else "number"


def request_names(use_case: UseCase) -> dict[str, Literal["number", "category", "time"]]:
    """Request fields and `event_time` by kind."""
    names: dict[str, Literal["number", "category", "time"]] = {"event_time": "time"}
    for name, column in use_case.request.items():
        names[name] = "time" if column.type == "time" else kind_of(column)
    return names


def carried_names(use_case: UseCase) -> Mapping[str, str]:
    """What a condition over the scored events may name: all that a request carries, so that it also works online."""
    return dict.fromkeys(use_case.entities, "category") | request_names(use_case)


def expression_names(
    use_case: UseCase,
) -> dict[str, Literal["number", "category", "time"]]:
    """What a derived column or a policy rule may name, and its kind: `event_time`, request fields and every feature."""
    names = request_names(use_case)
    for view in use_case.views:
        for name, column in view_features(use_case, view):
            names[name] = "time" if column.type == "time" else kind_of(column)
    names |= {feature.name: "number" for feature in aggregate_features(use_case)}
    return names | {name: derived.type for name, derived in use_case.derived.items()}


def _request(use_case: UseCase) -> Iterator[Feature]:
    for name, column in use_case.request.items():
        if column.is_feature:
            yield Feature(
                name,
                kind_of(column),
                "request",
                _described(column, name),
                column.values,
            )


def _views(use_case: UseCase) -> Iterator[Feature]:
    for view in use_case.views:
        for name, column in view_features(use_case, view):
            if column.is_feature:
                yield Feature(
                    name,
                    kind_of(column),
                    "view",
                    _described(column, name),
                    column.values,
                )


def _aggregates(use_case: UseCase) -> Iterator[Feature]:
    for feature in aggregate_features(use_case):
        yield Feature(feature.name, "number", "aggregate", _explained(feature))


def _derived(use_case: UseCase) -> Iterator[Feature]:
    for name, derived in use_case.derived.items():
        yield Feature(
            name,
            derived.type,
            "derived",
            derived.description or derived.sql,
            derived.values,
        )


def _described(column: Column, name: str) -> str:
    return (column.description or name.replace("__", " ").replace("_", " ")) + (
        f" [{column.unit}]" if column.unit else ""
    )


def _explained(feature: AggregateFeature) -> str:
    """In words: 'mean of amount for the same card in 7d'."""
    part = feature.aggregate
    among = f"for the same {' and '.join(part.entities)} in {render(feature.window)}"
    where = f" where {part.where}" if part.where else ""
    entered = ", each counted once its outcome was known" if part.enters == "outcome" else ""
    until = f", ending {render(part.delay)} before the event" if part.delay else ""
    own = "" if part.current or part.enters == "outcome" else ", the event itself left out"
    events = part.table or "events"
    match feature.function:
        case "share":
            return f"share of {events}{where} {among}{entered}{until}{own}"
        case "first_seen":
            return f"1 if there was no earlier one of the {events} {among}{where}{entered}{until}"
        case "ratio":
            return f"{part.column} over its mean {among}{where}{until}{own}"
        case "deviation":
            return f"distance of {part.column} from its mean, in standard deviations, {among}{where}{until}{own}"
        case "since_last":
            return f"seconds since the last event {among}{where}{entered}{until}{own}"
        case function:
            of = f" of {part.column}" if part.column else " of events"
            return f"{function}{of} {among}{where}{entered}{until}{own}"
