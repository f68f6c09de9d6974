"""Macro scenarios for stress tests: what `configs/scenarios/<name>.yaml` says, read with one report of all mistakes."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from pydantic import Field, ValidationError

from configs.errors import ConfigError
from configs.inputs import Name, Section
from configs.loading import FOLDER, Problem, read_yaml, structural_problem
from configs.references import as_mapping, get


class Factor(Section):
    """A macro factor, with what one unit of it does to credit risk (the coefficients of a satellite model)."""

    unit: str
    pd: float = Field(description="added to the log-odds of every PD for each unit of the factor")
    lgd: float = Field(0.0, description="added to every LGD for each unit of the factor")
    source: str = Field(description="where the coefficients come from: a study, an estimate, an expert's judgement")


class Shift(Section):
    """A change of one feature: value x factor + offset. Missing values stay missing."""

    factor: float = 1.0
    offset: float = 0.0


class Scenario(Section):
    """One state of the economy, as differences from the present."""

    description: str
    macro: dict[Name, float] = Field({}, description="factor -> units it moves by")
    features: dict[str, Shift] = Field({}, description="feature -> its change; the model scores the changed features")
    log_odds: float = Field(0.0, description="added to the log-odds of every PD, beside the macro factors")
    lgd: float = Field(0.0, ge=-1, le=1, description="added to every LGD, beside the macro factors")
    ead: float = Field(0.0, ge=-1, le=1, description="added to every EAD share")


class Scenarios(Section):
    """Scenarios that are reported side by side."""

    title: str
    source: str = Field(description="where the sizes of the shocks come from")
    factors: dict[Name, Factor] = Field({})
    scenarios: dict[Name, Scenario] = Field(min_length=1)


class ScenarioError(ConfigError):
    """A scenario file with mistakes; `problems` has them all."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.problems = problems
        count = f"{len(problems)} mistake{'s' * (len(problems) != 1)}"
        super().__init__(
            "\n  ".join([f"{file} has {count}:", *map(str, problems)]),
            expected="factors, and scenarios of macro moves and shifts of features",
            fix="correct the file in configs/scenarios/",
        )

    def as_dict(self) -> dict[str, Any]:
        """Add the mistakes, each with its fields, to the message."""
        return super().as_dict() | {"problems": [asdict(problem) for problem in self.problems]}


def load_scenarios(name: str, *, features: Collection[str]) -> Scenarios:
    """Read configs/scenarios/<name>.yaml for a use case with these `features`, those that are numbers.

    Raises `ScenarioError` with every mistake, and the nearest name where one points nowhere.
    """
    path = FOLDER / "scenarios" / f"{name}.yaml"
    return parse_scenarios(read_yaml(path), features=features, file=f"scenarios/{path.name}")


def parse_scenarios(raw: Mapping[str, Any], *, features: Collection[str], file: str = "scenarios") -> Scenarios:
    """Plain data -> `Scenarios`, or one `ScenarioError`."""
    problems = list(_dangling(raw, features))
    try:
        scenarios = Scenarios.model_validate(raw)
    except ValidationError as error:
        problems = [structural_problem(entry, root=Scenarios) for entry in error.errors()] + problems
    if problems:
        raise ScenarioError(file, problems)
    return scenarios


def _dangling(raw: Mapping[str, Any], features: Collection[str]) -> Iterator[Problem]:
    factors = list(as_mapping(raw.get("factors")))
    for scenario, content in as_mapping(raw.get("scenarios")).items():
        for part, what, valid in (("macro", "a factor", factors), ("features", "a feature with numbers", features)):
            for name in as_mapping(get(content, part)):
                if name not in valid:
                    nearest = difflib.get_close_matches(str(name), list(valid), n=1)
                    expected = f"{what}: {', '.join(valid) or '(none declared)'}"
                    path = f"scenarios.{scenario}.{part}.{name}"
                    yield Problem(path, repr(name), expected, nearest[0] if nearest else "")
