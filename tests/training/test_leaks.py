"""What the leak guard finds in frames with leaks of each kind planted in them, and that honest columns are let be."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest

from configs.errors import TrainingError
from configs.inputs import Column
from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from configs.validation import Leaks
from features.frame import Frame
from training.leaks.findings import Finding, as_json, require_clean
from training.leaks.guard import examine
from training.splits import stratified_folds

DAYS = 500
MATURITY = 30.0


@dataclass(frozen=True)
class World:
    """Events in order of time with honest columns only: some strong, some that drift, repeat, are missing or rare."""

    generator: np.random.Generator
    time: np.ndarray
    who: np.ndarray
    columns: dict[str, np.ndarray]
    y: np.ndarray

    def with_columns(self, **extra: np.ndarray) -> World:
        return replace(self, columns=self.columns | extra)


def world(seed: int = 1, *, n: int = 6000, rate: float = 0.1, strength: float = 1.0) -> World:
    generator = np.random.default_rng(seed)
    time = np.sort(generator.uniform(0, DAYS, n))
    who = generator.integers(0, n // 10, n)
    trait = generator.normal(size=n // 10)
    amount = np.round(generator.lognormal(8, 0.8, n), 2)
    term = generator.choice([12.0, 24, 36, 48, 60, 72], n)
    columns = {
        "amount": amount,
        "amount_whole": np.round(generator.lognormal(8, 1.2, n)),
        "term": term,
        "installment": amount / term * (1 + 0.01 * generator.normal(size=n)),
        "score": trait[who] + 0.5 * generator.normal(size=n),
        "delinquencies": generator.poisson(0.1 * np.exp(trait[who] / 2)).astype(float),
        "months_since": np.where(generator.random(n) < 0.7, np.nan, generator.integers(0, 120, n)),
        "rising": generator.gamma(2, 1 + time / DAYS),
        "falling": generator.gamma(2, 2 - 0.8 * time / DAYS),
        "new_device": (generator.random(n) < 0.03).astype(float),
        "state": text("s", generator.integers(0, 50, n)),
        "zip": text("z", generator.integers(0, 800, n)),
        "job": np.where(generator.random(n) < 0.2, None, text("j", np.floor(generator.pareto(1, n) * 5).astype(int))),
        "constant": np.ones(n),
        "empty": np.full(n, np.nan),
    }
    risk = 1.2 * columns["score"] + 0.8 * columns["delinquencies"] + 2.5 * columns["new_device"] + (term > 40) / 2
    noisy = strength * (risk + (np.log(amount) - 8) / 2) + generator.logistic(size=n)
    return World(generator, time, who, columns, (noisy > np.quantile(noisy, 1 - rate)).astype(float))


def text(stem: str, codes: np.ndarray) -> np.ndarray:
    return np.array([f"{stem}{code}" for code in codes], dtype=object)


@cache
def base() -> UseCase:
    return load_use_case("credit", Settings())


def use_case_of(columns: dict[str, np.ndarray], **changes: object) -> UseCase:
    request = {name: Column(type="category" if v.dtype == object else "number") for name, v in columns.items()}
    empty = {"views": {}, "derived": {}, "aggregates": (), "monotone": {}}
    label = base().label.model_copy(update={"maturity": timedelta(days=MATURITY)})
    training = base().training.model_copy(update={"exclude": ()})
    return base().model_copy(update={"request": request, "label": label, "training": training, **empty, **changes})


def frame_of(made: World) -> Frame:
    time = pd.Series(pd.Timestamp("2021-01-01", tz="UTC") + pd.to_timedelta(made.time, unit="D")).dt.as_unit("us")
    events = pd.DataFrame(
        {
            "event_id": [str(number) for number in range(len(time))],
            "event_time": time,
            "known": time + timedelta(days=MATURITY),
            "label": made.y,
            "applicant": text("a", made.who),
        }
    )
    return Frame(events, pd.DataFrame(made.columns), "data", "definition")


def look(made: World, **changes: object) -> tuple[Finding, ...]:
    cut = int(0.7 * len(made.y))
    rows = np.arange(len(made.y))
    labelled = rows[:cut][~np.isnan(made.y[:cut])]
    return examine(use_case_of(made.columns, **changes), frame_of(made), labelled, rows[cut:])


def named(findings: tuple[Finding, ...], column: str) -> set[str]:
    return {each.kind for each in findings if each.column == column}


def windowed(made: World, *, own: bool, delay: float, window: float, mean: bool = False) -> np.ndarray:
    """Positives (or their share) of the same customer in the window before each event, by brute force."""
    past: dict[int, list[tuple[float, float]]] = defaultdict(list)
    found = np.zeros(len(made.y))
    for row, (time, who, y) in enumerate(zip(made.time, made.who, made.y, strict=True)):
        if own:
            past[who].append((time, y))
        inside = [label for then, label in past[who] if time - delay - window < then <= time - delay]
        found[row] = (np.mean(inside) if mean else sum(inside)) if inside else 0.0
        if not own:
            past[who].append((time, y))
    return found


WORLDS = [
    pytest.param({"n": 6000, "rate": 0.1}, id="credit"),
    pytest.param({"n": 6000, "rate": 0.3, "strength": 1.5}, id="many bads"),
    pytest.param({"n": 9000, "rate": 0.02, "strength": 1.5}, id="fraud"),
    pytest.param({"n": 50_000, "rate": 0.0017}, id="60 positives"),
    pytest.param({"n": 900, "rate": 0.2}, id="small"),
]


@pytest.mark.parametrize("shape", WORLDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_honest_columns_are_let_be(shape: dict[str, float], seed: int) -> None:
    assert look(world(seed, **shape)) == ()


def once(made: World, share: float = 0.6) -> np.ndarray:
    """A part of the positives."""
    return (made.y == 1) & (made.generator.random(len(made.y)) < share)


def paid(made: World) -> np.ndarray:
    """What was paid back: the amount, or a part of it until the default."""
    life = np.where(made.y == 1, made.generator.uniform(0, 0.8, len(made.y)), 1.0)
    return made.columns["amount"] * life * made.generator.normal(1, 0.02, len(made.y))


def shares(made: World) -> np.ndarray:
    """The share of positives of each customer, over all time."""
    return (np.bincount(made.who, weights=made.y) / np.maximum(np.bincount(made.who), 1))[made.who]


PLANTS: dict[str, Callable[[World], np.ndarray]] = {
    "noisy copy of the label": lambda made: made.y * 4 + made.generator.normal(size=len(made.y)),
    "status": lambda made: text("s", made.y.astype(int) * 2 + made.generator.integers(0, 2, len(made.y))),
    "recovered": lambda made: np.where(once(made), made.generator.lognormal(6, 1, len(made.y)), 0.0),
    "settled": lambda made: np.where(once(made), made.generator.lognormal(6, 1, len(made.y)), np.nan),
    "settlement status": lambda made: np.where(once(made), "active", None),
    "paid in all": paid,
    "identifier": lambda made: text("u", made.generator.permutation(10 * len(made.y))[: len(made.y)]),
    "serial number": lambda made: np.arange(len(made.y)) + 1000.0,
    "shuffled number": lambda made: made.generator.permutation(len(made.y)) + 5000.0,
    "clock": lambda made: made.time * 86400.123,
    "age when exported": lambda made: np.floor(DAYS + 100 - made.time),
    "paid until exported": lambda made: (
        made.generator.lognormal(5, 0.4, len(made.y)) * (0.8 * DAYS - made.time).clip(1)
    ),
    "frauds with the own": lambda made: windowed(made, own=True, delay=0, window=200),
    "frauds too early": lambda made: windowed(made, own=False, delay=0, window=200),
    "share of all outcomes": shares,
    "stopped feed": lambda made: np.where(made.time > 0.65 * DAYS, np.nan, made.generator.normal(size=len(made.y))),
}


def planted(made: World, leak: str) -> np.ndarray:
    return PLANTS[leak](made)


KINDS = {
    "noisy copy of the label": {"gives_away"},
    "status": {"gives_away"},
    "recovered": {"one_class"},
    "settled": {"one_class"},
    "settlement status": {"one_class"},
    "paid in all": {"same_record"},
    "identifier": {"id_like"},
    "serial number": {"id_like"},
    "shuffled number": {"id_like"},
    "clock": {"id_like"},
    "age when exported": {"accrues"},
    "paid until exported": {"accrues"},
    "frauds with the own": {"gives_away", "one_class", "target_echo"},
    "frauds too early": {"target_echo"},
    "share of all outcomes": {"gives_away", "one_class", "target_echo"},
    "stopped feed": {"unavailable"},
}


@pytest.mark.parametrize("leak", KINDS)
@pytest.mark.parametrize("seed", [11, 12])
def test_a_planted_leak_is_found_and_nothing_beside_it(leak: str, seed: int) -> None:
    made = world(seed)
    findings = look(made.with_columns(planted=planted(made, leak)))
    assert {each.column for each in findings} == {"planted"}
    assert named(findings, "planted") & KINDS[leak] and any(each.stops for each in findings)


@pytest.mark.parametrize("leak", ["noisy copy of the label", "status", "recovered", "settled", "frauds with the own"])
def test_sixty_positives_among_fifty_thousand_are_enough(leak: str) -> None:
    made = world(4, n=50_000, rate=0.0017)
    assert 50 <= made.y[:35_000].sum() <= 80
    assert {each.column for each in look(made.with_columns(planted=planted(made, leak)))} == {"planted"}


def test_a_strong_honest_column_is_not_blamed_for_a_leak_beside_it() -> None:
    for seed in range(4):
        made = world(seed, n=3000, rate=0.05, strength=1.5)
        findings = look(made.with_columns(planted=planted(made, "paid in all")))
        assert {each.column for each in findings} == {"planted"}


def test_a_new_device_at_most_frauds_is_no_echo_of_them() -> None:
    made = world(6, n=8000)
    unknown = made.generator.random(8000) < np.where(made.y == 1, 0.93, 0.04)
    assert "target_echo" not in named(look(made.with_columns(unknown=unknown.astype(float))), "unknown")


def test_outcomes_counted_once_they_were_known_are_no_echo() -> None:
    made = world(7, n=8000)
    waited = windowed(made, own=False, delay=MATURITY, window=200)
    assert look(made.with_columns(waited=waited)) == ()


def test_a_rate_that_was_known_before_is_no_share_of_the_outcomes() -> None:
    generator = np.random.default_rng(5)
    made = world(5, n=20_000)
    risk = np.clip(generator.beta(2, 18, 2000), 0.001, 1)
    made = replace(made, y=(generator.random(20_000) < risk[made.who]).astype(float))
    assert not named(look(made.with_columns(risk=risk[made.who])), "risk")


def test_a_level_with_a_streak_of_frauds_is_no_leak() -> None:
    made = world(8, n=20_000)
    country = made.columns["state"].copy()
    country[np.flatnonzero(made.y == 1)[:30]] = "xx"
    assert look(made.with_columns(country=country)) == ()


def test_a_column_of_labelled_rows_only_is_not_there_when_events_are_scored() -> None:
    made = world(9)
    unknown = made.generator.random(len(made.y)) < 0.3
    rate = np.where(unknown, np.nan, made.generator.normal(size=len(made.y)))
    findings = look(replace(made.with_columns(rate=rate), y=np.where(unknown, np.nan, made.y)))
    assert [(each.column, each.kind) for each in findings] == [("rate", "unavailable")]
    assert findings[0].evidence["unlabelled"] == 0.0


def test_nothing_but_duplicates_is_taken_from_test_rows() -> None:
    made = world(10)
    cut = int(0.7 * len(made.y))
    spoiled = {name: v.copy() for name, v in made.columns.items()}
    spoiled["rising"][cut:] = made.y[cut:] * 1000
    spoiled["score"][cut:] = np.nan
    assert look(replace(made, columns=spoiled)) == ()


def doubled(made: World, share: float) -> World:
    """A part of the test rows replaced by training rows."""
    cut, n = int(0.7 * len(made.y)), len(made.y)
    copies = int(share * (n - cut))
    rows = np.arange(n)
    rows[cut : cut + copies] = made.generator.choice(cut, copies, replace=False)
    return replace(
        made, who=made.who[rows], y=made.y[rows], columns={name: v[rows] for name, v in made.columns.items()}
    )


def test_training_rows_that_come_back_in_the_test_block() -> None:
    made = doubled(world(13), 0.05)
    (finding,) = look(made)
    assert (finding.column, finding.kind, finding.stops) == ("duplicates", "duplicates", True)
    assert finding.evidence["rows"] == 90
    assert finding.evidence["share"] == pytest.approx(0.05)
    assert finding.evidence["share_by_chance"] == 0.0
    assert finding.evidence["positive_twins"] == 1.0 > float(finding.evidence["base_rate"] or 0)


def test_a_few_copies_are_reported_and_do_not_block() -> None:
    (finding,) = look(doubled(world(13), 0.002))
    assert finding.kind == "duplicates" and not finding.blocks and finding.evidence["rows"] == 3


def test_coarse_columns_that_coincide_by_chance_do_not_block() -> None:
    made = world(14, n=3000)
    coarse = {"term": made.columns["term"], "delinquencies": made.columns["delinquencies"]}
    (finding,) = look(replace(made, columns=coarse, who=made.generator.integers(0, 5, 3000)))
    assert float(finding.evidence["share"] or 0) > 0.9 and not finding.blocks


def test_copies_on_both_sides_of_folds_by_chance_block() -> None:
    made = world(15, n=2000)
    rows = np.append(np.arange(1900), np.arange(100))
    again = replace(
        made, who=made.who[rows], y=made.y[rows], columns={name: v[rows] for name, v in made.columns.items()}
    )
    every = np.arange(2000)
    findings = examine(use_case_of(again.columns), frame_of(again), every, every)
    assert [(each.kind, each.blocks, each.evidence["rows"]) for each in findings] == [("duplicates", True, 200)]


def test_one_class_gives_what_needs_no_label() -> None:
    made = world(16)
    one = replace(made.with_columns(number=planted(made, "serial number")), y=np.zeros(len(made.y)))
    assert [(each.column, each.kind) for each in look(one)] == [("number", "id_like")]


def test_no_rows_give_no_findings() -> None:
    made = world(17, n=900)
    assert examine(use_case_of(made.columns), frame_of(made), np.arange(0), np.arange(0)) == ()


def test_findings_do_not_depend_on_chance_nor_on_names() -> None:
    made = world(18)
    leaky = made.with_columns(planted=planted(made, "recovered"), paid=planted(made, "paid in all"))
    first = look(leaky)
    assert first == look(leaky)
    names = {name: f"c{place}" for place, name in enumerate(leaky.columns)}
    again = look(replace(leaky, columns={names[name]: v for name, v in leaky.columns.items()}))
    assert [names[each.column] for each in first] == [each.column for each in again]


def test_a_column_that_is_left_out_of_training_is_not_judged() -> None:
    made = world(19)
    leaky = made.with_columns(planted=planted(made, "status"))
    training = base().training.model_copy(update={"exclude": ("planted",)})
    assert look(leaky, training=training) == ()


def test_a_leak_stops_training_with_its_evidence_and_the_way_to_overrule_it() -> None:
    made = world(20)
    leaky = made.with_columns(planted=planted(made, "recovered"))
    with pytest.raises(TrainingError) as caught:
        require_clean(use_case_of(leaky.columns), look(leaky))
    assert "planted (one_class)" in caught.value.found and "rows" in caught.value.found
    assert "leaks: {accept: {planted:" in caught.value.fix


def test_an_accepted_leak_stops_nothing_and_keeps_its_reason() -> None:
    made = world(20)
    leaky = made.with_columns(planted=planted(made, "recovered"))
    accepted = Leaks(accept={"planted": "a blacklist that is read before the decision"})
    findings = look(leaky, leaks=accepted)
    require_clean(use_case_of(leaky.columns, leaks=accepted), findings)
    (row,) = as_json(findings)
    assert row["accepted"] == "a blacklist that is read before the decision"
    assert row["blocks"] and not row["stops"]


def test_findings_are_plain_json() -> None:
    made = doubled(world(21).with_columns(), 0.05)
    leaky = made.with_columns(one=planted(made, "recovered"), two=planted(made, "age when exported"))
    rows = as_json(look(leaky))
    assert {row["kind"] for row in json.loads(json.dumps(rows, allow_nan=False))} >= {"one_class", "accrues"}
    keys = {"column", "kind", "meaning", "reason", "evidence", "blocks", "accepted", "stops"}
    assert all(set(row) == keys for row in rows)


def test_an_untimed_table_is_judged_by_chance_folds() -> None:
    made = world(22, n=3000)
    leaky = made.with_columns(status=planted(made, "status"), number=planted(made, "serial number"))
    frame = frame_of(leaky)
    nothing = pd.Series(pd.NaT, index=frame.events.index).dt.tz_localize("UTC").dt.as_unit("us")
    events = frame.events.assign(event_time=nothing, known=nothing)
    rows = np.sort(np.concatenate([fold.valid for fold in stratified_folds(made.y, folds=5, seed=1)]))
    findings = examine(use_case_of(leaky.columns), replace(frame, events=events), rows, rows)
    assert {(each.column, each.kind) for each in findings} == {("status", "gives_away"), ("number", "id_like")}
