"""A draft as YAML that teaches: every guess stands with its reason, and what was left out stands as a comment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import yaml

from configs.durations import render
from features.intake.guesses import Guesses
from features.intake.profile import ROWS
from features.intake.roles import Judged
from features.intake.suspects import named_by_lender

_WIDTH = 10**6


def draft_text(guesses: Guesses) -> str:
    """The whole file."""
    parts = (_head, _tables, _keys, _label, _request, _features, _protected, _split, _policy, _watch)
    return "\n".join("\n".join(part(guesses)) + "\n" for part in parts)


def flow(value: Any) -> str:
    """A value as one line of YAML.

    >>> flow({"type": "category", "values": ["yes", "1", "own"]})
    "{type: category, values: ['yes', '1', own]}"
    """
    dumped = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return dumped.strip()[1:-1]


def entry(name: str, value: Any) -> str:
    """`name: value` as YAML."""
    return flow({name: value})[1:-1]


def remark(text: str) -> str:
    """A comment of one line."""
    return f"# {' '.join(text.split())}"


def _block(name: str, lines: Iterable[str]) -> list[str]:
    return [f"{name}:", *(f"  {line}" for line in lines)]


def _head(guesses: Guesses) -> Iterator[str]:
    yield remark(f"A first draft, guessed from {guesses.source}: {guesses.rows:,} rows, {guesses.width} columns.")
    yield remark("It trains as it is. Read every line before a model of it decides about anybody; comments say why")
    yield remark("a line is here and what to check. `risk config schema` lists everything that a use case can say.")
    yield from map(remark, guesses.notes)
    yield entry("name", guesses.name)
    yield entry("title", f"Draft from {guesses.source}")
    yield entry("kind", guesses.kind) + "  " + remark(guesses.kind_reason)
    yield entry("description", f"Predicts {guesses.roles.label.column}. Say here which decision it serves and when.")
    yield entry("owner", guesses.owner)


def _tables(guesses: Guesses) -> Iterator[str]:
    yield remark("Paths are relative to RISK_DATA. `created` would name the column with the time a row became known;")
    yield remark("`rejects` is the share of rows that may break this file's contracts before a load fails whole.")
    yield from _block("tables", [entry(guesses.table, guesses.place)])


def _keys(guesses: Guesses) -> Iterator[str]:
    roles = guesses.roles
    if not roles.entities:
        yield remark("No column looks like a key: nothing can be joined or counted over an entity.")
    elif roles.id in roles.entities.values():
        yield remark("Every row has a key of its own. Name the customer's key here if there is one: entity -> column.")
    else:
        yield remark("Keys that come back, by their names: aggregates count over them. Entity -> column.")
    yield entry("entities", dict(roles.entities))
    if guesses.personal:
        yield ""
        yield remark("Personal data, by its name. token: keeps joins, not values; mask: keeps nothing.")
        yield from _block("personal", [entry(name, kind) for name, kind in guesses.personal.items()])
    yield ""
    if roles.id is None:
        yield remark("No column identifies the row, so its number does: outcomes can't be sent in later by an id.")
    if roles.time is None:
        yield remark(guesses.no_time)
    yield entry("event", {"table": guesses.table, "id": roles.id, "time": roles.time})


def _label(guesses: Guesses) -> Iterator[str]:
    label = guesses.roles.label
    asked = "Named with --label" if label.asked else "By its name and its two values"
    yield remark(f"{asked}; {label.rate:.2%} of {label.rows:,} rows with an outcome are {label.text!r}. Rows without")
    yield remark("an outcome are never trained on: check that open cases have none, instead of the negative value.")
    if label.others:
        yield remark(f"Other columns that sound like a label: {', '.join(label.others)}.")
    reason = "a guess for this kind of outcome, to be replaced by what the bank's own outcomes say"
    values = {"column": label.column, "positive": label.positive, "maturity": render(guesses.maturity)}
    lines = [entry(name, value) for name, value in (values | {"reason": reason}).items()]
    if known := guesses.known:
        lines.append(
            remark(f"{known.column}: half of the positive outcomes were known after {known.half:,} days, 90 %")
        )
        lines.append(remark(f"after {known.most:,}. Compare that with `maturity`. `known` says when each one was:"))
        line = entry("known", known.column)
        lines.append(line if known.complete else f"# {line}  {remark('negative outcomes have none')}")
    yield from _block("label", lines)


def _request(guesses: Guesses) -> Iterator[str]:
    yield remark("What the caller sends. Check that each is known when the decision is taken, and give each a")
    yield remark("`description`: no model can be approved without (the documentation gate). Add `unit`, `max` and")
    yield remark("`nullable: false` where the meaning gives one.")
    fields = guesses.roles.of("field", "time")
    lines = [f"{entry(guesses.names[each.profile.name], guesses.contract(each))}  {_seen(each)}" for each in fields]
    yield from _block("request", lines)
    yield from _left_out(
        guesses,
        "leak",
        "Left out, because they seem to know the outcome. Restore one only if it is known when the decision is taken:",
    )
    yield from _left_out(guesses, "personal", "Left out, because they identify a person:")
    yield from _left_out(guesses, "useless", "Left out, because nothing general can be learned from them:")


def _left_out(guesses: Guesses, role: str, title: str) -> Iterator[str]:
    columns = guesses.roles.of(role)
    if columns:
        yield f"  {remark(title)}"
    for each in columns:
        line = entry(guesses.names[each.profile.name], guesses.contract(each))
        yield f"  # {line}  {remark(each.reason)}"


def _seen(column: Judged) -> str:
    """What was found in a column: range, missing values, and how well it alone orders the outcomes."""
    profile, facts = column.profile, list[str]()
    if profile.kind == "number" and profile.low is not None and profile.high is not None:
        facts.append(f"{_number(profile.low)} to {_number(profile.high)}")
    elif profile.kind == "category":
        facts.append(f"{profile.distinct:,} values")
    if profile.missing:
        facts.append(f"{profile.missing:.1%} missing" if profile.missing >= 0.001 else "a few missing")
    if profile.codes:
        facts.append("codes for 'unknown' guessed")
    if column.auc is not None:
        facts.append(f"AUC alone {column.auc:.2f}")
        facts += ["check: much for one column; is it known in time?"] if column.auc >= 0.8 else []
    if named_by_lender(profile.name):
        facts.append("check: set by the lender? then it is not known when the customer applies")
    return remark("; ".join(facts))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"


def _features(guesses: Guesses) -> Iterator[str]:
    if guesses.derived:
        yield remark("Features computed from the fields and the time of the event; ratios of amounts often help.")
        yield from _block("derived", [entry(name, {"sql": sql}) for name, sql in guesses.derived.items()])
        yield ""
    if guesses.aggregates:
        yield remark(
            "What the entity did before, as known at the time of the event. Outcomes count after a delay only."
        )
        yield from _block("aggregates", [f"- {flow(part)}" for part in guesses.aggregates])
        yield ""
    yield remark("Directions that experience demands, such as {income: decreasing, arrears: increasing}.")
    yield "monotone: {}"


def _protected(guesses: Guesses) -> Iterator[str]:
    columns = guesses.roles.of("protected")
    if not columns:
        yield remark("No attribute is protected by its name. Add those of the table here: tested, never features.")
        yield "protected: {}"
        return
    yield remark("By their names; tested for fairness, never features. Look for proxies, such as a postcode, above.")
    lines = [entry(guesses.names[each.profile.name], guesses.contract(each)) for each in columns]
    yield from _block("protected", lines)


def _split(guesses: Guesses) -> Iterator[str]:
    periods = guesses.periods
    if periods is None:
        yield remark("Random folds, because rows have no time: how the model ages is not tested.")
        yield "split: {by: random, folds: 5}"
    else:
        looked = " (of those looked at)" if guesses.rows > ROWS else ""
        yield remark("Train before test. The gap is the label's maturity: outcomes of the last training rows are known")
        yield remark(
            f"when the test starts. The rarer class has {periods.least:,} rows in the smaller of both{looked}."
        )
        lines = ["by: time", _period("train", periods.train), _period("test", periods.test), "folds: 3"]
        yield from _block("split", lines)
    yield ""
    yield remark("A small budget for a first look: raise trials and seconds for a model that counts.")
    yield entry("training", guesses.training)
    yield ""
    yield remark("Bars that any useful model passes. Raise them to what the model in use does, once you know it.")
    yield from _block("gates", [entry(name, value) for name, value in guesses.gates.items()])


def _policy(guesses: Guesses) -> Iterator[str]:
    rate = guesses.roles.label.rate
    yield remark(f"Bounds set from the share of positives ({rate:.2%}). Set them from costs before anybody is decided")
    yield remark(f"about. Reasons: the catalogue configs/reasons/{guesses.kind}.yaml maps features to codes and texts.")
    bands = ["bands:", *(f"  - {flow(band)}" for band in guesses.bands)]
    rest = [entry(name, value) for name, value in guesses.policy.items()]
    yield from _block("policy", [*bands, *rest])


def _watch(guesses: Guesses) -> Iterator[str]:
    yield remark("Windows of decisions that are compared with the test period; outcomes are judged once they matured.")
    yield entry("monitoring", guesses.monitoring)
    yield ""
    yield remark("`make demo` style traffic: these events are sent over HTTP, the second half with this drift.")
    lines = [_period("period", guesses.periods.rehearsal)] if guesses.periods else []
    yield from _block("rehearsal", [*lines, "requests: 1200", entry("drift", guesses.drift)])


def _period(name: str, period: tuple[datetime, datetime]) -> str:
    start, end = (moment.date() if not (moment - datetime.combine(moment.date(), datetime.min.time())) else moment
                  for moment in period)  # fmt: skip
    return entry(name, {"start": start, "end": end})
