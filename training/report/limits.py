"""What a reader must not take for granted, drawn from the evidence: warnings, small samples, undefined figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from configs.use_case import UseCase
from training.report.chapters import CHAPTERS
from training.report.documents import Documents
from training.report.words import figure, interval, share

Found = Iterator["Limit"]

FEW = 100
"""Positives of the test below which every figure of the report is rough."""
SHIFTED = 0.25
"""PSI from which a feature counts as shifted; from 0.1 on it moves (the customary bounds)."""
INTERACTING = 0.25
"""Share of a leading feature's contribution that others decide, from which its curve alone misleads."""


@dataclass(frozen=True)
class Limit:
    """One limit. chapter: the key of the one with its evidence. weight: a `warning` needs an answer, a `note` none."""

    chapter: str
    weight: Literal["warning", "note"]
    text: str


def limits_of(documents: Documents) -> tuple[Limit, ...]:
    """Every limit that follows from the documents, warnings first, in the order of the chapters."""
    evidence, use_case = documents.evidence, documents.use_case
    found = [
        *_verdict(documents.verdict),
        *_sample(evidence, (documents.verdict or {}).get("tested_before") or []),
        *_leaks(evidence.get("leaks") or []),
        *_features(evidence.get("features") or []),
        *_search(evidence),
        *_performance(evidence),
        *_probabilities(evidence["calibration"]["tested"]),
        *_stability(use_case, evidence.get("stability") or {}),
        *_explanation(evidence.get("explanation") or {}),
        *_fairness(evidence),
        *_money(evidence.get("money") or {}),
        *_credit_risk(evidence.get("credit_risk") or {}),
        *_rejects(evidence.get("rejects") or {}),
        *_unrecorded(documents),
    ]
    order = {chapter.key: place for place, chapter in enumerate(CHAPTERS)}
    return tuple(sorted(found, key=lambda limit: (limit.weight != "warning", order[limit.chapter])))


def _verdict(verdict: Mapping[str, Any] | None) -> Found:
    if verdict is None:
        yield Limit("summary", "warning", "the gates have not been judged")
        return
    for gate in verdict["gates"]:
        if not gate["passed"]:
            yield Limit("summary", "warning", f"gate {gate['name']} did not pass: {gate['reason']}")


def _sample(evidence: Mapping[str, Any], earlier: Sequence[int]) -> Found:
    split = evidence["split"]
    if split["by"] == "random":
        yield Limit("sample", "warning", "time was not tested: nothing here says how the model does on later events")
    for note in split["notes"]:
        yield Limit("sample", "note", note)
    positives = split["test"]["positives"]
    if positives < FEW:
        yield Limit("sample", "warning", f"the test has {positives} positives: every figure of it is rough")
    if earlier:
        many = f"versions {', '.join(map(str, earlier))} were" if len(earlier) > 1 else f"version {earlier[0]} was"
        text = f"{many} tested on the same rows before: the best of several looks better than it is"
        yield Limit("sample", "warning", text)


def _leaks(findings: Sequence[Mapping[str, Any]]) -> Found:
    for each in findings:
        if each["accepted"]:
            text = f"{each['column']} is suspected ({each['meaning']}) and was accepted: {each['accepted']}"
            yield Limit("leaks", "warning", text)
        elif not each["stops"]:
            yield Limit("leaks", "note", f"{each['column']} {each['meaning']}: {each['reason']}")


def _features(profiles: Sequence[Mapping[str, Any]]) -> Found:
    for each in profiles:
        name, psi = each["feature"], each["psi"]
        if psi is not None and psi >= SHIFTED:
            yield Limit("features", "warning", f"{name} shifted between training and test: PSI {figure(psi)}")
        if each["strength"] == "suspicious":
            text = (
                f"{name} has an information value of {figure(each['iv'])}: from 0.5 on it is too good to be taken as is"
            )
            yield Limit("features", "note", text)
        if each["agrees"] is False:
            text = f"{name} is held {each['expected']}, and alone it is {each['observed']} in the training rows"
            yield Limit("features", "note", text)


def _search(evidence: Mapping[str, Any]) -> Found:
    chosen, search = evidence["chosen"], evidence["search"]
    trials = search["trials"]
    for note in search["notes"]:
        yield Limit("search", "note", note)
    if chosen["bags"] < chosen["bags_asked"]:
        yield Limit(
            "search", "note", f"{chosen['bags']} of {chosen['bags_asked']} bags were fitted: more would be too slow"
        )
    late = sum(trial["state"] == "late" for trial in trials)
    if late:
        yield Limit("search", "note", f"the search ran out of time in {late} of {len(trials)} trials")


def _performance(evidence: Mapping[str, Any]) -> Found:
    bounds = evidence.get("intervals") or {}
    for name, value in evidence["metrics"].items():
        if value is None:
            yield Limit("performance", "note", f"{name} is undefined on the tested rows")
        elif name not in bounds:
            yield Limit("performance", "note", f"{name} has no interval: it is undefined in most draws")
    gap = evidence.get("validation_gap")
    if gap and gap["warning"]:
        text = f"validation by chance looks better than validation forward in time by {figure(gap['gap'])}: the model "
        yield Limit("performance", "warning", f"{text}leans on the period, or on a leak")


