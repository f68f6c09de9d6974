"""Who pays where in the simulated fraud world: customers with cards, terminals, the rhythm of the week, profiles.

The population is stationary: customers leave and are replaced (mean stay five years), so that a world of any length has
no drift of its own. A *place* is a customer's slot, held by one customer at a time; cards belong to places and get new
numbers with a new customer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

from features.simulators.columns import DAY, Floats, Ints, firsts, identifiers, instants, words

CATEGORIES = ("grocery", "fuel", "travel", "electronics", "fashion", "dining", "digital", "cash")
TYPICAL = np.array([3.3, 3.9, 5.0, 4.6, 4.0, 3.2, 2.6, 4.4])
"""Mean log amount (EUR) by category, for a customer of the average level."""
SPREAD = 0.6
"""Standard deviation of the log amount around the customer's own level in a category."""
VENUES = (
    *(("physical", name) for name in ("grocery", "fuel", "travel", "electronics", "fashion", "dining")),
    *(("online", name) for name in ("grocery", "travel", "electronics", "fashion", "digital")),
    ("atm", "cash"),
)
"""Where one can pay; each exists at home (codes 0-11) and abroad (codes 12-23)."""
USUAL = dict(zip(VENUES, (0.26, 0.10, 0.03, 0.04, 0.07, 0.14, 0.03, 0.05, 0.06, 0.07, 0.10, 0.05), strict=True))
ABROAD = 0.05
SEGMENTS = ("student", "standard", "premium")
STAY = 5 * 365 * DAY
HOURS = (1.6, 1, 0.7, 0.6, 0.7, 1.2, 2.5, 5, 7, 8, 8.5, 9, 10, 9, 8, 8, 9, 11, 11.5, 10, 8, 6, 4, 2.6)
WEEK = (0.95, 0.95, 0.97, 1.0, 1.15, 1.2, 0.8)
NIGHT = (8, 9, 9, 8, 6, 3, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.7, 1, 2, 4, 6)
"""Relative volume by hour (genuine), by weekday from Monday, and by hour for attacks in the dark."""


def venue_shares(shares: dict[tuple[str, str], float], abroad: float) -> Floats:
    """Probability of each of the 24 venue codes: [24]."""
    home = np.array([shares.get(venue, 0.0) for venue in VENUES])
    home = home / home.sum()
    return np.concatenate([home * (1 - abroad), home * abroad])


VENUE_KIND = np.array([("physical", "online", "atm").index(kind) for kind, _ in VENUES] * 2)
VENUE_CATEGORY = np.array([CATEGORIES.index(name) for _, name in VENUES] * 2)


