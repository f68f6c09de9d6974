"""What a condition of an aggregate reads, without knowing whether it may."""

from __future__ import annotations


def named_columns(condition: str | None) -> list[str]:
    """The names that a condition reads, sorted; none for a text that is no SQL, which is reported where it is compiled.

    >>> named_columns("amount > 10 AND channel = 'chip'"), named_columns(None)
    (['amount', 'channel'], [])
    """
    if not condition:
        return []
    import sqlglot

    try:
        tree = sqlglot.parse_one(condition, read="duckdb")
    except (sqlglot.errors.SqlglotError, RecursionError):
        return []
    return sorted({column.name for column in tree.find_all(sqlglot.exp.Column)})
