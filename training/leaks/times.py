"""Columns written after the event: times after it, and numbers that grow with the time since. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.leaks.columns import Judged, Table, granularity
from training.leaks.findings import Evidence, Finding
from training.leaks.statistics import Array, Mask, Profile, auc, least_auc, normal_ranks

PLANNED = 24
"""Distinct distances from the event, in tenths of months, up to which a later time is a plan."""
STRETCHES = 10
_UNITS = {"days": 1.0, "months": 30.4375, "years": 365.25, "hours": 1 / 24, "seconds": 1 / 86400}


def lag(column: Judged, table: Table) -> Array:
    """Days from the event to a time column's value [n], NaN for missing; negative before the event."""
    return column.values - table.time


def after_event(column: Judged, table: Table, others: Sequence[Judged], area: float) -> Finding | None:
    """A time that lies after the event in at least 20 rows and 1 % of those with a value.

    It blocks when it also tells about the label: the AUC (`area`) of the distance is at least 0.6 and surely above
    0.55. A later time that is a plan is no finding: one of at most `PLANNED` distances, or a distance that another
    column of the request determines (rank correlation of 0.98), such as the end of a term or of a stay. What is left is
    reported, and does not block: a customer may wish for any date.

    How fine both times are is left to them: where every event has the first of a month, a day within that month is not
    after it. Evidence: share_after of the rows with a value, median_days of these after the event, distances
    (distinct), auc, least_auc (both None with one class).
    """
    distance = lag(column, table)
    there = ~np.isnan(distance)
    after = there & (distance >= _slack(column, table))
    if after.sum() < max(20, 0.01 * there.sum()) or _planned(distance, after, others):
        return None
    least, middle = least_auc(area, table.y), float(np.median(distance[after]))
    evidence: Evidence = {
        "share_after": float(after.sum() / there.sum()),
        "median_days": middle,
        "distances": len(np.unique(np.round(distance[after]))),
        "auc": None if np.isnan(area) else area,
        "least_auc": None if np.isnan(least) else least,
    }
    blocks = bool(area >= 0.6 and least > 0.55)
    tells = f", and how long after tells the classes apart with an AUC of {area:.3f}" if blocks else ""
    reason = f"{after.sum() / there.sum():.0%} of its times lie after the event, by {middle:,.0f} days"
    return Finding(column.name, "after_event", f"{reason} in the median{tells}", evidence, blocks=blocks)


def _slack(column: Judged, table: Table) -> float:
    """Days from which a time is surely after an event whose own time may be cut off to its day or its month."""
    own, fine = granularity(table.time), column.day or granularity(column.values)
    if fine > 31:
        return fine  # a year may be that of a budget
    return 28.0 if own == fine == 31 else own or 1e-6


def _planned(distance: Array, after: Mask, others: Sequence[Judged]) -> bool:
    if len(np.unique(np.round(distance[after] / _UNITS["months"], 1))) <= PLANNED:
        return True
    ranks = normal_ranks(distance[after][:, None])[:, 0]
    numbers = [each.values[after] for each in others if each.sent and each.kind == "number"]
    filled = [values for values in numbers if not np.isnan(values).any() and np.ptp(values) > 0]
    return any(abs(float(np.mean(ranks * normal_ranks(values[:, None])[:, 0]))) >= 0.98 for values in filled)


def accrues(column: Judged, counted: Profile, table: Table) -> Finding | None:
    """A number that says how long ago the event is: written when the table was exported, not when the event happened.

    Two forms: the number is a constant less the event's time, in a usual unit; or all of its distribution shrinks in
    proportion towards the newest events. For the second the quartiles of ten equally long stretches of events lie on
    lines in time (correlation -0.95) which reach zero together, at most as long after the newest event as that is after
    the oldest, and have halved by then. Few honest columns drift like that; so it blocks only when the median falls to
    a third, or when the number, set against its median at the time, tells about the label (AUC surely above 0.52).

    Evidence: correlation with the event's time (the weakest of the quartiles') and newest_to_oldest (the median of the
    last stretch over that of the first), auc, least_auc (None with one class); of the first form correlation and
    slope_per_day.
    """
    values, there = column.values, ~np.isnan(column.values)
    if there.sum() < 200 or counted.distinct < 10 or np.ptp(table.time) == 0:
        return None
    correlation = float(np.corrcoef(values[there], table.time[there])[0, 1])
    slope = float(np.cov(values[there], table.time[there])[0, 1] / np.var(table.time[there]))
    if correlation <= -0.99 and any(abs(-slope * unit - 1) <= 0.05 for unit in _UNITS.values()):
        evidence: Evidence = {"correlation": correlation, "slope_per_day": slope}
        return Finding(column.name, "accrues", "it is a fixed time less that of the event", evidence)
    if np.min(values[there]) < 0:
        return None
    return _shrinking(column, table, there)


def _shrinking(column: Judged, table: Table, there: Mask) -> Finding | None:
    time = (table.time[there] - table.time.min()) / np.ptp(table.time)
    order = np.argsort(time, kind="stable")
    parts = [part for part in np.array_split(order, STRETCHES) if len(part)]
    quartiles = np.array([np.quantile(column.values[there][part], (0.25, 0.5, 0.75)) for part in parts])
    middles = np.array([time[part].mean() for part in parts])
    if np.any(quartiles[0] <= 0) or np.any(np.ptp(quartiles, axis=0) == 0):
        return None
    fits = [np.polyfit(middles, quartiles[:, index], 1) for index in range(3)]
    crossings = [-offset / slope for slope, offset in fits]
    correlations = [float(np.corrcoef(middles, quartiles[:, index])[0, 1]) for index in range(3)]
    ratio = float(quartiles[-1, 1] / quartiles[0, 1])
    if max(correlations) > -0.95 or not all(0.9 <= each <= 2 for each in crossings) or ratio > 0.5:
        return None
    if np.ptp(crossings) > 0.25:
        return None
    slope, offset = fits[1]
    area = auc(column.values[there] / (offset + slope * time), table.y[there])
    least = least_auc(area, table.y[there])
    evidence: Evidence = {
        "correlation": max(correlations),
        "newest_to_oldest": ratio,
        "auc": None if np.isnan(area) else max(area, 1 - area),
        "least_auc": None if np.isnan(least) else least,
    }
    reason = f"all of it shrinks towards the newest events, to {ratio:.0%} of the oldest, as what grows since the event"
    return Finding(column.name, "accrues", reason, evidence, blocks=ratio <= 1 / 3 or least > 0.52)
