"""Figures of a candidate as PNG bytes: how it ranks, if its probabilities hold, what it gains, how it was found."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.evidence.metrics import auc, average_precision
from training.evidence.reliability import reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from training.search.trials import Search, Trial

Array = NDArray[np.float64]

INK, QUIET, ACCENT = "#1f4e79", "#9aa5b1", "#c8553d"
RARE = 0.05
"""Rate of positives below which the reliability diagram spreads out small probabilities."""
LEARNERS = {"lightgbm": "#1f4e79", "xgboost": "#c8553d", "scorecard": "#6b8f71"}


def figures(
    y: Array, p: Array, found: Search, importance: Mapping[str, float], *, title: str, by: str
) -> dict[str, bytes]:
    """Ranking, reliability, gains, importance and search; with two objectives `pareto`. `by` is `time` or `random`."""
    tested = f"{title}: {'out-of-time test' if by == 'time' else 'out-of-fold test'}"
    return {
        "ranking": ranking(y, p, title=tested),
        "reliability": reliability_diagram(y, p, title=tested),
        "gains": gains(y, p, title=tested),
        "importance": importance_bars(importance, title=f"{title}: importance"),
        "search": search_history(found, title=f"{title}: search"),
        **({"pareto": pareto(found, title=f"{title}: search")} if found.against else {}),
    }


def ranking(y: Array, p: Array, *, title: str) -> bytes:
    """ROC and precision-recall curve side by side."""
    figure, (roc, pr) = _canvas(title, columns=2)
    order = np.argsort(-p, kind="stable")
    tp, fp = np.cumsum(y[order]), np.cumsum(1 - y[order])
    shown = _thin(len(y))
    roc.plot(np.append(0, fp[shown] / fp[-1]), np.append(0, tp[shown] / tp[-1]), color=INK)
    roc.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1)
    _label(roc, f"ROC, AUC {auc(y, p):.3f}", "false positive rate", "true positive rate")
    pr.plot(tp[shown] / tp[-1], tp[shown] / (tp[shown] + fp[shown]), color=INK)
    pr.axhline(y.mean(), color=QUIET, linestyle=":", linewidth=1)
    _label(pr, f"precision-recall, average precision {average_precision(y, p):.3f}", "recall", "precision")
    for axes in (roc, pr):
        axes.set(xlim=(0, 1), ylim=(0, 1.01))
    return _png(figure)


def reliability_diagram(y: Array, p: Array, *, title: str) -> bytes:
    """Observed rate with its 95 % interval against the mean prediction, in ten bins of equal size."""
    figure, (axes,) = _canvas(title)
    rows = reliability(y, p)
    x, observed = np.array([row["predicted"] for row in rows]), np.array([row["observed"] for row in rows])
    spread = np.array([[row["observed"] - row["low"], row["high"] - row["observed"]] for row in rows]).T
    top = 1.08 * max(x.max(), *(row["high"] for row in rows))
    axes.plot([0, top], [0, top], color=QUIET, linestyle=":", linewidth=1, label="perfectly calibrated")
    axes.errorbar(
        x,
        observed,
        yerr=np.maximum(spread, 0),
        color=INK,
        marker="o",
        markersize=4,
        linewidth=1,
        capsize=2,
        label="observed, 95 % interval",
    )
    if y.mean() < RARE:
        axes.set_xscale("function", functions=(np.sqrt, np.square))
        axes.set_yscale("function", functions=(np.sqrt, np.square))
    axes.set(xlim=(0, top), ylim=(0, top))
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    scale = " (square-root scale)" if y.mean() < RARE else ""
    _label(axes, f"reliability in ten groups of equal size{scale}", "mean predicted probability", "observed rate")
    return _png(figure)


def gains(y: Array, p: Array, *, title: str) -> bytes:
    """Share of the positives found among the share of events with the highest scores."""
    figure, (axes,) = _canvas(title)
    found, shown = np.cumsum(y[np.argsort(-p, kind="stable")]) / y.sum(), _thin(len(y))
    axes.plot(np.append(0, (shown + 1) / len(y)), np.append(0, found[shown]), color=INK, label="this model")
    axes.plot([0, y.mean(), 1], [0, 1, 1], color=QUIET, linewidth=1, label="perfect")
    axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", linewidth=1, label="chance")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    _label(axes, "cumulative gains", "share of events, highest scores first", "share of positives found")
    return _png(figure)


def importance_bars(importance: Mapping[str, float], *, title: str, shown: int = 20) -> bytes:
    """Mean |contribution| of the leading features."""
    names = list(importance)[:shown][::-1]
    figure, (axes,) = _canvas(title, height=1.4 + 0.24 * len(names))
    axes.barh(names, [importance[name] for name in names], color=INK, height=0.65)
    _label(axes, f"the {len(names)} leading features", "mean |contribution| (log-odds)", "")
    axes.grid(axis="y", visible=False)
    return _png(figure)


def search_history(found: Search, *, title: str) -> bytes:
    """The objective of every trial by learner: on a share of the rows, where there was one, and of the best on all."""
    several = any(len(trial.rungs) > 1 for trial in found.trials)
    figure, panels = _canvas(title, columns=2 if several else 1)
    if several:
        first = {trial.number: trial.rungs[0] for trial in found.trials}
        _trials(panels[0], found.trials, first, "all trials, on a share of the rows", found.objective)
    values = {trial.number: trial.value for trial in found.complete}
    _trials(panels[-1], found.complete, values, "the best, on all rows of the tuning folds", found.objective)
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=5
    )
    return _png(figure)


def pareto(found: Search, *, title: str) -> bytes:
    """Both objectives of the complete trials, the front that no trial betters, and the chosen one (with `against`)."""
    figure, (axes,) = _canvas(title)
    for name, color in LEARNERS.items():
        own = _points(trial for trial in found.complete if trial.learner == name)
        if len(own):
            axes.scatter(own[:, 0], own[:, 1], s=20, color=color, label=name, zorder=3)
    axes.plot(*np.array(sorted(_points(found.front).tolist())).T, color=QUIET, linewidth=1, label="front")
    (chosen,) = _points([found.best]).tolist()
    axes.scatter(chosen[0], chosen[1], s=90, facecolors="none", edgecolors=ACCENT, label="chosen", zorder=4)
    least = max(trial.value for trial in found.complete) - found.tolerance
    axes.axhline(least, color=QUIET, linestyle=":", linewidth=1, label=f"tolerance of {found.tolerance:g}")
    axes.legend(frameon=False, fontsize=8)
    names = {"features": "features of the model", "fairness": "least ratio of selection rates between groups"}
    _label(axes, "mean over the tuning folds", names.get(str(found.against), ""), found.objective)
    return _png(figure)


def _points(trials: Iterable[Trial]) -> Array:
    """Second objective and value of each trial that has both, [n, 2]."""
    return np.array([(trial.second, trial.value) for trial in trials if trial.second is not None])


def _trials(axes: Axes, trials: Sequence[Trial], values: Mapping[int, float], title: str, y: str) -> None:
    """Values by number and learner, and the best so far. Trials far below the others are off the scale."""
    from matplotlib.ticker import MaxNLocator

    for name, color in LEARNERS.items():
        own = [trial for trial in trials if trial.learner == name]
        if own:
            numbers = [trial.number + 1 for trial in own]
            axes.scatter(numbers, [values[trial.number] for trial in own], s=20, color=color, label=name, zorder=3)
    shown = [values[trial.number] for trial in trials]
    best = np.maximum.accumulate(shown)
    axes.step([trial.number + 1 for trial in trials], best, where="post", color=QUIET, linewidth=1, label="best so far")
    margin = 0.15 * max(float(best[-1]) - float(np.median(shown)), 0.01)
    axes.set_ylim(max(min(shown), float(np.median(shown)) - 10 * margin) - margin, best[-1] + margin)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _label(axes, title, "trial", y)


def _canvas(title: str, *, columns: int = 1, height: float = 4.2) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * columns + (1.4 if columns == 1 else 0), height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    axes: Any = figure.subplots(1, columns, squeeze=False)[0]
    return figure, tuple(axes)


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color="#444444")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e6e9ed", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _thin(n: int, most: int = 4000) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.int64))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
