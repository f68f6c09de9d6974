"""LightGBM and XGBoost behind the learner protocol: native categories, monotone directions, reproducible bytes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from training.learners.native import lightgbm_text, xgboost_json
from training.learners.protocol import Array, Column, Params, Range, Sample, canonical_order, directions

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


def lightgbm_library() -> Any:
    """LightGBM, imported without scikit-learn: for the first time not beside an import of scikit-learn."""
    if "lightgbm" not in sys.modules:
        with _without_sklearn():
            importlib.import_module("lightgbm")
    import lightgbm

    return lightgbm


def xgboost_library() -> Any:
    """XGBoost, imported in the same way."""
    if "xgboost" not in sys.modules:
        with _without_sklearn():
            importlib.import_module("xgboost")
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
        "cat_smooth": 200.0,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "num_leaves": Range(4, 31, log=True, integer=True),
        "min_data_in_leaf": Range(20, 300, log=True, integer=True),
        "feature_fraction": Range(0.3, 1.0),
        "bagging_fraction": Range(0.5, 1.0),
        "lambda_l2": Range(0.5, 100.0, log=True),
        "cat_smooth": Range(30.0, 500.0, log=True),
    }
    in_rows: ClassVar[frozenset[str]] = frozenset({"min_data_in_leaf", "lambda_l2", "cat_smooth"})

    def leaves(self, params: Params) -> int:
        """Trees x leaves."""
        return int(params["trees"]) * int(params["num_leaves"])

    def fit(self, sample: Sample, params: Params, *, seed: int, threads: int) -> FittedLightGBM:
        """Fit on log loss."""
        lgb, order = lightgbm_library(), canonical_order(sample.columns)
        data, columns = lightgbm_rows(sample)
        native = lightgbm_native(params, columns, seed=seed, threads=threads)
        booster = lgb.train(native, data, num_boost_round=int(params["trees"]))
        return self.load(lightgbm_text(booster.model_to_string(), order).encode())

    def load(self, content: bytes) -> FittedLightGBM:
        """Read LightGBM's text format."""
        return FittedLightGBM(lightgbm_library().Booster(model_str=content.decode()), content)


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
        "max_cat_to_onehot": 256,
    }
    space: ClassVar[Mapping[str, Range]] = {
        "max_depth": Range(2, 5, integer=True),
        "min_child_weight": Range(1.0, 60.0, log=True),
        "subsample": Range(0.5, 1.0),
        "colsample_bytree": Range(0.3, 1.0),
        "reg_lambda": Range(0.5, 100.0, log=True),
        "max_cat_to_onehot": Range(16, 256, integer=True),
    }
    in_rows: ClassVar[frozenset[str]] = frozenset({"min_child_weight", "reg_lambda"})

    def leaves(self, params: Params) -> int:
        """Trees x 2^depth."""
        return int(params["trees"]) << int(params["max_depth"])

    def fit(self, sample: Sample, params: Params, *, seed: int, threads: int) -> FittedXGBoost:
        """Fit on log loss."""
        xgb, order = xgboost_library(), canonical_order(sample.columns)
        data, columns = xgboost_rows(sample, threads=threads)
        native = xgboost_native(params, columns, seed=seed, threads=threads)
        booster = xgb.train(native, data, num_boost_round=int(params["trees"]))
        told = xgb.Booster(model_file=bytearray(xgboost_json(bytes(booster.save_raw(raw_format="json")), order)))
        return self.load(bytes(told.save_raw(raw_format="ubj")))

    def load(self, content: bytes) -> FittedXGBoost:
        """Read XGBoost's UBJSON format."""
        booster = xgboost_library().Booster(model_file=bytearray(content))
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
        data = xgboost_library().DMatrix(
            X, feature_types=self._booster.feature_types, enable_categorical=True, nthread=1
        )
        found = self._booster.predict(data, pred_contribs=True, validate_features=False)
        return np.asarray(found, dtype=np.float64).reshape(len(X), -1)

    def dump(self) -> bytes:
        """The model as UBJSON."""
        return self._content


def lightgbm_native(params: Params, columns: Sequence[Column], *, seed: int, threads: int) -> dict[str, Any]:
    """LightGBM's own parameters, without the number of trees; the same bytes for the same seed on any machine."""
    signs = directions(columns)
    return {name: value for name, value in params.items() if name != "trees"} | {
        "objective": "binary",
        "bagging_freq": 1,
        **({"monotone_constraints": signs} if any(signs) else {}),
        "num_threads": threads,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "feature_pre_filter": False,
        "verbose": -1,
    }


def lightgbm_rows(sample: Sample, *, bins: int | None = None) -> tuple[lightgbm.Dataset, tuple[Column, ...]]:
    """Rows to bin, and their columns, in canonical order; X is released once they are binned.

    bins: of a number, at most; None: as many as the library has by default.
    """
    order, counted = canonical_order(sample.columns), sample.counted
    X, columns = arranged(counted, order)
    data = lightgbm_library().Dataset(
        X,
        counted.y,
        weight=counted.weight,
        feature_name=[f"f{place}" for place in order],
        categorical_feature=[index for index, column in enumerate(columns) if column.labels],
        params={"verbose": -1, "feature_pre_filter": False, **({"max_bin": bins} if bins else {})},
    )
    return data, columns


def xgboost_native(params: Params, columns: Sequence[Column], *, seed: int, threads: int) -> dict[str, Any]:
    """XGBoost's own parameters, without the number of trees."""
    signs = directions(columns)
    return {name: value for name, value in params.items() if name != "trees"} | {
        "objective": "binary:logistic",
        **({"monotone_constraints": tuple(signs)} if any(signs) else {}),
        "tree_method": "hist",
        "nthread": threads,
        "seed": seed,
        "verbosity": 0,
    }


def xgboost_rows(
    sample: Sample, *, threads: int, bins: int | None = None
) -> tuple[xgboost.QuantileDMatrix, tuple[Column, ...]]:
    """Binned rows, and their columns, in canonical order. bins: of a number, at most; None: the library's default."""
    order, counted = canonical_order(sample.columns), sample.counted
    X, columns = arranged(counted, order)
    data = xgboost_library().QuantileDMatrix(
        X,
        counted.y,
        weight=counted.weight,
        feature_types=feature_types(columns),
        enable_categorical=True,
        nthread=threads,
        **({"max_bin": bins} if bins else {}),
    )
    return data, columns


def feature_types(columns: Sequence[Column]) -> list[str]:
    """Category or quantity, as XGBoost names them."""
    return ["c" if column.labels else "q" for column in columns]


def arranged(sample: Sample, order: NDArray[np.intp]) -> tuple[Array, tuple[Column, ...]]:
    """X and its columns in the order that is fitted."""
    given = np.array_equal(order, np.arange(len(order)))
    return sample.X if given else sample.X[:, order], tuple(sample.columns[place] for place in order)


def _threads(X: Array) -> int:
    return 1 if len(X) < _BATCH else 0
