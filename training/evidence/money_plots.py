"""Figures of money and credit risk as PNG bytes, drawn from the evidence alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.evidence.plots import ACCENT, INK, QUIET, _canvas, _label, _png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]

GOOD = "#6b8f71"


def money_figures(evidence: Mapping[str, Any], *, title: str) -> dict[str, bytes]:
    """Figures of `money_evidence`."""
    found = {"profit": profit_curves(evidence, title=title), "strategies": strategy_bars(evidence, title=title)}
    if evidence["card_precision"]:
        found["card_precision"] = card_precision(evidence["card_precision"], title=title)
    return found


def credit_risk_figures(evidence: Mapping[str, Any], *, title: str) -> dict[str, bytes]:
    """Figures of `credit_risk_evidence`; scenarios and vintages where there are any."""
    found = {
        "portfolio_loss": loss_distribution(evidence, title=title),
        "tornado": tornado(evidence["sensitivity"], title=title, currency=evidence["currency"]),
    }
    if evidence["stress"]:
        found["stress"] = scenario_bars(evidence["stress"], title=title, currency=evidence["currency"])
    if evidence["vintages"] and evidence["vintages"]["cohorts"]:
        found["vintages"] = vintage_curves(evidence["vintages"], title=title)
    return found


def profit_curves(evidence: Mapping[str, Any], *, title: str) -> bytes:
    """Worth of every threshold against the share acted on: development (where it was chosen) and test."""
    figure, (axes,) = _canvas(f"{title}: profit over every threshold")
    scale, unit = _scale(max(max(curve["per_1000"]) for curve in evidence["curve"].values()), evidence["currency"])
    for name, color in (("development", QUIET), ("tested", INK)):
        curve = evidence["curve"][name]
        label = "development (out of fold)" if name == "development" else "test"
        axes.plot(curve["share"], np.array(curve["per_1000"]) / scale, color=color, label=label)
    threshold = f"threshold {evidence['threshold']['value']:.3g}"
    for name, marker, color, label in (("threshold", "o", ACCENT, threshold), ("policy", "s", GOOD, "policy bands")):
        way = evidence["strategies"][name]
        axes.plot(way["acted_share"], way["per_1000"] / scale, marker, color=color, label=label)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    axes.legend(frameon=False, fontsize=8)
    acted = "share of loans accepted" if evidence["of"] == "credit" else "share of payments stopped (square-root scale)"
    if evidence["of"] == "fraud":
        axes.set_xscale("function", functions=(np.sqrt, np.square))
        axes.set_ylim(bottom=_floor(evidence) / scale)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.01, 0.05, 0.1, 0.25, 0.5, 1])
    _label(axes, "chosen on development rows, valued on the test", acted, f"{unit} per 1,000 events")
    return _png(figure)


def _floor(evidence: Mapping[str, Any]) -> float:
    """Stopping every payment costs so much that the curve's top would be flat: its depth is cut at the top's height."""
    top = max(max(curve["per_1000"]) for curve in evidence["curve"].values())
    low = min(evidence["strategies"][name]["per_1000"] for name in ("threshold", "policy"))
    return float(1.1 * min(-max(top, 1e-9), low))


def strategy_bars(evidence: Mapping[str, Any], *, title: str) -> bytes:
    """Worth per 1,000 events of each way to decide, with its interval."""
    ways = evidence["strategies"]
    names = list(ways)[::-1]
    figure, (axes,) = _canvas(f"{title}: worth of decisions", height=1.6 + 0.32 * len(names))
    scale, unit = _scale(max(abs(way["per_1000"]) for way in ways.values()), evidence["currency"])
    values = [ways[name]["per_1000"] / scale for name in names]
    shown = [name.replace("_", " ") for name in names]
    axes.barh(shown, values, color=[QUIET if name.startswith("perfect") else INK for name in names], height=0.6)
    for place, name in enumerate(names):
        if ways[name]["interval"]:
            axes.plot(np.array(ways[name]["interval"]) / scale, [place, place], color=ACCENT, linewidth=1.5)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    _label(axes, "on the test, with 95 % block bootstrap intervals", f"{unit} per 1,000 events", "")
    axes.grid(axis="y", visible=False)
    return _png(figure)


def card_precision(evidence: Mapping[str, Any], *, title: str) -> bytes:
    """Card precision@k a day against k, with its interval."""
    figure, (axes,) = _canvas(f"{title}: card precision")
    rows = evidence["at"]
    x = [row["k"] for row in rows]
    axes.plot(x, [row["value"] for row in rows], color=INK, marker="o", markersize=4)
    for row in rows:
        if row["interval"]:
            axes.plot([row["k"], row["k"]], row["interval"], color=INK, linewidth=1)
    axes.set_ylim(bottom=0)
    _label(
        axes, f"mean over {evidence['days']} days, 95 % interval", f"{evidence['entity']}s alerted a day", "precision"
    )
    return _png(figure)


def loss_distribution(evidence: Mapping[str, Any], *, title: str) -> bytes:
    """Drawn losses of the portfolio with expected loss and value at risk."""
    figure, (axes,) = _canvas(f"{title}: portfolio loss")
    found, bars = evidence["distribution"], evidence["distribution"]["histogram"]
    edges = np.array(bars["edges"])
    scale, unit = _scale(float(edges[-1]), evidence["currency"])
    axes.bar(edges[:-1] / scale, np.array(bars["shares"]), np.diff(edges) / scale, align="edge", color=INK)
    expected, level = evidence["portfolio"]["expected_loss"], f"{evidence['confidence']:.1%}"
    for value, color, label in (
        (expected, GOOD, "expected loss"),
        (evidence["portfolio"]["value_at_risk"], ACCENT, f"{level} quantile, closed form"),
        (found["value_at_risk"], QUIET, f"{level} quantile, drawn"),
    ):
        axes.axvline(value / scale, color=color, linewidth=1.4, linestyle="--" if color == QUIET else "-", label=label)
    axes.legend(frameon=False, fontsize=8)
    _label(axes, f"single factor, {found['draws']:,} draws", f"loss ({unit})", "probability")
    return _png(figure)


def tornado(rows: Sequence[Mapping[str, Any]], *, title: str, currency: str | None) -> bytes:
    """Value at risk and expected loss with each driver down and up."""
    figure, panels = _canvas(f"{title}: sensitivity", columns=2, height=1.8 + 0.35 * len(rows))
    for axes, name in zip(panels, ("expected_loss", "value_at_risk"), strict=True):
        _tornado(axes, rows, name, currency)
    return _png(figure)


def _tornado(axes: Axes, rows: Sequence[Mapping[str, Any]], name: str, currency: str | None) -> None:
    scale, unit = _scale(max(row["up"][name] for row in rows), currency)
    for place, row in enumerate(rows[::-1]):
        middle = (row["down"][name] + row["up"][name]) / 2 / scale
        for side, color in (("down", QUIET), ("up", INK)):
            axes.barh(place, row[side][name] / scale - middle, left=middle, color=color, height=0.6)
    axes.set_yticks(range(len(rows)), [row["driver"] for row in rows[::-1]])
    _label(axes, f"{name.replace('_', ' ')}, each driver 10 % down and up", unit, "")
    axes.grid(axis="y", visible=False)


def scenario_bars(evidence: Mapping[str, Any], *, title: str, currency: str | None) -> bytes:
    """Expected loss, value at risk and profit (where it is known) of every scenario."""
    rows = evidence["scenarios"][::-1]
    names = [name for name in ("expected_loss", "value_at_risk", "profit") if rows[0][name] is not None]
    figure, panels = _canvas(f"{title}: stress tests", columns=len(names), height=1.8 + 0.35 * len(rows))
    for axes, name in zip(panels, names, strict=True):
        scale, unit = _scale(max(abs(row[name]) for row in rows), currency)
        colors = [QUIET if row["name"] == "present" else INK for row in rows]
        axes.barh(
            [row["name"].replace("_", " ") for row in rows],
            [row[name] / scale for row in rows],
            color=colors,
            height=0.6,
        )
        axes.axvline(0, color=QUIET, linewidth=0.8)
        _label(axes, name.replace("_", " "), unit, "")
        axes.grid(axis="y", visible=False)
    return _png(figure)


def vintage_curves(evidence: Mapping[str, Any], *, title: str) -> bytes:
    """Observed rate by cohort with the predicted one; with recorded times also cumulative curves by month on book."""
    rows = evidence["cohorts"]
    figure, panels = _canvas(f"{title}: vintages", columns=2 if evidence["timed"] else 1)
    x = np.arange(len(rows))
    spread = np.array([[row["observed"] - row["low"], row["high"] - row["observed"]] for row in rows]).T
    observed = np.array([row["observed"] for row in rows])
    for part, color, label in (("development", QUIET, "development (out of fold)"), ("tested", INK, "test")):
        mine = np.array([row["part"] == part for row in rows])
        if mine.any():
            _bars(panels[0], x[mine], observed[mine], spread[:, mine], color=color, label=label)
    panels[0].plot(x, [row["predicted"] for row in rows], color=ACCENT, label="mean predicted PD")
    step = max(1, len(rows) // 8)
    panels[0].set_xticks(x[::step], [row["cohort"] for row in rows[::step]], rotation=45, ha="right")
    panels[0].set_ylim(bottom=0)
    panels[0].legend(frameon=False, fontsize=8)
    _label(panels[0], f"cohorts by {evidence['by']}, 95 % intervals", "", "rate of bads")
    if evidence["timed"]:
        _cumulative(panels[1], rows)
    return _png(figure)


def _bars(axes: Axes, x: Array, y: Array, spread: Array, *, color: str, label: str) -> None:
    bars = np.maximum(spread, 0)
    axes.errorbar(x, y, yerr=bars, fmt="o", markersize=4, color=color, linewidth=1, capsize=2, label=label)


def _cumulative(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0, 0.9, len(rows)))
    for row, shade in zip(rows, shades, strict=True):
        axes.step(row["months"], row["cumulative"], where="post", color=shade, linewidth=1)
    for row, shade in ((rows[0], shades[0]), (rows[-1], shades[-1])):
        axes.plot([], [], color=shade, label=row["cohort"])
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.set_ylim(bottom=0)
    _label(axes, "cumulative rate of bads", "months on book", "")


def _scale(top: float, currency: str | None) -> tuple[float, str]:
    """Divisor and name of a unit in which the numbers stay short."""
    for size, name in ((1e9, "billion "), (1e6, "million "), (1e3, "thousand ")):
        if top >= 2 * size:
            return size, f"{name}{currency or 'loans'}"
    return 1.0, currency or "loans"
