"""The payments of the simulated fraud world: time and card, then venue, terminal, amount, channel and device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from configs.inputs import Simulator
from features.simulators.columns import DAY, Bools, Floats, Ints, epoch, firsts, months_after, pick
from features.simulators.episodes import GENUINE, PATTERNS, RUNS, TESTING, Payments, draw_runs, start_rates
from features.simulators.population import (
    SPREAD,
    TYPICAL,
    VENUE_CATEGORY,
    VENUE_KIND,
    Customers,
    Rhythm,
    Terminals,
    draw_customers,
    draw_terminals,
)
from features.simulators.posterior import KNOWN, NEW, NO_DEVICE, RECENT, Sightings

PER_CARD, PER_TERMINAL, CARDS_PER_CUSTOMER = 75, 260, 1.25
"""Payments in six months of a card and of a terminal; cards of a customer."""
CHANNELS = ("chip", "contactless", "online", "atm")
SECOND_DEVICE, ONE_OFF_DEVICE = 0.17, 0.03
DEVICE_LIFE = 500 * DAY
MONTH = 30 * DAY
FIRST_RUN = 2
"""Origins from here on are attacks (`PATTERNS`)."""


@dataclass(frozen=True)
class Setting:
    """The world before anybody pays. Cards [k]: `owner` is the place of the customer, `activity` the relative rate."""

    simulator: Simulator
    history: float
    seconds: float
    """Length of the history, and of history and live period."""
    customers: Customers
    terminals: Terminals
    owner: Ints
    activity: Floats
    rhythms: dict[int, Rhythm]
    """By origin; 0 is the usual one."""


@dataclass(frozen=True)
class Marks:
    """All payments in time order: arrays [n]. `level` is the log amount before rounding; see `Setting` for `place`."""

    seconds: Floats
    place: Ints
    card: Ints
    customer: Ints
    origin: Ints
    venue: Ints
    terminal: Ints
    level: Floats
    amount: Floats
    channel: Ints
    device: Ints
    novelty: Ints
    """One of NO_DEVICE, KNOWN, RECENT, NEW."""


def settle(rng: np.random.Generator, simulator: Simulator) -> Setting:
    """Customers, cards and terminals in proportion to the rows."""
    history = float(epoch(months_after(simulator.start, simulator.months)) - epoch(simulator.start))
    seconds = history * (1 + simulator.live_rows / simulator.rows)
    halves = simulator.months / 6
    cards = max(round(simulator.rows / PER_CARD / halves), 5)
    places = max(round(cards / CARDS_PER_CUSTOMER), 1)
    nights = {number: kind.night for number, kind in enumerate(PATTERNS)}
    return Setting(
        simulator=simulator,
        history=history,
        seconds=seconds,
        customers=draw_customers(rng, places=places, seconds=seconds),
        terminals=draw_terminals(rng, count=round(simulator.rows / PER_TERMINAL / halves)),
        owner=np.concatenate([np.arange(places), rng.integers(0, places, cards - places)]),
        activity=rng.gamma(4, 0.25, cards),
        rhythms={number: Rhythm.of(simulator.start, seconds=seconds, night=night) for number, night in nights.items()},
    )


def draw_payments(rng: np.random.Generator, setting: Setting) -> Payments:
    """Exactly `rows` payments in the history and `live_rows` after it: the runs, and usual payments for the rest."""
    simulator, runs, next_run = setting.simulator, [], 0
    for pattern in map(PATTERNS.index, RUNS):
        drawn = draw_runs(
            rng,
            pattern=pattern,
            cards=attacked(setting, pattern),
            owner=setting.owner,
            customers=setting.customers,
            rhythm=setting.rhythms[pattern],
            seconds=setting.seconds,
            rows=simulator.rows + simulator.live_rows,
            first_run=next_run,
        )
        next_run = int(drawn.run.max(initial=next_run)) + 1
        runs.append(drawn)
    early = sum(int((drawn.seconds < setting.history).sum()) for drawn in runs)
    late = sum(drawn.seconds.size for drawn in runs) - early
    usual = [
        setting.rhythms[0].draw(rng, max(simulator.rows - early, 0), first=0, last=setting.history),
        setting.rhythms[0].draw(rng, max(simulator.live_rows - late, 0), first=setting.history, last=setting.seconds),
    ]
    count = usual[0].size + usual[1].size
    card = pick(rng, setting.activity, count)
    runs.append(Payments(np.concatenate(usual), card, np.zeros(count, np.int64), np.full(count, -1)))
    seconds = np.floor(np.concatenate([drawn.seconds for drawn in runs]))
    order = np.argsort(seconds, kind="stable")
    card, origin, run = (
        np.concatenate([getattr(drawn, name) for drawn in runs])[order] for name in ("card", "origin", "run")
    )
    return Payments(seconds[order], card, origin, run)


def attacked(setting: Setting, pattern: int) -> Floats:
    """Relative rates at which runs of a pattern start on each card: trips follow its activity, attacks hit any card."""
    return setting.activity if pattern < FIRST_RUN else np.ones_like(setting.activity)


def mark(rng: np.random.Generator, setting: Setting, payments: Payments) -> Marks:
    """Everything else about each payment."""
    customer = setting.customers.at(setting.owner[payments.card], payments.seconds)
    _, card = np.unique(payments.card * setting.customers.place.size + customer, return_inverse=True)
    venue = _venues(rng, payments.origin)
    level = _levels(rng, setting.customers.level[customer] + TYPICAL[VENUE_CATEGORY[venue]], payments.origin)
    kind = VENUE_KIND[venue]
    amount = _amounts(level, kind)
    contactless = rng.random(level.size) < np.where(amount < 50, 0.75, 0.15)
    channel = np.where(kind == 0, contactless.astype(np.int64), kind + 1)
    device, own = _devices(rng, setting.customers, payments, customer)
    carries = (channel == 1) | (channel == 2)
    return Marks(
        seconds=payments.seconds,
        place=payments.card,
        card=card,
        customer=customer,
        origin=payments.origin,
        venue=venue,
        terminal=setting.terminals.draw(rng, venue),
        level=level,
        amount=amount,
        channel=channel,
        device=np.where(carries, device, -1),
        novelty=_novelty(payments.seconds, device, own=own, carries=carries),
    )


def _venues(rng: np.random.Generator, origin: Ints) -> Ints:
    reached = np.cumsum([kind.venues for kind in PATTERNS], axis=1)
    reached /= reached[:, -1:]
    stacked = (reached + np.arange(len(PATTERNS))[:, None]).ravel()
    found: Ints = np.searchsorted(stacked, origin + rng.random(origin.size), side="right") % reached.shape[1]
    return found


def _levels(rng: np.random.Generator, usual: Floats, origin: Ints) -> Floats:
    noise = rng.normal(size=origin.size)
    shift, spread = (np.array([getattr(kind, name) for kind in PATTERNS]) for name in ("shift", "spread"))
    level = usual + SPREAD * (shift[origin] + spread[origin] * noise)
    small = origin == PATTERNS.index(TESTING)
    return np.where(small, (TESTING.small or 0.0) + TESTING.spread * noise, level)


def _amounts(level: Floats, kind: Ints) -> Floats:
    """Cents up to 20,000; cash in tens."""
    amount: Floats = np.clip(np.round(np.exp(level), 2), 0.01, 20_000)
    return np.where(kind == 2, np.maximum(np.round(amount / 10) * 10, 10), amount)


def _devices(rng: np.random.Generator, customers: Customers, payments: Payments, customer: Ints) -> tuple[Ints, Bools]:
    """The device that each payment would carry, and whether it is the customer's own (main or second).

    Main devices are numbered customer x 128 + generation, second ones customer x 128 + 127, all others beyond those.
    """
    count, owned = customer.size, customers.place.size * 128
    phase = rng.random(customers.place.size)
    generation = np.floor(payments.seconds / DEVICE_LIFE + phase[customer]).astype(np.int64) % 127
    choice = rng.random(count)
    device = customer * 128 + np.where(choice < SECOND_DEVICE, 127, generation)
    one_off = choice >= 1 - ONE_OFF_DEVICE
    device = np.where(one_off, owned + np.arange(count), device)
    attack = payments.origin >= FIRST_RUN
    device = np.where(attack, owned + count + payments.run, device)
    return device, ~(one_off | attack)


def _novelty(seconds: Floats, device: Ints, *, own: Bools, carries: Bools) -> Ints:
    """How new each payment's device is to the customer. Own devices seen in the first 30 days were known before."""
    rows = np.flatnonzero(carries)
    rows = rows[np.lexsort((seconds[rows], device[rows]))]
    moment, same = seconds[rows], device[rows]
    new = firsts(same) | (np.diff(moment, prepend=-np.inf) >= MONTH)
    since = moment[np.maximum.accumulate(np.where(new, np.arange(rows.size), 0))]
    old = own[rows] & (since < MONTH)
    novelty = np.full(seconds.size, NO_DEVICE, dtype=np.int64)
    novelty[rows] = np.where(old, KNOWN, np.where(new, NEW, np.where(moment - since < 7 * DAY, RECENT, KNOWN)))
    return novelty


