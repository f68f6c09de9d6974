"""Dated changes in event rows, for a monitor to find: for the simulators and for rehearsals on real tables.

`feature_shift`, `broken_feed` and `new_category` change what is *reported*: the truth behind the row, and so its label,
stays as it was. `concept_shift` changes the truth and needs the label's odds, so only a simulator can apply it
(`concept_offset`). Everything here is pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from configs.errors import FeatureError
from configs.inputs import Drift

Times = pd.Series | pd.DatetimeIndex | npt.NDArray[np.datetime64]


def apply_drift(frame: pd.DataFrame, drift: Drift, *, times: Times, rng: np.random.Generator) -> pd.DataFrame:
    """A copy of `frame` with `drift` in the rows whose time lies in its period; other rows and columns are untouched.

    `times` has one UTC time a row (naive means UTC). Of the rows in the period a random `share` is changed.
    Integer columns stay integer after a shift (rounded); missing values stay missing.
    Raises FeatureError for an unknown column, a shift of a column that isn't a number, a new category without a value,
    and for concept_shift.
    """
    if drift.column not in frame.columns:
        raise unknown_column(drift.column, map(str, frame.columns))
    chosen = in_period(times, drift) & (rng.random(len(frame)) < drift.share)
    changed = frame.copy(deep=False)
    changed[drift.column] = _changed(frame[drift.column], drift, chosen)
    return changed


def _changed(values: pd.Series, drift: Drift, chosen: npt.NDArray[np.bool_]) -> pd.Series:
    if drift.kind == "feature_shift":
        return _shifted(values, drift, chosen)
    if drift.kind == "broken_feed":
        return _nullable(values).mask(chosen)
    if drift.kind == "new_category":
        return _replaced(values, drift, chosen)
    raise FeatureError(
        f"concept_shift on {drift.column!r} can't be applied to finished rows: it changes how labels come about",
        expected="feature_shift, broken_feed or new_category",
        fix="put the concept_shift into `simulator.drifts`",
    )


def _shifted(values: pd.Series, drift: Drift, chosen: npt.NDArray[np.bool_]) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        raise FeatureError(
            f"feature_shift on {drift.column!r}, a column of {values.dtype}",
            expected="a column of numbers",
            fix="choose another column, or the kind broken_feed or new_category",
        )
    shifted = values * drift.factor + drift.offset
    if pd.api.types.is_integer_dtype(values):
        shifted = shifted.round().astype(values.dtype)
    return values.where(~chosen, shifted)


def _nullable(values: pd.Series) -> pd.Series:
    """The same values in a type that can hold a missing one without changing what the present ones are."""
    if pd.api.types.is_bool_dtype(values):
        return values.astype("boolean")
    return values.astype("Int64") if pd.api.types.is_integer_dtype(values) else values


def _replaced(values: pd.Series, drift: Drift, chosen: npt.NDArray[np.bool_]) -> pd.Series:
    if drift.value is None or pd.api.types.is_numeric_dtype(values):
        raise FeatureError(
            f"new_category on {drift.column!r} (a column of {values.dtype}) with the value {drift.value!r}",
            expected="a category column and a `value`",
            fix="give the drift a `value`, or choose another column",
        )
    return values.astype(object).mask(chosen, drift.value)


def concept_offset(frame: pd.DataFrame, drifts: Iterable[Drift], *, times: Times) -> npt.NDArray[np.float64]:
    """What the concept shifts among `drifts` add to each row's label log-odds: [n], 0 outside their periods.

    A row is "high" in a number above the column's median over `frame`, in a boolean that is true, and in a category
    that equals the drift's `value`. A missing value is never high.
    """
    total = np.zeros(len(frame))
    for drift in drifts:
        if drift.kind != "concept_shift":
            continue
        if drift.column not in frame.columns:
            raise unknown_column(drift.column, map(str, frame.columns))
        total += drift.offset * (in_period(times, drift) & _high(frame[drift.column], drift))
    return total


def _high(values: pd.Series, drift: Drift) -> npt.NDArray[np.bool_]:
    if pd.api.types.is_bool_dtype(values):
        high = values.fillna(False)
    elif pd.api.types.is_numeric_dtype(values):
        high = values > values.median()
    elif drift.value is not None:
        high = values == drift.value
    else:
        raise FeatureError(
            f"concept_shift on the category {drift.column!r} without a value",
            expected="the category that counts as high",
            fix="give the drift a `value`",
        )
    return high.to_numpy(dtype=bool, na_value=False)


def in_period(times: Times, drift: Drift) -> npt.NDArray[np.bool_]:
    """Which times lie in the drift's period, from `start` (included) to `end` (excluded): [n]."""
    moments = pd.DatetimeIndex(pd.to_datetime(times, utc=True))
    inside = np.ones(len(moments), dtype=bool)
    if drift.start is not None:
        inside &= np.asarray(moments >= _utc(pd.Timestamp(drift.start)))
    if drift.end is not None:
        inside &= np.asarray(moments < _utc(pd.Timestamp(drift.end)))
    return inside


def _utc(moment: pd.Timestamp) -> pd.Timestamp:
    return moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")


def unknown_column(column: str, names: Iterable[str]) -> FeatureError:
    """The error for a drift whose column isn't there, with the nearest name."""
    known = list(names)
    nearest = difflib.get_close_matches(column, known, n=1)
    hint = f" (did you mean {nearest[0]!r}?)" if nearest else ""
    return FeatureError(
        f"a drift names the column {column!r}{hint}",
        expected=f"one of {', '.join(known)}",
        fix="correct `column` in the drift",
    )