@dataclass(frozen=True)
class Rhythm:
    """Relative intensity by hour since the start: [hours], mean about 1 over a week; and its integral at the edges."""

    level: Floats
    edges: Floats
    reached: Floats

    @classmethod
    def of(cls, start: date, *, seconds: float, night: float | None = None) -> Rhythm:
        """The genuine rhythm (`night` None), or an attack's: flat, with the share `night` in the dark."""
        hour = np.arange(int(np.ceil(seconds / 3600)))
        if night is None:
            weekday = (hour // 24 + start.weekday()) % 7
            level = np.asarray(HOURS)[hour % 24] / np.mean(HOURS) * (np.asarray(WEEK) / np.mean(WEEK))[weekday]
        else:
            level = 1 - night + night * (np.asarray(NIGHT) / np.mean(NIGHT))[hour % 24]
        edges = np.append(hour * 3600.0, seconds)
        return cls(level, edges, np.concatenate([[0.0], np.cumsum(level * np.diff(edges))]))

    def at(self, seconds: Floats) -> Floats:
        """Intensity at these times."""
        found: Floats = self.level[(seconds // 3600).astype(np.int64)]
        return found

    def draw(self, rng: np.random.Generator, count: int, *, first: float, last: float) -> Floats:
        """Times between `first` and `last` with this intensity."""
        low, high = np.interp([first, last], self.edges, self.reached)
        drawn: Floats = np.interp(rng.uniform(low, high, count), self.reached, self.edges)
        return drawn


@dataclass(frozen=True)
class Customers:
    """Arrays over customers [c], ordered by place and time; times in seconds since the start, negative before it."""

    place: Ints
    opened: Floats
    closed: Floats
    segment: Ints
    level: Floats
    """What the customer spends above the average, in log amount."""
    age: Floats
    """Years, when the account was opened."""
    sex: Ints
    limit: Floats

    def at(self, place: Ints, seconds: Floats) -> Ints:
        """Code of the customer who holds each place at each time: [n]."""
        span = float(np.maximum(self.opened, 0).max() + seconds.max(initial=0) + 1)
        keys = self.place * span + np.maximum(self.opened, 0)
        return (np.searchsorted(keys, place * span + seconds, side="right") - 1).astype(np.int64)

    def exposed(self, customer: Ints, seconds: Floats) -> Floats:
        """How likely an account is to be attacked over its data, from 0 to 1: premium and young accounts more."""
        young = seconds - self.opened[customer] < 365 * DAY
        return np.where(self.segment[customer] == 2, 1.0, 0.6) * np.where(young, 1.0, 0.6)


def draw_customers(rng: np.random.Generator, *, places: int, seconds: float) -> Customers:
    """Customers who hold `places` places from the start for `seconds`."""
    changes = rng.poisson(seconds / STAY, places)
    place = np.repeat(np.arange(places), changes + 1)
    first = firsts(place)
    opened = np.where(first, -rng.exponential(STAY, place.size), rng.uniform(0, seconds, place.size))
    opened = opened[np.lexsort((opened, place))]
    segment = np.searchsorted([0.2, 0.8], rng.random(place.size), side="right").astype(np.int64)
    level = rng.normal(0, 0.4, place.size) + np.array([-0.35, 0.0, 0.5])[segment]
    return Customers(
        place=place,
        opened=opened,
        closed=np.where(np.append(first[1:], True), np.inf, np.append(opened[1:], np.inf)),
        segment=segment,
        level=level,
        age=18 + np.where(segment == 0, rng.uniform(0, 9, place.size), 55 * rng.beta(1.6, 2.2, place.size)),
        sex=rng.integers(0, 2, place.size),
        limit=np.exp(7.6 + level + rng.normal(0, 0.25, place.size)),
    )


def profiles(rng: np.random.Generator, customers: Customers, *, start: date, seconds: float) -> pa.Table:
    """What the bank wrote down about each customer, every three to six months, known within hours."""
    rows = int(np.ceil((seconds + 180 * DAY) / (90 * DAY))) + 1
    gaps = rng.uniform(90, 180, (customers.place.size, rows)) * DAY
    opening = np.where(
        customers.opened >= 0, customers.opened, np.maximum(-rng.uniform(3, 180, gaps.shape[0]) * DAY, customers.opened)
    )
    gaps[:, 0] = 0
    moments = np.floor(opening[:, None] + np.cumsum(gaps, axis=1))
    who, which = np.nonzero(moments < np.minimum(customers.closed, seconds)[:, None])
    order = np.lexsort((who, moments[who, which]))
    who, valid_from = who[order], moments[who, which][order]
    tenure = np.maximum(valid_from - customers.opened[who], 0) / DAY
    limit = customers.limit[who] * rng.lognormal(0, 0.05, who.size)
    return pa.table(
        {
            "customer_id": identifiers("C", who, count=customers.place.size),
            "valid_from": instants(valid_from, start=start),
            "created_at": instants(valid_from + rng.uniform(0, 6 * 3600, who.size), start=start),
            "tenure_days": pa.array(tenure.astype(np.int64)),
            "segment": words(customers.segment[who], SEGMENTS),
            "credit_limit": pa.array(np.maximum(np.round(limit / 100) * 100, 300)),
            "age": pa.array(np.minimum(customers.age[who] + tenure / 365.25, 95).astype(np.int64)),
            "sex": words(customers.sex[who], ("female", "male")),
        }
    )


@dataclass(frozen=True)
class Terminals:
    """Arrays over terminals, ordered by venue; `reached` is popularity summed up within the venue, plus its code."""

    venue: Ints
    reached: Floats

    def draw(self, rng: np.random.Generator, venue: Ints) -> Ints:
        """A terminal for each payment, by popularity within its venue."""
        found = np.searchsorted(self.reached, venue + rng.random(venue.size), side="right")
        return np.minimum(found, np.searchsorted(self.venue, venue, side="right") - 1).astype(np.int64)


def draw_terminals(rng: np.random.Generator, *, count: int) -> Terminals:
    """About `count` terminals, in proportion to the usual traffic of each venue and at least one in each."""
    sizes = np.maximum(np.round(venue_shares(USUAL, ABROAD) * count).astype(np.int64), 1)
    venue = np.repeat(np.arange(sizes.size), sizes)
    popularity = rng.lognormal(0, 0.4, venue.size)
    total = np.bincount(venue, popularity)
    before = np.concatenate([[0.0], np.cumsum(total)])[:-1]
    return Terminals(venue, venue + (np.cumsum(popularity) - before[venue]) / total[venue])
