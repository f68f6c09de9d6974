"""Which features drive a model: contributions of a sample of rows, their mean sizes, and the SHAP summary figure."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.model import Model

Array = NDArray[np.float64]

ROWS = 1500
"""Rows that a summary looks at."""
SHOWN = 15
"""Features that the figure shows."""


@dataclass(frozen=True)
class Summary:
    """Contributions (log-odds) [n, f] and encoded values [n, f] of a sample of rows, for the features `names`."""

    names: tuple[str, ...]
    contributions: Array
    values: Array
    base: float

    @property
    def importance(self) -> dict[str, float]:
        """Mean |contribution| by feature, greatest first."""
        sizes = np.abs(self.contributions).mean(axis=0)
        return {self.names[index]: float(sizes[index]) for index in np.argsort(-sizes, kind="stable")}


def summarize(model: Model, X: Array, *, seed: int) -> Summary:
    """Contributions of up to `ROWS` rows of X, drawn with `seed`."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(X))[:ROWS])
    found = model.contributions(X[rows])
    return Summary(model.names, found[:, :-1], X[rows], float(found[:, -1].mean()))


def beeswarm(summary: Summary, *, title: str) -> bytes:
    """The SHAP summary as PNG: a dot for each row, coloured by the feature's value (grey: missing)."""
    import matplotlib as mpl

    if mpl.get_backend(auto_select=False) is None:  # a notebook has chosen its own, and keeps it
        mpl.use("Agg")
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vendors' notices at import and while plotting all-missing columns
        import shap

        explanation = shap.Explanation(
            values=summary.contributions, data=summary.values, feature_names=list(summary.names)
        )
        figure = plt.figure(figsize=(8, 6))
        shap.plots.beeswarm(explanation, max_display=SHOWN, show=False, plot_size=None, group_remaining_features=False)
    axes = figure.axes[0]
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("contribution to the score (log-odds; right: riskier)", fontsize=9)
    axes.tick_params(labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()
