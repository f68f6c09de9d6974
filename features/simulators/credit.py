"""A world of personal loan applications with a known probability of default.

**Time.** `rows` applications arrive over `months` months from `start`, more on weekdays and in office hours. The
`live_rows` live ones begin twelve months after the end of that history, when all its outcomes are known, and come at
the same rate.

**Truth.** An application defaults (90 days past due within twelve months) with probability sigmoid(eta),

    eta = -2.6 + macro(month)
        + 2.8 (utilisation - 0.4) + 0.9 ln(1 + delinquencies_12m) + 0.4 ln(1 + inquiries_6m)
        - 0.45 ln(months_on_file / 90) + 0.35 [utilisation > 0.8 and delinquencies_12m > 0]
          (0.9 instead of these five without a bureau file)
        + ln(10 installment / monthly income), within -1.5..1.5, or 1.2 where the income is not stated
        - 0.3 ln(1 + employment_years), or 0 where missing
        + the effects of purpose, channel, region and housing (EFFECTS),

with installment = amount / term_months, and the bureau's values *as the lender knew them* when the application came in
(`bureau.Panel.as_known`). So `true_probability` = sigmoid(eta) is exact given what is visible at application and the
month; a concept shift adds its offset to eta. The macro cycle is hidden: 0.2 sin(2 pi months / 48) and a small noise.

**Missing on purpose.** A seventh of the applicants are self-employed (not a column): six in ten of them leave
`annual_income` empty against 3 % of the others, and an income not stated is a bad sign. 12 % have no bureau file.

**Legacy policy.** An old scorecard over utilisation, delinquencies, income and file, with an officer's noise, accepts
about seven in ten. Rejects have no outcome: `defaulted` and `outcome_at` are null, live ones too. Given the visible
features the choice is independent of the default. Goods are known 365 days after the application, bads 90 to 365.

**Protected.** `sex` and `age` have no effect of their own. `region` depends strongly on sex (REGION_BY_SEX) and has an
effect: a proxy. Age moves income, years of employment and the age of the bureau file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from configs.inputs import Simulator
from features.simulators import bureau
from features.simulators.columns import (
    DAY,
    Bools,
    Floats,
    Ints,
    epoch,
    identifiers,
    instants,
    months_after,
    pick,
    words,
)
from features.simulators.drifts import concept_offset
from features.simulators.truth import World

if TYPE_CHECKING:
    from configs.console import Ticker

EFFECTS: dict[str, dict[str, float]] = {
    "purpose": {
        "car": -0.25,
        "debt_consolidation": 0.25,
        "education": 0.0,
        "home": -0.2,
        "medical": 0.15,
        "other": 0.1,
    },
    "channel": {"branch": -0.15, "broker": 0.3, "online": 0.0},
    "region": {"north": 0.3, "east": 0.15, "south": 0.0, "west": -0.15, "capital": -0.2},
    "housing": {"owner": -0.3, "mortgage": -0.15, "rent": 0.2, "family": 0.1},
}
SHARES = {
    "purpose": (0.24, 0.32, 0.08, 0.18, 0.08, 0.10),
    "channel": (0.30, 0.22, 0.48),
    "housing": (0.16, 0.34, 0.38, 0.12),
}
REGION_BY_SEX = {"female": (0.32, 0.26, 0.18, 0.14, 0.10), "male": (0.12, 0.16, 0.22, 0.26, 0.24)}
TERMS = (12, 24, 36, 48, 60, 72)
HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 20, 34, 40, 40, 34, 36, 38, 36, 32, 26, 20, 18, 16, 12, 6, 3)
WEEK = (1.15, 1.1, 1.1, 1.05, 1.0, 0.5, 0.35)
"""Relative volume by hour of the day and by weekday from Monday."""


@dataclass(frozen=True)
class Applicants:
    """What applicants state and are: arrays [n]; numbers have NaN where missing, categories are codes into names."""

    numbers: dict[str, Floats]
    codes: dict[str, Ints]
    true_income: Floats


def generate(simulator: Simulator, ticker: Ticker | None = None) -> World:
    """Applications (history, then live) and the bureau's snapshots."""
    streams = [np.random.default_rng([simulator.seed, number]) for number in range(6)]
    if ticker:
        ticker.note("applications")
    applied = _times(streams[0], simulator)
    people = _applicants(streams[1], applied.size)
    panel = bureau.draw_panel(
        streams[2], applied=applied, start=simulator.start, age=people.numbers["age"], income=people.true_income
    )
    known = panel.as_known(applied)
    stated = _stated(people, applied, simulator.start)
    offset = concept_offset(stated.to_pandas(), simulator.drifts, times=stated.column("applied_at").to_pandas())
    eta = _log_odds(people, known) + _macro(streams[3], applied) + offset
    truth = 1 / (1 + np.exp(-eta))
    accepted = _accepted(streams[4], people, known)
    outcomes = _outcomes(streams[5], truth=truth, accepted=accepted, applied=applied, start=simulator.start)
    if ticker:
        ticker.note("bureau snapshots")
    return World(
        tables={
            "applications": pa.table({**dict(zip(stated.column_names, stated.columns, strict=True)), **outcomes}),
            "bureau": bureau.table(panel, start=simulator.start, applicants=applied.size),
        },
        events="applications",
        label="defaulted",
        live_rows=simulator.live_rows,
        bound="exact given the features as known at application and the month's hidden macro state",
    )


