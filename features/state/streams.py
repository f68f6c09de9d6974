"""From the windowed aggregates of a use case to streams: which events are kept for whom, and what is kept of each.

A stream is all aggregates of one table by one entity (or pair), so that a request reads each of its keys once. Those
that count an event once its outcome is known form a stream of their own, beside those that count it at its own time.

In a stream of outcomes an event enters when its outcome became known: at the recorded time, or when its label matured,
but never before the microsecond after its own time, so that no event sees its own outcome. Without an outcome it is not
in the stream; a corrected outcome takes the place of the first, also in time. An outcome that comes in late is in every
window that is asked for from then on, as if it had been there. It finds its event as long as the state keeps that: the
longest window with its delay, the label's maturity, and the lateness that `features.state.activity` allows. One that
comes later than that enters with the next load of history, which reads the event again.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

from configs.conditions import named_columns
from configs.errors import FeatureError
from configs.inputs import Aggregate
from configs.use_case import UseCase
from features.exact import COMPARED, EARLIER, NUMERIC, SUMMED, scaled
from features.expressions import Expression, compile_expression
from features.language.operators import plain
from features.state.functions import Wanted
from features.state.summaries import Form
from features.vector import AggregateFeature, aggregate_features, carried_names, check_aggregate, request_field

Reader = Callable[[Mapping[str, Any]], Any]
"""From an event's values to the value that is aggregated; None where there is none."""

LABEL, KNOWN, TIME = "label:", "known:", "time:"
"""Names under which an event's label (1, 0, None) and its times (microseconds) stand beside its other values."""

_LAYOUT = 2
"""Of the stores: another one is another signature."""
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Slot:
    """One number or text kept of every event, because some aggregate reads it.

    present: 1 where there is a value; value: the number; units: the number in 10**-decimals; text: for `distinct`.
    """

    form: Form | Literal["text"]
    column: str | None
    where: str | None
    delay: timedelta = timedelta(0)
    decimals: int = 0


@dataclass(frozen=True)
class Stream:
    """The events of one table by one entity or pair, which enter by themselves or with their outcomes.

    `lag` is how long after an event its outcome enters (microseconds; 0: events enter by themselves).
    """

    entities: tuple[str, ...]
    enters: Literal["event", "outcome"]
    lag: int
    wanted: tuple[Wanted, ...]
    numbers: tuple[Slot, ...]
    texts: tuple[Slot, ...]
    readers: Mapping[Slot, Reader] = field(repr=False)
    conditions: Mapping[str, Expression] = field(repr=False)

    @cached_property
    def name(self) -> str:
        """Unique within the table. Names of entities hold neither sign."""
        return "+".join(self.entities) + ("@outcome" if self.enters == "outcome" else "")

    @cached_property
    def reach(self) -> int:
        """How far back the longest window begins, in microseconds."""
        return max(each.reach for each in self.wanted)

    @cached_property
    def counts_itself(self) -> bool:
        """Whether a scored event may be in its own windows. Its outcome never is."""
        return self.enters == "event" and min(each.last for each in self.wanted) == 0

    @cached_property
    def forms(self) -> tuple[Form, ...]:
        """What is kept of an event as numbers."""
        return tuple(slot.form for slot in self.numbers if slot.form != "text")

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """How long before an event its windows begin and end, in microseconds, the longest first."""
        return tuple(sorted({offset for each in self.wanted for offset in (each.reach, each.last)}, reverse=True))

    def enters_at(self, values: Mapping[str, Any]) -> int | None:
        """When an event enters, in microseconds; None: not as long as its outcome is unknown."""
        if self.enters == "event":
            return int(values[TIME])
        return None if values[LABEL] is None else max(int(values[KNOWN]), int(values[TIME]) + 1)

    def pack(self, values: Mapping[str, Any]) -> tuple[bytes, str]:
        """What is kept of an event: its numbers as doubles (NaN: none) and its texts as a JSON list (empty: none)."""
        hits = {where: condition.evaluate(values) is True for where, condition in self.conditions.items()}
        take_numbers, take_texts = self._takers
        numbers = [take(values) if where is None or hits[where] else math.nan for where, take in take_numbers]
        texts = [take(values) if where is None or hits[where] else None for where, take in take_texts]
        return struct.pack(f"<{len(numbers)}d", *numbers), json.dumps(texts) if texts else ""

    @cached_property
    def _takers(self) -> tuple[list[tuple[str | None, Reader]], list[tuple[str | None, Reader]]]:
        numbers = [(slot.where, _taker(slot, self.readers[slot])) for slot in self.numbers]
        return numbers, [(slot.where, _taker(slot, self.readers[slot])) for slot in self.texts]


