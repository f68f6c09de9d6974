"""Macro scenarios: changed features scored again by the model, log-odds moved by macro factors, higher LGD and EAD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import TrainingError
from configs.inputs import Column
from configs.scenarios import Scenario, Scenarios, Shift
from configs.use_case import UseCase
from features.expressions import compile_derived
from features.vector import features_of
from training.evidence.credit_risk.sensitivity import Book

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Rescore = Callable[["pd.DataFrame"], Array]
"""Calibrated PD of changed features: [n] from a table with every feature of the use case."""

_LEAST = 1e-9


def numbers(use_case: UseCase) -> tuple[str, ...]:
    """Features that a scenario may shift."""
    return tuple(feature.name for feature in features_of(use_case) if feature.kind == "number")


def stress(
    use_case: UseCase,
    scenarios: Scenarios,
    book: Book,
    *,
    features: pd.DataFrame,
    events: pd.DataFrame,
    rescore: Rescore,
    confidence: float,
) -> dict[str, Any]:
    """Every scenario beside the present. Rows of the book, `features` and `events` are the same, [n].

    A scenario's log-odds are the present ones, plus what the model makes of the changed features (its new log-odds less
    its present ones: with folds, where the final model isn't what scored the rows, the change is what counts), plus the
    macro factors' and the scenario's own. Keys: `title`, `source`, `factors`, `scenarios` [{name, description, macro,
    features, recomputed, beyond, by_features, log_odds, confidence, mean_pd, mean_lgd, mean_ead, expected_loss,
    value_at_risk, unexpected_loss, capital_ratio, profit, change}]: `recomputed` are derived features that followed,
    `beyond` {feature: share of the loans whose new value lies outside the present range, where a model only
    extrapolates}, `by_features` the mean PD with the changed features alone (None without any), `log_odds` the shift
    beside the features', `change` the relative change of expected_loss, value_at_risk and profit against the present.
    The first row is `present`.
    """
    base = book.figures(confidence)
    present = None
    rows = [_row("present", None, book, base, base, confidence) | {"description": "as scored"}]
    for name, scenario in scenarios.scenarios.items():
        logit = _logit(book.pd)
        recomputed: tuple[str, ...] = ()
        by_features: float | None = None
        beyond: dict[str, float] = {}
        if scenario.features:
            present = _logit(rescore(features)) if present is None else present
            changed, recomputed = shifted(use_case, features, events, scenario.features)
            logit = logit + _logit(rescore(changed)) - present
            by_features = float(_sigmoid(logit).mean())
            beyond = {key: _beyond(features[key], changed[key]) for key in (*scenario.features, *recomputed)}
        moved, lgd = _macro(scenarios, scenario)
        stressed = replace(
            book,
            pd=_sigmoid(logit + moved),
            lgd=np.clip(book.lgd + lgd, 0, 1),
            ead=np.clip(book.ead + scenario.ead, 0, 1),
        )
        found = _row(name, scenario, stressed, stressed.figures(confidence), base, confidence)
        learned = {"recomputed": list(recomputed), "by_features": by_features, "beyond": beyond}
        rows.append(found | learned | {"log_odds": moved})
    return {
        "title": scenarios.title,
        "source": scenarios.source,
        "factors": {name: factor.model_dump() for name, factor in scenarios.factors.items()},
        "scenarios": rows,
    }


def _macro(scenarios: Scenarios, scenario: Scenario) -> tuple[float, float]:
    """(shift of the log-odds, shift of LGD)."""
    moves = [(scenarios.factors[name], units) for name, units in scenario.macro.items()]
    return (
        scenario.log_odds + sum(factor.pd * units for factor, units in moves),
        scenario.lgd + sum(factor.lgd * units for factor, units in moves),
    )


def shifted(
    use_case: UseCase, features: pd.DataFrame, events: pd.DataFrame, shifts: Mapping[str, Shift]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Features with the shifts, cut to their declared range, and the names of the derived ones that followed.

    A derived column that reads a shifted feature, or one that followed, is computed anew; its own shift comes after.
    Raises `TrainingError` where it also reads a field that is no feature, and so can't be computed from the frame.
    """
    contracts, changed, followed = _contracts(use_case), features.copy(), list[str]()
    touched = {name for name in shifts if name not in use_case.derived}
    for name in touched:
        changed[name] = _shift(features[name], shifts[name], contracts.get(name))
    for name, expression in compile_derived(use_case).items():
        if expression.names & touched:
            inputs = _inputs(name, expression.names, changed, events)
            changed[name] = [
                expression.evaluate(dict(zip(inputs, row, strict=True))) for row in zip(*inputs.values(), strict=True)
            ]
            touched.add(name)
            followed.append(name)
        if name in shifts:
            changed[name] = _shift(changed[name], shifts[name], None)
            touched.add(name)
    return changed.astype(features.dtypes.to_dict()), tuple(followed)


def _inputs(name: str, read: frozenset[str], features: pd.DataFrame, events: pd.DataFrame) -> dict[str, list[Any]]:
    """Values of the fields that a derived column reads, missing ones as None."""
    inputs: dict[str, list[Any]] = {}
    for field in sorted(read):
        if field not in features.columns and field != "event_time":
            raise TrainingError(
                f"a scenario shifts what derived.{name} reads, and it also reads {field}, which is no feature",
                expected="derived columns that can be computed again from features",
                fix=f"shift {name} itself in the scenario instead, or make {field} a feature",
            )
        column = events["event_time"] if field == "event_time" else features[field]
        inputs[field] = [None if value is None or value != value else value for value in column.tolist()]  # noqa: PLR0124  # NaN
    return inputs


def _shift(values: pd.Series[Any], shift: Shift, contract: Column | None) -> pd.Series[Any]:
    moved = values.astype("float64") * shift.factor + shift.offset
    return moved.clip(contract.min, contract.max) if contract else moved


def _contracts(use_case: UseCase) -> dict[str, Column]:
    views = {
        f"{view}__{name}": column
        for view, definition in use_case.views.items()
        for name, column in definition.columns.items()
    }
    return dict(use_case.request) | views


def _row(
    name: str,
    scenario: Scenario | None,
    book: Book,
    found: Mapping[str, float | None],
    base: Mapping[str, float | None],
    confidence: float,
) -> dict[str, Any]:
    exposure = float(book.portfolio.exposure.sum())
    unexpected = found["unexpected_loss"]
    return {
        "name": name,
        "description": scenario.description if scenario else "",
        "macro": dict(scenario.macro) if scenario else {},
        "features": {key: shift.model_dump() for key, shift in scenario.features.items()} if scenario else {},
        "recomputed": [],
        "log_odds": 0.0,
        "by_features": None,
        "beyond": {},
        "confidence": confidence,
        "mean_pd": float(book.pd.mean()),
        "mean_lgd": float(book.lgd.mean()),
        "mean_ead": float(book.ead.mean()),
        **found,
        "capital_ratio": unexpected / exposure if unexpected is not None and exposure > 0 else None,
        "change": {key: _relative(found[key], base[key]) for key in ("expected_loss", "value_at_risk", "profit")},
    }


def _beyond(present: pd.Series[Any], changed: pd.Series[Any]) -> float:
    return float(((changed < present.min()) | (changed > present.max())).mean())


def _relative(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else (value - base) / abs(base)


def _logit(p: Array) -> Array:
    cut = np.clip(p, _LEAST, 1 - _LEAST)
    return np.log(cut / (1 - cut))


def _sigmoid(margin: Array) -> Array:
    return 1 / (1 + np.exp(-margin))
