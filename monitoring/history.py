"""What monitoring found and did: runs, their alarms and automatic trainings, in the database `monitoring`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from configs.errors import MonitoringError
from configs.settings import Settings
from monitoring.alarms import Alarm
from monitoring.triggers import RetrainVerdict
from monitoring.windows import Span
from serving.tables import UtcTime

_METADATA = sa.MetaData()


_RUNS = sa.Table(
    "monitoring_runs",
    _METADATA,
    sa.Column("use_case", sa.String, primary_key=True),
    sa.Column("window_start", UtcTime, primary_key=True),
    sa.Column("window_end", UtcTime, primary_key=True),
    sa.Column("as_of", UtcTime, nullable=False),
    sa.Column("release_version", sa.Integer, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("retrain", sa.Boolean, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("report", sa.String),
    sa.Column("recorded_at", UtcTime, nullable=False),
)
_ALARMS = sa.Table(
    "monitoring_alarms",
    _METADATA,
    sa.Column("use_case", sa.String, primary_key=True),
    sa.Column("window_start", UtcTime, primary_key=True),
    sa.Column("window_end", UtcTime, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("severity", sa.String, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("threshold", sa.Float, nullable=False),
)
_TRAININGS = sa.Table(
    "monitoring_trainings",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("use_case", sa.String, nullable=False, index=True),
    sa.Column("as_of", UtcTime, nullable=False),
    sa.Column("requested_by", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("finished_at", UtcTime, nullable=False),
)


@dataclass(frozen=True)
class Run:
    """One monitored window as it is kept. `evidence` is JSON: drift, performance and the mix of decisions."""

    use_case: str
    span: Span
    release_version: int
    rows: int
    alarms: tuple[Alarm, ...]
    verdict: RetrainVerdict
    evidence: dict[str, Any]
    report: str | None = None


class History:
    """Runs and trainings of all use cases. A window that is monitored again replaces its earlier run.

    Raises `MonitoringError` when the database can't be opened.
    """

    def __init__(self, settings: Settings) -> None:
        self._engine = sa.create_engine(settings.database("monitoring"), hide_parameters=True)
        try:
            _METADATA.create_all(self._engine)
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise MonitoringError(
                f"the monitoring database can't be opened ({type(getattr(error, 'orig', None) or error).__name__})",
                expected="a writable, reachable database",
                fix="check RISK_HOME, or RISK_DATABASE_URL where it is set",
            ) from None

    def record(self, run: Run) -> None:
        """Keep a run and its alarms in one transaction, in place of an earlier run of the same window."""
        key = {"use_case": run.use_case, "window_start": run.span.start, "window_end": run.span.end}
        row = {
            **key,
            "as_of": run.span.as_of,
            "release_version": run.release_version,
            "rows": run.rows,
            "retrain": run.verdict.retrain,
            "reasons": list(run.verdict.reasons),
            "evidence": plain(run.evidence),
            "report": run.report,
            "recorded_at": datetime.now(UTC),
        }
        alarms = [{**key, "position": position, **asdict(alarm)} for position, alarm in enumerate(run.alarms)]
        with self._engine.begin() as connection:
            for table in (_ALARMS, _RUNS):
                connection.execute(sa.delete(table).where(*(table.c[name] == value for name, value in key.items())))
            connection.execute(sa.insert(_RUNS), [row])
            if alarms:
                connection.execute(sa.insert(_ALARMS), alarms)

    def runs(self, use_case: str | None = None, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest runs, newest window first."""
        query = (
            sa.select(_RUNS)
            .order_by(_RUNS.c.window_end.desc(), _RUNS.c.window_start.desc(), _RUNS.c.use_case)
            .limit(limit)
        )
        return self._rows(query if use_case is None else query.where(_RUNS.c.use_case == use_case))

    def alarms(self, use_case: str | None = None, *, limit: int = 1000) -> list[dict[str, Any]]:
        """The newest alarms, newest window first, the severest of a window first."""
        order = (_ALARMS.c.window_end.desc(), _ALARMS.c.window_start.desc(), _ALARMS.c.use_case, _ALARMS.c.position)
        query = sa.select(_ALARMS).order_by(*order).limit(limit)
        return self._rows(query if use_case is None else query.where(_ALARMS.c.use_case == use_case))

    def alarms_before(
        self, use_case: str, moment: datetime, *, windows: int, release_version: int
    ) -> list[list[Alarm]]:
        """Alarms of the last `windows` windows that one release was judged on, newest first.

        The newest ends at or before `moment`, each other one at or before the start of the one after it: overlapping
        windows share decisions, so they count once.
        """
        found: list[list[Alarm]] = []
        while len(found) < windows and (run := self._run_before(use_case, moment, release_version)):
            same = (
                _ALARMS.c.use_case == use_case,
                _ALARMS.c.window_start == run["window_start"],
                _ALARMS.c.window_end == run["window_end"],
            )
            rows = self._rows(sa.select(_ALARMS).where(*same).order_by(_ALARMS.c.position))
            found.append([Alarm(**{name: row[name] for name in Alarm.__dataclass_fields__}) for row in rows])
            moment = run["window_start"]
        return found

    def _run_before(self, use_case: str, moment: datetime, release_version: int) -> dict[str, Any] | None:
        runs = _RUNS.c
        query = sa.select(runs.window_start, runs.window_end).where(
            runs.use_case == use_case, runs.window_end <= moment, runs.release_version == release_version
        )
        return next(iter(self._rows(query.order_by(runs.window_end.desc(), runs.window_start.desc()).limit(1))), None)

    def record_training(self, use_case: str, *, as_of: datetime, requested_by: str, reason: str, version: int) -> None:
        """Keep that training was started by monitoring and which version came of it."""
        row = {"use_case": use_case, "as_of": as_of, "requested_by": requested_by, "reason": reason, "version": version}
        with self._engine.begin() as connection:
            connection.execute(sa.insert(_TRAININGS), [{**row, "finished_at": datetime.now(UTC)}])

    def last_training(self, use_case: str) -> datetime | None:
        """`as_of` of the latest training that monitoring started."""
        query = sa.select(sa.func.max(_TRAININGS.c.as_of)).where(_TRAININGS.c.use_case == use_case)
        with self._engine.connect() as connection:
            found: datetime | None = connection.execute(query).scalar_one()
        return found

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


def plain(value: Any) -> Any:
    """The value as strict JSON: NaN and infinity become null, tuples lists."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, datetime) else value
