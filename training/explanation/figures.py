"""Figures of the explanation as PNG bytes, drawn from the evidence alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evidence.plots import ACCENT, INK, QUIET, _canvas, _label, _png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 20
CURVES = 6
COLUMNS = 3
LONGEST = 14
"""Characters of a label beside an axis."""


def explanation_figures(evidence: Mapping[str, Any], *, title: str) -> dict[str, bytes]:
    """Of `explanation_evidence`."""
    return {
        "importance_refits": importance_over_refits(evidence["importance"], title=f"{title}: importance over refits"),
        "dependence": dependence_curves(evidence["dependence"], title=f"{title}: dependence"),
    }


def importance_over_refits(importance: Sequence[Mapping[str, Any]], *, title: str) -> bytes:
    """Mean |contribution| of the leading features; the line is one standard deviation over refits to either side."""
    shown = importance[:SHOWN][::-1]
    figure, (axes,) = _canvas(title, height=1.4 + 0.24 * len(shown))
    names, means = [one["feature"] for one in shown], [one["mean"] for one in shown]
    axes.barh(names, means, color=INK, height=0.65, alpha=0.85)
    spread = [(one["refit_mean"], one["refit_sd"] or 0.0) for one in shown]
    middle, deviation = np.array(spread).T.reshape(2, -1)
    axes.errorbar(middle, names, xerr=deviation, fmt="none", color=ACCENT, capsize=2, linewidth=1.2)
    _label(axes, "mean over refits, one standard deviation either way, in red", "mean |contribution| (log-odds)", "")
    axes.grid(axis="y", visible=False)
    return _png(figure)


def dependence_curves(curves: Sequence[Mapping[str, Any]], *, title: str) -> bytes:
    """Mean contribution by value of the leading features, with its 10 % and 90 % quantiles as a band."""
    shown = curves[:CURVES]
    from matplotlib.figure import Figure

    lines = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(3.6 * COLUMNS, 0.6 + 2.7 * lines), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    places = figure.subplots(lines, COLUMNS, squeeze=False).reshape(-1)
    for axes, curve in zip(places, shown, strict=False):
        _curve(axes, curve)
    for axes in places[len(shown) :]:
        axes.set_visible(False)
    return _png(figure)


def _curve(axes: Axes, curve: Mapping[str, Any]) -> None:
    bins = curve["bins"]
    x, mean = np.arange(len(bins)), np.array([one["mean"] for one in bins])
    low, high = (np.array([one[end] for one in bins]) for end in ("low", "high"))
    axes.axhline(0, color=QUIET, linewidth=0.8)
    ordered = [place for place in x if curve["kind"] == "number" and bins[place]["label"] != "missing"]
    axes.plot(ordered, mean[ordered], color=INK, linewidth=1)
    axes.errorbar(
        x,
        mean,
        yerr=np.maximum([mean - low, high - mean], 0),
        fmt="o",
        color=INK,
        markersize=3,
        elinewidth=1,
        capsize=1.5,
    )
    _label(axes, curve["feature"], "", "log-odds")
    axes.set_xticks(x, [_short(one["label"]) for one in bins], rotation=60, ha="right", fontsize=6)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"
