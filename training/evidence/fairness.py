"""How groups of protected attributes fare: who is selected, how right the probabilities are, who is ranked well.

*Selected* means: no adverse decision by the bands of the policy. Its rules are left out: they are the same for all.
The favourable outcome is the good one (label 0), so *equal opportunity* compares the selected share of the good rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.use_case import Policy, UseCase
from training.evidence.groups import ELDERLY, Groups, Members, elderly_groups, groups_of, intersections, large, size
from training.evidence.resampling import Resamples, WeightedFigures, interval
from training.evidence.tested import Tested

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Figure = dict[str, Any]
"""`value` (None: undefined) and `interval` (95 % block bootstrap, None: undefined)."""

FOUR_FIFTHS = 0.8
"""Ratio of selection rates below which adverse impact is presumed (EEOC Uniform Guidelines, 29 CFR 1607.4 D)."""
BINS = 10

_SUMS = ("rows", "selected", "goods", "selected_goods", "bads", "selected_bads", "p", "score", "squared_score")


def selection_rates(
    use_case: UseCase, events: pd.DataFrame, probability: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    """Attribute -> group -> share of the group's rows without an adverse decision, in [0, 1].

    `events` has one column for each protected attribute; rows without a value belong to no group. Attributes with
    fewer than two large enough groups are left out. Overrides by policy rules are not part of this: bands only.
    """
    chosen = selected_by(use_case.policy, probability)
    found: dict[str, dict[str, float]] = {}
    for name, groups in attribute_groups(use_case, events).items():
        rates = {
            group: float(chosen[rows].mean()) for group, rows in large(groups, least=use_case.fairness.least).items()
        }
        if len(rates) > 1:
            found[name] = rates
    return found


def decisions(policy: Policy, probability: NDArray[np.float64]) -> NDArray[np.str_]:
    """The band's decision for each probability, [n]: below a bound is inside the band."""
    bounds = [band.below for band in policy.bands if band.below is not None]
    names = np.array([band.decision for band in policy.bands])
    return names[np.searchsorted(bounds, probability, side="right")]


def selected_by(policy: Policy, probability: NDArray[np.float64]) -> Members:
    """Rows without an adverse decision, [n]."""
    return ~np.isin(decisions(policy, probability), policy.adverse)


def attribute_groups(use_case: UseCase, events: pd.DataFrame) -> dict[str, Groups]:
    """Attribute -> group -> its rows among `events`, of every size."""
    return {name: groups_of(column, events[name]) for name, column in use_case.protected.items()}


def fairness_evidence(tested: Tested) -> dict[str, Any]:
    """Fairness on the tested rows, as plain data; a figure is `{"value", "interval"}`, undefined ones hold None.

    selected: `adverse` decisions and the overall `rate`. attributes: one entry an attribute with two groups of
    `fairness.least` events or more (ages in years have a second one, `<name>_62`), each with

    - `of` (the attribute), `missing` (events without a value), `small` (groups left out -> events);
    - `reference` and `lowest`: the groups with the highest and lowest selection rate; `adverse_impact_ratio` of
      lowest over reference, 1 if nobody is selected; `four_fifths`: met, missed, or unclear if its interval holds 0.8;
    - `opportunity_difference`: greatest less least share of goods selected (Hardt, Price & Srebro 2016);
      `odds_difference`: the greater of that and the same difference among bads; `auc_difference` between groups; all
      three with the interval of the two groups that differ most in the sample, so it may reach below 0;
    - `groups`: n, positives, selection_rate, adverse_impact_ratio and standardized_mean_difference (of the log-odds,
      over the pooled standard deviation: Cohen 1988) against the reference, selected_goods, selected_bads, predicted
      and observed rate, calibration_gap (observed less predicted), ece (ten bins of the group), auc.

    A rate among fewer than `fairness.least` goods (or bads) is undefined. intersections: `a x b` -> reference, lowest,
    adverse_impact_ratio, four_fifths, small (how many were left out), groups (n, selection_rate, adverse_impact_ratio).
    """
    use_case, least = tested.use_case, tested.use_case.fairness.least
    scene = _Scene.of(tested)
    found: dict[str, Any] = {}
    every: dict[str, Groups] = {}
    for name, groups in attribute_groups(use_case, tested.events).items():
        every[name] = large(groups, least=least, of=scene.event)
        found |= scene.compared(name, name, groups)
        elderly = elderly_groups(use_case.protected[name], tested.events[name])
        found |= scene.compared(f"{name}_{ELDERLY}", name, elderly)
    pairs = {name: scene.crossed(groups) for name, groups in intersections(every).items()}
    absent = [name for name in use_case.protected if name not in found]
    notes = [f"{name}: fewer than two groups with {least} events, so nothing is compared" for name in absent]
    notes += [f"{name}: {note}" for name, entry in found.items() for note in entry["notes"]]
    return {
        "selected": {"adverse": list(use_case.policy.adverse), "rate": scene.figure(scene.sums(scene.all), "selected")},
        "least": least,
        "attributes": found,
        "intersections": {name: pair for name, pair in pairs.items() if pair},
        "notes": notes,
    }


