"""The points table of a scorecard on the scale of its decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from training.evidence.calibration import Platt
from training.learners.scorecard import FittedScorecard

if TYPE_CHECKING:
    from configs.use_case import Points
    from training.model import Model


def points_evidence(model: Model, scale: Points) -> dict[str, Any] | None:
    """The table that people score by, None for another learner than a scorecard.

    table: see `FittedScorecard.points`. of: `probability` where the table's exact points add up to the points of the
    calibrated probability, which the decision returns rounded; that needs Platt scaling, since a curved calibration is
    no sum over features. Otherwise `margin`: points of the log-odds before calibration. rounding_error: the furthest
    that a sum of the table's whole points can be from the exact sum. information_values: IV by feature.
    """
    fitted = model.boosters[0]
    if not isinstance(fitted, FittedScorecard):
        return None
    linear = model.calibration if isinstance(model.calibration, Platt) else None
    slope, intercept = (linear.slope, linear.intercept) if linear else (1.0, 0.0)
    scaling = {"slope": slope, "intercept": intercept - slope * model.offset}
    return {
        "table": fitted.points(scale, **scaling),
        "of": "probability" if linear else "margin",
        "rounding_error": fitted.rounding_error(scale, **scaling),
        "information_values": fitted.information_values(),
    }
