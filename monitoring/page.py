"""The page of one monitored window: alarms, performance and drift with its distributions, in one HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from configs.use_case import Monitoring
from monitoring.alarms import Alarm
from monitoring.drift import ColumnDrift
from monitoring.performance import Comparison, Performance
from monitoring.triggers import RetrainVerdict

_TALLEST = 34
"""Height in pixels of the fullest bin."""


def drift_page(
    *,
    title: str,
    subtitle: str,
    facts: Sequence[tuple[str, str]],
    alarms: Sequence[Alarm],
    verdict: RetrainVerdict,
    performance: Performance,
    drifts: Sequence[ColumnDrift],
    rules: Monitoring,
    evidently: str | None,
    notes: Sequence[str],
) -> str:
    """The page as self-contained HTML: no script, nothing loaded from elsewhere. All text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters.update(
        figure=figure, change=change, chance=chance, share=share, interval=interval, height=height
    )
    return environment.get_template("drift.html").render(
        title=title,
        subtitle=subtitle,
        facts=facts,
        alarms=alarms,
        verdict=verdict,
        performance=performance,
        drifts=drifts,
        rules=rules,
        moved={alarm.subject for alarm in alarms if alarm.severity != "info"},
        evidently=evidently,
        notes=notes,
    )


def figure(value: float | None) -> str:
    """A statistic with three significant digits; `-` where it is undefined.

    >>> figure(0.41234), figure(0.0000123), figure(float("nan"))
    ('0.412', '1.2e-05', '-')
    """
    if value is None or not math.isfinite(value):
        return "-"
    if value and abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:.3f}"


def change(value: float) -> str:
    """A difference with its sign; `-` where it is undefined.

    >>> change(0.0081), change(-0.04), change(float("nan"))
    ('+0.008', '-0.040', '-')
    """
    return f"{value:+.3f}" if math.isfinite(value) else "-"


def chance(p: float) -> str:
    """A p-value; one below a thousandth says no more than that.

    >>> chance(0.0412), chance(3.9e-40), chance(float("nan"))
    ('0.041', '< 0.001', '-')
    """
    return "< 0.001" if p < 0.001 else figure(p)


def share(value: float | None) -> str:
    """A share in percent; `-` where it is undefined."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.1%}"


def interval(metric: Comparison) -> str:
    """The 95 % interval of a metric; `-` where there is none."""
    return f"{figure(metric.low)} to {figure(metric.high)}" if math.isfinite(metric.low) else "-"


def height(drift: ColumnDrift, position: int, side: str) -> float:
    """Height of a bin's bar in pixels, on a scale that both sides of the column share."""
    tallest = max([each for each in (*drift.reference, *drift.current) if math.isfinite(each)], default=1.0)
    value = float(getattr(drift, side)[position])
    return round(_TALLEST * value / tallest, 1) if math.isfinite(value) and tallest else 0.0
