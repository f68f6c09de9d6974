"""Target echoes: columns that repeat outcomes which could not be known yet, their own event's among them.

An aggregate over outcomes that a use case defines waits for them: that is checked when its file is read. This is about
columns that came ready-made with a table. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.leaks.columns import Judged, Table
from training.leaks.findings import Evidence, Finding
from training.leaks.statistics import Array, Codes

ENOUGH = 15
"""Positives with an earlier event of the same entity, or groups with positives, that a conclusion needs."""
OFTEN, RARELY = 0.9, 0.1
"""Shares of the events on which an aggregate that holds the own outcome moves: of the positives, and of the others."""
OFTEN_EARLY, RARELY_EARLY = 0.6, 0.05
"""The same for the outcome of the event before: others leave the window meanwhile."""
LEAST, MOST = 30, 0.5
"""Levels of a category whose share of positives a column may repeat; and at most as a share of the rows."""


@dataclass(frozen=True)
class Chain:
    """Events of one entity in order of time: rows of an event, of the two before it, and of the one after (-1 none).

    Places in these: own and own_not by the event's own outcome, positive or negative; early and early_not by that of
    the event before, where early ones were not known yet.
    """

    entity: str
    second: Codes
    before: Codes
    event: Codes
    after: Codes
    own: Codes
    own_not: Codes
    early: Codes
    early_not: Codes


@dataclass(frozen=True)
class Groups:
    """Rows that share a key, or a level of a category: codes [n], -1 for none."""

    name: str
    codes: Codes


def chains(table: Table) -> tuple[Chain, ...]:
    """One chain for each entity whose keys come back."""
    found = []
    for entity, codes in table.keys.items():
        order = np.lexsort((table.time, codes))
        order = order[codes[order] >= 0]
        same = codes[order][1:] == codes[order][:-1]
        places = np.flatnonzero(same) + 1
        following, preceding = (
            np.append(np.where(same, order[1:], -1), -1),
            np.append(-1, np.where(same, order[:-1], -1)),
        )
        before, event = order[places - 1], order[places]
        early = (table.y[before] == 1) & (table.known[before] > table.time[event])
        parts = (table.y[event] == 1, table.y[event] == 0, early, table.y[before] == 0)
        second, after = preceding[places - 1], following[places]
        found.append(Chain(entity, second, before, event, after, *map(np.flatnonzero, parts)))
    return tuple(found)


def groups(table: Table) -> tuple[Groups, ...]:
    """What a share of positives may have been taken by: entities, and categories with `LEAST` levels and more."""
    found = [Groups(name, codes) for name, codes in table.keys.items()]
    for column in table.columns:
        if column.kind == "category":
            codes = np.where(np.isnan(column.values), -1, column.values).astype(np.int64)
            found.append(Groups(column.name, codes))
    return tuple(each for each in found if LEAST <= each.codes.max(initial=-1) + 1 <= MOST * len(table.y))


def moves_with_outcomes(column: Judged, chain: Chain) -> Finding | None:
    """A number that moves with the outcomes of an entity before they were known: the shift test.

    An honest column moves for many reasons, an aggregate over outcomes only when an outcome enters it. So from one
    event of the entity to the next it rises (or falls) where an outcome is positive, and hardly where it is negative.
    Asked is the event's own outcome, and that of the event before where it was not known yet. The number must also keep
    the step: a new device or a large amount comes with an event that turns out positive, and is gone at the next.

    Evidence: moves_on_positive and moves_on_negative (shares of these events), positives, negatives.
    """
    for sign, word in ((1.0, "rises"), (-1.0, "falls")):
        own = _moves(column.values, chain, (chain.own, chain.own_not), sign, (OFTEN, RARELY))
        if own and _keeps(column.values, chain, sign):
            reason = f"from event to event of one {chain.entity} it {word} with the event's own outcome"
            return Finding(column.name, "target_echo", reason, own)
        early = _moves(column.values, chain, (chain.early, chain.early_not), sign, (OFTEN_EARLY, RARELY_EARLY))
        if early and _keeps(column.values, chain, sign, early=True):
            reason = f"it {word} after an event of the same {chain.entity} with an outcome that was not known yet"
            return Finding(column.name, "target_echo", reason, early)
    return None


def _moves(
    values: Array, chain: Chain, places: tuple[Codes, Codes], sign: float, bars: tuple[float, float]
) -> Evidence | None:
    """How often a number moves at the places of positives and of negatives, if often there and rarely here."""
    shares = list[float]()
    for rows in places:  # positives first: they are few, and most columns end here
        step = sign * (values[chain.event[rows]] - values[chain.before[rows]])
        step = step[~np.isnan(step)]
        shares.append(float(np.mean(step > 0)) if len(step) >= ENOUGH else float("nan"))
        if len(shares) == 1 and not shares[0] >= bars[0]:
            return None
    if not shares[1] <= bars[1]:
        return None
    counts = {"positives": len(places[0]), "negatives": len(places[1])}
    return {"moves_on_positive": shares[0], "moves_on_negative": shares[1], **counts}


def _keeps(values: Array, chain: Chain, sign: float, *, early: bool = False) -> bool:
    """Whether at the event after most positive ones the number is still beyond what it was at the event before them.

    With `early` the positive events are those before the events of the chain.
    """
    rows = chain.early if early else chain.own
    first, last = (chain.second, chain.event) if early else (chain.before, chain.after)
    there = rows[(first[rows] >= 0) & (last[rows] >= 0)]
    step = sign * (values[last[there]] - values[first[there]])
    return bool(len(there) >= ENOUGH and np.mean(step > 0) >= (OFTEN_EARLY if early else OFTEN))


def repeats_a_share(column: Judged, table: Table, by: Groups) -> Finding | None:
    """A number that is one value for each group and lies closer to the group's share of positives than chance lets it.

    Shares of small groups are partly noise. What was known before can explain the rest of their variance, never the
    noise: noise is p (1 - p) / rows, for the share p of all rows and the mean over the groups. Where it makes a fifth
    of the variance at least, a column that explains (r squared) all but half of it was made of these very outcomes.

    Evidence: explained (r squared), noise (share of the variance), groups (with two rows and more).
    """
    there = (by.codes >= 0) & ~np.isnan(column.values)
    if there.sum() < 2 * LEAST:
        return None
    codes, values = by.codes[there], column.values[there]
    one = np.zeros(codes.max() + 1)
    one[codes] = values
    if not np.array_equal(one[codes], values):
        return None
    rows = np.bincount(codes).astype(np.float64)
    ones = np.bincount(codes, weights=table.y[there])
    often = rows >= 2
    share = ones[often] / rows[often]
    if np.sum(share > 0) < ENOUGH or np.ptp(share) == 0 or np.ptp(one[often]) == 0:
        return None
    base = ones.sum() / rows.sum()
    noise = float(np.mean(base * (1 - base) / rows[often]) / np.var(share))
    explained = float(np.corrcoef(one[often], share)[0, 1] ** 2)
    if noise < 0.2 or explained < max(0.5, 1 - noise / 2):
        return None
    evidence = {"explained": explained, "noise": noise, "groups": int(often.sum())}
    return Finding(column.name, "target_echo", f"it is made of the outcomes of each {by.name}", evidence)


def target_echoes(column: Judged, table: Table, linked: tuple[Chain, ...], by: tuple[Groups, ...]) -> Iterator[Finding]:
    """Both tests over every entity and group."""
    if column.kind != "number":
        return
    found = [moves_with_outcomes(column, chain) for chain in linked]
    found += [repeats_a_share(column, table, each) for each in by if each.name != column.name]
    yield from (each for each in found if each)
