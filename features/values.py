"""Raw values as SQL: numbers, categories and times of a contract, whatever a table holds them as."""

from __future__ import annotations

from collections.abc import Mapping

from configs.errors import FeatureError
from configs.inputs import Column, Label
from features.sources import Source, quote, text

_SQL_TYPES = {"category": "VARCHAR", "time": "TIMESTAMP"}
_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
_FRACTIONS = {"FLOAT", "DOUBLE", "HUGEINT", "UHUGEINT"}
_FIRST_DATE, _LAST_DATE = 19000101, 21991231


def is_time(found: str) -> bool:
    """Whether a DuckDB type holds points in time."""
    return found.startswith(("TIMESTAMP", "DATE"))


def is_whole(found: str) -> bool:
    """Whether a DuckDB type holds whole numbers."""
    return found in _WHOLE


def text_sql(column: str, found: str) -> str:
    """A key, an id or a code as text. Whole numbers have one form, whatever type they are kept as.

    A column of 1, 2 and NULL is often kept as 1.0, 2.0 and NaN, or as decimals: that is '1', '2' and NULL, as callers
    write it. Decimals have no zeros at their end: 1.50 is '1.5'.
    """
    name = quote(column)
    plain = f"CAST({name} AS VARCHAR)"
    whole = f"CAST(TRY_CAST(CASE WHEN {name} = trunc({name}) THEN {name} END AS HUGEINT) AS VARCHAR)"
    if found.startswith("DECIMAL"):
        return f"coalesce({whole}, rtrim({plain}, '0'))"
    if found in {"FLOAT", "DOUBLE"}:
        return f"CASE WHEN NOT isnan({name}) THEN coalesce({whole}, {plain}) END"
    return plain


def time_sql(raw: Source, column: str | None) -> str:
    """A time column as a TIMESTAMP in UTC; NULL where there is none."""
    if column is None or column not in raw.columns:
        return "CAST(NULL AS TIMESTAMP)"
    return instant_sql(column, raw.columns[column])


def instant_sql(column: str, found: str) -> str:
    """A column as a TIMESTAMP in UTC. Text may have an offset; what is no time is NULL.

    Numbers are dates as digits (20250701), or time since 1970 in the unit that their size tells: seconds below 1e11,
    milliseconds below 1e14, microseconds below 1e17, else nanoseconds.
    """
    name = quote(column)
    if found in _WHOLE or found in _FRACTIONS or found.startswith("DECIMAL"):
        return (
            f"CASE WHEN {name} BETWEEN {_FIRST_DATE} AND {_LAST_DATE} "
            f"THEN try_strptime(CAST(TRY_CAST({name} AS BIGINT) AS VARCHAR), '%Y%m%d') "
            f"ELSE make_timestamp({epoch_sql(column)}) END"
        )
    if found == "VARCHAR":  # cast to a TIMESTAMP at once, DuckDB would drop the offset
        return f"CAST(TRY_CAST({name} AS TIMESTAMPTZ) AS TIMESTAMP)"
    if not is_time(found):
        raise FeatureError(
            f"the column {column!r} holds {found}, which is no time",
            expected="a TIMESTAMP, a DATE, numbers since 1970, or text such as 2025-07-01T10:00:00Z",
            fix="convert the column in the table, or name another one",
        )
    return f"CAST({name} AS TIMESTAMP)"


def epoch_sql(column: str) -> str:
    """Numbers as microseconds since 1970, their unit read from their size; NULL beyond nanoseconds in 64 bits."""
    number = f"TRY_CAST({quote(column)} AS BIGINT)"
    size = f"abs(CAST({quote(column)} AS DOUBLE))"
    return (
        f"CASE WHEN {size} < 1e11 THEN TRY_CAST(CAST({quote(column)} AS DOUBLE) * 1e6 AS BIGINT) WHEN {size} < 1e14 "
        f"THEN {number} * 1000 WHEN {size} < 1e17 THEN {number} ELSE {number} // 1000 END"
    )


