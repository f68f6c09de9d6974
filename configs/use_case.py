"""What one use case says: the frozen model behind `configs/<use_case>.yaml`, which `configs.loading` reads."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from configs.durations import Duration, Window

AggregateFunction = Literal["count", "sum", "mean", "min", "max", "std", "distinct", "since_last"]
LearnerName = Literal["scorecard", "lightgbm", "xgboost"]
Objective = Literal["auc", "average_precision"]
Metric = Literal[
    "auc",
    "gini",
    "ks",
    "average_precision",
    "brier",
    "ece",
    "recall_at_1pct_fpr",
    "card_precision_at_100",
    "score_psi",
]
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
    """A raw table. Times without a zone are read as UTC."""

    path: str = Field(description="Parquet or CSV file, relative to RISK_DATA (or to the simulator's folder)")
    time: str | None = Field(None, description="column with the time the row speaks of")
    created: str | None = Field(None, description="column with the time the row became known; none: known at once")


class Column(Section):
    """The contract of one value: what it means and which values are possible."""

    type: Literal["number", "integer", "boolean", "category", "time"] = "number"
    column: str | None = Field(None, description="name in the table, if it differs")
    min: float | None = None
    max: float | None = None
    values: tuple[str, ...] = Field((), description="declared vocabulary of a category; empty: learned in training")
    missing: tuple[float | str, ...] = Field((), description="sentinel codes that mean 'unknown'")
    nullable: bool = True
    unit: str | None = None
    description: str | None = None
    feature: bool = Field(True, description="false: only an input of derived columns and aggregates")

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
        return self


class Event(Section):
    """The row that is scored."""

    table: str
    id: str = Field(description="column that identifies the event")
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
        wanting = [function for function in self.functions if function not in {"count", "since_last"}]
        if self.column is None and wanting:
            raise ValueError(f"{', '.join(wanting)} need a `column`; without one: count and since_last")
        return self


class View(Section):
    """Columns joined from another table, as known at the event's time and not older than `ttl`."""

    table: str
    entity: str
    ttl: Window
    required: bool = Field(True, description="false: a key without a row is normal (a thin file) and scored as missing")
    columns: dict[Name, Column] = Field(min_length=1)


class Period(Section):
    """Event times from `start` (included) to `end` (excluded)."""

    start: Moment
    end: Moment

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.end <= self.start:
            raise ValueError("end must be after start")
        return self


class TimeSplit(Section):
    """Train before test; rows whose outcome was not yet known when the test starts are left out of training."""

    by: Literal["time"] = "time"
    train: Period
    test: Period
    folds: int = Field(3, ge=1, description="rolling-origin folds inside the training period, for tuning")
    drop_known: str | None = Field(
        None, description="entity whose keys leave the test once a positive outcome of theirs is known"
    )

    @model_validator(mode="after")
    def _forward(self) -> TimeSplit:
        if self.test.start < self.train.end:
            raise ValueError("test must start after train ends")
        return self


class RandomSplit(Section):
    """Repeated stratified folds, for a table without a time. The report says that time was not tested."""

    by: Literal["random"]
    folds: int = Field(5, ge=2)
    repeats: int = Field(1, ge=1)


class Training(Section):
    """Candidates and the budget of the search."""

    learners: tuple[LearnerName, ...] = Field(("lightgbm", "xgboost", "scorecard"), min_length=1)
    objective: Objective = "auc"
    trials: int = Field(24, ge=1, description="trials of the search over all learners")
    seconds: int = Field(120, ge=1, description="wall-clock budget of the search")
    seed: int = 7
    exclude: tuple[str, ...] = Field((), description="features that are computed but not given to the learners")
    bags: int = Field(1, ge=1, description="boosters with different seeds averaged in the final model")


class Gates(Section):
    """Bars a candidate must pass before anyone may approve it."""

    minimum: dict[Metric, float] = Field({}, description="metric -> least value, on the out-of-time test")
    maximum: dict[Metric, float] = Field({}, description="metric -> greatest value, such as ece or score_psi")
    champion_margin: float = Field(0.005, ge=0, description="how much worse than the champion the objective may be")
    fairness_ratio: float = Field(
        0.0, ge=0, le=1, description="least ratio of selection rates between groups (four fifths: 0.8)"
    )


