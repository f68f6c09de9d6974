"""Figures of fairness as PNG bytes: selection, calibration by group, proxies, and what an alternative would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from training.evidence.fairness import FOUR_FIFTHS
from training.evidence.plots import ACCENT, INK, QUIET, _canvas, _label, _png

Entry = Mapping[str, Any]


def fairness_figures(
    evidence: Entry, proxies: Entry | None, alternatives: Entry | None, *, title: str
) -> dict[str, bytes]:
    """Of what `fairness_evidence`, `proxies` and `less_discriminatory` return; what has nothing to show is left out."""
    found = {}
    if evidence["attributes"]:
        found["fairness_selection"] = selection(evidence["attributes"], title=f"{title}: selection by group")
        found["fairness_calibration"] = calibration(evidence["attributes"], title=f"{title}: calibration by group")
    if proxies and proxies["attributes"]:
        found["fairness_proxies"] = proxy_bars(proxies["attributes"], title=f"{title}: what tells the attribute")
    searched = {name: one for name, one in (alternatives or {}).get("attributes", {}).items() if one["candidates"]}
    if alternatives and searched:
        found["fairness_alternatives"] = trade_off(searched, alternatives, title=f"{title}: alternatives")
    return found


def selection(attributes: Entry, *, title: str) -> bytes:
    """Adverse impact ratio of every group with its interval, against the group selected most often."""
    rows = [
        (f"{name}: {group}", own["adverse_impact_ratio"])
        for name, entry in attributes.items()
        for group, own in entry["groups"].items()
    ]
    figure, (axes,) = _canvas(title, height=1.4 + 0.24 * len(rows))
    _ranges(axes, rows)
    axes.axvline(FOUR_FIFTHS, color=ACCENT, linestyle=":", linewidth=1, label="four fifths")
    axes.axvline(1, color=QUIET, linewidth=1)
    axes.legend(frameon=False, fontsize=8, loc="best")
    _label(axes, "selection rate over that of the group selected most often, 95 % interval", "ratio", "")
    axes.grid(axis="y", visible=False)
    return _png(figure)


def calibration(attributes: Entry, *, title: str) -> bytes:
    """Observed less predicted rate of every group, with its interval."""
    rows = [
        (f"{name}: {group}", own["calibration_gap"])
        for name, entry in attributes.items()
        for group, own in entry["groups"].items()
    ]
    figure, (axes,) = _canvas(title, height=1.4 + 0.24 * len(rows))
    _ranges(axes, rows)
    axes.axvline(0, color=QUIET, linewidth=1)
    _label(axes, "observed less predicted rate, 95 % interval", "right of 0: riskier than predicted", "")
    axes.grid(axis="y", visible=False)
    return _png(figure)


def proxy_bars(attributes: Entry, *, title: str, shown: int = 6) -> bytes:
    """The features that tell each attribute best, and how well all of them do."""
    longest = max(min(shown, len(one["features"])) for one in attributes.values())
    figure, every = _canvas(title, columns=len(attributes), height=1.6 + 0.26 * longest)
    for axes, (name, one) in zip(every, attributes.items(), strict=True):
        features = one["features"][:shown][::-1]
        axes.barh([part["feature"] for part in features], [part["share"] for part in features], color=INK, height=0.65)
        told = "undefined" if one["auc"]["value"] is None else f"{one['auc']['value']:.3f}"
        _label(axes, f"{name}: AUC {told}", "share of the contribution", "")
        axes.grid(axis="y", visible=False)
    return _png(figure)


def trade_off(searched: Entry, alternatives: Entry, *, title: str) -> bytes:
    """Every alternative by what it loses and gains; within the loss lies left of the line."""
    figure, every = _canvas(title, columns=len(searched))
    kinds = {"without": ("o", INK), "reweighing": ("s", ACCENT), "reduction": ("^", ACCENT)}
    for axes, (name, one) in zip(every, searched.items(), strict=True):
        axes.scatter([0], [one["ratio"]], color=QUIET, marker="D", label="as trained", zorder=3)
        for kind, (marker, color) in kinds.items():
            _points(axes, [part for part in one["candidates"] if part["kind"] == kind], marker, color, label=kind)
        axes.axvline(alternatives["loss"], color=QUIET, linestyle=":", linewidth=1, label="loss allowed")
        axes.legend(frameon=False, fontsize=8, loc="best")
        _label(axes, f"{name}, on validation rows", f"loss of {alternatives['objective']}", "ratio of selection rates")
    return _png(figure)


def _points(axes: Any, candidates: Sequence[Entry], marker: str, color: str, *, label: str) -> None:
    if candidates:
        lost, ratio = [one["objective_loss"] for one in candidates], [one["ratio"] for one in candidates]
        filled = [color if one["pareto"] else "none" for one in candidates]
        axes.scatter(lost, ratio, marker=marker, facecolors=filled, edgecolors=color, label=label, zorder=3)


def _ranges(axes: Any, rows: Sequence[tuple[str, Entry]]) -> None:
    """A dot and its interval for each row, from the top down."""
    defined = [(name, one) for name, one in rows if one["value"] is not None]
    for place, (_, one) in enumerate(reversed(defined)):
        low, high = one["interval"] or (one["value"], one["value"])
        axes.plot([low, high], [place, place], color=INK, linewidth=1)
        axes.plot([one["value"]], [place], color=INK, marker="o", markersize=4)
    axes.set_yticks(range(len(defined)), [name for name, _ in reversed(defined)])