def value_sql(columns: Mapping[str, str], name: str, contract: Column) -> str:
    """A contracted value: DOUBLE, VARCHAR or TIMESTAMP; sentinel codes and what isn't of the type are NULL.

    With `other`, a text outside the vocabulary becomes that value.
    """
    raw = contract.column or name
    sql_type = _SQL_TYPES.get(contract.type, "DOUBLE")
    if raw not in columns:
        return f"CAST(NULL AS {sql_type})"
    value = typed_sql(raw, columns[raw], contract)
    if contract.other is not None:
        known = f"{value} IS NULL OR {value} IN ({_listed(contract)})"
        value = f"CASE WHEN {known} THEN {value} ELSE {text(contract.other)} END"
    missing = missing_sql(raw, columns[raw], contract)
    return f"CASE WHEN {missing} THEN NULL ELSE {value} END" if missing else value


def possible_sql(columns: Mapping[str, str], name: str, contract: Column) -> str:
    """The same for a protected attribute or an outcome, which refuse no row: an impossible value is NULL."""
    value, tests = value_sql(columns, name, contract), []
    if contract.type in {"number", "integer"}:
        tests += [f"{value} >= {contract.min!r}"] if contract.min is not None else []
        tests += [f"{value} <= {contract.max!r}"] if contract.max is not None else []
    if contract.type == "category" and contract.values:
        tests.append(f"{value} IN ({_listed(contract)})")
    return f"CASE WHEN {' AND '.join(tests)} THEN {value} END" if tests else value


def label_sql(columns: Mapping[str, str], label: Label) -> str:
    """The label as a DOUBLE: 1 for the positive value, 0 for any other, NULL while unknown."""
    if label.column not in columns:
        return "CAST(NULL AS DOUBLE)"
    found = columns[label.column]
    if isinstance(label.positive, str):
        return f"CAST({text_sql(label.column, found)} = {text(label.positive)} AS DOUBLE)"
    if is_time(found):
        raise FeatureError(
            f"the label {label.column!r} holds {found}",
            expected="numbers, texts or truth values",
            fix="name another column as the label; the time of an outcome is `label.known`",
        )
    kind = "boolean" if isinstance(label.positive, bool) else "number"
    return f"CAST({number_sql(quote(label.column), found, kind)} = {float(label.positive)} AS DOUBLE)"


def typed_sql(raw: str, found: str, contract: Column) -> str:
    """A raw column in the contract's type, sentinel codes and undocumented ones included; NULL where it is not."""
    if contract.type == "category":
        return text_sql(raw, found)
    if contract.type == "time":
        return instant_sql(raw, found)
    return number_sql(quote(raw), found, contract.type)


def missing_sql(raw: str, found: str, contract: Column) -> str | None:
    """Whether a raw column holds a sentinel code (never NULL itself); None for a contract without such codes."""
    codes = [code for code in contract.missing if not isinstance(code, str)]
    words = [code for code in contract.missing if isinstance(code, str)]
    tests = [f"{text_sql(raw, found)} IN ({', '.join(map(text, words))})"] if words else []
    if codes and not is_time(found):
        tests.append(f"{number_sql(quote(raw), found, 'number')} IN ({', '.join(map(repr, codes))})")
    return "(" + " OR ".join(f"coalesce({test}, FALSE)" for test in tests) + ")" if tests else None


def number_sql(column: str, found: str, kind: str) -> str:
    """A column as a finite DOUBLE; NULL where it is none. `found` is the column's type in the table."""
    if found == "BOOLEAN":
        return f"CAST({column} AS DOUBLE)"
    if found == "VARCHAR" and kind == "boolean":
        return f"CAST(TRY_CAST({column} AS BOOLEAN) AS DOUBLE)"
    if is_time(found) or found == "TIME":
        raise FeatureError(
            f"the column {column} holds {found}", expected=f"a {kind}", fix="declare it with `type: time`"
        )
    value = f"TRY_CAST({column} AS DOUBLE)"
    return value if found in _WHOLE else f"CASE WHEN isfinite({value}) THEN {value} END"


def _listed(contract: Column) -> str:
    return ", ".join(map(text, contract.values))
