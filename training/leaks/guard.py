"""The leak guard: everything that is looked for before a search, in one call over the training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from configs.use_case import UseCase
from features.vector import features_of
from training.leaks.columns import Judged, Table, table_of
from training.leaks.duplicates import duplicates
from training.leaks.echo import chains, groups, target_echoes
from training.leaks.findings import Finding, Kind, overruled
from training.leaks.giveaway import gives_away, one_class, strength
from training.leaks.record import named, sampled, together, with_clocks
from training.leaks.shape import id_like, unavailable
from training.leaks.statistics import Array, Codes, Profile, dealt, normal_ranks, profile
from training.leaks.times import accrues, after_event, lag
from training.leaks.views import known_late

if TYPE_CHECKING:
    from features.frame import Frame

HARD: tuple[Kind, ...] = ("gives_away", "one_class", "after_event")
"""Kinds that say by themselves that a table was written after the outcome."""


def examine(
    use_case: UseCase,
    frame: Frame,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    settings: Settings | None = None,
) -> tuple[Finding, ...]:
    """Everything suspicious in the features of a frame, with the reasons that `leaks.accept` overrules it for.

    Judged are the rows `train` (positions in the frame, ascending); the rows `test` are looked at for duplicates only.
    For a split by chance both are the same. With `settings` the event table is read too, for request fields that are no
    features themselves, such as times, and the tables of views. Features under `training.exclude` are left out. Of a
    column each hard ground (`HARD`) is given, of the others the first. `duplicates` comes last.

    Deterministic. With one class only what needs no label is looked for; no rows give no findings.
    """
    if not len(train):
        return ()
    found = [*Guard(table_of(use_case, frame, train, settings)).findings()]
    found += known_late(use_case, settings) if settings else ()
    kept = [each.name for each in features_of(use_case) if each.name not in use_case.training.exclude]
    if kept and len(test):
        label = frame.events["label"].to_numpy(dtype=np.float64)
        keys = frame.events[list(use_case.entities)].add_prefix("entity:")
        twins = duplicates(frame.features[kept], keys, label, train=train, test=test)
        found += [twins] if twins else []
    return overruled(found, use_case.leaks)


class Guard:
    """The training rows with what was counted of each column, and the searches over them in their order.

    columns: times among them as days from the event, which is what a model could make of them. counted: distinct values
    by column. areas: AUC of each column alone, 0.5 to 1, NaN with one class.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.both = bool(0 < table.y.sum() < len(table.y))
        self.columns = tuple(self._distance(column) for column in table.columns)
        homes = dealt(table.y)
        self.counted: dict[str, Profile] = {}
        self.areas: dict[str, float] = {}
        for column in self.columns:
            counted = profile(column.values, table.y)
            self.counted[column.name] = counted
            self.areas[column.name] = strength(column, counted, table.y, homes)

    def findings(self) -> list[Finding]:
        """All findings: on the label and times first, then on columns without one; a search knows what was found."""
        found: list[Finding] = []
        searches: tuple[Callable[[list[Finding]], Iterator[Finding]], ...] = (
            self._label,
            self._times,
            self._shape,
            self._echoes,
            self._together,
            self._clocks,
            self._names,
        )
        for search in searches:
            seen = {each.column for each in found}
            for each in search(found):
                if each.kind in HARD or each.column not in seen:
                    found.append(each)
                    seen.add(each.column)
        return found

    def _distance(self, column: Judged) -> Judged:
        if column.kind != "time" or not self.table.timed:
            return column
        return replace(column, values=lag(column, self.table))

    def _label(self, _: list[Finding]) -> Iterator[Finding]:
        for column in self.columns if self.both else ():
            counted, area = self.counted[column.name], self.areas[column.name]
            finding = gives_away(column, self.table.y, area) or one_class(column, counted, self.table.y)
            if finding:
                yield finding

    def _times(self, _: list[Finding]) -> Iterator[Finding]:
        for column in self.table.columns if self.table.timed else ():
            finding = None
            if column.kind == "time":
                finding = after_event(column, self.table, self.table.columns, self.areas[column.name])
            elif column.kind == "number" and column.sent:
                finding = accrues(column, self.counted[column.name], self.table)
            if finding:
                yield finding

    def _shape(self, _: list[Finding]) -> Iterator[Finding]:
        for column in self.columns:
            finding = id_like(column, self.counted[column.name], self.table) or unavailable(column, self.table)
            if finding:
                yield finding

    def _echoes(self, _: list[Finding]) -> Iterator[Finding]:
        if not self.both:
            return
        linked, by = chains(self.table) if self.table.timed else (), groups(self.table)
        for column in self.columns:
            yield from target_echoes(column, self.table, linked, by)

    @cached_property
    def _rows(self) -> Codes:
        return sampled(self.table.y)

    def _numbers(self, found: list[Finding]) -> tuple[tuple[Judged, ...], Array]:
        """Numbers and distances that don't block yet, and their normal scores [rows, p] over the sampled rows."""
        out = {each.column for each in found if each.blocks}
        chosen = tuple(each for each in self.columns if each.kind != "category" and each.name not in out)
        raw = [each.values[self._rows] for each in chosen]
        return chosen, normal_ranks(np.column_stack(raw)) if raw else np.empty((len(self._rows), 0))

    def _together(self, found: list[Finding]) -> Iterator[Finding]:
        if self.both:
            columns, values = self._numbers(found)
            yield from together(columns, values, self.table.y[self._rows], self.areas)

    def _clocks(self, found: list[Finding]) -> Iterator[Finding]:
        """Against times after the event that block, where most rows have one."""
        late = {each.column for each in found if each.kind == "after_event" and each.blocks}
        hands = {each.name: each.values[self._rows] for each in self.columns if each.name in late}
        hands = {name: values for name, values in hands.items() if np.mean(~np.isnan(values)) >= 0.5}
        if not self.both or not hands:
            return
        time = self.table.time[self._rows]
        columns, values = self._numbers(found)
        even = (time - time.mean()) / (time.std() or 1.0)
        yield from with_clocks(columns, values, self.table.y[self._rows], even, hands)

    def _names(self, found: list[Finding]) -> Iterator[Finding]:
        if len({each.column for each in found if each.kind in HARD and each.blocks}) < 2:
            return
        for column in self.columns:
            finding = named(column, self.counted[column.name], self.table.y, self.areas[column.name])
            if finding:
                yield finding
