"""Reason codes: what pushed a score towards the adverse side, in the words of a catalogue.

A feature belongs to the first reason whose pattern matches it. Contributions are log-odds of the model that scored,
relative to the mean contributions of the release's reference, summed over a reason's features. Releases carry the
catalogue (`configs/reasons/<name>.yaml`) as it was at their approval.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from configs.errors import ServingError

_SHAPE = "a list of {code, en, zh, features: [patterns]} with each code once"


@dataclass(frozen=True)
class Reason:
    """One reason of one decision. `contribution` is log-odds above the baseline; None if a rule gave the reason."""

    code: str
    text: str
    contribution: float | None
    features: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The reason as the reply and the log hold it."""
        return {
            "code": self.code,
            "text": self.text,
            "contribution": self.contribution,
            "features": list(self.features),
        }


@dataclass(frozen=True)
class Entry:
    """A reason of the catalogue."""

    code: str
    en: str
    zh: str
    patterns: tuple[str, ...]

    def matches(self, feature: str) -> bool:
        """Whether one of the patterns (`*` and `?`) fits the feature's name."""
        return any(fnmatch.fnmatchcase(feature, pattern) for pattern in self.patterns)


@dataclass(frozen=True)
class Catalogue:
    """The reasons in their order, which breaks ties."""

    path: Path
    entries: tuple[Entry, ...]

    @classmethod
    def load(cls, path: Path) -> Catalogue:
        """Read a catalogue's file. Raises `ServingError` when it is missing or has another shape."""
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
            entries = tuple(Entry(part["code"], part["en"], part["zh"], tuple(part["features"])) for part in raw)
        except OSError:
            raise ServingError(f"no reason catalogue {path}", expected=_SHAPE, fix="correct policy.reasons") from None
        except (yaml.YAMLError, TypeError, KeyError):
            raise ServingError(f"{path} is not a reason catalogue", expected=_SHAPE, fix="correct the file") from None
        if len({entry.code for entry in entries}) < len(entries):
            raise ServingError(f"{path} has a code twice", expected=_SHAPE, fix="give each reason a code of its own")
        return cls(path, entries)

    def text(self, code: str) -> str:
        """English text of a code. Raises `ServingError` when the catalogue has no such code."""
        for entry in self.entries:
            if entry.code == code:
                return entry.en
        codes = ", ".join(entry.code for entry in self.entries)
        raise ServingError(f"no reason {code!r} in the catalogue {self.path}", expected=f"one of {codes}")


class ReasonGiver:
    """Turns the contributions of one model into reasons."""

    def __init__(
        self,
        catalogue: Catalogue,
        features: Sequence[str],
        *,
        baseline: Sequence[float],
        protected: Collection[str] = (),
        most: int = 4,
    ) -> None:
        """`features` in the order of the contributions; `baseline` has their mean contributions in log-odds.

        A protected attribute has no place among the features: one that is there is refused.
        """
        _check(features, baseline=baseline, protected=protected)
        self.catalogue, self._baseline, self._most = catalogue, tuple(baseline), most
        self._groups: dict[str, list[tuple[int, str]]] = {}
        owners = [_owner(feature, catalogue) for feature in features]
        for entry in catalogue.entries:
            members = [(index, name) for index, name in enumerate(features) if owners[index] == entry.code]
            if members:
                self._groups[entry.code] = members

    def reasons(self, contributions: Sequence[float]) -> tuple[Reason, ...]:
        """Up to `most` reasons, the strongest first; ties go to the one that stands first in the catalogue.

        `contributions`: log-odds in the order of the features (a last base term is ignored). Reasons that don't push
        towards the adverse side, more risk than the baseline, are left out, and so are such features within a reason.
        """
        found = [
            reason for code, members in self._groups.items() if (reason := self._reason(code, members, contributions))
        ]
        found.sort(key=lambda reason: -round(reason.contribution or 0.0, 9))  # stable: the catalogue's order stays
        return tuple(found[: self._most])

    def by_rule(self, code: str, names: Sequence[str], contributions: Sequence[float]) -> tuple[Reason, ...]:
        """The reason of a rule that held, in front of those of the score."""
        first = Reason(code, self.catalogue.text(code), None, tuple(names))
        rest = [reason for reason in self.reasons(contributions) if reason.code != code]
        return (first, *rest[: self._most - 1])

    def _reason(self, code: str, members: list[tuple[int, str]], contributions: Sequence[float]) -> Reason | None:
        excess = [(float(contributions[index]) - self._baseline[index], name) for index, name in members]
        total = sum(value for value, _ in excess)
        if round(total, 9) <= 0:
            return None
        adverse = sorted((pair for pair in excess if pair[0] > 0), key=lambda pair: (-round(pair[0], 9), pair[1]))
        return Reason(code, self.catalogue.text(code), total, tuple(name for _, name in adverse))


def baseline_of(reference: Mapping[str, Any], features: Sequence[str]) -> tuple[float, ...]:
    """Mean contributions of a release's reference in the order of the features. Raises `ServingError` without one."""
    try:
        return tuple(float(reference["features"][name]["baseline"]) for name in features)
    except (KeyError, TypeError):
        raise ServingError(
            "the release's reference has no baseline contribution for every feature of its model",
            expected="reference.json as training writes it",
            fix="train and approve the use case again",
        ) from None


def _owner(feature: str, catalogue: Catalogue) -> str:
    for entry in catalogue.entries:
        if entry.matches(feature):
            return entry.code
    raise ServingError(
        f"no reason in the catalogue {catalogue.path} fits the feature {feature!r}",
        expected="a pattern for every feature",
        fix="add the feature to a reason, or a last reason with the pattern '*'",
    )


def _check(features: Sequence[str], *, baseline: Sequence[float], protected: Collection[str]) -> None:
    forbidden = [name for name in features if name in protected or name.rpartition("__")[2] in protected]
    if forbidden:
        raise ServingError(
            f"the model uses protected attributes: {', '.join(forbidden)}",
            expected="features that are not protected",
            fix="take them out of the features and train again",
        )
    if len(baseline) != len(features):
        raise ServingError(
            f"{len(baseline)} baseline contributions for {len(features)} features", expected="one for each"
        )