def _taker(slot: Slot, reader: Reader) -> Reader:
    """From an event's values to what the slot keeps."""
    if slot.form == "text":
        return lambda values: _text(reader(values))
    if slot.form == "present":
        return lambda values: math.nan if reader(values) is None else 1.0
    scale = float(10**slot.decimals) if slot.form == "units" else 1.0

    def number(values: Mapping[str, Any]) -> float:
        value = reader(values)
        if value is None or not math.isfinite(value * scale):
            return math.nan
        return float(scaled(value, slot.decimals)) if slot.form == "units" else value

    return number


def _text(value: Any) -> str | None:
    """A value as text that is equal exactly where the values are."""
    value = plain(value)
    return repr(value + 0.0) if isinstance(value, float) else None if value is None else str(value)


@dataclass(frozen=True)
class TableStreams:
    """All streams over one table; `fields` and `entities` are what they read of an event.

    `sources` says where that comes from: columns, what is accepted of them, and what is positive.
    """

    table: str
    streams: tuple[Stream, ...]
    fields: tuple[str, ...]
    entities: tuple[str, ...]
    sources: str

    @cached_property
    def reach(self) -> timedelta:
        """The oldest event that any window can still need."""
        return max(stream.reach + stream.lag for stream in self.streams) * _MICROSECOND

    @cached_property
    def of_outcomes(self) -> bool:
        """Whether any stream needs to know which events turned out negative, and when."""
        return any(stream.enters == "outcome" for stream in self.streams)

    @cached_property
    def signature(self) -> str:
        """Changes whenever something else would be kept of an event: state of another definition is never read."""
        parts: list[str | int] = [_LAYOUT]
        parts += [
            repr((stream.entities, stream.numbers, stream.texts, *(["outcome"] if stream.enters == "outcome" else [])))
            for stream in self.streams
        ]
        return hashlib.sha256(json.dumps([parts, self.fields, self.entities, self.sources]).encode()).hexdigest()[:8]


_Group = tuple[tuple[str, ...], Literal["event", "outcome"]]


def streams_of(use_case: UseCase) -> tuple[TableStreams, ...]:
    """The streams of a use case, by table. Raises `FeatureError` for an aggregate that a request can't feed."""
    parts: dict[str, dict[_Group, list[AggregateFeature]]] = {}
    for feature in aggregate_features(use_case):
        part = feature.aggregate
        check_aggregate(use_case, part)
        table = part.table or use_case.event.table
        parts.setdefault(table, {}).setdefault((part.entities, part.enters), []).append(feature)
    return tuple(_table(use_case, table, streams) for table, streams in parts.items())


def _table(use_case: UseCase, table: str, parts: Mapping[_Group, Sequence[AggregateFeature]]) -> TableStreams:
    own = table == use_case.event.table
    fields: set[str] = set()
    streams = []
    for (entities, enters), features in parts.items():
        slots: dict[Slot, Reader] = {}
        conditions: dict[str, Expression] = {}
        for feature in features:
            part = feature.aggregate
            if part.where is not None:
                conditions[part.where] = _condition(use_case, part, own=own)
                fields |= conditions[part.where].names
            slot = slot_of(part, feature.function)
            if slot is not None:
                slots[slot] = _reader(use_case, slot, part, fields, own=own)
        numbers = tuple(slot for slot in slots if slot.form != "text")
        texts = tuple(slot for slot in slots if slot.form == "text")
        wanted = tuple(_wanted(use_case, feature, numbers, texts) for feature in features)
        lag = use_case.label.maturity // _MICROSECOND if enters == "outcome" else 0
        streams.append(Stream(entities, enters, lag, wanted, numbers, texts, slots, conditions))
    named = fields - set(use_case.request) if own else set()  # the event's own time and keys
    keys = {entity for entities, _ in parts for entity in entities} | (named - {"event_time"})
    read, entities = tuple(sorted(fields - named)), tuple(sorted(keys))
    return TableStreams(table, tuple(streams), read, entities, _sources(use_case, table, read, entities, own=own))


