"""Parts of a use case that contradict each other: leaks by declaration, a split that time forbids, names used twice.

Checked on raw data like `configs.references`, and so reported together with all other mistakes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from configs.conditions import named_columns
from configs.durations import parse
from configs.personal import misplaced
from configs.references import aggregate_names, aggregate_view, as_list, as_mapping, get

Contradiction = tuple[str, str, str]
"""Path in the file, value found, what was expected."""

RESERVED = ("event_time", "probability")
"""Names that expressions and rules give a meaning of their own."""

_OUTCOME = {"column": "the label", "known": "when the label was known"}
_FEAST_NAMES = {"derived": "the derived columns", "request": "the request fields"}
"""Names under which Feast knows what is no view of the use case."""


def contradictions(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Every contradiction. Tolerates any shape: what has the wrong type is reported by the schema."""
    yield from _time(raw)
    yield from _kind(raw)
    yield from leaks(raw)
    yield from _names(raw)
    yield from _view_names(raw)
    yield from misplaced(raw)


def _time(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    event, split = as_mapping(raw.get("event")), as_mapping(raw.get("split"))
    if split.get("by") == "random" and event.get("time"):
        yield "split.by", "random", "time: the events have a time, and random folds would train on the future"
    if split.get("by") == "time" and event and not event.get("time"):
        yield "split.by", "time", "random, or event.time: the events have no time to split by"
    declared = get(raw, "tables", event.get("table"), "time")
    if event and declared and declared != event.get("time"):
        yield "event.time", str(event.get("time")), f"{declared}, as tables.{event.get('table')}.time says"


def _kind(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    """What is validated must fit what the model decides about."""
    kind, of = raw.get("kind"), get(raw, "money", "of")
    if of in {"credit", "fraud"} and kind in {"credit", "fraud"} and of != kind:
        yield "money.of", str(of), f"{kind}, as `kind` says"
    for part in ("credit_risk", "rejects"):
        if kind == "fraud" and raw.get(part):
            yield part, "a section", "none: it is about credit, and `kind` is fraud"


def leaks(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Columns of the event table that would let the outcome, or a protected attribute, into the features."""
    label, events = as_mapping(raw.get("label")), _event_tables(raw)
    outcome = {str(label[key]): what for key, what in _OUTCOME.items() if label.get(key)}
    hidden = {column: f"protected.{name}" for name, column in _columns(raw.get("protected"))}
    hidden |= {column: f"outcomes.{name}" for name, column in _columns(raw.get("outcomes"))} | outcome
    read = [("request", name, column) for name, column in _columns(raw.get("request"))]
    read += [
        (f"views.{view}.columns", name, column)
        for view, definition in as_mapping(raw.get("views")).items()
        if str(get(definition, "table")) in events
        for name, column in _columns(get(definition, "columns"))
    ]
    for path, name, column in read:
        if column in hidden:
            yield f"{path}.{name}", column, f"a column that may be a feature; this one is {hidden[column]}"
    for index, part in enumerate(as_list(raw.get("aggregates"))):
        again = str(part.get("table")) in events - {str(get(raw, "event", "table"))}
        if label and part.get("column") == label.get("column"):
            yield from _outcomes(f"aggregates.{index}", part, raw)
        elif again and str(part.get("column")) in hidden:
            column = str(part["column"])
            yield f"aggregates.{index}.column", column, f"a column that may be counted; this one is {hidden[column]}"
        for column in named_columns(str(part.get("where") or "")) if again else ():
            if column in hidden:
                yield f"aggregates.{index}.where", column, f"a condition without it; this column is {hidden[column]}"


def _outcomes(path: str, part: Mapping[str, Any], raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    """An aggregate over the label must see outcomes as they became known, and must be able to see some."""
    table, label = get(raw, "event", "table"), as_mapping(raw.get("label"))
    if str(part.get("table")) in _event_tables(raw) - {str(table)}:
        yield f"{path}.table", str(part.get("table")), f"{table}: only there are outcomes counted as they became known"
    if part.get("enters") == "outcome":
        return  # then every event waits for its own outcome
    delay = part.get("delay") or "0s"
    try:
        too_early = not label.get("known") and parse(delay) < parse(label.get("maturity"))
    except ValueError:
        return  # the schema reports the malformed duration
    if too_early:
        wanted = f"at least label.maturity ({label['maturity']}): before that no outcome is known"
        yield f"{path}.delay", str(delay), f"{wanted}; or label.known"


def _event_tables(raw: Mapping[str, Any]) -> set[str]:
    """Names of the event table: its own, and those of tables that are the same file, or the same rows of a database."""
    tables, name = as_mapping(raw.get("tables")), str(get(raw, "event", "table"))
    place = _place(tables.get(name))
    return {name, *(str(other) for other, table in tables.items() if any(place) and _place(table) == place)}


def _place(table: Any) -> tuple[str, str, str]:
    path, url, query = (str(get(table, key) or "") for key in ("path", "url", "query"))
    return os.path.normpath(path) if path else "", url, " ".join(query.split())


def _names(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Fields and features share one namespace: a name that stands twice would shadow the other."""
    seen: dict[str, str] = dict.fromkeys(RESERVED, "the platform")
    for path, name in _defined(raw):
        if name in seen:
            yield path, name, f"a name of its own; {seen[name]} has this one"
        seen.setdefault(name, path)
    for part in ("protected", "outcomes"):
        for name in as_mapping(raw.get(part)):
            if name in seen:
                yield f"{part}.{name}", str(name), f"a name that is not also a feature; {seen[name]} has this one"


def _view_names(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Feast knows views, groups of aggregates, derived columns and the request by one name each."""
    groups: dict[str, Any] = {}
    for index, part in enumerate(as_list(raw.get("aggregates"))):
        entity = part.get("entity")
        entities = list(entity) if isinstance(entity, (list, tuple)) else [entity]
        name = aggregate_view(map(str, entities))
        if groups.setdefault(name, entities) != entities:
            yield f"aggregates.{index}.entity", str(entity), f"entities that don't read like others: both are {name}"
    taken = _FEAST_NAMES | {name: f"the aggregates over {' and '.join(map(str, of))}" for name, of in groups.items()}
    for view in as_mapping(raw.get("views")):
        if view in taken:
            yield f"views.{view}", str(view), f"another name: Feast knows {taken[view]} by this one"


def _defined(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, name) of every request field and feature, in the order of the vector."""
    for name in as_mapping(raw.get("request")):
        yield f"request.{name}", str(name)
    for view, definition in as_mapping(raw.get("views")).items():
        for column in as_mapping(get(definition, "columns")):
            yield f"views.{view}.columns.{column}", f"{view}__{column}"
    for index, part in enumerate(as_list(raw.get("aggregates"))):
        for name in aggregate_names(part):
            yield f"aggregates.{index}", name
    for name in as_mapping(raw.get("derived")):
        yield f"derived.{name}", str(name)


def _columns(contracts: Any) -> Iterator[tuple[str, str]]:
    """(name, column in the table) of a mapping of contracts."""
    for name, contract in as_mapping(contracts).items():
        yield str(name), str(as_mapping(contract).get("column") or name)
