"""What doesn't fit together in a load: times in the wrong order, labels before their maturity, keys in two forms.

Such rows are counted, not rejected: each alone is possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from configs.use_case import UseCase
from features.contracts import TableContract
from features.intake.kept import Load
from features.sources import Source, quote
from features.values import is_whole, label_sql, time_sql

_KEYS = 200_000
"""Keys that are compared; of more, all forms of a part of them."""


@dataclass(frozen=True)
class Inconsistency:
    """Rows or keys that look wrong together, and what they do to the features."""

    column: str
    what: str
    count: int
    meaning: str


def consistency(
    connection: duckdb.DuckDBPyConnection, use_case: UseCase, contract: TableContract, good: Source, load: Load
) -> list[Inconsistency]:
    """Everything found in the good rows; empty if all fits."""
    checks = list(_times(use_case, contract, good))
    if contract.table == use_case.event.table:
        checks += list(_labels(use_case, good, load))
    counts = ", ".join(f"count(*) FILTER (WHERE {test})" for _, _, test, _ in checks)
    row = connection.execute(f"SELECT {counts} FROM {good.scan}").fetchone() if checks else ()
    found = [
        Inconsistency(column, what, int(count), meaning)
        for (column, what, _, meaning), count in zip(checks, row or (), strict=True)
    ]
    if contract.table == use_case.event.table:
        found.append(_values(connection, use_case, good))
    found += [_forms(connection, name, good) for name in _keys(contract, good)]
    return [each for each in found if each.count]


_Check = tuple[str, str, str, str]
"""Column, what is wrong, the test as SQL, what it means."""


def _times(use_case: UseCase, contract: TableContract, good: Source) -> Iterator[_Check]:
    definition = use_case.tables[contract.table]
    if definition.time and definition.created:
        time, created = time_sql(good, definition.time), time_sql(good, definition.created)
        late = f"INTERVAL {int(definition.late.total_seconds())} SECONDS"
        yield (
            definition.created,
            f"lies before {definition.time}",
            f"{created} < {time}",
            "a row can't be known before what it speaks of; it counts from the later of the two",
        )
        yield (
            definition.created,
            f"is later than {definition.time} by more than `late`",
            f"{created} > {time} + {late}",
            "such a late row is not brought online by the next incremental load",
        )


def _labels(use_case: UseCase, good: Source, load: Load) -> Iterator[_Check]:
    label, event = use_case.label, use_case.event
    value, time = label_sql(good.columns, label), time_sql(good, event.time)
    if event.time is None:
        return
    mature = f"{time} + INTERVAL {int(label.maturity.total_seconds())} SECONDS"
    if label.known:
        known = time_sql(good, label.known)
        yield (
            label.known,
            f"lies before {event.time}",
            f"{value} IS NOT NULL AND {known} < {time}",
            "an outcome known before its event would leak into the features of the event",
        )
        yield (
            label.known,
            "is later than the label's maturity",
            f"{value} IS NOT NULL AND {known} > {mature}",
            "training takes outcomes as final before these were known: the maturity is too short",
        )
        yield (label.known, "is there without an outcome", f"{value} IS NULL AND {known} IS NOT NULL", "unused")
        return
    now = f"TIMESTAMP '{load.loaded_at[:19]}'"
    yield (
        label.column,
        "is there before the label's maturity",
        f"{value} IS NOT NULL AND {mature} > {now}",
        "an outcome that may still change is not yet known: a 0 may only mean that nothing was heard",
    )


def _values(connection: duckdb.DuckDBPyConnection, use_case: UseCase, good: Source) -> Inconsistency:
    label = use_case.label
    column = quote(label.column)
    query = f"SELECT count(*) FROM (SELECT DISTINCT {column} AS v FROM {good.scan}) WHERE v IS NOT NULL"
    row = connection.execute(query).fetchone() or (0,)
    more = int(row[0]) if int(row[0]) > 2 else 0
    return Inconsistency(label.column, "has more than two values", more, f"all but {label.positive!r} count as 0")


def _keys(contract: TableContract, good: Source) -> list[str]:
    """Keys that are text and not personal: numbers have one form, and tokens tell nothing."""
    names = dict.fromkeys(column.name for column in contract.of("key", "id") if not column.personal)
    return [name for name in names if not is_whole(good.columns[name])]


def _forms(connection: duckdb.DuckDBPyConnection, name: str, good: Source) -> Inconsistency:
    """Keys that are equal but for case, blanks around them, or zeros before them. Of very many a part is looked at."""
    key = f"CAST({quote(name)} AS VARCHAR)"
    bare = f"coalesce(nullif(ltrim(lower(trim({key})), '0'), ''), '0')"
    row = connection.execute(f"SELECT approx_count_distinct({key}) FROM {good.scan}").fetchone() or (0,)
    every = max(1, int(row[0]) // _KEYS)
    drawn = f"{quote(name)} IS NOT NULL AND hash({bare}) % {every} = 0"
    query = (
        f"SELECT coalesce(sum(forms), 0) FROM (SELECT count(DISTINCT key) AS forms FROM "
        f"(SELECT {key} AS key, {bare} AS bare FROM {good.scan} WHERE {drawn}) GROUP BY bare) WHERE forms > 1"
    )
    row = connection.execute(query).fetchone() or (0,)
    return Inconsistency(
        name,
        "has keys that differ only in case, blanks or leading zeros",
        int(row[0]),
        "one entity under several keys has several histories",
    )
