"""What a use case says about validating a model: leaks that are none, money, credit risk, rejects and fairness."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from configs.inputs import Name, Section

RejectMethod = Literal["fuzzy", "parcelling", "reweighting"]

DUPLICATES = "duplicates"
"""What the leak guard calls rows that stand on both sides of the split, in the place of a column."""


class Leaks(Section):
    """Findings of the leak guard that a person overrules, each with the reason that the report shows."""

    accept: dict[str, str] = Field({}, description="feature, request field or `duplicates` -> why it is no leak")

    @model_validator(mode="after")
    def _reasons(self) -> Leaks:
        if wanting := [name for name, reason in self.accept.items() if not reason.strip()]:
            raise ValueError(f"a reason for {', '.join(wanting)}")
        return self


class CreditMoney(Section):
    """What loans earn and lose: a good one earns `margin` of its amount, a bad one loses lgd x ead of it."""

    of: Literal["credit"]
    currency: str = "EUR"
    amount: str = Field(description="feature with the amount of the loan")
    margin: float = Field(gt=0, description="earned on a good loan over its life, as a share of its amount")
    cost: float = Field(0.0, ge=0, description="cost of making one loan, good or bad")
    review: float = Field(0.0, ge=0, description="cost of a person's look at one referred application")


class FraudMoney(Section):
    """What payments lose and reviews cost: a fraud that passes loses its amount, each alert costs a review."""

    of: Literal["fraud"]
    currency: str = "EUR"
    amount: str = Field(description="feature with the amount of the payment")
    recovered: float = Field(1.0, gt=0, le=1, description="share of a fraud's amount that stopping the payment saves")
    review: float = Field(gt=0, description="cost of one review")
    friction: float = Field(0.0, ge=0, description="share of a genuine payment's amount that a stopped payment costs")
    alerts: int = Field(100, ge=1, description="alerts that can be reviewed in a day")
    reviewed: tuple[Name, ...] = Field(
        (), description="decisions of the policy that cost a review, the others stop without one; none: all that stop"
    )


class Realised(Section):
    """A severity that is modelled, from what was realised on bad loans: columns of `outcomes`.

    Either `outcome`, the realised share itself in [0, 1], or the sums it is made of: the exposure is amount - repaid,
    EAD is the exposure over the amount, LGD is 1 - (recovered - fees) / exposure (undiscounted).
    """

    outcome: str | None = Field(None, description="the realised share")
    amount: str | None = Field(None, description="amount lent; none: the feature that `money.amount` names")
    repaid: str | None = Field(None, description="principal repaid before default")
    recovered: str | None = Field(None, description="recovered after default; LGD only")
    fees: str | None = Field(None, description="what collecting that cost; LGD only")

    @model_validator(mode="after")
    def _whole(self) -> Realised:
        sums = [name for name in ("amount", "repaid", "recovered", "fees") if getattr(self, name) is not None]
        if (self.outcome is None) == (not sums) or (sums and self.repaid is None):
            raise ValueError("either `outcome`, or `repaid` with the other sums")
        if self.fees and not self.recovered:
            raise ValueError("`recovered` with `fees`")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The outcomes it reads."""
        return tuple(filter(None, (self.outcome, self.amount, self.repaid, self.recovered, self.fees)))


def _severity_kind(value: Any) -> str:
    return "realised" if isinstance(value, (dict, Realised)) else "constant"


Severity = Annotated[
    Annotated[float, Tag("constant")] | Annotated[Realised, Tag("realised")], Discriminator(_severity_kind)
]
"""A constant share, or one that is modelled from what was realised."""


class CreditRisk(Section):
    """Expected loss = PD x LGD x EAD, and the distribution of the portfolio's loss."""

    lgd: Severity = Field(0.45, description="share of the exposure lost at default: a constant, or a model")
    ead: Severity = Field(1.0, description="share of the amount owed at default: a constant, or a model")
    correlation: float | None = Field(
        None, gt=0, lt=1, description="asset correlation of the single factor; none: the Basel retail formula of PD"
    )
    confidence: float = Field(0.999, gt=0.5, lt=1, description="quantile of the portfolio's loss")
    draws: int = Field(10_000, ge=1000, description="draws of the finite portfolio's loss")
    grades: tuple[float, ...] = Field(
        (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32), description="ascending upper bounds of PD; the last grade has none"
    )
    scenarios: Name | None = Field(None, description="file in configs/scenarios/ with macro scenarios")

    @model_validator(mode="after")
    def _in_range(self) -> CreditRisk:
        for name in ("lgd", "ead"):
            value = getattr(self, name)
            if isinstance(value, float) and not 0 <= value <= 1:
                raise ValueError(f"`{name}` from 0 to 1")
        if isinstance(self.lgd, Realised) and not (self.lgd.outcome or self.lgd.recovered):
            raise ValueError("`lgd` with `outcome`, or with `repaid` and `recovered`")
        if isinstance(self.ead, Realised) and self.ead.recovered:
            raise ValueError("`ead` without `recovered`: recoveries come after default")
        if list(self.grades) != sorted(set(self.grades)) or not all(0 < bound < 1 for bound in self.grades):
            raise ValueError("`grades` as ascending bounds between 0 and 1")
        return self


class Rejects(Section):
    """How rows of the training period without an outcome (rejected by an older policy) may help; off unless they do."""

    methods: tuple[RejectMethod, ...] = Field(("fuzzy", "parcelling", "reweighting"), min_length=1)
    gain: float = Field(
        0.001, ge=0, description="gain of the objective on hidden outcomes above which a method is used"
    )
    uplift: float = Field(
        1.5, ge=1, le=10, description="parcelling: how much likelier a reject is bad than an accepted row of its score"
    )


class Fairness(Section):
    """What is reported and searched for the protected attributes."""

    least: int = Field(30, ge=2, description="rows that a group needs to be compared")
    loss: float = Field(
        0.005, ge=0, description="loss of the objective that a less discriminatory alternative may cost"
    )
    below: float = Field(
        0.9, ge=0, le=1, description="ratio of selection rates on validation rows below which alternatives are searched"
    )
    alternatives: int = Field(6, ge=0, description="models fitted in that search for one attribute at most; 0: none")
