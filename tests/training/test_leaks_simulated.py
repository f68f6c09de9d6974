"""The leak guard on simulated worlds: clean as they are, and with leaks planted in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from configs.inputs import Column
from configs.loading import load_use_case
from configs.settings import Settings
from features.frame import Frame
from features.simulators.world import simulate
from features.sources import folder_of
from features.store import FeatureStore
from training.leaks.findings import Finding
from training.leaks.guard import examine
from training.splits import Split, split_events


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


class Simulated:
    """A simulated world with its frame, to which request columns are added."""

    def __init__(self, name: str, home: Path, *, seed: int, rows: int) -> None:
        self.settings = Settings(home=home / f"{name}{seed}")
        full = load_use_case(name, self.settings)
        assert full.simulator
        small = full.simulator.model_copy(update={"seed": seed, "rows": rows, "live_rows": 0})
        self.use_case = full.model_copy(update={"simulator": small})
        simulate(self.use_case, folder_of(self.use_case, self.settings))
        period = self.use_case.split
        assert period.by == "time"
        store = FeatureStore(self.use_case, self.settings)
        self.frame = store.training_frame(start=period.train.start, end=period.test.end)
        self.generator = np.random.default_rng(seed)

    @property
    def split(self) -> Split:
        label = self.use_case.label
        return split_events(self.frame.events, self.use_case.split, maturity=label.maturity, seed=7)

    @property
    def bad(self) -> np.ndarray:
        return self.frame.events["label"].to_numpy() == 1

    def examined(self, **planted: np.ndarray) -> tuple[Finding, ...]:
        fields = dict.fromkeys(planted, Column(type="number"))
        use_case = self.use_case.model_copy(update={"request": fields | self.use_case.request})
        features = pd.concat([pd.DataFrame(planted, index=self.frame.features.index), self.frame.features], axis=1)
        frame = Frame(self.frame.events, features, "data", "definition")
        return examine(use_case, frame, self.split.train, self.split.test, self.settings)


@pytest.fixture(scope="module", params=[("credit", 1), ("credit", 2), ("fraud", 3), ("fraud", 4)], ids=str)
def simulated(request: pytest.FixtureRequest, home: Path) -> Simulated:
    name, seed = request.param
    return Simulated(name, home, seed=seed, rows=12_000 if name == "credit" else 40_000)


def test_a_simulated_world_is_clean(simulated: Simulated) -> None:
    assert [each for each in simulated.examined() if each.stops] == []


def test_leaks_planted_in_a_simulated_world_are_found_and_nothing_else(simulated: Simulated) -> None:
    bad, n, draw = simulated.bad, len(simulated.bad), simulated.generator
    planted = {
        "loss": np.where(bad & (draw.random(n) < 0.7), draw.lognormal(5, 1, n), 0.0),
        "case": np.where(bad & (draw.random(n) < 0.7), draw.integers(0, 9, n), np.nan),
        "status": bad + 0.1 * draw.normal(size=n),
        "number": np.arange(n, dtype=float),
        "kept": simulated.frame.features["amount"] * np.where(bad, draw.uniform(0, 0.7, n), 0.98),
    }
    found = {each.column: each.kind for each in simulated.examined(**planted) if each.stops}
    assert found == {
        "loss": "one_class", "case": "one_class", "status": "gives_away", "number": "id_like", "kept": "same_record",
    }  # fmt: skip