def _probabilities(found: Mapping[str, Any]) -> Found:
    slope, shift = found.get("slope"), found.get("intercept")
    if slope and not slope["low"] <= 1 <= slope["high"]:
        extreme = "too extreme" if slope["value"] < 1 else "too timid"
        yield Limit("calibration", "warning", f"probabilities are {extreme}: calibration slope {_estimate(slope)}")
    if shift and not shift["low"] <= 0 <= shift["high"]:
        side = "low" if shift["value"] > 0 else "high"
        text = f"probabilities are too {side} on the whole: calibration in the large {_estimate(shift)}"
        yield Limit("calibration", "warning", text)
    for grade in found.get("grades") or []:
        if grade["verdict"] in {"PD too low", "PD too high"}:
            name = "all grades together" if grade["grade"] == "all" else f"grade {grade['grade']}"
            text = f"{name}: {grade['verdict']} ({share(grade['mean_pd'])} against {share(grade['rate'])})"
            yield Limit("calibration", "warning" if grade["verdict"] == "PD too low" else "note", text)
    if found.get("grades_in_order") is False:
        yield Limit("calibration", "note", "observed rates don't ascend with the grades")


def _stability(use_case: UseCase, found: Mapping[str, Any]) -> Found:
    for month in found.get("months") or []:
        if month["rows"] < use_case.gates.month_rows:
            yield Limit("stability", "note", f"{month['month']} has {month['rows']} rows: too few to be judged")
        elif month["psi"] > use_case.gates.month_psi:
            yield Limit("stability", "warning", f"the score shifted in {month['month']}: PSI {figure(month['psi'])}")
        if month["calibrated"] is False:
            text = (
                f"{month['month']}: the mean probability {share(month['predicted'])} lies outside the interval of the "
            )
            yield Limit("stability", "note", f"{text}observed rate ({share(month['observed'])})")


def _explanation(found: Mapping[str, Any]) -> Found:
    refits = found.get("refits") or {}
    if refits and refits["rank_correlation"] is None:
        yield Limit("explanation", "warning", "whether importance is stable over refits was not measured")
    for each in found.get("interactions") or []:
        if each["unexplained"] is not None and each["unexplained"] >= INTERACTING:
            others = ", ".join(one["feature"] for one in each["partners"]) or "others"
            text = f"{share(each['unexplained'])} of the contribution of {each['feature']} is decided by {others}"
            yield Limit("explanation", "note", text)


def _fairness(evidence: Mapping[str, Any]) -> Found:
    found = evidence.get("fairness") or {}
    for name, entry in (found.get("attributes") or {}).items():
        if entry["four_fifths"] == "missed":
            text = f"{name}: four fifths is missed, {entry['lowest']} against {entry['reference']}"
            yield Limit("fairness", "warning", f"{text}: {figure(entry['adverse_impact_ratio']['value'])}")
    for note in found.get("notes") or []:
        yield Limit("fairness", "note", note)
    for part in ("proxies", "alternatives"):
        if caveat := (evidence.get(part) or {}).get("caveat"):
            yield Limit("fairness", "note", caveat)


def _money(found: Mapping[str, Any]) -> Found:
    if not found:
        return
    over = found["strategies"]["threshold"]["over_policy"]
    if over["interval"] and over["interval"][0] > 0:
        worth = f"{figure(over['per_1000'])} {found['currency']}"
        text = f"per 1,000 events the best single threshold is worth {worth} more than the policy's bands"
        yield Limit("money", "note", text)
    if found["left_out"]["tested"]:
        yield Limit(
            "money", "note", f"{found['left_out']['tested']} tested rows have no amount and no part in the money"
        )
    yield Limit("money", "note", "what a good case earns and what a decision costs are declared, not measured")


def _credit_risk(found: Mapping[str, Any]) -> Found:
    if not found:
        return
    for what in ("lgd", "ead"):
        if found[what]["method"] != "fractional logit":
            text = f"{what.upper()} is the constant {figure(found[what]['constant'])}: {found[what]['reason']}"
            yield Limit("credit_risk", "note", text)
    back = found["backtest"]
    if back["interval"] and not back["interval"][0] <= 1 <= back["interval"][1]:
        text = f"realised over expected loss is {figure(back['ratio'])} ({interval(back['interval'])})"
        yield Limit("credit_risk", "warning", text)
    for scenario in (found.get("stress") or {}).get("scenarios") or []:
        beyond = {name: part for name, part in scenario["beyond"].items() if part}
        if beyond:
            listed = ", ".join(f"{name} ({share(part)} of the loans)" for name, part in beyond.items())
            text = f"scenario {scenario['name']} goes beyond what was seen, where a model only extrapolates: {listed}"
            yield Limit("credit_risk", "note", text)


def _rejects(found: Mapping[str, Any]) -> Found:
    for note in found.get("notes") or []:
        yield Limit("rejects", "note", note)


def _unrecorded(documents: Documents) -> Found:
    for chapter in CHAPTERS:
        why = chapter.absence(documents)
        if why and why.startswith("Not recorded"):
            yield Limit(chapter.key, "warning", why.removesuffix("."))


def _estimate(entry: Mapping[str, float]) -> str:
    return f"{figure(entry['value'])} ({interval([entry['low'], entry['high']])})"
