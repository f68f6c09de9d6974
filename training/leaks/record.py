"""Columns of a record that went on being written after the event: weak alone, strong against what was known then.

What was paid back of a loan says little by itself, since large loans pay more; set against the loan's terms it says
nearly all. Three rules, all on columns of the request and what is derived of them (views and aggregates are joined as
they were known): neither looks at a name, but for the last step in a table where leaks were already found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from features.intake.suspects import named_leak
from training.leaks.columns import Judged
from training.leaks.findings import Evidence, Finding
from training.leaks.statistics import Array, Codes, Mask, Profile, auc_folded, least_auc, least_rate, normal_ranks

ALONE = 0.90
"""AUC of a column set against weaker ones, from which they give the label away together."""
CLEARER = 0.6
"""What is left of the distance to a perfect AUC, at most, when a column is set against weaker ones."""
WITH_CLOCK = 0.65
"""The same where the column also moves with a time after the event; its interval's lower end must exceed 0.62."""
CLOCK = 0.3
"""Correlation with such a time within one class, from which a column moves with it."""
STILL = 0.2
"""Correlation with such a time below which a column may be taken as known at the event."""
SAMPLE = 20_000
"""Negatives looked at, evenly spread over the rows; positives at most as many."""


def sampled(y: Array) -> Codes:
    """Rows for the costlier steps, ascending: at most `SAMPLE` of each class, evenly spread."""
    parts = [np.flatnonzero(y == value) for value in (0, 1)]
    return np.sort(np.concatenate([part[:: len(part) // SAMPLE + 1] for part in parts]))


def together(columns: Sequence[Judged], values: Array, y: Array, areas: Mapping[str, float]) -> Iterator[Finding]:
    """Columns of the request that give the label away when set against others.

    Each column's residual on the columns that tell less by themselves (by AUC alone, `areas`; normal scores of ranks;
    least squares over the negatives: what is usual of a good case) is held against the label. It counts when its AUC
    reaches `ALONE` and is much clearer than that of the column itself (`CLEARER`).

    Then either the column is the leak or the one that it depends on most. Aggregates, views and what is derived are as
    known as the columns they are made of, and not blamed: what was kept of a payment, set against the customer's usual
    amounts, is. Between two columns of the request it is the one that counts against aggregates and views alone, else
    the stronger: of a sum paid back and the sum lent the former. What was named is no longer set against others, so
    that honest columns aren't blamed for it. values [n, p]: `normal_ranks` of the columns.

    Evidence: auc and least_auc (of the residual that it was found by), alone (AUC of the column itself), against (the
    other of the two columns).
    """
    sets = _Sets(columns, values, y, areas)
    weaker: list[int] = []
    for index in np.argsort(sets.alone, kind="stable").tolist():
        while (area := sets.tells(index, weaker)) is not None:
            culprit, other = sets.culprit(index, weaker)
            if culprit is None:
                break
            column = columns[culprit]
            evidence: Evidence = {
                "auc": area,
                "least_auc": least_auc(area, y),
                "alone": sets.alone[culprit],
                "against": columns[other].name,
            }
            reason = f"set against {columns[other].name} and others it tells the classes apart (AUC {area:.3f})"
            yield Finding(column.name, "same_record", reason, evidence)
            if culprit == index:
                break
            weaker.remove(culprit)
        if area is None or culprit is None:
            weaker.append(index)


class _Sets:
    """Columns [n, p] set against each other by least squares over the negatives, all from one table of products.

    alone [p]: AUC of each column by itself.
    """

    def __init__(self, columns: Sequence[Judged], values: Array, y: Array, areas: Mapping[str, float]) -> None:
        self.columns, self.y = columns, y
        self.alone = [areas[column.name] for column in columns]
        self.known = [index for index, column in enumerate(columns) if column.origin in {"view", "aggregate"}]
        self.design = np.column_stack([np.ones(len(values)), values])
        good = self.design[y == 0]
        self.gram, self.goods = good.T @ good, len(good)

    def tells(self, index: int, on: Sequence[int]) -> float | None:
        """The AUC of a column set against others, if that gives the label away."""
        area = auc_folded(self._residual(index, on), self.y) if on else 0.5
        surely = area >= ALONE and least_auc(area, self.y) >= ALONE - 0.05
        return area if surely and 1 - area <= CLEARER * (1 - self.alone[index]) else None

    def culprit(self, index: int, on: Sequence[int]) -> tuple[int | None, int]:
        """Of a column that tells and the one it depends on most: the leak (None: neither may be one), and the other."""
        weights = np.abs(self._weights(index, on)[1:])
        heavy = [on[place] for place in np.argsort(-weights)[:5]]
        without = {each: [other for other in on if other != each] for each in heavy}
        partner = min(heavy, key=lambda each: auc_folded(self._residual(index, without[each]), self.y))
        own, others = (self.columns[each].origin == "request" for each in (index, partner))
        if not own:
            return (partner if others else None), index
        needed = others and self.tells(index, without[partner]) is None
        if needed and self.tells(partner, self.known) is not None:
            return partner, index
        return index, partner

    def _weights(self, index: int, on: Sequence[int]) -> Array:
        places = [0, *(1 + other for other in on)]
        gram = self.gram[np.ix_(places, places)] + _ridge(self.goods, len(places))
        weights: Array = np.linalg.solve(gram, self.gram[places, 1 + index])
        return weights

    def _residual(self, index: int, on: Sequence[int]) -> Array:
        share = np.zeros(self.design.shape[1])
        share[[0, *(1 + other for other in on)]] = self._weights(index, on)
        rest: Array = self.design[:, 1 + index] - self.design @ share
        return rest


def with_clocks(
    columns: Sequence[Judged], values: Array, y: Array, time: Array, clocks: Mapping[str, Array]
) -> Iterator[Finding]:
    """Columns that tell about the label and moved until a time after the event, which another column gives away.

    `clocks` are distances of such times from the event (days, NaN missing). Known at the event is taken to be what
    hardly moves with any clock within a class (`STILL`), the event's own time apart. The other columns are set against
    these (as in `together`); named is a column whose residual has an AUC of `WITH_CLOCK` and a correlation of `CLOCK`
    with the clock's residual among the negatives or among the positives. An honest column that is strong has no reason
    to move with the day of the last payment among loans that ended alike, and a term that bounds it doesn't tell the
    classes apart so well. Evidence: auc, least_auc, correlation (the largest), clock (the column).
    """
    trend = np.column_stack([time, time**2])
    plain = residuals(values, trend, y)
    moves = np.zeros(len(columns))
    hands = {name: normal_ranks(distance[:, None]) for name, distance in clocks.items()}
    for name, hand in hands.items():
        moves = np.maximum(moves, _moves(plain, residuals(hand, trend, y)[:, 0], y, ~np.isnan(clocks[name])))
    still = values[:, moves < STILL]
    known = np.column_stack([trend, still])
    for index in map(int, np.flatnonzero(moves >= STILL)):
        column = columns[index]
        if not column.sent:
            continue
        rest = residuals(values[:, [index]], known, y)
        folded = auc_folded(rest[:, 0], y)
        least = least_auc(folded, y)
        found = {
            name: float(_moves(rest, residuals(hand, known, y)[:, 0], y, ~np.isnan(clocks[name]))[0])
            for name, hand in hands.items()
        }
        clock = max(found, key=lambda name: found[name])
        if folded >= WITH_CLOCK and least >= 0.62 and found[clock] >= CLOCK:
            evidence: Evidence = {"auc": folded, "least_auc": least, "correlation": found[clock], "clock": clock}
            reason = f"set against what was known it tells the classes apart (AUC {folded:.3f}) and moves with {clock}"
            yield Finding(column.name, "same_record", reason, evidence)


def residuals(values: Array, on: Array, y: Array) -> Array:
    """What least squares over the negatives leaves of each column of values [n, p], given on [n, q] and a constant."""
    design = np.column_stack([np.ones(len(on)), on])
    good = design[y == 0]
    gram = good.T @ good + _ridge(len(good), design.shape[1])
    rest: Array = values - design @ np.linalg.solve(gram, good.T @ values[y == 0])
    return rest


def _ridge(rows: int, columns: int) -> Array:
    """What keeps equations of columns that repeat each other solvable."""
    return 1e-6 * max(rows, 1) * np.eye(columns)


def _moves(values: Array, hand: Array, y: Array, there: Mask) -> Array:
    """Largest correlation [p] within a class, of columns [n, p] with a clock [n] where it is given."""
    found = np.zeros(values.shape[1])
    for value in (0, 1):
        rows = there & (y == value)
        if rows.sum() < 100 or hand[rows].std() < 1e-9:
            continue
        part = values[rows] - values[rows].mean(axis=0)
        spread = part.std(axis=0)
        beat = (hand[rows] - hand[rows].mean()) / hand[rows].std()
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = np.abs(part.T @ beat / rows.sum() / spread)
        found = np.maximum(found, np.where(spread > 1e-3, correlation, 0.0))
    return found


def named(column: Judged, counted: Profile, y: Array, area: float) -> Finding | None:
    """A column of the request called like something known after the event, in a table where two leaks were found.

    There a name lowers the bar, but is no ground alone: the column must tell about the label, either with an AUC surely
    above 0.55, or with twice the base rate of positives (surely 1.5 times) where it has another value than its usual
    one. Evidence: auc, least_auc, positive_rate (of the rows with another value), base_rate.
    """
    why = named_leak(column.name)
    if not why or not column.sent:
        return None
    rows, ones = counted.rows.sum() - counted.rows[counted.usual], counted.ones.sum() - counted.ones[counted.usual]
    base, rate = float(y.mean()), float(ones / rows) if rows else 0.0
    least = least_auc(area, y)
    if not (least > 0.55 or (rate >= 2 * base and least_rate(float(ones), float(rows)) >= 1.5 * base)):
        return None
    evidence = {"auc": area, "least_auc": least, "positive_rate": rate, "base_rate": base}
    return Finding(column.name, "same_record", f"it tells about the label, and by its name: {why}", evidence)
