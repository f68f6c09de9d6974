"""A world of card payments with known fraud, and what a perfect observer would believe about each payment.

**Genuine payments.** Each card pays at its own rate (gamma, shape 4; about 75 payments in six months), in the rhythm of
the day and the week, at a venue (physical, online or cash machine; category; 5 % abroad).
ln(amount) ~ N(customer's level + category's mean, 0.6). 15 % of all payments are shopping trips: several within an
hour. Online and contactless payments carry a device: the customer's main one (replaced every 500 days), a second one
(17 %), or one never seen again (3 %). The live payments follow the history at the same rate.

**Fraud**, about 1 % of the payments, by `fraud_scenario`:
- `compromised_terminal`: a terminal is compromised for 28 to 40 days (cash machines and fuel more often, online never);
  a genuine payment there becomes a fraud with probability p(amount) = sigmoid(0.3 + 0.6 ln(amount / 50));
- `stolen_card`: about five larger payments within an hour or two, often abroad or at night;
- `account_takeover`: a few large online payments from a new device, on premium and young accounts more often;
- `card_testing`: a few tiny online payments hours apart, then in four cases of five one large payment.
Attackers use a device of their own. The patterns and their rates stand in `episodes`, the population in `population`.

**Outcomes.** A fraud is reported a lognormal time after the payment (median three days, sigma 0.7, below 14 days);
without a report a payment counts as genuine after 14 days.

**Truth.** `true_probability` = e + (1 - e) c p(amount), with e = P(payment belongs to an attack | the card's payments
so far) and c = P(terminal compromised | outcomes of its payments up to the end of the day 14 days before), both from
`posterior`. It knows the world's parameters and each customer's level and activity, which a model must estimate: its
AUC is an upper bound for models that see payments and matured outcomes. It is not conditioned on reports younger than
14 days.
A concept shift moves the log-odds of this probability: genuine payments become frauds (`concept_shift`), or frauds
genuine, so that the moved probability is again the true one. (The terminals' evidence is taken before that.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from configs.inputs import Simulator
from features.simulators.columns import DAY, Bools, Floats, Ints, identifiers, instants, words
from features.simulators.drifts import concept_offset
from features.simulators.episodes import PATTERNS
from features.simulators.payments import CHANNELS, FIRST_RUN, Marks, Setting, draw_payments, mark, settle, sightings
from features.simulators.population import CATEGORIES, VENUE_CATEGORY, VENUE_KIND, profiles
from features.simulators.posterior import card_posterior, terminal_posterior
from features.simulators.truth import World

if TYPE_CHECKING:
    from configs.console import Ticker

SCENARIOS = ("genuine", "compromised_terminal", "stolen_card", "account_takeover", "card_testing", "concept_shift")
COMPROMISED_SHARE = 0.0042
"""Share of its time that a terminal of risk 1 is compromised."""
TERMINAL_RISK = np.where(VENUE_KIND == 2, 4.0, np.where(VENUE_KIND == 1, 0.0, 1.0))
TERMINAL_RISK = TERMINAL_RISK * np.where(np.equal(VENUE_CATEGORY, CATEGORIES.index("fuel")), 3.0, 1.0)
SHORTEST, LONGEST = 28, 40
"""Days that a compromise lasts, uniform."""
SURVIVAL = np.minimum((LONGEST - np.arange(LONGEST)) / (LONGEST - SHORTEST + 1), 1.0)
MATURITY = 14
"""Days until a payment without a report counts as genuine."""


def generate(simulator: Simulator, ticker: Ticker | None = None) -> World:
    """Transactions (history, then live) and customer profiles."""
    streams = [np.random.default_rng([simulator.seed, number]) for number in range(7)]
    note = ticker.note if ticker else _silent
    note("payments")
    setting = settle(streams[0], simulator)
    marks = mark(streams[2], setting, draw_payments(streams[1], setting))
    note("what the best observer believes")
    scenario, truth = _labels(streams[3], setting, marks)
    stated = _stated(setting, marks)
    if any(drift.kind == "concept_shift" for drift in simulator.drifts):
        offset = concept_offset(stated.to_pandas(), simulator.drifts, times=stated.column("tx_time").to_pandas())
        scenario, truth = _moved(streams[4], scenario, truth, offset)
    note("customers")
    outcomes = _outcomes(streams[5], setting, marks, scenario)
    columns = {
        **dict(zip(stated.column_names, stated.columns, strict=True)),
        **outcomes,
        "true_probability": pa.array(truth),
    }
    return World(
        tables={
            "transactions": pa.table(columns),
            "customers": profiles(streams[6], setting.customers, start=simulator.start, seconds=setting.seconds),
        },
        events="transactions",
        label="is_fraud",
        live_rows=simulator.live_rows,
        bound="upper bound: also knows each customer's level and activity, which a model must estimate",
    )


def _silent(_: str) -> None:
    """Nobody watches."""


def _labels(rng: np.random.Generator, setting: Setting, marks: Marks) -> tuple[Ints, Floats]:
    """Scenario codes, and the probability of fraud that the best observer gives."""
    seen, rows = sightings(setting, marks)
    attack = np.empty(rows.size)
    attack[rows] = card_posterior(seen)
    day = (marks.seconds // DAY).astype(np.int64)
    chance = 1 / (1 + np.exp(-0.3) * (50 / marks.amount) ** 0.6)
    start_rate = COMPROMISED_SHARE * TERMINAL_RISK[setting.terminals.venue] / SURVIVAL.sum()
    days = int(day.max(initial=0)) + 1
    compromised = _compromises(rng, start_rate, days=days)[marks.terminal, day]
    hit = compromised & (rng.random(day.size) < chance) & (marks.origin < FIRST_RUN)
    names = np.array([SCENARIOS.index(kind.name) for kind in PATTERNS])
    scenario = np.where(hit, SCENARIOS.index("compromised_terminal"), names[marks.origin])
    evidence = np.zeros((start_rate.size, days))
    np.add.at(evidence, (marks.terminal, day), _likelihood_ratio(scenario > 0, attack, chance))
    believed = terminal_posterior(evidence, start_rate=start_rate, survival=SURVIVAL, delay=MATURITY)[
        marks.terminal, day
    ]
    return scenario, attack + (1 - attack) * believed * chance


def _compromises(rng: np.random.Generator, start_rate: Floats, *, days: int) -> Bools:
    """Whether each terminal is compromised on each day: [terminals, days]; some have been since before the first."""
    count = rng.poisson(start_rate * (days + LONGEST))
    terminal = np.repeat(np.arange(start_rate.size), count)
    first = rng.integers(-LONGEST, days, terminal.size)
    last = np.clip(first + rng.integers(SHORTEST, LONGEST + 1, terminal.size), 0, days)
    change = np.zeros((start_rate.size, days + 1))
    np.add.at(change, (terminal, np.maximum(first, 0)), 1)
    np.add.at(change, (terminal, last), -1)
    found: Bools = np.cumsum(change, axis=1)[:, :days] > 0
    return found


def _likelihood_ratio(fraud: Bools, attack: Floats, chance: Floats) -> Floats:
    """Log-likelihood ratio of each outcome: terminal compromised against not."""
    if_sound = np.clip(attack, 1e-9, 1 - 1e-9)
    if_compromised = if_sound + (1 - if_sound) * chance
    return np.where(fraud, np.log(if_compromised / if_sound), np.log1p(-chance))


def _moved(rng: np.random.Generator, scenario: Ints, truth: Floats, offset: Floats) -> tuple[Ints, Floats]:
    """Labels redrawn where a concept shift moves the log-odds, as few as give the moved probability."""
    before = np.clip(truth, 1e-12, 1 - 1e-12)
    odds = before / (1 - before) * np.exp(offset)
    after = np.where(offset == 0, truth, odds / (1 + odds))
    draw = rng.random(truth.size)
    become = (scenario == 0) & (draw < (after - before) / (1 - before))
    vanish = (scenario > 0) & (draw < 1 - after / before)
    become, vanish = become & (offset > 0), vanish & (offset < 0)
    return np.where(become, SCENARIOS.index("concept_shift"), np.where(vanish, 0, scenario)), after


def _stated(setting: Setting, marks: Marks) -> pa.Table:
    count, simulator = marks.seconds.size, setting.simulator
    used, device = np.unique(marks.device, return_inverse=True)
    without = marks.device < 0
    device = np.maximum(device - int(without.any()), 0)
    return pa.table(
        {
            "transaction_id": pa.array(np.arange(1, count + 1)),
            "tx_time": instants(marks.seconds, start=simulator.start),
            "customer_id": identifiers("C", marks.customer, count=setting.customers.place.size),
            "card_id": identifiers("K", marks.card, count=int(marks.card.max(initial=0)) + 1),
            "terminal_id": identifiers("T", marks.terminal, count=setting.terminals.venue.size),
            "device_id": identifiers("D", device, count=max(used.size, 1), missing=without),
            "amount": pa.array(marks.amount),
            "channel": words(marks.channel, CHANNELS),
            "merchant_category": words(VENUE_CATEGORY[marks.venue], CATEGORIES),
            "cross_border": pa.array(marks.venue >= VENUE_KIND.size // 2),
        }
    )


def _outcomes(rng: np.random.Generator, setting: Setting, marks: Marks, scenario: Ints) -> dict[str, pa.Array]:
    fraud = scenario > 0
    reported = np.minimum(rng.lognormal(np.log(3), 0.7, fraud.size), MATURITY - rng.uniform(0.01, 1, fraud.size))
    known = marks.seconds + np.where(fraud, reported, MATURITY) * DAY
    return {
        "is_fraud": pa.array(fraud.astype(np.int64)),
        "fraud_scenario": words(scenario, SCENARIOS),
        "outcome_at": instants(known, start=setting.simulator.start),
    }
