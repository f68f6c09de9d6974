"""A fractional response model: the mean of a share in [0, 1] as the logit of features (Papke & Wooldridge 1996).

Fitted by the Bernoulli quasi-likelihood, which asks only for the right mean: shares of exactly 0 and 1 need no special
treatment, as they would under a beta regression. A ridge penalty on standardised columns keeps few bads from deciding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.vector import Feature
from training.encoding import Encoder
from training.learners.logistic import logistic

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Ridge penalties to choose from, in rows' worth of information on a standardised column."""
TAILS = (0.01, 0.99)
"""Numbers are cut at these quantiles of the fitted rows: a few extremes would decide a linear predictor."""
NOTICED = 0.01
"""Share of missing values from which a number gets a column that says so."""


@dataclass(frozen=True)
class Design:
    """From features to standardised columns: numbers cut, centred and scaled (missing: the mean), categories one-hot.

    low, high, mean, scale: of each number, [numbers]. absent: numbers with a column for "missing".
    """

    encoder: Encoder
    numbers: tuple[int, ...]
    low: Array
    high: Array
    mean: Array
    scale: Array
    absent: tuple[int, ...]

    @classmethod
    def learned(cls, features: Sequence[Feature], table: pd.DataFrame) -> Design:
        """From the rows that a model is fitted on; a column without two values there is left out."""
        encoder = Encoder.learned(features, table)
        X = encoder.table(table)
        known = [
            index for index, each in enumerate(features) if each.kind == "number" and np.isfinite(X[:, index]).any()
        ]
        values = X[:, known]
        low, high = np.nanquantile(values, TAILS, axis=0) if known else (np.empty(0), np.empty(0))
        cut = np.clip(values, low, high)
        scale = np.nanstd(cut, axis=0) if known else np.empty(0)
        varied = scale > 0
        missing = np.isnan(values).mean(axis=0)
        absent = tuple(index for index, share in zip(known, missing, strict=True) if NOTICED < share < 1)
        return cls(
            encoder,
            tuple(np.array(known, dtype=np.int64)[varied].tolist()),
            low[varied],
            high[varied],
            (np.nanmean(cut, axis=0) if known else np.empty(0))[varied],
            scale[varied],
            absent,
        )

    def table(self, features: pd.DataFrame) -> Array:
        """Columns of rows with a leading 1: [n, 1 + columns]."""
        X = self.encoder.table(features)
        numbers = (np.clip(X[:, self.numbers], self.low, self.high) - self.mean) / self.scale
        absent = np.isnan(X[:, self.absent]).astype(np.float64)
        parts = [np.ones((len(X), 1)), np.nan_to_num(numbers, nan=0.0), absent]
        for index, each in enumerate(self.encoder.features):
            if each.kind == "category":
                levels = np.arange(len(self.encoder.vocabularies[each.name]))
                parts.append((X[:, [index]] == levels).astype(np.float64))
        return np.hstack(parts)


@dataclass(frozen=True)
class FractionalLogit:
    """share = sigmoid(design @ coefficients); the first coefficient is the intercept."""

    design: Design
    coefficients: Array
    penalty: float

    @classmethod
    def fitted(
        cls, features: Sequence[Feature], table: pd.DataFrame, share: Array, *, penalties: Sequence[float]
    ) -> list[FractionalLogit]:
        """Fit to shares in [0, 1], [n]: one model for each penalty."""
        design = Design.learned(features, table)
        columns = design.table(table)
        return [cls(design, fit_ridge(columns, share, penalty=penalty), penalty) for penalty in penalties]

    def predict(self, features: pd.DataFrame) -> Array:
        """Mean share of each row in (0, 1), [n]."""
        return _sigmoid(self.design.table(features) @ self.coefficients)


def fit_ridge(design: Array, share: Array, *, penalty: float) -> Array:
    """Coefficients that maximise the Bernoulli quasi-likelihood less penalty / 2 x their squares, [columns].

    The first column is the intercept, which isn't penalised (but for a trace, for samples of only zeros or ones).
    """
    ridge = np.full(design.shape[1], penalty)
    ridge[0] = 1e-6
    centre = np.clip(share.mean(), 1e-3, 1 - 1e-3)
    start = np.zeros(design.shape[1])
    start[0] = np.log(centre / (1 - centre))
    return logistic(design, share, start=start, lower=np.full(design.shape[1], -np.inf), ridge=ridge)


def _sigmoid(margin: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(margin, -30, 30)))
