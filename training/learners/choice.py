"""Which learner a name stands for. Apart from the protocol, so that learners can import that without a cycle."""

from __future__ import annotations

from configs.errors import TrainingError
from training.learners.protocol import Learner


def learner(name: str) -> Learner:
    """The learner of a use case's `training.learners`; its library is imported when it first fits or loads."""
    if name == "scorecard":
        from training.learners.scorecard import ScorecardLearner

        return ScorecardLearner()
    if name in {"lightgbm", "xgboost"}:
        from training.learners.boosting import LightGBMLearner, XGBoostLearner

        return LightGBMLearner() if name == "lightgbm" else XGBoostLearner()
    raise TrainingError(
        f"no learner {name!r}", expected="lightgbm, xgboost or scorecard", fix="correct `training.learners`"
    )
