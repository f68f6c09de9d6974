"""From named feature values to the numbers a learner sees: category vocabularies with an `other`, missing as NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from features.vector import Feature

if TYPE_CHECKING:
    import pandas as pd

OTHER = "other"
MIN_COUNT = 20
"""Rows below which a category that isn't declared is folded into `other`."""
MAX_CATEGORIES = 200
"""Categories of one feature at most; the rarest beyond that are folded into `other`."""

Value = float | str | None


def learn_vocabulary(feature: Feature, values: pd.Series[str]) -> tuple[str, ...]:
    """Labels of a category by code: declared ones first, then frequent ones in alphabetical order, and `other`."""
    counts = values.dropna().value_counts()
    frequent = (
        counts[counts >= MIN_COUNT].index[: MAX_CATEGORIES - len(feature.vocabulary)] if not feature.vocabulary else ()
    )
    learned = sorted(str(label) for label in frequent if label != OTHER)
    declared = [label for label in feature.vocabulary if label != OTHER]
    return (*declared, *learned, OTHER)


@dataclass(frozen=True)
class Encoder:
    """Feature order and vocabularies. A code is a place in the vocabulary; unseen labels get the code of `other`."""

    features: tuple[Feature, ...]
    vocabularies: Mapping[str, tuple[str, ...]]

    @classmethod
    def learned(cls, features: Sequence[Feature], table: pd.DataFrame) -> Encoder:
        """Vocabularies from training rows."""
        names = [feature for feature in features if feature.kind == "category"]
        return cls(tuple(features), {feature.name: learn_vocabulary(feature, table[feature.name]) for feature in names})

    @cached_property
    def _plan(self) -> tuple[tuple[str, dict[str, float] | None], ...]:
        return tuple(
            (feature.name, {label: float(code) for code, label in enumerate(self.vocabularies[feature.name])})
            if feature.kind == "category"
            else (feature.name, None)
            for feature in self.features
        )

    def table(self, features: pd.DataFrame) -> NDArray[np.float64]:
        """Encode rows: float64 [n, f]. Columns beyond `features` are ignored."""
        absent = [name for name, _ in self._plan if name not in features.columns]
        if absent:
            raise TrainingError(
                f"the features {', '.join(absent)} are absent",
                expected="one column for each feature of the model",
                fix="build the features with the use case the model was trained with",
            )
        encoded = np.empty((len(features), len(self._plan)), dtype=np.float64, order="C")
        for index, (name, codes) in enumerate(self._plan):
            column = features[name]
            if codes is None:
                encoded[:, index] = column.to_numpy(dtype=np.float64, na_value=np.nan)
            else:
                found = column.map(codes).to_numpy(dtype=np.float64, na_value=np.nan)
                encoded[:, index] = np.where(np.isnan(found) & column.notna().to_numpy(), codes[OTHER], found)
        return encoded

    def row(self, values: Mapping[str, Value]) -> NDArray[np.float64]:
        """Encode one event: float64 [f], the same numbers as `table`. A name that is absent counts as missing."""
        encoded = np.empty(len(self._plan), dtype=np.float64)
        for index, (name, codes) in enumerate(self._plan):
            value = values.get(name)
            if value is None:
                encoded[index] = np.nan
            elif codes is None:
                encoded[index] = value
            else:
                encoded[index] = codes.get(value, codes[OTHER]) if isinstance(value, str) else codes[OTHER]
        return encoded


def uninformative(features: Sequence[Feature], X: NDArray[np.float64]) -> list[str]:
    """A sentence for each feature that says nothing about the rows X [n, f]: it has no value, or one value only."""
    notes = []
    for feature, column in zip(features, X.T, strict=True):
        known = column[~np.isnan(column)]
        if not len(known):
            notes.append(f"{feature.name} has no value in any of {len(column)} training rows: no model can use it")
        elif len(known) == len(column) and (known == known[0]).all():
            notes.append(f"{feature.name} has one value in all of {len(column)} training rows: no model can use it")
    return notes
