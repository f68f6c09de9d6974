"""Tables of a use case that are one: what its paths don't tell, the file system does."""

from __future__ import annotations

from configs.contradictions import leaks
from configs.errors import FeatureError
from configs.settings import Settings
from configs.use_case import UseCase
from features.sources import table_files, table_path, used_tables


def refuse_leaks(use_case: UseCase, settings: Settings) -> None:
    """Raise `FeatureError` where the label or a protected attribute is read from the event table by another name.

    The use case itself was checked by its paths: links and folders tell only now that two tables are one.
    """
    raw = use_case.as_json()
    events = _identities(use_case, use_case.event.table, settings)
    own = raw["tables"][use_case.event.table]
    for table in used_tables(use_case) if events else ():
        if events & _identities(use_case, table, settings):
            raw["tables"][table] = own
    for path, found, expected in leaks(raw):
        raise FeatureError(
            f"{path} names {found!r}, over the event table by another name",
            expected=expected,
            fix="take it out, or name a table that isn't the event table",
        )


def _identities(use_case: UseCase, table: str, settings: Settings) -> set[tuple[int, int]]:
    """The files of a table as the file system knows them; none for rows of a database."""
    if use_case.tables[table].url:
        return set()
    found = [file.stat() for file in table_files(table_path(use_case, table, settings))]
    return {(each.st_dev, each.st_ino) for each in found}
