"""What a perfect observer of the simulated fraud world would believe about each payment.

*Cards.* Each card is a hidden Markov chain in continuous time whose states say which run (`episodes`) is going on.
`card_posterior` filters it forward over the card's payments: P(payment belongs to an attack | all payments of the card
up to this one), from the gaps, venues, amounts, hours and device novelty. It is the forward filter of a
Markov-modulated Poisson process with marks (Fischer and Meier-Hellstern 1993), to first order in the rare rates at
which runs start. The observer knows the customer's own level and activity.

*Terminals.* `terminal_posterior` filters a daily hidden semi-Markov chain: P(terminal compromised on day d | outcomes
of its payments up to the end of day d - 14).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.simulators.columns import DAY, Floats, Ints, firsts
from features.simulators.episodes import CASH_OUT, CASHED, GENUINE, PATTERNS, STOLEN, TAKEOVER, TESTING, TRIP

NO_DEVICE, KNOWN, RECENT, NEW = range(4)
"""Device novelty of a payment: no device; long in use; first used within a week; first use in 30 days."""
RECENT_GENUINE = 0.2
"""Probability that a genuine payment comes from a recent device, where the customer has one."""

_STATES = (GENUINE, TRIP, STOLEN, STOLEN, TAKEOVER, TAKEOVER, TESTING, TESTING, CASH_OUT)
"""State 0: no run. Attacks come in two states: before and after the attacker's device has been seen."""
_FRESH, _SEEN, _CASHING = [2, 4, 6], [3, 5, 7], 8
_PATTERN = np.array([PATTERNS.index(kind) for kind in _STATES])
_RATE = np.array([0.0] + [kind.rate for kind in _STATES[1:8]] + [1 / CASH_OUT.gap])
_ENDING = np.array([0.0] + [kind.ending for kind in _STATES[1:8]] + [0.0])
_LEAVING = _RATE + _ENDING
_ENTERED = [1, *_FRESH]
_FRAUD = np.arange(9) >= 2


@dataclass(frozen=True)
class Sightings:
    """What is seen of each payment, sorted by card and time: [n] or as noted.

    `density` [n, 6]: density of venue and amount under each of `PATTERNS`.
    `genuine_rate`: the card's usual rate at this time.
    `start_rate` [n, 4]: rates at which runs of `RUNS` start on the card at this time.
    """

    card: Ints
    seconds: Floats
    device: Ints
    density: Floats
    genuine_rate: Floats
    start_rate: Floats
    new_share: float
    """Share of new devices among genuine payments with a device."""


def card_posterior(seen: Sightings) -> Floats:
    """P(payment belongs to an attack | the card's payments so far): [n]. All cards advance together."""
    result = np.zeros(seen.card.size)
    begins = np.flatnonzero(firsts(seen.card))
    counts = np.diff(np.append(begins, seen.card.size))
    ranked = np.argsort(-counts, kind="stable")
    begins, counts = begins[ranked], counts[ranked]
    belief = np.zeros((begins.size, _RATE.size))
    belief[:, 0] = 1
    before = np.full(begins.size, -DAY)
    for step in range(int(counts.max(initial=0))):
        active = int(np.searchsorted(-counts, -step, side="left"))
        row = begins[:active] + step
        now = seen.seconds[row]
        gap = np.minimum(now - before[:active], 3650 * DAY) if step else np.full(active, DAY)
        expected = _propagate(belief[:active], gap, seen.start_rate[row])
        belief[:active], result[row] = _observe(expected, seen, row)
        before[:active] = now
    return result


