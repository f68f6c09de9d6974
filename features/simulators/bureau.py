"""The credit bureau of the simulated credit world: monthly snapshots, delivered late and sometimes corrected.

Each applicant with a file has 6 to 9 snapshots, one on the first of each month up to the month of the application,
fewer where the file is younger. A snapshot (`snapshot_at`) becomes known 2 to 6 days later (`created_at`). Of the
snapshots 3 % were delivered wrong (no delinquencies, utilisation and balance too low) and are corrected 5 to 45 days
after that: a second row with the same `snapshot_at` and a later `created_at`.

Values: utilisation = 1.05 sigmoid(-0.5 + 1.2 r + 0.5 e); delinquencies ~ Poisson(exp(-1.5 + 0.9 r)); inquiries ~
Poisson(exp(0.1 + 0.6 r)), with r, e ~ N(0, 1); month to month they wander.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa

from features.simulators.columns import DAY, Bools, Floats, Ints, epoch, identifiers, instants

MONTHS = 9
CORRECTED = 0.03
THIN = 0.12
VALUES = ("utilisation", "delinquencies_12m", "inquiries_6m", "open_accounts", "months_on_file", "total_balance")


@dataclass(frozen=True)
class Panel:
    """Snapshots [n applicants, 9 months back]; times in whole seconds since the world's start."""

    values: dict[str, Floats]
    first_values: dict[str, Floats]
    """As first delivered, before corrections."""
    exists: Bools
    snapshot_at: Floats
    created_at: Floats
    corrected_at: Floats
    """Infinite where nothing was corrected."""

    def as_known(self, moment: Ints) -> dict[str, Floats]:
        """Each value [n] as the lender knew it at `moment` [n]: the newest snapshot created by then, or NaN."""
        known = self.exists & (self.created_at <= moment[:, None])
        newest = np.argmax(known, axis=1)
        row = np.arange(newest.size)
        corrected = self.corrected_at[row, newest] <= moment
        any_known = known.any(axis=1)
        found = {}
        for name, values in self.values.items():
            value = np.where(corrected, values[row, newest], self.first_values[name][row, newest])
            found[name] = np.where(any_known, value, np.nan)
        return found


def draw_panel(rng: np.random.Generator, *, applied: Ints, start: date, age: Floats, income: Floats) -> Panel:
    """Snapshots for applicants who apply at `applied` seconds since `start`."""
    count = applied.size
    values = _values(rng, age=age, income=income)
    months = (applied + epoch(start)).astype("datetime64[s]").astype("datetime64[M]")
    firsts = (months[:, None] - np.arange(MONTHS)).astype("datetime64[s]").astype(np.int64)
    snapshot_at = (firsts - epoch(start)).astype(float)
    created_at = np.floor(snapshot_at + rng.uniform(2, 6, (count, MONTHS)) * DAY)
    wrong = rng.random((count, MONTHS)) < CORRECTED
    corrected_at = np.floor(np.where(wrong, created_at + rng.uniform(5, 45, (count, MONTHS)) * DAY, np.inf))
    depth = rng.integers(6, MONTHS + 1, (count, 1))
    exists = (np.arange(MONTHS) < depth) & (values["months_on_file"] >= 1) & (rng.random((count, 1)) >= THIN)
    return Panel(values, _mistaken(rng, values, wrong), exists, snapshot_at, created_at, corrected_at)


def _values(rng: np.random.Generator, *, age: Floats, income: Floats) -> dict[str, Floats]:
    count = age.size
    risk = rng.normal(size=count)
    level = -0.5 + 1.2 * risk + 0.5 * rng.normal(size=count)
    utilisation = 1.05 / (1 + np.exp(-(level[:, None] + _walk(rng, count, 0.1))))
    delinquencies = rng.poisson(np.exp(-1.5 + 0.9 * risk))[:, None] + np.rint(_walk(rng, count, 0.15))
    inquiries = rng.poisson(np.exp(0.1 + 0.6 * risk))[:, None] + np.rint(_walk(rng, count, 0.25))
    accounts = 1 + rng.poisson(3.0, count)[:, None] + np.rint(_walk(rng, count, 0.15))
    on_file = np.floor(2 + (age - 18) * 12 * rng.beta(2, 2.5, count))[:, None] - np.arange(MONTHS)
    limit = income * rng.lognormal(-0.9, 0.4, count)
    return {
        "utilisation": np.round(utilisation, 4),
        "delinquencies_12m": np.clip(delinquencies, 0, 12),
        "inquiries_6m": np.maximum(inquiries, 0),
        "open_accounts": np.maximum(accounts, 1),
        "months_on_file": on_file,
        "total_balance": np.round(utilisation * limit[:, None]),
    }


def _walk(rng: np.random.Generator, count: int, step: float) -> Floats:
    """Random walks back in time, 0 in the month of the application: [count, 9]."""
    steps = rng.normal(0, step, (count, MONTHS))
    steps[:, 0] = 0
    return np.cumsum(steps, axis=1)


def _mistaken(rng: np.random.Generator, values: dict[str, Floats], wrong: Bools) -> dict[str, Floats]:
    low = np.where(wrong, rng.uniform(0.4, 0.9, wrong.shape), 1.0)
    return {
        **values,
        "utilisation": np.round(values["utilisation"] * low, 4),
        "total_balance": np.round(values["total_balance"] * low),
        "delinquencies_12m": np.where(wrong, 0.0, values["delinquencies_12m"]),
    }


def table(panel: Panel, *, start: date, applicants: int) -> pa.Table:
    """All rows of the panel, first deliveries and corrections, in the order in which they became known."""
    first, fixed = np.nonzero(panel.exists), np.nonzero(panel.exists & np.isfinite(panel.corrected_at))
    who = np.concatenate([first[0], fixed[0]])
    created = np.concatenate([panel.created_at[first], panel.corrected_at[fixed]])
    order = np.lexsort((who, created))
    snapshot = np.concatenate([panel.snapshot_at[first], panel.snapshot_at[fixed]])
    columns: dict[str, pa.Array] = {
        "applicant_id": identifiers("A", who[order], count=applicants),
        "snapshot_at": instants(snapshot[order], start=start),
        "created_at": instants(created[order], start=start),
    }
    for name in VALUES:
        values = np.concatenate([panel.first_values[name][first], panel.values[name][fixed]])[order]
        whole = name not in ("utilisation", "total_balance")
        columns[name] = pa.array(values.astype(np.int64) if whole else values)
    return pa.table(columns)
