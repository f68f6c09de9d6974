"""Runs of payments on one card that lie over its usual ones: shopping trips of the customer, and attacks.

A run starts on a card at some rate; then payments follow each other with exponential gaps of mean `gap`, and after
each one the run goes on with probability 1 - 1/length. That is a continuous-time Markov chain with payment rate
(1 - 1/length) / gap and ending rate 1 / (length gap), which `posterior` inverts. Testing of a card ends, four times in
five, in a cash-out: one large payment within hours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.simulators.columns import Bools, Floats, Ints, firsts, pick
from features.simulators.population import ABROAD, USUAL, Customers, Rhythm, venue_shares


@dataclass(frozen=True, eq=False)
class Pattern:
    """How payments of one origin look: log amount ~ N(usual + shift, spread), in units of the usual spread.

    With `small` set the log amount is N(small, spread) for any customer instead.
    """

    name: str
    venues: Floats
    shift: float = 0.0
    spread: float = 1.0
    small: float | None = None
    share: float = 0.0
    """Of all payments (of a targeted pattern: if every account were fully exposed)."""
    gap: float = 1.0
    """Mean seconds between payments."""
    length: float = 1.0
    """Mean payments of a run."""
    night: float | None = None
    targeted: bool = False
    """Whether exposed customers are hit more (`Customers.exposed`)."""

    @property
    def rate(self) -> float:
        """Payments per second while a run lasts."""
        return (1 - 1 / self.length) / self.gap

    @property
    def ending(self) -> float:
        """Endings per second while a run lasts."""
        return 1 / (self.length * self.gap)


GENUINE = Pattern("genuine", venue_shares(USUAL, ABROAD))
TRIP = Pattern(
    "genuine",
    venue_shares(
        {
            ("physical", "fashion"): 3,
            ("physical", "dining"): 3,
            ("physical", "grocery"): 2,
            ("physical", "electronics"): 1,
            ("atm", "cash"): 1,
        },
        ABROAD,
    ),
    share=0.15,
    gap=1500,
    length=2.0,
)
STOLEN = Pattern(
    "stolen_card",
    venue_shares(
        {
            ("physical", "electronics"): 4,
            ("physical", "fashion"): 3,
            ("physical", "fuel"): 2,
            ("atm", "cash"): 3,
            ("online", "electronics"): 2,
        },
        0.25,
    ),
    shift=1.1,
    share=0.0034,
    gap=900,
    length=5.0,
    night=0.4,
)
TAKEOVER = Pattern(
    "account_takeover",
    venue_shares(
        {("online", "electronics"): 4, ("online", "digital"): 3, ("online", "travel"): 2, ("online", "fashion"): 1},
        0.3,
    ),
    shift=1.2,
    share=0.0048,
    gap=1500,
    length=3.5,
    night=0.5,
    targeted=True,
)
TESTING = Pattern(
    "card_testing",
    venue_shares({("online", "digital"): 4, ("online", "grocery"): 1}, 0.4),
    small=0.5,
    spread=0.6,
    share=0.0024,
    gap=5 * 3600,
    length=3.0,
    night=0.3,
    targeted=True,
)
CASH_OUT = Pattern(
    "card_testing",
    venue_shares({("online", "electronics"): 3, ("online", "travel"): 2}, 0.4),
    shift=1.8,
    spread=0.8,
    gap=4 * 3600,
)
CASHED = 0.8
"""Share of tested cards that are cashed out."""

PATTERNS = (GENUINE, TRIP, STOLEN, TAKEOVER, TESTING, CASH_OUT)
RUNS = (TRIP, STOLEN, TAKEOVER, TESTING)
"""The patterns that start by themselves: origins 1 to 4 in `PATTERNS`."""


@dataclass(frozen=True)
class Payments:
    """Payments by origin: arrays [n]. `run` numbers the run (-1: none); `card` is the card's place, not its number."""

    seconds: Floats
    card: Ints
    origin: Ints
    run: Ints


def draw_runs(
    rng: np.random.Generator,
    *,
    pattern: int,
    cards: Floats,
    owner: Ints,
    customers: Customers,
    rhythm: Rhythm,
    seconds: float,
    rows: int,
    first_run: int,
) -> Payments:
    """Every run of one pattern, on cards with the relative rates `cards` [k], for about `share` of `rows` payments.

    Runs start in the pattern's `rhythm`; payments after `seconds` are left out. Runs are numbered from `first_run`.
    """
    kind = PATTERNS[pattern]
    count = int(rng.poisson(kind.share * rows / kind.length))
    card, begin = pick(rng, cards, count), rhythm.draw(rng, count, first=0, last=seconds)
    if kind.targeted:
        hit = rng.random(count) < customers.exposed(customers.at(owner[card], begin), begin)
        card, begin = card[hit], begin[hit]
    lengths = rng.geometric(1 / kind.length, card.size)
    run = np.repeat(np.arange(card.size), lengths)
    times = begin[run] + _within(run, rng.exponential(kind.gap, run.size))
    origin = np.full(run.size, pattern, dtype=np.int64)
    if kind is TESTING:
        cashed, moments = _cash_outs(rng, times[np.cumsum(lengths) - 1])
        times, run = np.append(times, moments), np.append(run, cashed)
        origin = np.append(origin, np.full(cashed.size, PATTERNS.index(CASH_OUT), dtype=np.int64))
    inside: Bools = times < seconds
    return Payments(times[inside], card[run][inside], origin[inside], run[inside] + first_run)


def _cash_outs(rng: np.random.Generator, tested: Floats) -> tuple[Ints, Floats]:
    """Which runs are cashed out, and when, after their last test at `tested`."""
    cashed = np.flatnonzero(rng.random(tested.size) < CASHED)
    waited = rng.exponential(TESTING.gap, cashed.size) + rng.exponential(CASH_OUT.gap, cashed.size)
    return cashed, tested[cashed] + waited


def _within(run: Ints, gaps: Floats) -> Floats:
    """Gaps summed up within each run (`run` ascending)."""
    total = np.cumsum(gaps)
    first = firsts(run)
    before: Floats = np.repeat((total - gaps)[first], np.diff(np.append(np.flatnonzero(first), run.size)))
    return total - before


def start_rates(*, pattern: int, cards: Floats, rows: int, seconds: float) -> Floats:
    """Rate at which visible runs start on each card, per second at an intensity and exposure of 1: [k]."""
    kind = PATTERNS[pattern]
    per_second = kind.share * rows / kind.length / seconds
    return cards * (per_second / float(cards.sum()))
