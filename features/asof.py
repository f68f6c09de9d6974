"""Joining the row of another table that was known at an event's time: exact for rows that were corrected later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

ROW, KEY, AT = '"row:"', '"key:"', '"at:"'
TIME, CREATED, LINE = '"time:"', '"created:"', '"line:"'
"""Columns that queries add to those of a table; the colon keeps them apart from any name in a use case."""

_MICROSECOND = timedelta(microseconds=1)


def matched_query(probes: str, history: str, *, keys: Sequence[str] = (KEY,), ttl: timedelta | None) -> str:
    """Query for which row of a history was known at each probe's time: `ROW` and `LINE`, nothing for a probe without.

    `probes` (a relation) has ROW, the keys and AT. `history` (a relation) has the keys, TIME, CREATED and LINE, the
    place in the table; of rows with the same keys, time and created the later one in the table is taken. Times are
    microseconds since 1970. Both ends are inclusive: a row whose time (and created time) is that of the event is
    visible, and so is one that is exactly `ttl` old. A row without a created time is known from its time on.

    A row is visible from greatest(TIME, CREATED) on. Seen in that order, only rows that are the latest of their key
    so far can ever be the answer, so the join has one candidate at each moment and needs no ranking. Nothing but keys,
    times and places is sorted: the columns of the history are for the caller to fetch.
    """
    by = ", ".join(keys)
    alike = "".join(f"probes.{key} = one.{key} AND " for key in keys)
    present = "".join(f"{key} IS NOT NULL AND " for key in keys)
    fresh = f" WHERE {AT} - {TIME} <= {ttl // _MICROSECOND}" if ttl else ""
    order = f'PARTITION BY {by} ORDER BY "visible:", {TIME}, {CREATED} NULLS FIRST, {LINE}'
    return f"""
SELECT {ROW}, {LINE} FROM (SELECT {ROW}, {by}, {AT} FROM {probes}) AS probes
ASOF JOIN (
  SELECT {by}, {TIME}, {LINE}, "visible:" FROM (
    SELECT {by}, {TIME}, {CREATED}, {LINE}, greatest({TIME}, coalesce({CREATED}, {TIME})) AS "visible:"
    FROM {history} WHERE {present}{TIME} IS NOT NULL
  )
  WINDOW so_far AS ({order} ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
  QUALIFY {TIME} = max({TIME}) OVER so_far AND lead("visible:") OVER ({order}) IS DISTINCT FROM "visible:"
) AS one ON {alike}{AT} >= "visible:"{fresh}"""


def asof_query(probes: str, history: str, *, columns: Mapping[str, str], ttl: timedelta | None) -> str:
    """Query for the chosen columns as known at each probe's time: `ROW`, then the columns; no row for a probe without.

    As `matched_query`, over a history without LINE. `columns` maps SQL over the history to a quoted name in the result.
    """
    chosen = ", ".join(f"{sql} AS {name}" for sql, name in columns.items())
    return f"""
WITH past AS (
  SELECT {KEY}, {TIME}, {CREATED}, {chosen}, row_number() OVER () AS {LINE} FROM {history}
), matched AS ({matched_query(probes, "past", ttl=ttl)})
SELECT {ROW}, {", ".join(columns.values())} FROM past JOIN matched USING ({LINE})"""