def _propagate(belief: Floats, gap: Floats, start_rate: Floats) -> Floats:
    """Belief just before a payment that comes `gap` seconds after the last one, if nothing was paid in between."""
    stayed = np.exp(-gap[:, None] * _LEAVING)
    left = 1 - stayed
    after: Floats = belief * stayed
    ended = belief[:, 1:8] * left[:, 1:8] * (_ENDING / np.maximum(_LEAVING, 1e-300))[1:8]
    after[:, 0] += ended.sum(axis=1) - CASHED * ended[:, 6]
    testing, cashing = _LEAVING[7], _LEAVING[_CASHING]
    passed = (stayed[:, 7] - stayed[:, _CASHING]) / (cashing - testing)
    after[:, _CASHING] += CASHED * _ENDING[7] * belief[:, 7] * passed
    after[:, _ENTERED] += belief[:, :1] * start_rate * left[:, _ENTERED] / _RATE[_ENTERED]
    return after


def _observe(expected: Floats, seen: Sightings, row: Ints) -> tuple[Floats, Floats]:
    """Belief after the payments in `row`, and the probability that they belong to an attack."""
    device = seen.device[row]
    novelty = np.array([1.0, 1 - seen.new_share, RECENT_GENUINE, seen.new_share])[device]
    density = seen.density[row]
    usual = (seen.genuine_rate[row] * density[:, 0] * novelty)[:, None] * expected
    of_run = expected * _RATE * density[:, _PATTERN]
    of_run[:, 1] *= novelty
    of_run[:, _FRESH] *= ((device == NO_DEVICE) | (device == NEW))[:, None]
    of_run[:, [*_SEEN, _CASHING]] *= ((device == NO_DEVICE) | (device == RECENT))[:, None]
    total = usual.sum(axis=1) + of_run.sum(axis=1)
    attack = of_run[:, _FRAUD].sum(axis=1) / total
    after = usual + of_run
    revealed = np.where((device != NO_DEVICE)[:, None], of_run[:, _FRESH], 0.0)
    after[:, _FRESH] -= revealed
    after[:, _SEEN] += revealed
    after[:, 0] += of_run[:, _CASHING]
    after[:, _CASHING] -= of_run[:, _CASHING]
    return after / total[:, None], attack


def terminal_posterior(evidence: Floats, *, start_rate: Floats, survival: Floats, delay: int) -> Floats:
    """P(compromised on day d | evidence of the days up to d - delay): [terminals, days].

    `evidence` [terminals, days]: log-likelihood ratio, compromised against not, of a day's outcomes.
    `start_rate` [terminals]: chance that a compromise starts on a day.
    `survival` [ages]: chance that it lasts beyond each age in days (1 at age 0).
    """
    days = evidence.shape[1]
    going_on = np.append(survival[1:] / survival[:-1], 0.0)
    belief = np.concatenate([np.ones((evidence.shape[0], 1)), start_rate[:, None] * survival], axis=1)
    belief /= belief.sum(axis=1, keepdims=True)
    ahead = {rate: _ahead(float(rate), going_on, delay) for rate in np.unique(start_rate)}
    result = np.empty_like(evidence)
    result[:, :delay] = 1 - belief[:, :1]
    for day in range(days - delay):
        if day:
            belief = _next_day(belief, start_rate, going_on)
        belief[:, 1:] *= np.exp(np.minimum(evidence[:, day], 500.0))[:, None]
        belief /= belief.sum(axis=1, keepdims=True)
        for rate, weight in ahead.items():
            chosen = start_rate == rate
            result[chosen, day + delay] = belief[chosen] @ weight
    return result


def _next_day(belief: Floats, start_rate: Floats, going_on: Floats) -> Floats:
    moved = np.empty_like(belief)
    moved[:, 0] = belief[:, 0] * (1 - start_rate) + belief[:, 1:] @ (1 - going_on)
    moved[:, 1] = belief[:, 0] * start_rate
    moved[:, 2:] = belief[:, 1:-1] * going_on[:-1]
    return moved


def _ahead(start_rate: float, going_on: Floats, days: int) -> Floats:
    """P(compromised `days` later | state now): [1 + ages]."""
    states = np.eye(going_on.size + 1)
    for _ in range(days):
        states = _next_day(states, np.full(states.shape[0], start_rate), going_on)
    return 1 - states[:, 0]
