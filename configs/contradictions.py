"""Parts of a use case that contradict each other: leaks by declaration, a split that time forbids, names used twice.

Checked on raw data like `configs.references`, and so reported together with all other mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from configs.durations import parse
from configs.personal import misplaced
from configs.references import aggregate_names, as_list, as_mapping, get

Contradiction = tuple[str, str, str]
"""Path in the file, value found, what was expected."""

RESERVED = ("event_time", "probability")
"""Names that expressions and rules give a meaning of their own."""


def contradictions(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Every contradiction. Tolerates any shape: what has the wrong type is reported by the schema."""
    yield from _time(raw)
    yield from _leaks(raw)
    yield from _names(raw)
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


def _leaks(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Columns of the event table that would let the outcome, or a protected attribute, into the features."""
    label, events = as_mapping(raw.get("label")), _event_tables(raw)
    hidden = {column: f"protected.{name}" for name, column in _columns(raw.get("protected"))}
    hidden |= {str(label.get("column")): "the label", str(label.get("known")): "when the label was known"}
    columns = [("request", raw.get("request"))]
    columns += [
        (f"views.{name}.columns", as_mapping(view).get("columns"))
        for name, view in as_mapping(raw.get("views")).items()
        if str(get(view, "table")) in events
    ]
    for path, contracts in columns:
        for name, column in _columns(contracts):
            if column in hidden:
                yield f"{path}.{name}", column, f"a column that may be a feature; this one is {hidden[column]}"
    for index, part in enumerate(as_list(raw.get("aggregates"))):
        if label and part.get("column") == label.get("column"):
            yield from _outcomes(f"aggregates.{index}", part, raw)


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
    """Names of the event table: its own, and those of tables that are the same file."""
    tables, name = as_mapping(raw.get("tables")), str(get(raw, "event", "table"))
    path = get(tables, name, "path")
    return {name, *(str(other) for other in tables if path and get(tables, other, "path") == path)}


def _names(raw: Mapping[str, Any]) -> Iterator[Contradiction]:
    """Fields and features share one namespace: a name that stands twice would shadow the other."""
    seen: dict[str, str] = dict.fromkeys(RESERVED, "the platform")
    for path, name in _defined(raw):
        if name in seen:
            yield path, name, f"a name of its own; {seen[name]} has this one"
        seen.setdefault(name, path)
    for name in as_mapping(raw.get("protected")):
        if name in seen:
            yield f"protected.{name}", str(name), f"a name that is not also a feature; {seen[name]} has this one"


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
