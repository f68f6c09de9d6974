"""LightGBM and XGBoost behind the learner protocol: native categories, monotone directions, reproducible bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from training.learners.protocol import Array, Params, Range, Sample, directions

if TYPE_CHECKING:
    import lightgbm
    import xgboost

_BATCH = 2048
"""Rows from which prediction may use more than one thread; below, starting threads costs more than it saves."""


@contextmanager
def _without_sklearn() -> Iterator[None]:
    """Import a boosting library without the scikit-learn wrappers it would load for nothing (3 s in each worker)."""
    if "sklearn" in sys.modules:
        yield
        return
    sys.modules["sklearn"] = None  # type: ignore[assignment]  # makes `import sklearn` an ImportError, which both libraries expect
    try:
        yield
    finally:
        del sys.modules["sklearn"]


def _lightgbm() -> Any:
    with _without_sklearn():
        import lightgbm
    return lightgbm


def _xgboost() -> Any:
    with _without_sklearn():
        import xgboost
    return xgboost


class LightGBMLearner:
    """Histogram boosting, leaf by leaf (Ke et al. 2017)."""

    suffix = ".txt"
    default: ClassVar[Params] = {
        "trees": 200,
        "learning_rate": 0.05,
        "num_leaves": 10,
        "min_data_in_leaf": 50,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.8,
        "lambda_l2": 10.0,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "trees": Range(80, 400, integer=True),
        "learning_rate": Range(0.02, 0.12, log=True),
        "num_leaves": Range(4, 31, log=True, integer=True),
        "min_data_in_leaf": Range(20, 300, log=True, integer=True),
        "feature_fraction": Range(0.3, 1.0),
        "bagging_fraction": Range(0.5, 1.0),
        "lambda_l2": Range(0.5, 100.0, log=True),
    }

    def leaves(self, params: Params) -> int:
        """Trees x leaves."""
        return int(params["trees"]) * int(params["num_leaves"])

    def fit(self, sample: Sample, params: Params, *, seed: int, threads: int) -> FittedLightGBM:
        """Fit on log loss."""
        lgb = _lightgbm()
        native: dict[str, Any] = dict(params) | {
            "objective": "binary",
            "bagging_freq": 1,
            "monotone_constraints": directions(sample.columns) if any(directions(sample.columns)) else None,
            "num_threads": threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "feature_pre_filter": False,
            "verbose": -1,
        }
        trees = int(native.pop("trees"))
        data = lgb.Dataset(
            sample.X,
            sample.y,
            feature_name=[f"f{index}" for index in range(len(sample.columns))],
            categorical_feature=[index for index, column in enumerate(sample.columns) if column.labels],
            params={"verbose": -1, "feature_pre_filter": False},
        )
        booster = lgb.train(
            {key: value for key, value in native.items() if value is not None}, data, num_boost_round=trees
        )
        return self.load(booster.model_to_string().encode())

    def load(self, content: bytes) -> FittedLightGBM:
        """Read LightGBM's text format."""
        return FittedLightGBM(_lightgbm().Booster(model_str=content.decode()), content)


class FittedLightGBM:
    """A LightGBM booster that has been through its own text, so that a loaded one predicts the same bits."""

    def __init__(self, booster: lightgbm.Booster, content: bytes) -> None:
        self._booster, self._content = booster, content

    def margin(self, X: Array) -> Array:
        """Log-odds, [n]."""
        return np.asarray(self._booster.predict(X, raw_score=True, num_threads=_threads(X)), dtype=np.float64)

    def contributions(self, X: Array) -> Array:
        """Path-dependent TreeSHAP, [n, f + 1]."""
        found = self._booster.predict(X, pred_contrib=True, num_threads=_threads(X))
        return np.asarray(found, dtype=np.float64).reshape(len(X), -1)

    def dump(self) -> bytes:
        """The model as text."""
        return self._content


class XGBoostLearner:
    """Histogram boosting, level by level (Chen & Guestrin 2016)."""

    suffix = ".ubj"
    default: ClassVar[Params] = {
        "trees": 200,
        "learning_rate": 0.05,
        "max_depth": 4,
        "min_child_weight": 5.0,
        "subsample": 0.8,
        "colsample_bytree": 0.6,
        "reg_lambda": 10.0,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "trees": Range(80, 400, integer=True),
        "learning_rate": Range(0.02, 0.12, log=True),
        "max_depth": Range(2, 5, integer=True),
        "min_child_weight": Range(1.0, 60.0, log=True),
        "subsample": Range(0.5, 1.0),
        "colsample_bytree": Range(0.3, 1.0),
        "reg_lambda": Range(0.5, 100.0, log=True),
    }

    def leaves(self, params: Params) -> int:
        """Trees x 2^depth."""
        return int(params["trees"]) << int(params["max_depth"])

    def fit(self, sample: Sample, params: Params, *, seed: int, threads: int) -> FittedXGBoost:
        """Fit on log loss."""
        xgb = _xgboost()
        types = ["c" if column.labels else "q" for column in sample.columns]
        native: dict[str, Any] = dict(params) | {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "nthread": threads,
            "seed": seed,
            "verbosity": 0,
        }
        trees = int(native.pop("trees"))
        if any(directions(sample.columns)):
            native["monotone_constraints"] = tuple(directions(sample.columns))
        data = xgb.QuantileDMatrix(sample.X, sample.y, feature_types=types, enable_categorical=True, nthread=threads)
        booster = xgb.train(native, data, num_boost_round=trees)
        return self.load(bytes(booster.save_raw(raw_format="ubj")))

    def load(self, content: bytes) -> FittedXGBoost:
        """Read XGBoost's UBJSON format."""
        booster = _xgboost().Booster(model_file=bytearray(content))
        booster.set_param({"nthread": 1, "verbosity": 0})
        return FittedXGBoost(booster, content)


class FittedXGBoost:
    """An XGBoost booster that has been through its own bytes. XGBoost computes in float32; sums agree to about 1e-5."""

    def __init__(self, booster: xgboost.Booster, content: bytes) -> None:
        self._booster, self._content = booster, content

    def margin(self, X: Array) -> Array:
        """Log-odds, [n]."""
        return np.asarray(
            self._booster.inplace_predict(X, predict_type="margin", validate_features=False), dtype=np.float64
        )

    def contributions(self, X: Array) -> Array:
        """Path-dependent TreeSHAP, [n, f + 1]."""
        data = _xgboost().DMatrix(X, feature_types=self._booster.feature_types, enable_categorical=True, nthread=1)
        found = self._booster.predict(data, pred_contribs=True, validate_features=False)
        return np.asarray(found, dtype=np.float64).reshape(len(X), -1)

    def dump(self) -> bytes:
        """The model as UBJSON."""
        return self._content


def _threads(X: Array) -> int:
    return 1 if len(X) < _BATCH else 0
