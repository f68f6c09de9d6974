"""What goes into a use case: simulator, tables, columns, events, labels, and the features made of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from configs.durations import Duration, Window

AggregateFunction = Literal[
    "count", "sum", "mean", "min", "max", "std", "distinct", "since_last", "share", "ratio", "deviation", "first_seen"
]
_OF_EVENTS = frozenset({"count", "since_last", "share", "first_seen"})
"""Functions that need no column."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _naive_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


Moment = Annotated[datetime, AfterValidator(_naive_utc)]
"""A time in UTC; one with an offset is converted, so that all of a use case can be compared."""


class Section(BaseModel):
    """A part of the file: frozen; a key that isn't declared, or a number that isn't finite, is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Drift(Section):
    """A dated change that a simulator or a rehearsal puts into the events from `start` on (until `end`, if given).

    feature_shift: `column` x `factor` + `offset`. concept_shift: the label's log-odds move by `offset` where `column`
    is high. broken_feed: `column` is missing in a `share` of the rows. new_category: a `share` of the rows gets `value`
    in `column`.
    """

    kind: Literal["feature_shift", "concept_shift", "broken_feed", "new_category"]
    column: str
    start: Moment | None = Field(None, description="first event time that is changed; none: the whole period")
    end: Moment | None = None
    factor: float = 1.0
    offset: float = 0.0
    share: float = Field(1.0, gt=0, le=1)
    value: str | None = None


class Simulator(Section):
    """A world with a known truth, instead of real tables."""

    world: Literal["credit", "fraud"]
    seed: int = 1
    rows: int = Field(gt=0, description="events of the history: applications or transactions")
    start: date
    months: int = Field(gt=0)
    live_rows: int = Field(0, ge=0, description="events after the history, kept apart as live traffic")
    drifts: tuple[Drift, ...] = Field((), description="dated drifts in history or live traffic")


class Table(Section):
    """A raw table: files under RISK_DATA (or the simulator's folder), or rows of a database.

    Times without a zone are read as UTC. A row that breaks its contract is rejected; with more than a share of
    `rejects` the whole load fails.
    """

    path: str | None = Field(None, description="Parquet or CSV file, or a folder of partitioned Parquet files")
    url: str | None = Field(
        None, description="SQLAlchemy address of a database; ${NAME} stands for an environment variable"
    )
    query: str | None = Field(None, description="the table's name in the database, or a SELECT")
    time: str | None = Field(None, description="column with the time the row speaks of")
    created: str | None = Field(None, description="column with the time the row became known; none: known at once")
    rejects: float = Field(0.01, ge=0, le=1, description="share of rejected rows above which a load fails whole")
    late: Window = Field(
        default="7d", validate_default=True, description="how late a row may come and still be loaded online"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Table:
        if (self.path is None) == (self.url is None):
            raise ValueError("either `path` or `url`")
        if (self.url is None) != (self.query is None):
            raise ValueError("`url` and `query` together")
        return self

    @property
    def label(self) -> str:
        """What messages call the table: its file, or its name in the database."""
        return self.path or str(self.query)


_SHAPING = {"type", "column", "min", "max", "values", "missing", "other", "nullable"}


class Column(Section):
    """The contract of one value: what it means and which values are possible."""

    type: Literal["number", "integer", "boolean", "category", "time"] = "number"
    column: str | None = Field(None, description="name in the table, if it differs")
    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] = Field((), description="declared vocabulary of a category; empty: learned in training")
    missing: tuple[float | str, ...] = Field((), description="sentinel codes that mean 'unknown'")
    other: str | None = Field(
        None, description="value of the vocabulary that an undocumented code becomes; none: such a row is refused"
    )
    nullable: bool = True
    unit: str | None = None
    description: str | None = None
    feature: bool = Field(True, description="false: only an input of derived columns and aggregates")

    @property
    def shaping(self) -> dict[str, Any]:
        """What decides which values are accepted and what they become, as plain data."""
        return self.model_dump(mode="json", include=_SHAPING)

    @property
    def is_feature(self) -> bool:
        """Times are never features themselves: derive an age from them."""
        return self.feature and self.type != "time"

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError("`min` at most `max`")
        if self.type == "category" and not all(isinstance(code, str) for code in self.missing):
            raise ValueError("the `missing` codes of a category as texts, the way callers send them: '0' instead of 0")
        if self.other is not None and self.other not in self.values:
            raise ValueError("`other` among the `values`")
        return self


class Event(Section):
    """The row that is scored."""

    table: str
    id: str | None = Field(None, description="column that identifies the event; none: the row's number in the table")
    time: str | None = Field(None, description="column with the event time; none: the table has no time")


class Label(Section):
    """What is predicted. A row without a label (a reject, an open case) is never trained on."""

    column: str
    positive: int | str | bool = 1
    maturity: Duration = Field(description="how long after the event an outcome counts as known")
    known: str | None = Field(None, description="column with the time the outcome became known, where it is recorded")
    reason: str | None = Field(None, description="why the maturity is what it is; it stays with every release")


class Derived(Section):
    """A column computed from request fields, aggregates and views by a SQL expression."""

    sql: str
    type: Literal["number", "category"] = "number"
    values: tuple[str, ...] = ()
    description: str | None = None


class Aggregate(Section):
    """Windowed aggregates of one column over one entity (or a pair): a feature for each function and window.

    A window d at time t covers (t - delay - d, t - delay]; with `current: false` it ends before t - delay.
    """

    entity: str | tuple[str, ...]
    functions: tuple[AggregateFunction, ...] = Field(min_length=1)
    windows: tuple[Window, ...] = Field(min_length=1)
    column: str | None = Field(None, description="what is aggregated; none: only count and since_last")
    table: str | None = Field(None, description="the table of the events; none: the event table")
    name: Name | None = Field(None, description="stem of the feature names; none: the entity and the column")
    where: str | None = Field(
        None, description="condition: over the table's columns; for the event table over request fields and entities"
    )
    delay: Duration = Field(default="0s", validate_default=True)
    enters: Literal["event", "outcome"] = Field(
        "event", description="when an event enters a window: at its own time, or once its outcome is known"
    )
    current: bool = Field(True, description="whether the event itself is in its own window")
    decimals: int = Field(2, ge=0, le=6, description="decimals kept in exact sums")

    @property
    def entities(self) -> tuple[str, ...]:
        """The entity, or the pair, whose events are aggregated."""
        return (self.entity,) if isinstance(self.entity, str) else self.entity

    @property
    def stem(self) -> str:
        """Start of the feature names, such as `customer_amount`."""
        return self.name or "_".join([*self.entities, *([self.column] if self.column else [])])

    @model_validator(mode="after")
    def _column_where_needed(self) -> Aggregate:
        wanting = [function for function in self.functions if function not in _OF_EVENTS]
        if self.column is None and wanting:
            raise ValueError(f"{', '.join(wanting)} need a `column`; without one: {', '.join(sorted(_OF_EVENTS))}")
        if "share" in self.functions and self.where is None:
            raise ValueError("share needs a `where`: it is the part of the events that meet it")
        return self


class View(Section):
    """Columns joined from another table, as known at the event's time and not older than `ttl`."""

    table: str
    entity: str
    ttl: Window
    required: bool = Field(True, description="false: a key without a row is normal (a thin file) and scored as missing")
    columns: dict[Name, Column] = Field(min_length=1)
