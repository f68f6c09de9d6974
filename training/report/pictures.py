"""What each figure shows, for those who read it and for those who can't see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """A figure in the page: address of its data, caption, and what it shows in words."""

    source: str
    caption: str
    alt: str


CAPTIONS: dict[str, tuple[str, str]] = {
    "ranking": (
        "ROC and precision-recall curve on the tested rows.",
        "Two curves: true against false positive rate, and precision against recall, each with the line of chance.",
    ),
    "gains": (
        "Cumulative gains on the tested rows.",
        "Share of the positives found against the share of events looked at, highest scores first, beside chance and a "
        "perfect model.",
    ),
    "reliability": (
        "Reliability in ten groups of equal size, with 95 % Wilson intervals.",
        "Observed rate against mean predicted probability in ten groups, beside the diagonal of perfect calibration.",
    ),
    "search": (
        "Every trial of the search by learner, on the tuning folds.",
        "Objective of each trial in order, with the best so far as a step line.",
    ),
    "pareto": (
        "Trials that no other trial beats in both objectives.",
        "Both objectives of every trial, with the front of those that none beats.",
    ),
    "stability": (
        "Performance and rates by month, with 95 % block bootstrap intervals.",
        "AUC by month on the left; observed and predicted rate by month on the right.",
    ),
    "importance": (
        "Mean size of the contributions of the leading features.",
        "Bars of the mean absolute contribution of the leading features, in log-odds.",
    ),
    "importance_refits": (
        "Importance of the leading features, and its spread over refits.",
        "Bars of the mean absolute contribution by feature, with one standard deviation over refits as a red line.",
    ),
    "shap_summary": (
        "SHAP summary: each dot is one row of the sample.",
        "For each leading feature the contributions of the sampled rows, coloured by the feature's value.",
    ),
    "dependence": (
        "Contribution by value of the leading features; the bars span the middle 80 % of the rows.",
        "Small panels, one a feature: mean contribution in each bin of its value, with 10 % and 90 % quantiles.",
    ),
    "profit": (
        "Worth of every threshold: chosen on development rows, valued on the test.",
        "Worth per 1,000 events against the share of events acted on, for development and test, with the chosen "
        "threshold and the policy marked.",
    ),
    "strategies": (
        "Worth of each way to decide, with 95 % block bootstrap intervals.",
        "Bars of the worth per 1,000 events of each strategy, with their intervals.",
    ),
    "card_precision": (
        "Card precision by the number of cards looked at in a day.",
        "Mean precision among the k riskiest cards of a day, with intervals.",
    ),
    "portfolio_loss": (
        "Distribution of the portfolio's loss: draws of the finite portfolio and closed form.",
        "Histogram of portfolio losses with expected loss and value at risk marked.",
    ),
    "tornado": (
        "What ten percent more or less of each driver changes.",
        "Bars to either side of the present figure, one a driver, widest first.",
    ),
    "stress": (
        "Expected and unexpected loss under each scenario.",
        "Bars by scenario, beside the present.",
    ),
    "vintages": (
        "Observed and predicted rates by origination cohort.",
        "Observed default rate of each cohort with its interval, beside the predicted one.",
    ),
    "fairness_selection": (
        "Adverse impact ratio of each group, with 95 % block bootstrap intervals.",
        "A dot and its interval for each group of each attribute, beside the lines of four fifths and of one.",
    ),
    "fairness_calibration": (
        "Observed less predicted rate of each group.",
        "A dot and its interval for each group of each attribute, beside the line of zero.",
    ),
    "fairness_proxies": (
        "The features that tell each protected attribute best.",
        "Bars of the features' shares in telling each attribute.",
    ),
    "fairness_alternatives": (
        "Alternatives by the objective they lose and the ratio they gain.",
        "A point for each alternative and one for the model as trained, beside the loss allowed.",
    ),
}


def pictures(figures: Mapping[str, str]) -> dict[str, Picture]:
    """Every figure of a folder with its words; one that isn't known is called by its name."""
    found = {}
    for name, source in figures.items():
        caption, alt = CAPTIONS.get(name, (f"{_spoken(name)}.", f"Figure: {_spoken(name)}."))
        found[name] = Picture(source, caption, alt)
    return found


def _spoken(name: str) -> str:
    return name.replace("_", " ").capitalize()
