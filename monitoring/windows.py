"""A window of decisions by event time, joined with the outcomes that were known at one moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from configs.errors import MonitoringError
from configs.use_case import UseCase
from features.intake.privacy import Tokenizer
from features.request import utc

if TYPE_CHECKING:
    import pandas as pd

_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
"""Windows lie between: what lies before or after is a slip of the pen."""


class DecisionFrame(Protocol):
    """What the decision log gives for a span of event times; the three parts have one row (or entry) a decision."""

    @property
    def decisions(self) -> pd.DataFrame:
        """Ids, times, release, probability, decision, fallback and label."""
        ...

    @property
    def features(self) -> pd.DataFrame:
        """The feature vector that was scored."""
        ...

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The request as it came, in wire form."""
        ...


class Log(Protocol):
    """The part of the decision log that monitoring reads."""

    def frame(self, use_case: str, start: datetime, end: datetime, *, as_known: datetime) -> DecisionFrame:
        """Decisions with `start` <= event time < `end`, their labels as known at `as_known` (NaN: unknown)."""
        ...


@dataclass(frozen=True)
class Span:
    """Event times from `start` (included) to `end` (excluded), looked at as known at `as_of`. All UTC."""

    start: datetime
    end: datetime
    as_of: datetime

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise MonitoringError(
                f"a window from {self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M}",
                expected="an end after the start",
                fix="give --start before --end, both in UTC",
            )
        if not (self.start >= _EARLIEST and self.as_of <= _LATEST):
            raise MonitoringError(
                f"a window from {self.start:%Y-%m-%d} looked at as of {self.as_of:%Y-%m-%d}",
                expected=f"times from {_EARLIEST:%Y} to {_LATEST:%Y}",
                fix="correct --start, --end and --as-of",
            )
        if self.as_of < self.end:
            raise MonitoringError(
                f"a window that ends {self.end:%Y-%m-%d %H:%M} looked at as of {self.as_of:%Y-%m-%d %H:%M}",
                expected="a time at or after the window's end",
                fix="leave out --as-of or give a later one",
            )

    def matured(self, maturity: timedelta) -> Span:
        """The span of the same length whose outcomes are mature at `as_of`: this one if it is, else the newest that is.

        Performance is judged there. Outcomes of younger events are known for some only (frauds are reported before
        genuine payments count as genuine), so their rate and every metric on them would be biased.
        """
        end = min(self.end, self.as_of - maturity)
        return Span(end - (self.end - self.start), end, self.as_of)


def span(
    use_case: UseCase,
    *,
    newest: datetime | None,
    start: datetime | None = None,
    end: datetime | None = None,
    as_of: datetime | None = None,
) -> Span:
    """The window asked for, with the use case's own length where no start is given.

    Without an end it ends at `as_of`, or just after the `newest` decision, so that replayed and simulated times work as
    live ones do. Looking back (`as_of`) defaults to the window's end.
    """
    until = end or as_of or (newest + timedelta(microseconds=1) if newest else None)
    if until is None:
        raise MonitoringError(
            f"no decision of {use_case.name} in the log",
            expected="decisions to monitor, or a window given by --start and --end",
            fix=f"send traffic: risk serve, then risk decide {use_case.name} --file request.json",
        )
    return Span(utc(start) if start else utc(until) - use_case.monitoring.window, utc(until), utc(as_of or until))


@dataclass(frozen=True)
class Window:
    """The decisions of a span. `decisions`, `features` and `requests` are aligned, sorted by (event time, decision id).

    `decisions` has the columns of `DecisionLog.frame`; an event decided under two keys has two rows.
    """

    span: Span
    decisions: pd.DataFrame
    features: pd.DataFrame
    requests: list[dict[str, Any]]

    @property
    def rows(self) -> int:
        """Decisions in the window."""
        return len(self.decisions)

    @property
    def fallbacks(self) -> int:
        """Decisions that the policy's default made because the model could not."""
        return int(self.decisions["fallback"].notna().sum())

    def with_outcome(self) -> Window:
        """The newest decision of each event whose outcome is known."""
        kept = self.decisions["label"].notna() & ~self.decisions["event_id"].duplicated(keep="last")
        return self._rows(kept)

    def scored_by(self, version: int) -> Window:
        """The decisions that one release made by its model, fallbacks left out."""
        return self._rows((self.decisions["release_version"] == version) & self.decisions["fallback"].isna())

    def upgraded(self, tokenizer: Tokenizer | None) -> Window:
        """The same with the tokens of today: the log keeps those of its day."""
        if tokenizer is None:
            return self
        requests = [tokenizer.upgraded_body(request) for request in self.requests]
        return replace(self, features=upgraded_table(self.features, tokenizer), requests=requests)

    def _rows(self, kept: pd.Series[bool]) -> Window:
        requests = [request for request, keep in zip(self.requests, kept, strict=True) if keep]
        return Window(
            self.span,
            self.decisions[kept].reset_index(drop=True),
            self.features[kept].reset_index(drop=True),
            requests,
        )


def upgraded_table(table: pd.DataFrame, tokenizer: Tokenizer | None) -> pd.DataFrame:
    """A table with every token in its columns of text upgraded."""
    if tokenizer is None:
        return table
    change = tokenizer.upgrade_text
    texts = table.select_dtypes(["object", "string"])
    return table.assign(
        **{str(name): texts[name].map(lambda each: change(each) if isinstance(each, str) else each) for name in texts}
    )


def read_window(log: Log, use_case: UseCase, part: Span) -> Window:
    """The span's decisions with outcomes as known at its `as_of`, in a fixed order."""
    frame = log.frame(use_case.name, part.start, part.end, as_known=part.as_of)
    decisions = frame.decisions.reset_index(drop=True)
    order = decisions.sort_values(["event_time", "decided_at", "decision_id"], kind="stable").index
    return Window(
        part,
        decisions.loc[order].reset_index(drop=True),
        frame.features.reset_index(drop=True).loc[order].reset_index(drop=True),
        [frame.requests[position] for position in order],
    )
