"""From the roles of a table's columns to the sections of a use case: pure, and every value a guess with a reason."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from configs.contradictions import RESERVED
from configs.durations import render
from features.intake.periods import MATURITY, Periods
from features.intake.roles import Judged, Roles
from features.intake.suspects import named_key, named_money, named_unit, slug
from features.values import is_whole

_YEAR = 31_557_600
_OTHERS = ("other", "others", "unknown", "misc")


@dataclass(frozen=True)
class Known:
    """A time that says when outcomes became known: half and 90 % of the positive ones by so many days.

    `complete`: negative ones have it too.
    """

    column: str
    half: int
    most: int
    complete: bool


@dataclass(frozen=True)
class Guesses:
    """Everything a draft says. `table` names the table, `place` is its section; `names`: column -> field.

    `vocabularies`: values of the categories that have few; `no_time` says why the draft has no event time; `notes` how
    the table was read.
    """

    source: str
    rows: int
    width: int
    name: str
    owner: str
    kind: Literal["credit", "fraud"]
    kind_reason: str
    table: str
    place: Mapping[str, Any]
    roles: Roles
    vocabularies: Mapping[str, Sequence[str]]
    periods: Periods | None
    known: Known | None = None
    no_time: str = ""
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, str]:
        """Column -> name in the use case: its own where it can be, each once."""
        found: dict[str, str] = {}
        for each in self.roles.columns:
            stem = name = slug(each.profile.name)
            count = 1
            while name in found.values() or name in RESERVED:
                count += 1
                name = f"{stem}_{count}"
            found[each.profile.name] = name
        return found

    @property
    def personal(self) -> dict[str, str]:
        """Column -> token (keys) or mask."""
        masked = (each.profile.name for each in self.roles.of("personal"))
        return dict.fromkeys(self.roles.tokens, "token") | dict.fromkeys(masked, "mask")

    @property
    def maturity(self) -> timedelta:
        """How long until an outcome counts as known."""
        return self.periods.maturity if self.periods else MATURITY[self.kind]

    def contract(self, column: Judged) -> dict[str, Any]:
        """The contract of one column, as loose as the table itself."""
        profile, found = column.profile, dict[str, Any]()
        kind = _type(column)
        if kind != "number":
            found["type"] = kind
        if self.names[profile.name] != profile.name:
            found["column"] = profile.name
        if kind in {"number", "integer"}:
            found |= {"min": 0} if profile.low is not None and profile.low >= 0 else {}
        found |= _vocabulary(self.vocabularies.get(profile.name, ()))
        if profile.codes:
            found["missing"] = [_code(code, text=kind == "category") for code in profile.codes]
        unit = named_unit(profile.name) if kind in {"number", "integer"} else ""
        found |= {"unit": unit} if unit else {}
        found |= {"feature": False} if column.role == "personal" else {}
        return found or {"type": "number"}

    @property
    def derived(self) -> dict[str, str]:
        """Name -> SQL of features from times: ages of dates, and the hour and day of a payment."""
        taken = set(self.names.values())
        found = {
            f"{self.names[each.profile.name]}_years_ago": _age(self.names[each.profile.name])
            for each in self.roles.of("time")
        }
        if self.roles.time and self.kind == "fraud":
            found |= {"hour_of_day": "hour(event_time)", "day_of_week": "dayofweek(event_time)"}
        return {name: sql for name, sql in found.items() if name not in taken}

    @property
    def aggregates(self) -> list[dict[str, Any]]:
        """What an entity paid before, and how often its events turned out positive: for payments with keys only."""
        if self.kind != "fraud" or self.periods is None:
            return []
        windows = _windows(self.periods)
        repeated = [entity for entity, key in self.roles.entities.items() if key != self.roles.id]
        return [part for entity in repeated for part in self._counted(entity, windows)]

    def _counted(self, entity: str, windows: list[str]) -> Iterator[dict[str, Any]]:
        amount = next((self.names[each.profile.name] for each in self._amounts()), None)
        about = {"column": amount, "functions": ["count", "mean"]} if amount else {"functions": ["count"]}
        yield {"entity": entity, **about, "windows": windows}
        if self.maturity:
            outcome = {"column": self.roles.label.column, "functions": ["mean"], "windows": windows}
            yield {"entity": entity, **outcome, "delay": render(self.maturity), "name": f"{entity}_fraud"}

    def _amounts(self) -> list[Judged]:
        fields = self.roles.of("field")
        return [each for each in fields if _type(each) in {"number", "integer"} and named_money(each.profile.name)]

    @property
    def training(self) -> dict[str, Any]:
        """Learners and a small budget."""
        objective = "average_precision" if self.kind == "fraud" else "auc"
        learners = ["lightgbm", "xgboost", "scorecard"]
        return {"learners": learners, "objective": objective, "trials": 12, "seconds": 60, "seed": 7}

    @property
    def gates(self) -> dict[str, Any]:
        """Bars: ranking better than chance, and probabilities that mean what they say."""
        return {"minimum": {"auc": 0.6}, "maximum": {"ece": 0.02 if self.kind == "fraud" else 0.1}}

    @property
    def bands(self) -> list[dict[str, Any]]:
        """Decisions by probability, as multiples of the share of positives."""
        rate = self.roles.label.rate
        bounds: tuple[float, ...] = (min(0.6, _round(1.2 * rate)), min(0.9, _round(2 * rate)))
        names: tuple[str, ...] = ("approve", "refer", "decline")
        if self.kind == "fraud":
            bounds, names = (min(0.2, _round(5 * rate)), 0.3, 0.8), ("allow", "step_up", "review", "block")
        bands: list[dict[str, Any]] = [
            {"decision": name, "below": bound} for name, bound in zip(names, bounds, strict=False)
        ]
        return [*bands, {"decision": names[-1]}]

    @property
    def policy(self) -> dict[str, Any]:
        """What stands beside the bands."""
        names = [band["decision"] for band in self.bands]
        return {"fallback": names[-2], "reasons": self.kind, "adverse": names[1:]}

    @property
    def monitoring(self) -> dict[str, Any]:
        """Windows as long as the kind of traffic asks for."""
        window = "30d" if self.periods and self.kind == "credit" else "1d"
        cooldown = "30d" if window == "30d" else "7d"
        return {"window": window, "psi": 0.1, "min_rows": 200, "drop": 0.05, "cooldown": cooldown}

    @property
    def drift(self) -> dict[str, Any]:
        """A change that a monitor should find: in the number that alone says most of the outcome, or a broken feed."""
        fields = sorted(self.roles.of("field"), key=lambda each: -(each.auc or 0))
        numbers = [each for each in fields if _type(each) in {"number", "integer"} and each.profile.distinct > 2]
        for each in numbers:  # twice a whole number is one, and stays at least 0
            return {"kind": "feature_shift", "column": self.names[each.profile.name], "factor": 2}
        first = [*fields, *self.roles.of("time")][0]
        return {"kind": "broken_feed", "column": self.names[first.profile.name], "share": 0.5}


def kind_of(
    wanted: Literal["credit", "fraud"] | None, roles: Roles, names: Collection[str]
) -> tuple[Literal["credit", "fraud"], str]:
    """The kind and the reason for it. `names` are those of the table and its columns."""
    if wanted:
        return wanted, "as asked"
    if "fraud" in roles.label.column.lower() or any("fraud" in name.lower() for name in names):
        return "fraud", "guessed: a name speaks of fraud; credit or fraud"
    return "credit", "guessed: no name speaks of fraud; credit or fraud"


def _type(column: Judged) -> str:
    profile = column.profile
    if profile.kind in {"time", "boolean"}:
        return profile.kind
    coded = column.role == "protected" and is_whole(profile.found) and profile.distinct <= 10
    if profile.kind != "number" or coded or (named_key(profile.name) and profile.whole):
        return "category"
    return "integer" if profile.whole and is_whole(profile.found) else "number"


def is_category(column: Judged) -> bool:
    """Whether the draft declares the column a category."""
    return _type(column) == "category"


def _vocabulary(values: Sequence[str]) -> dict[str, Any]:
    other = next((value for value in values if value.lower() in _OTHERS), None)
    return ({"values": list(values)} if values else {}) | ({"other": other} if other else {})


def _code(code: float | str, *, text: bool) -> float | str:
    """A code for 'unknown' as the use case states it: whole numbers as such, a category's codes as texts."""
    if isinstance(code, str):
        return code
    return f"{code:g}" if text else int(code) if code == int(code) else code


def _age(name: str) -> str:
    return f'(epoch(event_time) - epoch("{name}")) / {_YEAR}'


def _windows(periods: Periods) -> list[str]:
    """Windows that fit into half of the history."""
    half = (periods.test[1] - periods.train[0]) / 2
    fitting = [days for days in (1, 7, 30) if timedelta(days=days) <= half]
    return [f"{days}d" for days in fitting] or ["1h"]


def _round(probability: float) -> float:
    """Two significant digits."""
    return float(f"{probability:.2g}")
