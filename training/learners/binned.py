"""A fold's rows as a learner reads them, made once and shared by many fits; boosters grow on them tree by tree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.learners.boosting import (
    arranged,
    lightgbm_library,
    lightgbm_native,
    lightgbm_rows,
    xgboost_library,
    xgboost_native,
    xgboost_rows,
)
from training.learners.choice import learner
from training.learners.protocol import Array, Params, Sample, canonical_order

if TYPE_CHECKING:
    import lightgbm
    import xgboost


class Growing(Protocol):
    """A fit in progress. Its own thread only; many may grow on the same rows at once."""

    def grow(self, trees: int) -> None:
        """Add so many trees."""
        ...

    def score(self) -> Array:
        """The validation rows, [n]: any increasing function of the log-odds."""
        ...


class Prepared(Protocol):
    """Training and validation rows of a fold, ready for fits. Read only, so threads may share it."""

    def start(self, params: Params, *, seed: int) -> Growing:
        """A fit on one thread, without trees yet. `trees` is ignored."""
        ...


def load_libraries(names: Iterable[str]) -> None:
    """Import what these learners need, before threads would do so side by side."""
    for name in names:
        if name in {"lightgbm", "xgboost"}:
            (lightgbm_library if name == "lightgbm" else xgboost_library)()


def prepare(name: str, sample: Sample, valid: Array, *, bins: int | None = None) -> Prepared:
    """Rows to fit on, and rows to score [n, f], as the learner `name` reads them.

    The boosting learners keep the training rows as bins only (a byte a value), at most `bins` of a number; with None, a
    booster grown here is the one that the learner's `fit` gives for the same seed and number of trees.
    """
    if name == "lightgbm":
        return _LightGBMRows(sample, valid, bins)
    if name == "xgboost":
        return _XGBoostRows(sample, valid, bins)
    return _PlainRows(name, sample, valid)


class _LightGBMRows:
    def __init__(self, sample: Sample, valid: Array, bins: int | None) -> None:
        rows, self.columns = lightgbm_rows(sample, bins=bins)
        self.train = rows.construct()
        self.native = {"max_bin": bins} if bins else {}
        scored = lightgbm_library().Dataset(_ordered(valid, sample), reference=self.train, params=rows.params)
        self.valid = scored.construct()

    def start(self, params: Params, *, seed: int) -> Growing:
        native = lightgbm_native(params, self.columns, seed=seed, threads=1) | {"metric": "None"} | self.native
        booster = lightgbm_library().Booster(native, self.train)
        return _GrowingLightGBM(booster.add_valid(self.valid, "valid"))


class _GrowingLightGBM:
    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster

    def grow(self, trees: int) -> None:
        for _ in range(trees):
            self._booster.update()

    def score(self) -> Array:
        """Probabilities before calibration, which LightGBM has kept up to date tree by tree."""
        found: list[Array] = []

        def keep(scores: Array, _rows: Any) -> tuple[str, float, bool]:
            found.append(np.array(scores, dtype=np.float64))  # the library reuses its buffer
            return "kept", 0.0, True

        self._booster.eval_valid(keep)
        return found[0]


class _XGBoostRows:
    def __init__(self, sample: Sample, valid: Array, bins: int | None) -> None:
        self.train, self.columns = xgboost_rows(sample, threads=1, bins=bins)
        self.native = {"max_bin": bins} if bins else {}
        self.valid = _ordered(valid, sample).astype(np.float32)  # which the library would turn it into at each look

    def start(self, params: Params, *, seed: int) -> Growing:
        native = xgboost_native(params, self.columns, seed=seed, threads=1) | self.native
        booster = xgboost_library().Booster(native | {"disable_default_eval_metric": True}, [self.train])
        return _GrowingXGBoost(booster, self.train, self.valid)


class _GrowingXGBoost:
    """Only new trees are applied to the validation rows at a look."""

    def __init__(self, booster: xgboost.Booster, train: xgboost.QuantileDMatrix, valid: NDArray[np.float32]) -> None:
        self._booster, self._train, self._valid = booster, train, valid
        self._trees, self._applied = 0, 0
        self._margin: NDArray[np.float32] | None = None

    def grow(self, trees: int) -> None:
        for _ in range(trees):
            self._booster.update(self._train, self._trees)
            self._trees += 1

    def score(self) -> Array:
        if self._margin is None or self._trees > self._applied:
            self._margin = self._booster.inplace_predict(
                self._valid,
                iteration_range=(self._applied, self._trees),
                predict_type="margin",
                base_margin=self._margin,
                validate_features=False,
            )
            self._applied = self._trees
        return np.asarray(self._margin, dtype=np.float64)


class _PlainRows:
    """For learners without trees: the whole fit at once, on the same sample, with which they may keep their bins."""

    def __init__(self, name: str, sample: Sample, valid: Array) -> None:
        self.name, self.sample, self.valid = name, sample, valid

    def start(self, params: Params, *, seed: int) -> Growing:
        fitted = learner(self.name).fit(self.sample, params, seed=seed, threads=1)
        return _Grown(fitted.margin(self.valid))


class _Grown:
    def __init__(self, margin: Array) -> None:
        self._margin = margin

    def grow(self, trees: int) -> None:
        """Nothing grows here."""

    def score(self) -> Array:
        return self._margin


def _ordered(X: Array, sample: Sample) -> Array:
    order = canonical_order(sample.columns)
    return arranged(Sample(X, np.empty(len(X)), sample.columns), order)[0]
