"""Joining the row of another table that was known at an event's time: exact for rows that were corrected later."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

ROW, KEY, AT = '"row:"', '"key:"', '"at:"'
TIME, CREATED = '"time:"', '"created:"'
"""Columns that queries add to those of a table; the colon keeps them apart from any name in a use case."""

_MICROSECOND = timedelta(microseconds=1)


def asof_query(probes: str, history: str, *, columns: Mapping[str, str], ttl: timedelta | None) -> str:
    """Query for one row for each row of `probes`: its `ROW`, then the chosen columns as known at its time `AT`.

    `probes` (a relation) has ROW, KEY and AT. `history` (a relation) has KEY, TIME, CREATED and the columns to
    choose; of rows with the same key, time and created the later one in the table is taken. `columns` maps SQL over
    the history to a quoted name in the result. Times are microseconds since 1970. Both ends are inclusive: a row
    whose time (and created time) is that of the event is visible, and so is one that is exactly `ttl` old. Without a
    visible row everything is NULL.

    A row is visible from greatest(TIME, CREATED) on. Seen in that order, only rows that are the latest of their key
    so far can ever be the answer, so the join has one candidate at each moment and needs no ranking.
    """
    chosen = ", ".join(f"{sql} AS {name}" for sql, name in columns.items())
    fresh = f"{AT} - {TIME} <= {ttl // _MICROSECOND}" if ttl else "TRUE"
    kept = ", ".join(f"CASE WHEN {fresh} THEN {name} END AS {name}" for name in columns.values())
    latest = f'max({TIME}) OVER (PARTITION BY {KEY} ORDER BY "visible:" RANGE UNBOUNDED PRECEDING)'
    order = f'{TIME} DESC, {CREATED} DESC NULLS LAST, "line:" DESC'
    return f"""
WITH known AS (
  SELECT {KEY}, {TIME}, {CREATED}, {chosen}, row_number() OVER () AS "line:",
    greatest({TIME}, coalesce({CREATED}, {TIME})) AS "visible:"
  FROM {history} WHERE {KEY} IS NOT NULL AND {TIME} IS NOT NULL
), latest AS (
  SELECT * FROM known QUALIFY {TIME} = {latest}
), one AS (
  SELECT * FROM latest QUALIFY row_number() OVER (PARTITION BY {KEY}, "visible:" ORDER BY {order}) = 1
)
SELECT {ROW}, {kept}
FROM (SELECT {ROW}, {KEY}, {AT} FROM {probes}) AS probes
ASOF LEFT JOIN one ON probes.{KEY} = one.{KEY} AND {AT} >= "visible:\""""
