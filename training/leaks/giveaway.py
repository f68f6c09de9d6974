"""Columns that nearly give the label away by themselves, and those that only one class has. Pure functions.

Names play no part here: such columns are found whatever they are called.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from training.leaks.columns import Judged
from training.leaks.findings import Finding
from training.leaks.statistics import Array, Codes, Profile, least_auc, least_rate, out_of_fold_auc, rank_auc

GIVEN_AWAY = 0.95
"""AUC of one column from which it gives the label away; the lower end of its interval must reach `SURELY`."""
SURELY = 0.90
FEW_ROWS = 20
"""Rows of a group below which nothing is concluded from all of them being of one class."""
ONE_SIDED = 0.97
"""Share of positives in a group from which it counts as having one class only."""
CHANCE = 1e-9
"""Probability by chance, over all groups that were looked at, below which a group of one class is no accident."""
MUCH = 0.05
"""Share of all positives that a single value must hold to be more than a streak."""
LEVELS = 50
"""Levels of a category up to which each is looked at alone: of more, some are entities with a streak of their own."""


def strength(column: Judged, counted: Profile, y: Array, homes: Codes) -> float:
    """AUC of a column alone, folded at 0.5: of its values in their order or out of fold, whichever is larger.

    NaN with one class. Categories only out of fold.
    """
    ordered = column.kind != "category"
    shaped = out_of_fold_auc(counted, y, homes, ordered=ordered)
    area = rank_auc(counted) if ordered else 0.5
    return float(max(area, 1 - area, shaped))


def gives_away(column: Judged, y: Array, area: float) -> Finding | None:
    """A column whose AUC alone is at least `GIVEN_AWAY`, and its interval's lower end (95 %) `SURELY`.

    Evidence: auc, least_auc (the lower end), positives.
    """
    least = least_auc(area, y)
    if not (area >= GIVEN_AWAY and least >= SURELY):
        return None
    evidence = {"auc": area, "least_auc": least, "positives": int(y.sum())}
    return Finding(column.name, "gives_away", f"alone it tells the classes apart with an AUC of {area:.3f}", evidence)


def one_class(column: Judged, counted: Profile, y: Array) -> Finding | None:
    """A column of which a group of rows has one class only, beyond chance and too many for a strong honest column.

    The groups: all rows with another value than the usual one (missing is a value), those with the usual one, those
    without a value, and each level of a category with at most `LEVELS`. Found is

    - a group with at least `FEW_ROWS` rows, of which `ONE_SIDED` are positive, where so many by chance are next to
      impossible: a sum recovered after a default, a settlement, the time of a charge-off. One value alone must also
      hold `MUCH` of all positives: a streak of one fraudster's payments is honest;
    - a group with a fifth of all negatives and hardly a positive (a fiftieth of the base rate), where positives aren't
      rare: the time of the last instalment of a loan that was paid back.

    The tail of a number is no group: a honest number may end in positives only. Evidence: rows of the group,
    positive_rate in it, base_rate.
    """
    base = float(y.mean())
    for what, rows, ones, alone in _groups(column, counted):
        evidence = {"rows": int(rows), "positive_rate": ones / rows, "base_rate": base}
        enough = not alone or ones >= MUCH * y.sum()
        if enough and _positives_only(rows, ones, base, tried=len(counted.rows)):
            found = f"{what} comes with {ones / rows:.0%} positives (of all rows: {base:.1%})"
            return Finding(column.name, "one_class", found, evidence)
        if _negatives_only(rows, ones, y):
            found = f"{what} comes with the negative class only (positives among all rows: {base:.1%})"
            return Finding(column.name, "one_class", found, evidence)
    return None


def _groups(column: Judged, counted: Profile) -> Iterator[tuple[str, float, float, bool]]:
    """What a group is, its rows, its positives, and whether it is one value."""
    usual, rows, ones = counted.usual, counted.rows, counted.ones
    if len(rows) < 2:
        return
    others = float(rows.sum() - rows[usual]), float(ones.sum() - ones[usual])
    yield "another value than the most frequent", *others, False
    yield "its most frequent value", float(rows[usual]), float(ones[usual]), True
    if counted.missing:
        yield "no value", float(rows[0]), float(ones[0]), False
    if column.kind == "category" and len(rows) <= LEVELS:
        for index in np.argsort(-rows):
            yield "one of its levels", float(rows[index]), float(ones[index]), True


def _positives_only(rows: float, ones: float, base: float, *, tried: int) -> bool:
    """Nearly all positive, where chance (binomial, times the groups tried) is below `CHANCE`."""
    if rows < FEW_ROWS or ones < ONE_SIDED * rows or not 0 < base <= 0.6:
        return False
    ways = (rows - ones) * np.log(rows)  # of choosing the few negatives, at most
    chance = ones * np.log(base) + ways + np.log(tried)
    return bool(chance <= np.log(CHANCE)) and least_rate(ones, rows) >= base + 0.5 * (1 - base)


def _negatives_only(rows: float, ones: float, y: Array) -> bool:
    base = float(y.mean())
    wide = rows - ones >= 0.2 * (len(y) - y.sum()) and rows < len(y)
    return bool(wide and base >= 0.05 and rows * base >= 30 and ones / rows <= base / 50)