@dataclass(frozen=True)
class _Scene:
    """Tested rows with their decisions and the bootstrap's draws; sums hold the sample first and then every draw."""

    tested: Tested
    event: NDArray[np.int64]
    columns: Array
    resamples: Resamples

    @classmethod
    def of(cls, tested: Tested) -> _Scene:
        y, p = tested.y, np.clip(tested.probability, 1e-12, 1 - 1e-12)
        chosen, score = selected_by(tested.use_case.policy, tested.probability).astype(np.float64), np.log(p / (1 - p))
        parts = [np.ones_like(y), chosen, 1 - y, chosen * (1 - y), y, chosen * y, tested.probability, score, score**2]
        event = np.unique(tested.events.index.to_numpy(), return_inverse=True)[1]
        return cls(tested, event, np.column_stack(parts), Resamples.of(tested.blocks, n=len(y), seed=tested.seed))

    @property
    def all(self) -> Members:
        return np.ones(len(self.tested.y), dtype=bool)

    def sums(self, rows: Members) -> dict[str, Array]:
        """Each of `_SUMS` over the rows: [1 + draws]."""
        columns = self.columns * rows[:, None]
        totals = np.vstack([columns.sum(axis=0), self.resamples.totals(columns)])
        return dict(zip(_SUMS, totals.T, strict=True))

    def figure(self, sums: Mapping[str, Array], name: str, *, among: str = "rows") -> Figure:
        """A rate and its interval; undefined among too few."""
        return _figure(_over(sums[name], sums[among]), defined=sums[among][0] >= self.tested.use_case.fairness.least)

    def compared(self, name: str, of: str, groups: Groups) -> dict[str, Any]:
        """`{name: entry}`, or nothing with fewer than two large groups."""
        least = self.tested.use_case.fairness.least
        kept = large(groups, least=least, of=self.event)
        if len(kept) < 2:
            return {}
        sums = {group: self.sums(rows) for group, rows in kept.items()}
        impact = _impact(sums)
        spread = {part: _spread(sums, part, least=least) for part in ("goods", "bads")}
        aucs = {group: self._auc(rows) for group, rows in kept.items()}
        entry = {
            "of": of,
            "missing": size(~np.any(list(groups.values()), axis=0), self.event),
            "small": {group: size(rows, self.event) for group, rows in groups.items() if group not in kept},
            **impact,
            "opportunity_difference": _figure(spread["goods"]),
            "odds_difference": _figure(_greater(spread["goods"], spread["bads"])),
            "auc_difference": _figure(_range(list(aucs.values()))),
            "groups": {
                group: self._group(rows, sums[group], sums[impact["reference"]], aucs[group])
                for group, rows in kept.items()
            },
        }
        return {name: entry | {"notes": _notes(entry, least=least)}}

    def crossed(self, groups: Groups) -> dict[str, Any] | None:
        """Selection by intersections with enough events; None with fewer than two."""
        kept = large(groups, least=self.tested.use_case.fairness.least, of=self.event)
        if len(kept) < 2:
            return None
        sums = {group: self.sums(rows) for group, rows in kept.items()}
        impact = _impact(sums)
        reference = sums[impact["reference"]]
        shown = {
            group: {
                "n": size(kept[group], self.event),
                "selection_rate": self.figure(own, "selected"),
                "adverse_impact_ratio": _figure(_ratio(own, reference)),
            }
            for group, own in sums.items()
        }
        return impact | {"small": len(groups) - len(kept), "groups": shown}

    def _group(self, rows: Members, own: dict[str, Array], reference: dict[str, Array], auc: Array) -> dict[str, Any]:
        return {
            "n": size(rows, self.event),
            "positives": size(rows & (self.tested.y == 1), self.event),
            "selection_rate": self.figure(own, "selected"),
            "adverse_impact_ratio": _figure(_ratio(own, reference)),
            "standardized_mean_difference": _figure(_cohen(own, reference)),
            "selected_goods": self.figure(own, "selected_goods", among="goods"),
            "selected_bads": self.figure(own, "selected_bads", among="bads"),
            "predicted": self.figure(own, "p"),
            "observed": self.figure(own, "bads"),
            "calibration_gap": _figure(_over(own["bads"] - own["p"], own["rows"])),
            "ece": _figure(self._ece(rows)),
            "auc": _figure(auc),
        }

    def _ece(self, rows: Members) -> Array:
        """Expected calibration error in bins of equal size of the group (Nixon et al. 2019), [1 + draws].

        The bins are the sample's in every draw. Chance alone makes it positive, the more so in a small group.
        """
        own = np.flatnonzero(rows)
        ranked = own[np.argsort(self.tested.probability[own], kind="stable")]
        columns = np.zeros((len(rows), min(BINS, len(own)) + 1))
        for place, part in enumerate(np.array_split(ranked, columns.shape[1] - 1)):
            columns[part, place] = self.tested.y[part] - self.tested.probability[part]
        columns[own, -1] = 1.0
        totals = np.vstack([columns.sum(axis=0), self.resamples.totals(columns)])
        return _over(np.abs(totals[:, :-1]).sum(axis=1), totals[:, -1])

    def _auc(self, rows: Members) -> Array:
        """Mean over the parts in which both classes stand, [1 + draws]."""
        found = []
        for part in self.tested.parts:
            own = np.arange(len(rows))[part][rows[part]]
            figures = WeightedFigures(self.tested.y[own], self.tested.probability[own])
            weights = (np.ones(len(own)), *self.resamples.weights(own))
            found.append([figures.auc(weight) for weight in weights])
        values = np.array(found)
        return _over(np.nansum(values, axis=0), np.isfinite(values).sum(axis=0).astype(np.float64))