def _sources(use_case: UseCase, table: str, fields: Sequence[str], entities: Sequence[str], *, own: bool) -> str:
    """Any column's contract decides which rows count; whether a column is personal, what stands in it."""
    keys, event, label = [use_case.key(entity) for entity in entities], use_case.event, use_case.label
    views = [view.columns for view in use_case.views.values() if view.table == table]
    contracts = [*views, use_case.request] if own else views
    found: dict[str, Any] = {
        "keys": keys,
        "contracts": [{name: column.shaping for name, column in columns.items()} for columns in contracts],
    }
    if own:
        raw = [use_case.request[name].column or name for name in fields]
        found |= {"event": [event.id, event.time]}
        found |= {"label": [label.column, repr(label.positive), str(label.maturity), label.known]}
    else:
        raw = [*fields]
        found |= {"times": [use_case.tables[table].time, use_case.tables[table].created]}
    named = [*keys, *raw, *([event.id] if own and event.id else [])]
    return json.dumps(found | {"personal": [use_case.personal.get(name) for name in named]}, sort_keys=True)


def slot_of(part: Aggregate, function: str) -> Slot | None:
    """The slot that a function of an aggregate reads; None where the event itself is enough."""
    if function in EARLIER or function == "share" or (function == "count" and part.column is None):
        return Slot("present", None, part.where) if part.where is not None else None
    delay = part.delay if part.enters == "event" else timedelta(0)  # an outcome that enters is known
    if function == "distinct":
        return Slot("text", part.column, part.where, delay)
    if function in SUMMED or (function == "count" and SUMMED & set(part.functions)):
        return Slot("units", part.column, part.where, delay, part.decimals)
    return Slot("present" if function == "count" else "value", part.column, part.where, delay)


def _wanted(use_case: UseCase, feature: AggregateFeature, numbers: Sequence[Slot], texts: Sequence[Slot]) -> Wanted:
    part, function = feature.aggregate, feature.function
    delay = part.delay // _MICROSECOND
    last = delay if part.current else delay + 1
    slot = slot_of(part, function)
    index = None if slot is None else (texts if slot.form == "text" else numbers).index(slot)
    reach = delay + feature.window // _MICROSECOND
    own = request_field(use_case, part) if function in COMPARED else None
    return Wanted(
        feature.name, function, reach, max(last, 1) if function in EARLIER else last, index, part.decimals, own
    )


def _reader(use_case: UseCase, slot: Slot, part: Aggregate, fields: set[str], *, own: bool) -> Reader:
    """How a slot gets its value. Mirrors `features.aggregates`, where the same names are columns."""
    if slot.column is None:
        return lambda _: 1.0
    if own and slot.column == use_case.label.column:
        outcomes = part.enters == "outcome"
        return _outcome if outcomes else _label_reader(part.delay // _MICROSECOND)
    name, kind = _column(use_case, part) if own else (slot.column, "unknown")
    if kind not in {"number", "unknown"} and slot.form in {"value", "units"}:
        wrong = next(function for function in part.functions if function in NUMERIC)
        raise FeatureError(
            f"aggregates ({part.stem}) ask for {wrong} of {slot.column!r}, which is no number",
            expected="count or distinct",
        )
    fields.add(name)
    return lambda values: plain(values.get(name))


def _outcome(values: Mapping[str, Any]) -> float:
    return 1.0 if values[LABEL] == 1 else 0.0


def _label_reader(delay: int) -> Reader:
    """1 if the event is positive and this was known when the delay was over, else 0."""
    return lambda values: 1.0 if values[LABEL] == 1 and values[KNOWN] <= values[TIME] + delay else 0.0


def _column(use_case: UseCase, part: Aggregate) -> tuple[str, str]:
    for name, column in use_case.request.items():
        if part.column in {name, column.column}:
            return name, column.type if column.type in {"category", "time"} else "number"
    for entity, key in use_case.entities.items():
        if part.column in {entity, key}:
            return entity, "category"
    known = [*use_case.request, *use_case.entities, use_case.label.column]
    raise FeatureError(
        f"aggregates ({part.stem}) name the column {part.column!r}, which a request doesn't carry",
        expected=f"a request field, an entity or the label: {', '.join(known)}",
        fix="declare it under `request` with `feature: false`",
    )


def _condition(use_case: UseCase, part: Aggregate, *, own: bool) -> Expression:
    try:
        return compile_expression(
            part.where or "", allowed=carried_names(use_case) if own else named_columns(part.where), gives="condition"
        )
    except FeatureError as error:
        raise FeatureError(f"aggregates ({part.stem}).where: {error.found}", expected=error.expected) from None
