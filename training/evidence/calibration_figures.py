"""Everything that is reported on the truth of a model's probabilities, in one entry of the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.evidence import metrics
from training.evidence.grades import grades, in_order
from training.evidence.reliability import brier_parts, each_row_once, recalibration, reliability, spiegelhalter

if TYPE_CHECKING:
    from training.evidence.tested import Tested


def calibration_evidence(tested: Tested) -> dict[str, Any]:
    """Figures on tested rows: plain data, None where undefined. Tests take rows as independent.

    - rows, positives, mean_probability, observed_rate, ece.
    - brier: see `brier_parts`. reliability: see `reliability`.
    - slope, intercept: {value, low, high}, see `recalibration`. spiegelhalter: {z, p_value}.
    - grades (credit with `credit_risk`, else None): see `training.evidence.grades.grades`; grades_in_order: whether
      observed rates ascend with the grades that have rows.
    """
    y, p = each_row_once(tested)
    declared = tested.use_case.credit_risk
    graded = grades(tested, declared.grades) if declared else None
    slope, intercept = recalibration(y, p)
    return {
        "rows": len(y),
        "positives": int(y.sum()),
        "mean_probability": float(p.mean()) if len(p) else None,
        "observed_rate": float(y.mean()) if len(y) else None,
        "ece": metrics.ece(y, p) if len(y) else None,
        "brier": brier_parts(y, p),
        "reliability": reliability(y, p) if len(y) else [],
        "slope": slope,
        "intercept": intercept,
        "spiegelhalter": spiegelhalter(y, p),
        "grades": graded,
        "grades_in_order": None if graded is None else in_order(graded),
    }