def _figure(values: Array, *, defined: bool = True) -> Figure:
    """Of the sample (first) and its draws (the rest)."""
    if not defined or not np.isfinite(values[0]):
        return {"value": None, "interval": None}
    return {"value": float(values[0]), "interval": interval(values[1:])}


def _over(part: Array, whole: Array) -> Array:
    found: Array = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
    return found


def _ratio(own: Mapping[str, Array], reference: Mapping[str, Array]) -> Array:
    """Adverse impact ratio; 1 where nobody of either group is selected, and so nobody treated differently."""
    rate, best = _over(own["selected"], own["rows"]), _over(reference["selected"], reference["rows"])
    return np.where((rate == 0) & (best == 0), 1.0, _over(rate, best))


def _impact(sums: Mapping[str, Mapping[str, Array]]) -> dict[str, Any]:
    """Lowest against highest selection rate. The pair is the sample's in every draw."""
    rates = {group: own["selected"][0] / own["rows"][0] for group, own in sums.items()}
    reference, lowest = max(rates, key=lambda group: rates[group]), min(rates, key=lambda group: rates[group])
    ratio = _figure(_ratio(sums[lowest], sums[reference]))
    low, high = ratio["interval"] or (ratio["value"], ratio["value"])
    met = "met" if low >= FOUR_FIFTHS else "missed" if high < FOUR_FIFTHS else "unclear"
    return {"reference": reference, "lowest": lowest, "adverse_impact_ratio": ratio, "four_fifths": met}


def _spread(sums: Mapping[str, Mapping[str, Array]], part: str, *, least: int) -> Array:
    """Greatest less least selected share of the part (goods or bads) over groups with enough of it, [1 + draws]."""
    return _range([_over(own[f"selected_{part}"], own[part]) for own in sums.values() if own[part][0] >= least])


def _range(rates: list[Array]) -> Array:
    """Between the groups that are highest and lowest in the sample: the range of each draw's own would be too wide."""
    defined = sorted((rate for rate in rates if np.isfinite(rate[0])), key=lambda rate: float(rate[0]))
    return defined[-1] - defined[0] if len(defined) > 1 else np.array([np.nan])


def _greater(first: Array, second: Array) -> Array:
    """Whichever is greater in the sample; undefined if either is."""
    if np.isnan(first[0]) or np.isnan(second[0]):
        return np.array([np.nan])
    return first if first[0] >= second[0] else second


def _cohen(own: Mapping[str, Array], reference: Mapping[str, Array]) -> Array:
    means, squares, counts = [], [], []
    for sums in (own, reference):
        mean = _over(sums["score"], sums["rows"])
        means.append(mean)
        squares.append(np.maximum(sums["squared_score"] - sums["rows"] * mean**2, 0))
        counts.append(sums["rows"])
    pooled = np.sqrt(_over(squares[0] + squares[1], counts[0] + counts[1] - 2))
    return np.where(means[0] == means[1], 0.0, _over(means[0] - means[1], pooled))


def _notes(entry: Mapping[str, Any], *, least: int) -> list[str]:
    notes = []
    if entry["small"]:
        listed = ", ".join(f"{group} ({n})" for group, n in entry["small"].items())
        notes.append(f"groups with fewer than {least} events are left out: {listed}")
    if entry["missing"]:
        notes.append(f"{entry['missing']} events have no value and belong to no group")
    if entry["four_fifths"] == "unclear":
        low, high = entry["adverse_impact_ratio"]["interval"]
        notes.append(
            f"too few events to tell whether four fifths is met: the ratio lies between {low:.2f} and {high:.2f}"
        )
    thin = [group for group, own in entry["groups"].items() if own["selected_bads"]["value"] is None]
    if thin:
        notes.append(f"fewer than {least} positives, so rates among them are undefined: {', '.join(thin)}")
    return notes