def _times(rng: np.random.Generator, simulator: Simulator) -> Ints:
    """Whole seconds since the start, ascending: the history, then the live applications at the same rate."""
    origin = epoch(simulator.start)
    end = epoch(months_after(simulator.start, simulator.months)) - origin
    live_start = epoch(months_after(simulator.start, simulator.months + 12)) - origin
    live_end = live_start + max(int(end * simulator.live_rows / simulator.rows), int(DAY))
    history = _arrivals(rng, simulator.rows, first=0, last=end, start=simulator.start)
    live = _arrivals(rng, simulator.live_rows, first=live_start, last=live_end, start=simulator.start)
    return np.concatenate([history, live])


def _arrivals(rng: np.random.Generator, count: int, *, first: int, last: int, start: date) -> Ints:
    hours = np.arange(first // 3600, -(-last // 3600))
    weekday = (hours // 24 + start.weekday()) % 7
    volume = np.asarray(HOURS)[hours % 24] * np.asarray(WEEK)[weekday]
    edges = np.append(hours * 3600, last)
    reached = np.concatenate([[0.0], np.cumsum(volume)]) / volume.sum()
    return np.sort(np.interp(rng.random(count), reached, edges).astype(np.int64))


def _applicants(rng: np.random.Generator, count: int) -> Applicants:
    male = rng.random(count) < 0.54
    by_sex = [pick(rng, shares, count) for shares in REGION_BY_SEX.values()]
    age = np.floor(18 + 54 * rng.beta(1.7, 2.6, count))
    self_employed = rng.random(count) < 1 / 7
    tenure = np.minimum(rng.gamma(1.3, np.where(self_employed, 2.5, 5.0)), np.maximum(age - 18, 0.2))
    income = np.exp(
        10.2 + 0.25 * np.sin((age - 18) / 54 * np.pi) + 0.08 * np.log1p(tenure) + rng.normal(0, 0.45, count)
    )
    amount = np.clip(np.exp(rng.normal(8.9, 0.65, count) + 0.35 * (np.log(income) - 10.4)), 500, 75_000)
    silent = rng.random(count) < np.where(self_employed, 0.6, 0.03)
    numbers = {
        "amount": np.round(amount / 50) * 50,
        "term_months": np.asarray(TERMS, dtype=float)[pick(rng, (0.10, 0.22, 0.28, 0.18, 0.16, 0.06), count)],
        "annual_income": np.where(silent, np.nan, np.round(income / 100) * 100),
        "employment_years": np.where(rng.random(count) < 0.04, np.nan, np.round(tenure, 1)),
        "age": age,
    }
    codes = {name: pick(rng, shares, count) for name, shares in SHARES.items()}
    codes |= {"region": np.where(male, by_sex[1], by_sex[0]), "sex": male.astype(np.int64)}
    return Applicants(numbers, codes, income)


def _stated(people: Applicants, applied: Ints, start: date) -> pa.Table:
    count = applied.size
    numbers, codes = people.numbers, people.codes
    categories = {name: words(codes[name], tuple(EFFECTS[name])) for name in EFFECTS}
    return pa.table(
        {
            "application_id": pa.array(np.arange(1, count + 1)),
            "applicant_id": identifiers("A", np.arange(count), count=count),
            "applied_at": instants(applied, start=start),
            "amount": pa.array(numbers["amount"]),
            "term_months": pa.array(numbers["term_months"].astype(np.int64)),
            **categories,
            "annual_income": pa.array(numbers["annual_income"], from_pandas=True),
            "employment_years": pa.array(numbers["employment_years"], from_pandas=True),
            "sex": words(codes["sex"], tuple(REGION_BY_SEX)),
            "age": pa.array(numbers["age"].astype(np.int64)),
        }
    )


def _burden(people: Applicants, *, silent: float) -> Floats:
    """ln(10 installment / monthly income) within -1.5..1.5; `silent` where the income is not stated."""
    numbers = people.numbers
    ratio = numbers["amount"] / numbers["term_months"] / (numbers["annual_income"] / 12)
    return np.where(np.isnan(ratio), silent, np.clip(np.log(10 * ratio), -1.5, 1.5))


def _log_odds(people: Applicants, known: dict[str, Floats]) -> Floats:
    late, used = known["delinquencies_12m"], known["utilisation"]
    file = (
        2.8 * (used - 0.4)
        + 0.9 * np.log1p(late)
        + 0.4 * np.log1p(known["inquiries_6m"])
        - 0.45 * np.log(known["months_on_file"] / 90)
        + 0.35 * ((used > 0.8) & (late > 0))
    )
    tenure = np.nan_to_num(people.numbers["employment_years"], nan=0.0)
    stated = _burden(people, silent=1.2) - 0.3 * np.log1p(tenure)
    effects = sum(np.asarray(list(EFFECTS[name].values()))[people.codes[name]] for name in EFFECTS)
    return -2.6 + np.where(np.isnan(used), 0.9, file) + stated + effects


def _macro(rng: np.random.Generator, applied: Ints) -> Floats:
    month = (applied // int(DAY) * 12 / 365.25).astype(np.int64)
    noise = rng.normal(0, 0.04, int(month.max(initial=0)) + 1)
    wave = 0.2 * np.sin(2 * np.pi * np.arange(noise.size) / 48)
    return (wave + noise)[month]


def _accepted(rng: np.random.Generator, people: Applicants, known: dict[str, Floats]) -> Bools:
    used, late = known["utilisation"], known["delinquencies_12m"]
    file = np.where(np.isnan(used), 0.7, 1.2 * (used - 0.4) + 0.7 * np.log1p(late))
    return file + 0.4 * _burden(people, silent=1.0) + rng.normal(0, 0.5, used.size) < 0.62


def _outcomes(
    rng: np.random.Generator, *, truth: Floats, accepted: Bools, applied: Ints, start: date
) -> dict[str, pa.Array]:
    bad = rng.random(truth.size) < truth
    late_days = 90 + 275 * rng.beta(1.3, 1.8, truth.size)
    known_at = applied + np.where(bad, late_days, 365) * DAY
    return {
        "legacy_decision": words((~accepted).astype(np.int64), ("accept", "reject")),
        "defaulted": pa.array(bad.astype(np.int64), mask=~accepted),
        "outcome_at": instants(known_at, start=start, missing=~accepted),
        "true_probability": pa.array(truth),
    }
