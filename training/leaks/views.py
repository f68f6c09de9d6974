"""Views that are joined before they were known: tables with a later time of writing that the use case leaves out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from configs.settings import Settings
from configs.use_case import UseCase
from features.sources import connect, raw_path, source
from features.values import instant_sql, is_time
from training.leaks.findings import Finding

_WRITTEN = re.compile(r"creat|insert|load|ingest|receiv|arriv|publish|report|known|written|record")


def known_late(use_case: UseCase, settings: Settings) -> Iterator[Finding]:
    """Views over a table without `created` that has a time which is never before `time` and often after it.

    A row of such a view is joined from its own time on, though it may have been written later. It doesn't block: a time
    after `time` may also be when the row ends, and only the column's name (created, loaded, received and the like)
    tells the two apart. Evidence: later (share of rows), median_days (of these, between the two times).
    """
    for view, definition in use_case.views.items():
        table = use_case.tables[definition.table]
        if table.created or table.time is None:
            continue
        with connect(settings) as connection:
            raw = source(connection, raw_path(use_case, definition.table, settings))
            time = instant_sql(table.time, raw.columns[table.time])
            for name, found in raw.columns.items():
                if name == table.time or not is_time(found) or not _WRITTEN.search(name.lower()):
                    continue
                late = f"epoch({instant_sql(name, found)}) - epoch({time})"
                row = connection.execute(
                    f"SELECT count(*) FILTER (WHERE late < 0), avg((late > 0)::DOUBLE), "  # noqa: S608  # quoted names
                    f"median(late) FILTER (WHERE late > 0) FROM (SELECT {late} AS late FROM {raw.scan})"
                ).fetchone()
                if row and not row[0] and row[1] and row[1] >= 0.05:
                    evidence = {"later": float(row[1]), "median_days": float(row[2]) / 86400}
                    reason = f"its rows were written after their time: name {name} as tables.{definition.table}.created"
                    yield Finding(view, "unavailable", reason, evidence, blocks=False)
