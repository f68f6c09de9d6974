"""Which rows belong to which group of a protected attribute: categories, quartiles of a number, ages, two at once."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.inputs import Column

if TYPE_CHECKING:
    import pandas as pd

Members = NDArray[np.bool_]
Groups = dict[str, Members]

QUARTERS = 4
"""A number, such as an age, is compared between as many groups of about equal size."""
ELDERLY = 62
"""From this age on an applicant is elderly under the US Equal Credit Opportunity Act (12 CFR 1002.2(o))."""


def groups_of(column: Column, values: pd.Series[Any]) -> Groups:
    """Group -> its rows, [n]. Rows without a value belong to no group."""
    if column.type in {"category", "boolean"}:
        return _categories(values)
    return _quarters(values)


def elderly_groups(column: Column, values: pd.Series[Any]) -> Groups:
    """The two age groups that US credit law knows; none unless the attribute is a number of years with both."""
    if column.type not in {"number", "integer"} or (column.unit or "").lower() not in {"years", "year"}:
        return {}
    years = values.to_numpy(dtype=np.float64, na_value=np.nan)
    found = {f"under {ELDERLY}": years < ELDERLY, f"{ELDERLY} and over": years >= ELDERLY}
    return found if all(rows.any() for rows in found.values()) else {}


def intersections(attributes: dict[str, Groups]) -> dict[str, Groups]:
    """Every two attributes at once: `a x b` -> `group of a, group of b` -> rows. Empty intersections are left out."""
    return {
        f"{first} x {second}": {
            f"{one}, {other}": rows
            for one, own in attributes[first].items()
            for other, theirs in attributes[second].items()
            if (rows := own & theirs).any()
        }
        for first, second in combinations(attributes, 2)
    }


def large(groups: Groups, *, least: int, of: NDArray[np.int64] | None = None) -> Groups:
    """Groups with at least `least` rows; where `of` names the event of each row, with so many events."""
    return {name: rows for name, rows in groups.items() if size(rows, of) >= least}


def size(rows: Members, of: NDArray[np.int64] | None = None) -> int:
    """Rows of a group, or events where repeated folds score an event more than once."""
    return int(rows.sum()) if of is None else len(np.unique(of[rows]))


def _categories(values: pd.Series[Any]) -> Groups:
    found = sorted(values.dropna().unique(), key=str)
    return {str(value): (values == value).to_numpy(dtype=bool, na_value=False) for value in found}


def _quarters(values: pd.Series[Any]) -> Groups:
    numbers, times = _numbers(values)
    if np.isnan(numbers).all():
        return {}
    edges = np.unique(np.nanquantile(numbers, np.arange(QUARTERS + 1) / QUARTERS))
    inner, shown = edges[1:-1], [_shown(edge, times=times) for edge in edges]
    place = np.searchsorted(inner, numbers, side="right")
    return {
        f"{shown[index]} to {shown[min(index + 1, len(edges) - 1)]}": (place == index) & ~np.isnan(numbers)
        for index in range(len(inner) + 1)
    }


def _numbers(values: pd.Series[Any]) -> tuple[NDArray[np.float64], bool]:
    """As numbers; times, such as a date of birth, as days since 1970."""
    if getattr(values.dtype, "kind", "") != "M":
        return values.to_numpy(dtype=np.float64, na_value=np.nan), False
    stamps = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz is not None else values
    days = stamps.to_numpy().astype("datetime64[D]")
    return np.where(np.isnat(days), np.nan, days.astype(np.int64).astype(np.float64)), True


def _shown(edge: float, *, times: bool) -> str:
    return str(np.datetime64(int(edge), "D")) if times else f"{edge:g}"
