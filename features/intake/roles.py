"""What each column of an unknown table seems to be: key, time, field, protected, personal, or better left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

import duckdb
import numpy as np
from numpy.typing import NDArray

from configs.errors import FeatureError
from features.contracts import END_YEAR, FIRST_YEAR
from features.intake.labels import DraftLabel, label_of, require_column
from features.intake.profile import Profile, coded, evidence, positives, unique
from features.intake.suspects import (
    leak,
    named_event_time,
    named_key,
    named_leak,
    named_personal,
    named_protected,
    named_unit,
    slug,
)
from features.sources import Source

_FEW = 20
"""Fewer values than this don't identify anybody: no key, and no personal data."""

_DAY = 86_400_000_000


@dataclass(frozen=True)
class Wishes:
    """What the user said: columns of the table, and the label's positive value. None: to be guessed."""

    label: str | None = None
    positive: str | None = None
    time: str | None = None
    id: str | None = None
    kind: Literal["credit", "fraud"] | None = None


@dataclass(frozen=True)
class Judged:
    """A column with its role and the reason for it. `auc`: of the column alone, where it was measured."""

    profile: Profile
    role: Literal["field", "time", "protected", "leak", "personal", "useless"]
    reason: str = ""
    auc: float | None = None


@dataclass(frozen=True)
class Roles:
    """Every column's role. `entities`: name -> key column; `id` and `time` are None where the table has none."""

    label: DraftLabel
    id: str | None
    time: str | None
    entities: Mapping[str, str]
    tokens: tuple[str, ...]
    columns: tuple[Judged, ...]

    def of(self, *roles: str) -> tuple[Judged, ...]:
        """The columns in these roles, in the order of the table."""
        return tuple(column for column in self.columns if column.role in roles)


def roles_of(
    connection: duckdb.DuckDBPyConnection, raw: Source, profiles: Mapping[str, Profile], wishes: Wishes
) -> Roles:
    """Guess the roles of all columns. Raises `FeatureError` for wishes that the table can't meet, or without label."""
    label = label_of(connection, raw, profiles, column=wishes.label, positive=wishes.positive)
    time = _event_time(profiles, label.column, wishes.time)
    keys = {name: each for name, each in profiles.items() if name not in {label.column, time} and _may_be_key(each)}
    id_ = _event_id(connection, raw, profiles, list(keys), wishes.id)
    entities = _entities({name: each for name, each in keys.items() if name != id_ and each.distinct < each.present})
    if not entities and id_:
        entities = {_entity_name(id_): id_}
    used = {label.column, time, id_, *entities.values()}
    rest = [each for name, each in profiles.items() if name not in used]
    judge = _Judge(connection, label, profiles[time] if time else None)
    tokens = tuple(key for key in entities.values() if named_personal(key))
    return Roles(label, id_, time, entities, tokens, tuple(judge.judged(each) for each in rest))


def _event_time(profiles: Mapping[str, Profile], label: str, wanted: str | None) -> str | None:
    """The first of the times whose names sound most like that of the event, complete but for 1 % of the rows."""
    if wanted is not None:
        require_column(wanted, profiles, option="--time")
        if profiles[wanted].kind != "time":
            raise FeatureError(
                f"the column {wanted!r} holds {profiles[wanted].found}, which is no time",
                expected="a TIMESTAMP, a DATE, whole numbers since 1970, or text such as 2025-07-01T10:00:00Z",
                fix="name another column with --time, or leave it out",
            )
        return wanted
    times = [name for name, each in profiles.items() if each.kind == "time" and name != label]
    times = [name for name in times if named_event_time(name) and profiles[name].missing <= 0.01]
    return max(times, key=named_event_time, default=None)


def _may_be_key(column: Profile) -> bool:
    texts = column.kind == "category" or (column.kind == "number" and column.whole and column.found != "VARCHAR")
    return texts and column.plain and named_key(column.name) and column.distinct >= _FEW


def _event_id(
    connection: duckdb.DuckDBPyConnection,
    raw: Source,
    profiles: Mapping[str, Profile],
    keys: list[str],
    wanted: str | None,
) -> str | None:
    """The first key with a value of its own in every row; never personal data, because outcomes name it."""
    if wanted is not None:
        require_column(wanted, profiles, option="--id")
        if not unique(connection, raw, wanted):
            raise FeatureError(
                f"the column {wanted!r} has missing or repeated values",
                expected="a column that identifies the row",
                fix="name another column with --id, or leave it out: rows then count by their number",
            )
        return wanted
    possible = [name for name in keys if profiles[name].distinct == profiles[name].rows and not named_personal(name)]
    return next((name for name in possible if unique(connection, raw, name)), None)


