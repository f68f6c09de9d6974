"""All that a search depends on: its name is a hash of that, and other processes get it as plain files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from configs.use_case import Training
from training.evidence.groups import Groups
from training.folds import Fold
from training.learners.protocol import Array, Column, Params
from training.search.second import LEAST
from training.search.trials import TOLERANCE

Warm = tuple[str, Params]
"""A learner and the parameters to start from."""

_LIBRARIES = ("lightgbm", "numpy", "optuna", "xgboost-cpu", "risk-platform")
_IRRELEVANT = {"seconds", "bags", "calibration", "exclude"}
"""Fields of `training` that change no trial: how long is searched, and what is done afterwards or was done before."""


@dataclass(frozen=True)
class Task:
    """X [n, f], y [n], weight [n] or None, columns [f], folds as positions in X, and how to search.

    protected: attribute -> group -> its rows, [n]. warm: trials to begin with. window: trials in flight at most.
    """

    X: Array
    y: Array
    columns: tuple[Column, ...]
    folds: tuple[Fold, ...]
    training: Training
    window: int
    weight: Array | None = None
    protected: Mapping[str, Groups] = field(default_factory=dict)
    least: int = LEAST
    warm: tuple[Warm, ...] = ()
    tolerance: float = TOLERANCE

    @property
    def name(self) -> str:
        """Hash of every array, of the configuration, the seed and the versions of the libraries: 32 hex digits."""
        digest = hashlib.sha256(json.dumps(self._settings(), sort_keys=True).encode())
        for array in self._arrays():
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:32]

    def save(self, folder: Path) -> None:
        """Write it into a folder: arrays as NumPy files, without pickle, the rest as JSON."""
        np.save(folder / "X.npy", self.X)
        rest = list(self._arrays())[1:]
        np.savez(folder / "rest.npz", allow_pickle=False, **{f"a{place}": array for place, array in enumerate(rest)})
        (folder / "task.json").write_text(json.dumps(self._settings()))

    @classmethod
    def load(cls, folder: Path) -> Task:
        """Read it; X is mapped, not read, so that processes of one machine share its pages."""
        raw = json.loads((folder / "task.json").read_text())
        with np.load(folder / "rest.npz", allow_pickle=False) as file:
            rest = iter([file[f"a{place}"] for place in range(len(file.files))])
        y = next(rest)
        folds = tuple(Fold(next(rest), next(rest)) for _ in range(raw["folds"]))
        protected = {name: {group: next(rest) for group in groups} for name, groups in raw["protected"].items()}
        return cls(
            np.load(folder / "X.npy", mmap_mode="r", allow_pickle=False),
            y,
            tuple(Column(each["name"], tuple(each["labels"]), each["direction"]) for each in raw["columns"]),
            folds,
            Training.model_validate(raw["training"]),
            raw["window"],
            next(rest, None),
            protected,
            raw["least"],
            tuple((name, params) for name, params in raw["warm"]),
            raw["tolerance"],
        )

    def _settings(self) -> dict[str, Any]:
        return {
            "columns": [asdict(column) for column in self.columns],
            "folds": len(self.folds),
            "training": self.training.model_dump(mode="json", exclude=_IRRELEVANT),
            "window": self.window,
            "protected": {name: list(groups) for name, groups in self.protected.items()},
            "least": self.least,
            "tolerance": self.tolerance,
            "warm": [[name, dict(params)] for name, params in self.warm],
            "versions": {library: version(library) for library in _LIBRARIES},
        }

    def _arrays(self) -> Iterator[np.ndarray[Any, Any]]:
        yield self.X
        yield self.y
        for fold in self.folds:
            yield fold.train
            yield fold.valid
        for groups in self.protected.values():
            yield from groups.values()
        if self.weight is not None:
            yield self.weight