def sightings(setting: Setting, marks: Marks) -> tuple[Sightings, Ints]:
    """What an observer sees of each payment, sorted by card and time, and the rows of `marks` in that order."""
    rows = np.lexsort((marks.seconds, marks.card))
    seconds, place = marks.seconds[rows], marks.place[rows]
    usual = setting.rhythms[0]
    background = (marks.origin == 0) & (marks.seconds < setting.history)
    per_intensity = int(background.sum()) / float(np.interp(setting.history, usual.edges, usual.reached))
    rate = setting.activity / setting.activity.sum() * per_intensity
    carries = (marks.novelty != NO_DEVICE) & (marks.origin < FIRST_RUN)
    new = int((carries & (marks.novelty == NEW)).sum())
    seen = Sightings(
        card=marks.card[rows],
        seconds=seconds,
        device=marks.novelty[rows],
        density=_densities(setting.customers, marks, rows),
        genuine_rate=np.maximum(rate[place] * usual.at(seconds), 1e-12),
        start_rate=_start_rates(setting, marks, rows),
        new_share=(new + 1) / (int(carries.sum()) + 20),
    )
    return seen, rows


def _densities(customers: Customers, marks: Marks, rows: Ints) -> Floats:
    venue, level = marks.venue[rows], marks.level[rows]
    usual = customers.level[marks.customer[rows]] + TYPICAL[VENUE_CATEGORY[venue]]
    found = np.empty((rows.size, len(PATTERNS)))
    for number, kind in enumerate(PATTERNS):
        centre = usual + SPREAD * kind.shift if kind.small is None else kind.small
        spread = SPREAD * kind.spread if kind.small is None else kind.spread
        found[:, number] = kind.venues[venue] * np.exp(-0.5 * ((level - centre) / spread) ** 2) / spread
    found[:, PATTERNS.index(GENUINE)] += 1e-12
    return found


def _start_rates(setting: Setting, marks: Marks, rows: Ints) -> Floats:
    seconds, place = marks.seconds[rows], marks.place[rows]
    total = setting.simulator.rows + setting.simulator.live_rows
    exposed = setting.customers.exposed(marks.customer[rows], seconds)
    found = np.empty((rows.size, len(RUNS)))
    for column, kind in enumerate(RUNS):
        pattern = PATTERNS.index(kind)
        rate = start_rates(pattern=pattern, cards=attacked(setting, pattern), rows=total, seconds=setting.seconds)
        found[:, column] = rate[place] * setting.rhythms[pattern].at(seconds) * (exposed if kind.targeted else 1.0)
    return found