def _entities(keys: Mapping[str, Profile]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in keys:
        found.setdefault(_entity_name(name), name)
    return found


def _entity_name(column: str) -> str:
    """The column's name without its ending.

    >>> _entity_name("customer_id"), _entity_name("loan_number"), _entity_name("ID")
    ('customer', 'loan', 'case')
    """
    stem = re.sub(r"_?(id|uuid|guid|key|number|no|num|nr|ref|reference)$", "", slug(column))
    return stem if re.match(r"[a-z]", stem) and stem not in {"event", "label", "known"} else "case"


def timely(times: NDArray[np.float64]) -> int:
    """How many of these microseconds since 1970 lie in the years that a load accepts."""
    first, end = (datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1e6 for year in (FIRST_YEAR, END_YEAR))
    return int(np.sum((times >= first) & (times < end)))


class _Judge:
    """Judges one column after the other against the label and the time of the event."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, label: DraftLabel, time: Profile | None) -> None:
        self._connection, self._label, self._time = connection, label, time
        self._known, self._positive = positives(connection, label.column, label.text)

    def judged(self, column: Profile) -> Judged:
        """The first role that fits."""
        if column.kind == "other" or not column.plain:
            return Judged(column, "useless", self._unusable(column))
        found = evidence(self._connection, column, self._known, self._positive)
        if named_personal(column.name):
            found = replace(found, usual="the most frequent one")
        suspicion = leak(column.name, found, base=float(self._positive.mean()))
        if suspicion and not (named_protected(column.name) and not named_leak(column.name)):
            return Judged(column, "leak", suspicion, found.auc)
        for role, reason in self._roles(column):
            if reason:
                return Judged(column, role, reason, found.auc)
        return Judged(column, "time" if column.kind == "time" else "field", "", found.auc)

    def _roles(self, column: Profile) -> Iterator[tuple[Literal["protected", "leak", "personal", "useless"], str]]:
        if column.kind == "time":
            yield "personal", "by its name: identifies a person" if named_personal(column.name) else ""
            yield "useless", self._untimely(column)
            yield "leak", self._later(column)
        yield "useless", _empty(column)
        yield "protected", "by its name: may not decide" if named_protected(column.name) else ""
        personal = named_personal(column.name) and not named_unit(column.name) and column.distinct >= _FEW
        yield "personal", "by its name: identifies a person" if personal else ""
        yield "useless", _identifying(column) or self._counts_time(column)

    @staticmethod
    def _unusable(column: Profile) -> str:
        return f"no values that a feature can be made of ({column.found})" if column.plain else "free text"

    @cached_property
    def _times(self) -> NDArray[np.float64]:
        return coded(self._connection, self._time) if self._time else np.empty(0)

    def _untimely(self, column: Profile) -> str:
        share = 1 - timely(coded(self._connection, column)) / max(column.present, 1)
        if self._time is None:
            return "a time, which is no feature; an age can't be derived without the time of the event"
        return f"{share:.1%} of its values are no times between {FIRST_YEAR} and {END_YEAR}" if share > 0.001 else ""

    def _later(self, column: Profile) -> str:
        """A time after the event says something that was not known at the event."""
        if self._time is None:
            return ""
        values = coded(self._connection, column)
        both = np.isfinite(values) & np.isfinite(self._times)
        exact = bool(np.any(self._times[both] % _DAY))  # days are compared as days
        after = values[both] > self._times[both] if exact else values[both] >= self._times[both] + _DAY
        later = float(after.mean()) if both.any() else 0.0
        return f"later than {self._time.name} in {later:.0%} of its rows" if later > 0.01 else ""

    def _counts_time(self, column: Profile) -> str:
        """A number that only grows with time meets values in the test that training never saw."""
        if self._time is None or column.kind != "number" or column.distinct < 3 or column.missing > 0.5:
            return ""
        values = coded(self._connection, column)
        both = np.isfinite(values) & np.isfinite(self._times)
        together = abs(_rank_correlation(values[both], self._times[both])) if both.sum() > 2 else 0.0
        named = self._time.name
        return (
            f"counts time: goes up and down with {named} (rank correlation {together:.2f})" if together > 0.98 else ""
        )


def _rank_correlation(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Spearman's; ties get the mean of their ranks. 0 where one of them is constant."""
    ranks = [
        np.searchsorted(np.sort(each), each) + np.searchsorted(np.sort(each), each, "right") for each in (left, right)
    ]
    if any(np.ptp(each) == 0 for each in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _empty(column: Profile) -> str:
    if column.distinct > 1:
        return ""
    return "has the same value in every row" if column.present else "has no value in any row"


def _identifying(column: Profile) -> str:
    """A key that is no entity, or text with nearly as many values as rows: a model would learn rows by heart."""
    many = column.present >= 2 * _FEW and column.distinct > 0.5 * column.present
    worded = column.kind == "category" or (named_key(column.name) and column.whole)
    return f"identifies rows: {column.distinct:,} values in {column.present:,} of them" if many and worded else ""
