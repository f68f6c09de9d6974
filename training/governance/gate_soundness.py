"""Gates on whether a candidate can be relied on: stable, fair, without leaks, explainable, fast and documented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from configs.use_case import UseCase
from training.governance.gate_performance import finite
from training.governance.verdict import GateResult, inapplicable, measured

REQUIRED_EVIDENCE = ("data_hash", "definition_hash", "seed")
"""Without these, no number of the candidate could be recomputed."""


def months_gate(use_case: UseCase, evidence: Mapping[str, Any]) -> GateResult:
    """The greatest PSI of the score in a month of the test, among months with `gates.month_rows` rows or more."""
    name, bar, least = "stability over months", use_case.gates.month_psi, use_case.gates.month_rows
    if use_case.split.by == "random":
        return inapplicable(name, "the table has no time")
    months = _months(evidence)
    judged = {str(each["month"]): finite(each.get("psi")) for each in months if each.get("rows", 0) >= least}
    known = {month: psi for month, psi in judged.items() if psi is not None}
    worst = max(known, key=lambda month: known[month], default=None)
    found = known[worst] if worst is not None and len(known) == len(judged) else None
    return measured(
        name,
        passed=found is not None and found <= bar,
        found=found,
        bar=bar,
        asked=f"PSI of the score at most {bar:g} in every month with {least} rows",
        evidence={"month": worst, "months": len(months), "judged": len(judged), "psi": judged},
    )


def fairness_gates(
    use_case: UseCase, evidence: Mapping[str, Any], selection_rates: Mapping[str, Mapping[str, float]]
) -> Iterator[GateResult]:
    """The least ratio of selection rates of each protected attribute: the value counts, its interval is shown.

    Of an attribute that is cut in several ways, such as age, the least ratio counts.
    """
    bar = use_case.gates.fairness_ratio
    if not use_case.protected or not bar:
        why = "gates.fairness_ratio is 0" if use_case.protected else "no attribute is declared as protected"
        yield inapplicable("fairness", why)
        return
    for attribute in use_case.protected:
        found, shown = _ratio(attribute, evidence, selection_rates)
        yield measured(
            f"fairness {attribute}",
            passed=found is not None and found >= bar,
            found=found,
            bar=bar,
            asked=f"ratio of selection rates between groups at least {bar:g}{_doubt(shown, bar)}",
            evidence=shown,
        )


def leakage_gate(evidence: Mapping[str, Any]) -> GateResult:
    """No finding of the leak guard that stops training and that nobody accepted with a reason."""
    findings = evidence.get("leaks")
    if findings is None:
        return measured("leakage", passed=False, found=None, bar=0.0, asked="no suspected leak that nobody accepted")
    still = [each for each in findings if each.get("stops", not each.get("accepted"))]
    accepted = {str(each["column"]): str(each["accepted"]) for each in findings if each.get("accepted")}
    columns = list(dict.fromkeys(f"{each['column']} ({each['kind']})" for each in still))
    return GateResult(
        "leakage",
        not still,
        float(len(still)),
        0.0,
        f"suspected leaks: {some(columns)}" if still else f"no suspected leak; accepted with a reason: {len(accepted)}",
        evidence={"columns": columns, "accepted": accepted, "findings": len(findings)},
    )


def explanation_gates(use_case: UseCase, evidence: Mapping[str, Any]) -> Iterator[GateResult]:
    """Importance under refits: mean rank correlation, and the share of the ten first features in common."""
    refits = (evidence.get("explanation") or {}).get("refits") or {}
    bars = {
        "rank_correlation": ("rank correlation of importance", use_case.gates.explanation_rank),
        "top_overlap": ("share of the ten first features in common", use_case.gates.explanation_overlap),
    }
    for key, (what, bar) in bars.items():
        found = finite(refits.get(key))
        yield measured(
            f"explanation {key.replace('_', ' ')}",
            passed=found is not None and found >= bar,
            found=found,
            bar=bar,
            asked=f"{what} between refits at least {bar:g}",
            evidence={"refits": refits.get("refits")},
        )


def latency_gate(use_case: UseCase, evidence: Mapping[str, Any]) -> GateResult:
    """99th percentile of the time to score one row with its contributions (`training.evidence.latency`)."""
    bar, latency = use_case.gates.latency_ms, evidence.get("latency") or {}
    found = finite(latency.get("p99_ms"))
    return measured(
        "latency",
        passed=found is not None and found <= bar,
        found=found,
        bar=bar,
        asked=f"p99 of scoring one row at most {bar:g} ms",
        evidence={"p50_ms": finite(latency.get("p50_ms")), "rows": latency.get("rows")},
    )


def documentation_gate(use_case: UseCase, evidence: Mapping[str, Any]) -> GateResult:
    """Purpose, owner, every declared column and the provenance are there."""
    undescribed = [name for name, description in _declared(use_case) if not (description or "").strip()]
    absent = [
        *(key for key in ("title", "description", "owner") if not getattr(use_case, key).strip()),
        *(f"evidence {key}" for key in REQUIRED_EVIDENCE if evidence.get(key) in (None, "")),
        *(f"description of {name}" for name in undescribed),
    ]
    reason = f"missing: {some(absent)}" if absent else "purpose, owner, features and provenance are documented"
    return GateResult("documentation", not absent, float(len(absent)), 0.0, reason, evidence={"missing": absent})


def selection_ratio(rates: Mapping[str, float]) -> float:
    """Least selection rate over the greatest: the four-fifths rule asks for 0.8 (EEOC, 29 CFR 1607.4 D).

    1.0 with fewer than two groups or if no group is ever selected, where nobody is treated differently.
    """
    greatest = max(rates.values(), default=0.0)
    return min(rates.values()) / greatest if greatest > 0 else 1.0


def some(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _months(evidence: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = evidence.get("stability") or []
    months: Sequence[Mapping[str, Any]] = found.get("months") or [] if isinstance(found, Mapping) else found
    return months


def _ratio(
    attribute: str, evidence: Mapping[str, Any], selection_rates: Mapping[str, Mapping[str, float]]
) -> tuple[float | None, dict[str, Any]]:
    """(least ratio of an attribute, what it rests on), from the fairness evidence, or else from plain rates."""
    entries = (evidence.get("fairness") or {}).get("attributes") or {}
    ratios = {
        name: (value, entry)
        for name, entry in entries.items()
        if entry["of"] == attribute and (value := finite(entry["adverse_impact_ratio"]["value"])) is not None
    }
    if ratios:
        name, (least, entry) = min(ratios.items(), key=lambda item: item[1][0])
        pair = {key: entry[key] for key in ("lowest", "reference", "four_fifths")}
        return least, {"groups": name, "interval": entry["adverse_impact_ratio"]["interval"]} | pair
    rates = selection_rates.get(attribute)
    return (selection_ratio(rates), {"rates": dict(rates)}) if rates else (None, {})


def _doubt(shown: Mapping[str, Any], bar: float) -> str:
    low, high = shown.get("interval") or (None, None)
    if low is None or high is None or not low < bar <= high:
        return ""
    return f"; too few events to be sure, the ratio lies between {low:.2f} and {high:.2f}"


def _declared(use_case: UseCase) -> Iterator[tuple[str, str | None]]:
    """(name, description) of everything a person declared; aggregates describe themselves."""
    yield from ((name, column.description) for name, column in use_case.request.items())
    for view_name, view in use_case.views.items():
        yield from ((f"{view_name}.{name}", column.description) for name, column in view.columns.items())
    yield from ((name, derived.description) for name, derived in use_case.derived.items())
