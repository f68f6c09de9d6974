"""The error tree: one base class a room, each message saying what was found, what was expected and how to fix it."""

from __future__ import annotations

from typing import Self


class RiskError(Exception):
    """Root of every error this platform raises on purpose. The command line prints it and exits with `exit_code`.

    `found`, `expected` and `fix` are kept apart so that an interface can show them as fields; `str()` joins them.
    None of the three may hold personal data: name the column and the row, never the value of a personal field.
    """

    exit_code = 2

    def __init__(self, found: str, *, expected: str = "", fix: str = "") -> None:
        self.found, self.expected, self.fix = found, expected, fix
        super().__init__(found)

    def __str__(self) -> str:
        parts = [self.found, self.expected and f"expected: {self.expected}", self.fix and f"fix: {self.fix}"]
        return "\n  ".join(part for part in parts if part)

    def as_dict(self) -> dict[str, str]:
        """The message as fields, for `--json` output and problem documents."""
        return {"error": type(self).__name__, "found": self.found, "expected": self.expected, "fix": self.fix}

    @classmethod
    def missing_extra(cls, package: str, *, extra: str) -> Self:
        """The error for an optional dependency that is not installed."""
        return cls(
            f"the package {package!r} is not installed",
            expected=f"the optional dependencies {extra!r} of this project",
            fix=f"pip install 'risk-platform[{extra}]'",
        )


class ConfigError(RiskError):
    """A setting or a use case that can't be read or contradicts itself."""


class FeatureError(RiskError):
    """A table, a feature definition or a feature store that can't give what was asked."""


class TrainingError(RiskError):
    """Data, a search or a candidate that can't be trained, tracked or registered."""


class GovernanceError(TrainingError):
    """An approval, a signature or an audit row that the rules forbid or can't verify."""


class ServingError(RiskError):
    """A release, a request or a decision that scoring can't accept."""


class MonitoringError(RiskError):
    """A window, an outcome or a report that monitoring can't judge."""
