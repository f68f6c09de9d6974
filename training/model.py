"""The fitted bundle: feature order, vocabularies, boosters and calibration; plain data on disk, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import TrainingError
from features.vector import Feature
from training.encoding import Encoder, Value
from training.evidence.calibration import Calibration
from training.learners.choice import learner
from training.learners.protocol import Array, Fitted

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2
"""Version of `model.json`; a reader refuses what it doesn't know."""
READABLE = (1, 2)
"""Format 1 had no offset, and Platt scaling alone."""


@dataclass(frozen=True)
class Model:
    """A fitted model. Several boosters (bags) are averaged in log-odds.

    `features` are the ones used, in the order of X; `learner` names the kind of the boosters. `offset` is taken off
    their log-odds: what weighing positives like negatives added to them (`training.learners.weights.balanced`).
    """

    learner: str
    encoder: Encoder
    boosters: tuple[Fitted, ...]
    calibration: Calibration
    offset: float = 0.0

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features used, in the order of X."""
        return self.encoder.features

    @property
    def vocabularies(self) -> Mapping[str, tuple[str, ...]]:
        """Labels of each category by code."""
        return self.encoder.vocabularies

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features used, in the order of X."""
        return tuple(feature.name for feature in self.features)

    def with_vocabularies(self, vocabularies: Mapping[str, Sequence[str]]) -> Model:
        """The same model with other words for the codes of its categories."""
        named = {name: tuple(labels) for name, labels in vocabularies.items()}
        return replace(self, encoder=replace(self.encoder, vocabularies=named))

    def encode(self, features: pd.DataFrame) -> Array:
        """Encode rows: float64 [n, f]; unseen categories get the code of `other`, missing values NaN."""
        return self.encoder.table(features)

    def encode_row(self, values: Mapping[str, Value]) -> Array:
        """Encode one event: float64 [f]."""
        return self.encoder.row(values)

    def margin(self, X: Array) -> Array:
        """Raw log-odds, [n]; the same bits for a row whether it is scored alone or in a batch."""
        return self._mean([booster.margin(X) for booster in self.boosters]) - self.offset

    def probability(self, X: Array) -> Array:
        """Calibrated probability of the positive class in (0, 1), [n]."""
        return self.calibration.probability(self.margin(X))

    def contributions(self, X: Array) -> Array:
        """Log-odds by feature, [n, f + 1], the base last. Rows sum to the margin (for XGBoost in float32)."""
        found = self._mean([booster.contributions(X) for booster in self.boosters])
        found[:, -1] -= self.offset
        return found

    @staticmethod
    def _mean(parts: list[Array]) -> Array:
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total / len(parts)

    def save(self, folder: Path) -> None:
        """Write one native file for each booster, then `model.json`: a folder that has it is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [f"booster-{index}{learner(self.learner).suffix}" for index in range(len(self.boosters))]
        for name, booster in zip(files, self.boosters, strict=True):
            (folder / name).write_bytes(booster.dump())
        description = {
            "format": FORMAT,
            "learner": self.learner,
            "features": [asdict(feature) for feature in self.features],
            "vocabularies": {name: list(labels) for name, labels in self.vocabularies.items()},
            "calibration": self.calibration.as_json(),
            "offset": self.offset,
            "boosters": files,
        }
        (folder / "model.json").write_text(json.dumps(description, indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Read what `save` wrote. Check hash and signature first: native loaders don't survive manipulated files."""
        raw = _description(folder)
        kind = learner(raw["learner"])
        features = tuple(Feature(**entry | {"vocabulary": tuple(entry["vocabulary"])}) for entry in raw["features"])
        encoder = Encoder(features, {name: tuple(labels) for name, labels in raw["vocabularies"].items()})
        boosters = tuple(kind.load((folder / Path(name).name).read_bytes()) for name in raw["boosters"])
        calibration = Calibration.from_json(raw["calibration"])
        return cls(raw["learner"], encoder, boosters, calibration, float(raw.get("offset", 0.0)))


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "model.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(
            f"no model in {folder}", expected="a folder with model.json", fix="train, or check the path"
        ) from None
    except ValueError as error:
        raise TrainingError(f"{path} is not readable JSON: {error}", expected="a file written by Model.save") from None
    if raw.get("format") not in READABLE:
        raise TrainingError(
            f"{path} has format {raw.get('format')!r}",
            expected=f"format {' or '.join(map(str, READABLE))}",
            fix="train the model again with this version",
        )
    return raw
