"""The SHAP summary figure, drawn by the shap library."""

from __future__ import annotations

import io
import warnings

import numpy as np

from training.explanation.summary import Summary

SHOWN = 15
"""Features that the figure shows."""


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
        drawn = np.random.get_state()  # noqa: NPY002  # shap shuffles dots by the global generator
        np.random.seed(0)  # noqa: NPY002
        try:
            shap.plots.beeswarm(
                explanation, max_display=SHOWN, show=False, plot_size=None, group_remaining_features=False
            )
        finally:
            np.random.set_state(drawn)  # noqa: NPY002
    axes = figure.axes[0]
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xlabel("contribution to the score (log-odds; right: riskier)", fontsize=9)
    axes.tick_params(labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()
