"""A small search in a process of its own, which tests kill: `python search_program.py HOME [DATABASE_URL [WORKERS]]`.

One line on the standard output for each finished trial; the last line has all trials, as JSON. The import of this
module gives the same data and the same search.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from configs.settings import Settings
from configs.use_case import Training
from training.folds import Fold
from training.learners.protocol import Column
from training.search.search import search
from training.search.trials import Search

TRAINING = Training(trials=9, seed=5, learners=("lightgbm", "xgboost"))


class Spoken:
    """A ticker that prints what it is told."""

    def advance(self, steps: float = 1) -> None:
        """Nothing to show."""

    def note(self, text: str) -> None:
        """One line."""
        print(text, flush=True)


def data(n: int = 9000) -> tuple[np.ndarray, np.ndarray, tuple[Column, ...], list[Fold]]:
    """Rows with a signal, and two folds forward in time."""
    generator = np.random.default_rng(2)
    X = generator.normal(size=(n, 4))
    y = (X[:, 0] - X[:, 1] + generator.normal(size=n) > 1).astype(float)
    third = n // 3
    rows = np.arange(n)
    folds = [Fold(rows[:third], rows[third : 2 * third]), Fold(rows[: 2 * third], rows[2 * third :])]
    return X, y, tuple(Column(f"x{i}") for i in range(4)), folds


def searched(settings: Settings | None = None, *, seconds: float = 600, threads: int = 2, **extra: Any) -> Search:
    """The search of the program."""
    return search(*data(), TRAINING, seconds=seconds, threads=threads, settings=settings, **extra)


def without_times(found: Search) -> list[dict[str, Any]]:
    """Everything of every trial but how long it took."""
    return [{name: value for name, value in trial.as_json().items() if name != "seconds"} for trial in found.trials]


def main() -> None:
    """Search, and print."""
    home, url, workers = [*sys.argv[1:], "", "1"][:3]
    settings = Settings(home=Path(home), database_url=url or None)
    found = searched(settings, workers=int(workers), ticker=Spoken())
    print(json.dumps({"trials": without_times(found), "notes": found.notes}))


if __name__ == "__main__":
    main()
