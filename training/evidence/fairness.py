"""How often groups of a protected attribute are selected, which here means: get no adverse decision from the bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.use_case import Policy, UseCase

if TYPE_CHECKING:
    import pandas as pd

LEAST_ROWS = 30
"""Smaller groups are left out: their rates say more about chance than about treatment."""

QUARTERS = 4
"""A number, such as an age, is compared between as many groups of about equal size."""


def selection_rates(
    use_case: UseCase, events: pd.DataFrame, probability: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    """Attribute -> group -> share of the group's rows without an adverse decision, in [0, 1].

    `events` has one column for each protected attribute; rows without a value belong to no group. Attributes with
    fewer than two large enough groups are left out. Overrides by policy rules are not part of this: bands only.
    """
    selected = ~np.isin(decisions(use_case.policy, probability), use_case.policy.adverse)
    found: dict[str, dict[str, float]] = {}
    for name, column in use_case.protected.items():
        groups = _categories(events[name]) if column.type in {"category", "boolean"} else _quarters(events[name])
        rates = {group: float(selected[rows].mean()) for group, rows in groups.items() if rows.sum() >= LEAST_ROWS}
        if len(rates) > 1:
            found[name] = rates
    return found


def decisions(policy: Policy, probability: NDArray[np.float64]) -> NDArray[np.str_]:
    """The band's decision for each probability, [n]: below a bound is inside the band."""
    bounds = [band.below for band in policy.bands if band.below is not None]
    names = np.array([band.decision for band in policy.bands])
    return names[np.searchsorted(bounds, probability, side="right")]


def _categories(values: pd.Series[Any]) -> dict[str, NDArray[np.bool_]]:
    return {str(value): (values == value).to_numpy(dtype=bool, na_value=False) for value in values.dropna().unique()}


def _quarters(values: pd.Series[Any]) -> dict[str, NDArray[np.bool_]]:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isnan(numbers).all():
        return {}
    edges = np.unique(np.nanquantile(numbers, np.arange(QUARTERS + 1) / QUARTERS))
    inner = edges[1:-1]
    place = np.searchsorted(inner, numbers, side="right")
    return {
        f"{edges[index]:g} to {edges[min(index + 1, len(edges) - 1)]:g}": (place == index) & ~np.isnan(numbers)
        for index in range(len(inner) + 1)
    }
