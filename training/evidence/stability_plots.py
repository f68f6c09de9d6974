"""The figure of stability as PNG bytes, drawn from the evidence alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from training.evidence.plots import ACCENT, INK, QUIET, _canvas, _label, _png

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def stability_figures(evidence: Mapping[str, Any], *, title: str) -> dict[str, bytes]:
    """Of `stability_evidence`: development months before the test's, apart by a line."""
    before, after = evidence["development"], evidence["months"]
    if not after:
        return {}
    entries, start = [*before, *after], len(before) - 0.5
    figure, (left, right) = _canvas(f"{title}: by {evidence['by']}", columns=2)
    _dots(left, entries, "auc", "auc_interval", color=INK, label="AUC")
    _label(left, "AUC", "", "AUC")
    _dots(right, entries, "observed", "observed_interval", color=INK, label="observed")
    predicted = [one["predicted"] for one in entries]
    right.plot(range(len(entries)), predicted, "x", color=ACCENT, markersize=5, label="predicted")
    right.legend(frameon=False, fontsize=8)
    _label(right, "rate of positives", "", "rate")
    for axes in (left, right):
        names = [one["month"] for one in entries]
        shown = range(0, len(names), max(1, len(names) // 12))
        axes.set_xticks(list(shown), [names[place] for place in shown], rotation=60, ha="right", fontsize=7)
        if before:
            axes.axvline(start, color=QUIET, linestyle=":", linewidth=1)
    return {"stability": _png(figure)}


def _dots(axes: Axes, entries: Sequence[Mapping[str, Any]], name: str, bounds: str, *, color: str, label: str) -> None:
    known = [(place, one) for place, one in enumerate(entries) if one[name] is not None]
    x, y = np.array([place for place, _ in known]), np.array([one[name] for _, one in known])
    ends = np.array([one[bounds] or (one[name], one[name]) for _, one in known]).reshape(-1, 2)
    spread = np.maximum([y - ends[:, 0], ends[:, 1] - y], 0)
    axes.errorbar(x, y, yerr=spread, fmt="o", color=color, markersize=4, capsize=2, elinewidth=1, label=label)
