"""Whatever happens or becomes known after a time t, training rows at or before t stay as they are, bit for bit."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.loading import load_use_case, parse
from configs.settings import Settings
from configs.use_case import UseCase
from features.frame import Frame, training_frame
from features.simulators.world import simulate

MORE: dict[str, list[dict[str, Any]]] = {
    "fraud": [
        {
            "entity": "card",
            "column": "amount",
            "functions": ["sum", "min", "std", "distinct"],
            "windows": ["6d", "60d"],
        },
        {
            "entity": "card",
            "column": "amount",
            "functions": ["ratio", "deviation"],
            "windows": ["90d"],
            "current": False,
        },
        {"entity": "card", "functions": ["share"], "windows": ["30d"], "where": "channel = 'online'", "name": "online"},
        {"entity": ["customer", "terminal"], "functions": ["first_seen", "since_last"], "windows": ["90d"]},
        {
            "entity": "terminal",
            "column": "is_fraud",
            "functions": ["count", "mean", "since_last"],
            "windows": ["60d"],
            "enters": "outcome",
            "name": "told",
        },
        {"entity": "customer", "table": "customers", "functions": ["count", "since_last"], "windows": ["400d"]},
    ],
    "credit": [
        {"entity": "applicant", "column": "amount", "functions": ["count", "mean", "max"], "windows": ["700d"]},
        {
            "entity": "applicant",
            "table": "bureau",
            "column": "utilisation",
            "functions": ["mean", "std", "distinct", "since_last"],
            "windows": ["200d"],
        },
        {
            "entity": "applicant",
            "column": "defaulted",
            "functions": ["count", "sum"],
            "windows": ["900d"],
            "enters": "outcome",
            "name": "told",
        },
    ],
}


class World:
    """A simulated world, a time in its middle, and the rows until then as they were at first."""

    def __init__(self, name: str, home: Path) -> None:
        self.settings = Settings(home=home)
        plain = load_use_case(name, Settings(profile="dev"))
        assert plain.simulator is not None
        small = plain.simulator.model_copy(update={"rows": 2_500, "live_rows": 0, "months": 12})
        simulate(plain.model_copy(update={"simulator": small}), self.folder(plain))
        raw = plain.as_json()
        self.use_case = parse(raw | {"aggregates": [*raw.get("aggregates", []), *MORE[name]]})
        self.tables = {table: pd.read_parquet(self.path(table)) for table in self.use_case.tables}
        self.tell_some_late(np.random.default_rng(0))
        times = self.tables[self.use_case.event.table][self.use_case.event.time]
        self.now = times.sort_values().iloc[len(times) // 2].to_pydatetime()
        self.before = self.frame()

    def tell_some_late(self, random: np.random.Generator) -> None:
        """Let every fifth outcome come long after the label's maturity, when windows already hold its event."""
        events, label = self.tables[self.use_case.event.table], self.use_case.label
        late = events[self.use_case.event.time] + label.maturity + timedelta(days=30)
        events[label.known] = events[label.known].mask(random.random(len(events)) < 0.2, late)
        events.to_parquet(self.path(self.use_case.event.table))

    def folder(self, use_case: UseCase) -> Path:
        return self.settings.home / "raw" / use_case.name

    def path(self, table: str) -> Path:
        return self.folder(self.use_case) / str(self.use_case.tables[table].path)

    def frame(self) -> Frame:
        """The rows until now, from all the tables hold: nothing is cut away before the features are computed."""
        frame = training_frame(self.use_case, self.settings)
        rows = (frame.events["event_time"] <= pd.Timestamp(self.now)).to_numpy()
        return Frame(frame.events[rows], frame.features[rows], frame.data_hash, frame.definition_hash)

    def rewrite(self, random: np.random.Generator) -> None:
        for table, found in self.tables.items():
            definition = self.use_case.tables[table]
            changed = rewritten(found, random, self.now, time=str(definition.time), created=definition.created)
            if table == self.use_case.event.table:
                changed = self.outcomes(changed, random)
                changed[self.use_case.event.id] = changed[self.use_case.event.id].astype(str)
            changed.sample(frac=1.0, random_state=int(random.integers(1 << 30))).to_parquet(self.path(table))

    def outcomes(self, events: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        """Outcomes that nobody knew yet turn out otherwise, never or at another later time."""
        label = self.use_case.label
        known = events[label.known].fillna(events[self.use_case.event.time] + label.maturity)
        later = (known > self.now).to_numpy()
        told = self.now + pd.to_timedelta(random.integers(1, 10**13, len(events)), unit="us")
        events[label.column] = np.where(later, random.choice([0.0, 1.0, np.nan], len(events)), events[label.column])
        events[label.known] = events[label.known].where(~later, pd.Series(told, index=events.index))
        return events


def rewritten(
    table: pd.DataFrame, random: np.random.Generator, now: datetime, *, time: str, created: str | None
) -> pd.DataFrame:
    """Rows that are not known by `now` are dropped, moved, mixed or repeated, some as late news about the past."""
    seen = table[time] if created is None else table[[time, created]].max(axis="columns")
    past, future = table[seen <= now], table[seen > now]
    some = pd.concat([future, past]).sample(frac=0.8, replace=True, random_state=int(random.integers(1 << 30)))
    mixed = some.apply(lambda column: column.sample(frac=1.0, random_state=int(random.integers(1 << 30))).to_numpy())
    after = [now + timedelta(microseconds=int(step)) for step in random.integers(1, 10**13, len(mixed))]
    news = random.random(len(mixed)) < 0.5 if created else np.zeros(len(mixed), dtype=bool)
    mixed[time] = mixed[time].where(news, pd.Series(after, index=mixed.index))
    if created:
        mixed[created] = pd.Series(after, index=mixed.index)
    mixed.index = pd.RangeIndex(len(mixed))
    for name in mixed.columns:
        if name.endswith("_id") and mixed[name].is_unique is False and table[name].is_unique:
            mixed[name] = [f"new-{index}" for index in mixed.index]
    return pd.concat([past, mixed], ignore_index=True).astype(dict(table.dtypes[[time]]))


@pytest.fixture(scope="module", params=["fraud", "credit"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rows_until_then_are_bit_identical(world: World, seed: int) -> None:
    world.rewrite(np.random.default_rng(seed))
    after = world.frame()
    facts = ["event_id", "event_time", *world.use_case.entities]
    pd.testing.assert_frame_equal(after.events[facts], world.before.events[facts])
    for name, column in world.before.features.items():
        found = after.features[name]
        if column.dtype == np.float64:
            assert found.to_numpy().tobytes() == column.to_numpy().tobytes(), name
        else:
            assert list(found) == list(column), name


def test_the_rows_in_question_have_values_of_every_feature(world: World) -> None:
    assert len(world.before.events) > 1_000
    assert not [name for name, column in world.before.features.items() if column.isna().all()]
