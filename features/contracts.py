"""Contracts checked offline: how many rows of the event table break what is declared, and which breaks are fatal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from configs.errors import FeatureError
from configs.inputs import Column
from configs.settings import Settings
from configs.use_case import UseCase
from features.events import ID, LABEL, canonical_sql, check_columns, entity_column, event_id_column, protected_column
from features.sources import Source, connect, quote, source, table_path, text


@dataclass(frozen=True)
class Finding:
    """Rows of the event table that break one rule. A fatal one leaves nothing sensible to train on."""

    column: str
    problem: str
    rows: int
    share: float
    fatal: bool = False


def check(use_case: UseCase, settings: Settings) -> tuple[Finding, ...]:
    """Every broken rule of the event table, fatal ones first; empty if there is none. Raises for a missing column."""
    with connect(settings) as connection:
        raw = source(connection, table_path(use_case, use_case.event.table, settings))
        check_columns(use_case, raw)
        return findings(use_case, connection, raw)


def enforce(found: tuple[Finding, ...], *, table: str) -> None:
    """Raise `FeatureError` for the first fatal finding."""
    for finding in found:
        if finding.fatal:
            raise FeatureError(
                f"{table}: {finding.column} {finding.problem} ({finding.rows:,} rows, {finding.share:.1%})",
                expected="one row an event with an id of its own, and outcomes of both classes",
                fix="correct the table, or `event` and `label` in the use case",
            )


def findings(use_case: UseCase, connection: duckdb.DuckDBPyConnection, raw: Source) -> tuple[Finding, ...]:
    """The same as `check` for an open table: one pass over it."""
    rules = list(_rules(use_case))
    counts = ", ".join(f"count(*) FILTER (WHERE {rule.test})" for rule in rules)
    query = f"SELECT {_TOTALS}, {counts} FROM ({canonical_sql(use_case, raw, beside=True)})"
    total, twice, positives, negatives, *broken = connection.execute(query).fetchone() or (0, 0, 0, 0)
    if not total:
        raise FeatureError(f"{raw.path.name} has no rows", expected="events")
    found = [
        Finding(rule.column, rule.problem, rows, rows / total, rule.fatal)
        for rule, rows in zip(rules, broken, strict=True)
        if rows
    ]
    if twice:
        found.append(Finding(event_id_column(use_case), "is not unique", twice, twice / total, fatal=True))
    if not positives or not negatives:
        only = "has no outcomes" if not positives + negatives else f"is {'always' if positives else 'never'} positive"
        found.append(
            Finding(use_case.label.column, only, positives + negatives, (positives + negatives) / total, fatal=True)
        )
    return tuple(sorted(found, key=lambda finding: not finding.fatal))


_TOTALS = (
    f"count(*), count({ID}) - count(DISTINCT {ID}), "
    f"count(*) FILTER (WHERE {LABEL} = 1), count(*) FILTER (WHERE {LABEL} = 0)"
)


@dataclass(frozen=True)
class _Rule:
    """What breaks a contract, as SQL over the canonical columns and, as `raw:<column>`, those of the table."""

    column: str
    problem: str
    test: str
    fatal: bool = False


def _rules(use_case: UseCase) -> Iterator[_Rule]:
    event = use_case.event
    yield _Rule(event_id_column(use_case), "is missing", f"{ID} IS NULL", fatal=True)
    if event.time:
        yield _Rule(event.time, "is missing or no time", "event_time IS NULL")
    for entity, key in use_case.entities.items():
        yield _Rule(key, "is missing", f"{quote(entity_column(entity))} IS NULL")
    for name, column in use_case.request.items():
        yield from _column_rules(column.column or name, quote(name), column)
    for name, column in use_case.protected.items():
        yield from _column_rules(column.column or name, quote(protected_column(name)), column)


def _column_rules(name: str, value: str, column: Column) -> Iterator[_Rule]:
    raw = quote(f"raw:{name}")
    codes = ", ".join(text(str(code).removesuffix(".0")) for code in ("nan", *column.missing))
    written = f"lower(regexp_replace(CAST({raw} AS VARCHAR), '[.]0+$', ''))"
    yield _Rule(
        name, f"is not a {column.type}", f"{raw} IS NOT NULL AND {value} IS NULL AND {written} NOT IN ({codes.lower()})"
    )
    if column.min is not None:
        yield _Rule(name, f"is below {column.min:g}", f"{value} < {column.min}")
    if column.max is not None:
        yield _Rule(name, f"is above {column.max:g}", f"{value} > {column.max}")
    if column.values:
        yield _Rule(name, "is not in the vocabulary", f"{value} NOT IN ({', '.join(map(text, column.values))})")
    if not column.nullable:
        yield _Rule(name, "is missing", f"{value} IS NULL")
    if column.type == "integer":
        yield _Rule(name, "is not whole", f"{value} <> round({value})")
