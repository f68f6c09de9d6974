"""What one use case says: the frozen model behind `configs/<use_case>.yaml`, which `configs.loading` reads."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from configs.durations import Window
from configs.inputs import (
    Aggregate,
    Column,
    Derived,
    Drift,
    Event,
    Label,
    Moment,
    Name,
    Section,
    Simulator,
    Table,
    View,
)
from configs.validation import CreditMoney, CreditRisk, Fairness, FraudMoney, Leaks, Rejects

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
    group: str | None = Field(None, description="entity whose events never stand on both sides of a tuning fold")

    @model_validator(mode="after")
    def _forward(self) -> TimeSplit:
        if self.test.start < self.train.end:
            raise ValueError("test must start after train ends")
        return self


class RandomSplit(Section):
    """Repeated stratified folds, for a table without a time. The report says that time was not tested."""

    by: Literal["random"]
    folds: int = Field(5, ge=2)
    repeats: int = Field(3, ge=1)
    group: str | None = Field(None, description="entity whose events never stand on both sides of a fold")


class Training(Section):
    """Candidates and the budget of the search."""

    learners: tuple[LearnerName, ...] = Field(("lightgbm", "xgboost", "scorecard"), min_length=1)
    objective: Objective = "auc"
    trials: int = Field(24, ge=1, description="trials of the search over all learners")
    seconds: int = Field(120, ge=1, description="wall-clock budget of the search")
    seed: int = 7
    exclude: tuple[str, ...] = Field((), description="features that are computed but not given to the learners")
    bags: int = Field(1, ge=1, description="boosters with different seeds averaged in the final model")
    weight: str | None = Field(None, description="feature that weighs the rows, such as an amount; none: all alike")
    imbalance: Literal["none", "weighted"] = Field(
        "none", description="weighted: positives weigh as much as negatives; the base rate is put back afterwards"
    )
    calibration: Literal["auto", "platt", "beta", "isotonic"] = Field(
        "auto", description="auto: chosen by cross-validation on out-of-fold scores"
    )
    against: Literal["fairness", "features"] | None = Field(
        None, description="second objective of the search: selection-rate ratio, or as few features as possible"
    )


class Gates(Section):
    """Bars a candidate must pass before anyone may approve it. What can't be measured does not pass."""

    minimum: dict[Metric, float] = Field({}, description="metric -> least value, on the out-of-time test")
    minimum_of: Literal["value", "low"] = Field(
        "value", description="low: the lower end of the 95 % interval must reach `minimum`, not only the value"
    )
    maximum: dict[Metric, float] = Field(
        {}, description="metric -> greatest value; without a word ece 0.1 and score_psi 0.25"
    )
    calibration_alpha: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="level of Spiegelhalter's test of calibration; 0: none, since on many rows it rejects what no "
        "decision would notice",
    )
    champion_margin: float = Field(
        0.01,
        ge=0,
        description="how much worse than the champion the objective may be: one-sided 95 % bound of the difference",
    )
    month_psi: float = Field(0.25, gt=0, description="greatest PSI of the score in a month of the test")
    month_rows: int = Field(100, ge=1, description="rows that a month needs to be judged: fewer shift by chance")
    fairness_ratio: float = Field(
        0.0, ge=0, le=1, description="least ratio of selection rates between groups (four fifths: 0.8); 0: not asked"
    )
    explanation_rank: float = Field(
        0.5, ge=-1, le=1, description="least rank correlation of feature importance between refits"
    )
    explanation_overlap: float = Field(
        0.5, ge=0, le=1, description="least share of the ten first features that refits have in common"
    )
    latency_ms: float = Field(50.0, gt=0, description="greatest p99 of scoring one row with its contributions")


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
    entities: dict[Name, str] = Field({}, description="entity -> key column; none: no joins and no aggregates")
    personal: dict[str, Literal["token", "mask"]] = Field(
        {}, description="columns with personal data, in every table and request: a token keeps joins, a mask nothing"
    )
    event: Event
    label: Label
    request: dict[Name, Column] = Field(min_length=1, description="fields the caller sends")
    derived: dict[Name, Derived] = Field({})
    aggregates: tuple[Aggregate, ...] = ()
    views: dict[Name, View] = Field({})
    protected: dict[Name, Column] = Field(
        {}, description="attributes of the event table tested for fairness, never features"
    )
    outcomes: dict[Name, Column] = Field(
        {}, description="columns of the event table with what became of an event, such as its loss: never features"
    )
    monotone: dict[str, Literal["increasing", "decreasing"]] = Field({})
    split: TimeSplit | RandomSplit = Field(discriminator="by")
    training: Training = Training()
    leaks: Leaks = Leaks()
    money: CreditMoney | FraudMoney | None = Field(None, discriminator="of")
    credit_risk: CreditRisk | None = Field(None, description="credit only: LGD, EAD, grades and scenarios")
    rejects: Rejects | None = Field(None, description="credit only: try reject inference")
    fairness: Fairness = Fairness()
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