class Band(Section):
    """Probabilities below `below` get `decision`; the last band has no bound."""

    decision: Name
    below: float | None = Field(None, gt=0, lt=1)


class Rule(Section):
    """A condition over features, request fields and `probability` that overrides the bands with a decision."""

    name: Name
    when: str
    decision: Name
    code: str = Field(description="reason code from the catalogue")


class Points(Section):
    """Score points: `base` points at `odds` good to bad, `double` more points double the odds."""

    base: float = 600
    odds: float = Field(50, gt=0)
    double: float = Field(20, gt=0)


class Policy(Section):
    """From a calibrated probability to a decision."""

    bands: tuple[Band, ...] = Field(min_length=1)
    rules: tuple[Rule, ...] = ()
    fallback: Name = Field(description="decision when features are missing or stale, or the model can't score")
    points: Points = Points()
    reasons: str = Field(description="name of the reason catalogue in configs/reasons/")
    max_reasons: int = Field(4, ge=1, le=10)
    adverse: tuple[Name, ...] = Field(description="decisions that carry reasons against the applicant or payment")

    @model_validator(mode="after")
    def _bands_ascend(self) -> Policy:
        bounds = [band.below for band in self.bands[:-1]]
        if None in bounds or bounds != sorted(set(filter(None, bounds))) or self.bands[-1].below is not None:
            raise ValueError("bands need ascending `below` bounds, and the last band none")
        return self


class Monitoring(Section):
    """What is watched, how often, and what it takes to retrain."""

    window: Window = Field(default="7d", validate_default=True)
    psi: float = Field(0.1, gt=0, description="PSI below which a shift is never an alarm")
    alpha: float = Field(0.01, gt=0, lt=1, description="false-discovery rate over the columns of one window")
    min_rows: int = Field(200, ge=1, description="fewer decisions than this are reported, not judged")
    drop: float = Field(0.03, gt=0, description="loss of the objective against the test period that is an alarm")
    cooldown: Window = Field(default="7d", validate_default=True)


class Rehearsal(Section):
    """The live traffic of `make demo`: which events are sent over HTTP, and which drift their second half gets."""

    period: Period | None = Field(
        None, description="events of the event table to send; none: the simulator's live events"
    )
    requests: int = Field(1200, ge=100)
    drift: Drift


class UseCase(Section):
    """Everything the platform needs to know about one model's purpose. See `configs/credit.yaml` for an example."""

    name: Name
    title: str
    kind: Literal["credit", "fraud"]
    description: str
    owner: str
    simulator: Simulator | None = None
    tables: dict[Name, Table] = Field(min_length=1)
    entities: dict[Name, str] = Field(min_length=1, description="entity -> key column")
    event: Event
    label: Label
    request: dict[Name, Column] = Field(min_length=1, description="fields the caller sends")
    derived: dict[Name, Derived] = {}
    aggregates: tuple[Aggregate, ...] = ()
    views: dict[Name, View] = {}
    protected: dict[Name, Column] = Field(
        {}, description="attributes of the event table tested for fairness, never features"
    )
    monotone: dict[str, Literal["increasing", "decreasing"]] = {}
    split: TimeSplit | RandomSplit = Field(discriminator="by")
    training: Training = Training()
    gates: Gates = Gates()
    policy: Policy
    monitoring: Monitoring = Field(default_factory=lambda: Monitoring.model_validate({}))
    rehearsal: Rehearsal

    @property
    def event_table(self) -> Table:
        """The table whose rows are scored."""
        return self.tables[self.event.table]

    def key(self, entity: str) -> str:
        """Key column of an entity."""
        return self.entities[entity]

    def as_json(self) -> dict[str, Any]:
        """The resolved use case as plain data, for releases, hashes and `risk config show`."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
