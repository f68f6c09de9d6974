"""Columns whose shape gives them away: those that number the rows, and those that will not be there. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from features.intake.suspects import named_key
from training.leaks.columns import Judged, Table
from training.leaks.findings import Evidence, Finding
from training.leaks.statistics import Array, Codes, Mask, Profile

ENOUGH = 200
"""Rows with a value that a column needs to be judged by its shape."""
UNIQUE = 0.98
"""Distinct values for each row with a value, from which they are taken for unique."""


def id_like(column: Judged, counted: Profile, table: Table) -> Finding | None:
    """A column that names or numbers the rows: a model would learn rows by heart, or the order they came in.

    - A text that is another one in `UNIQUE` of its rows, or the key of an entity with 1,000 and more members.
    - Whole numbers that never repeat where chance would make 30 pairs at least (n**2 / 2 over their range, the birthday
      problem): they were handed out. Or that never repeat and rise or fall with the event's time (rank correlation
      0.95), or are called like a key: a name alone is no ground.
    - A number of any kind that restates the event's time (rank correlation 0.999) with a value of its own in `UNIQUE`
      of its rows.

    Amounts with decimals are unique too, and honest. Evidence: rows with a value, distinct, and for numbers correlation
    (of the ranks with the event's time) and pairs_by_chance.
    """
    rows = int(counted.rows.sum()) - counted.missing
    if rows < ENOUGH or column.kind == "time":
        return None
    if column.kind == "number":
        return _number_id(column, counted, table, rows) if counted.distinct >= UNIQUE * rows else None
    evidence = {"rows": rows, "distinct": counted.distinct}
    if counted.distinct >= UNIQUE * rows:
        return Finding(column.name, "id_like", "nearly every row has a text of its own", evidence)
    entity = _key_of(column, counted, table.keys)
    return Finding(column.name, "id_like", f"it is the key of the entity {entity}", evidence) if entity else None


def _number_id(column: Judged, counted: Profile, table: Table, rows: int) -> Finding | None:
    there, found = ~np.isnan(column.values), counted.values[~np.isnan(counted.values)]
    correlation = _along(counted.place[there], table.order[there])
    pairs, repeats = rows**2 / 2 / (found[-1] - found[0] + 1), rows - counted.distinct
    evidence: Evidence = {
        "rows": rows,
        "distinct": counted.distinct,
        "correlation": correlation,
        "pairs_by_chance": float(pairs),
    }
    if abs(correlation) >= 0.999:
        return Finding(column.name, "id_like", "it restates the time of the event, or the number of the row", evidence)
    if np.any(found % 1):
        return None
    if pairs >= 30 and repeats <= pairs / 10:
        return Finding(column.name, "id_like", "whole numbers that never repeat, where chance would let them", evidence)
    if repeats == 0 and (abs(correlation) >= 0.95 or named_key(column.name)):
        why = "run with the time of the event" if abs(correlation) >= 0.95 else "are called like a key"
        return Finding(column.name, "id_like", f"whole numbers that never repeat and {why}", evidence)
    return None


def _along(places: Codes, order: Array) -> float:
    """Rank correlation of values that hardly repeat with what the rows run by; 0 where that stands still."""
    if np.ptp(order) == 0:
        return 0.0
    steps = np.diff(order)
    same = np.append(0, np.cumsum(steps > 0)) if np.all(steps >= 0) else np.unique(order, return_inverse=True)[1]
    counts = np.bincount(same)
    return float(np.corrcoef(places, (np.cumsum(counts) - (counts - 1) / 2)[same])[0, 1])


def _key_of(column: Judged, counted: Profile, keys: Mapping[str, Codes]) -> str | None:
    """The entity with whose keys a category is one-to-one, if it has many members."""
    there: Mask = ~np.isnan(column.values)
    for entity, codes in keys.items():
        both = there & (codes >= 0)
        if counted.distinct < 1000 or not both.any():
            continue
        own, other = counted.place[both].astype(np.int64), codes[both]
        if len(np.unique(own * (codes.max() + 1) + other)) == len(np.unique(other)) == len(np.unique(own)):
            return entity
    return None


def unavailable(column: Judged, table: Table) -> Finding | None:
    """A column that will be missing when events are scored.

    - It has a value in half of the rows whose outcome is known, and in a tenth of that share of the other events of the
      same period (100 at least): it comes with the outcome, or with a decision before it.
    - Its share of values collapses in the newest twentieth of the training rows (50 at least) to a tenth of what it
      was: its source has stopped, or is filled in later.

    Evidence: filled (share of rows with a value), unlabelled or newest (the share there), rows (there).
    """
    there = ~np.isnan(column.values)
    filled = float(there.mean())
    if column.unlabelled is not None and table.unlabelled >= 100 and filled >= 0.5:
        evidence = {"filled": filled, "unlabelled": column.unlabelled, "rows": table.unlabelled}
        if column.unlabelled <= filled / 10:
            reason = f"{filled:.0%} of the rows with an outcome have a value, {column.unlabelled:.0%} of those without"
            return Finding(column.name, "unavailable", reason, evidence)
    newest = max(50, len(there) // 20)
    if not table.timed or len(there) < 5 * newest:
        return None
    last = np.argsort(table.time, kind="stable")[-newest:]
    late, before = float(there[last].mean()), float((there.sum() - there[last].sum()) / (len(there) - newest))
    if late > before / 10 or newest * before < 30:
        return None
    reason = f"{before:.0%} have a value, but only {late:.0%} of the newest rows of training"
    return Finding(column.name, "unavailable", reason, {"filled": before, "newest": late, "rows": newest})
