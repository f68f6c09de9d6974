"""The columns that the guard judges, as arrays: features of a frame, and request fields that only feed features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from configs.settings import Settings
from configs.use_case import UseCase
from features.events import ID, events_sql
from features.frame import exactly
from features.sources import connect, quote
from features.vector import features_of
from training.leaks.statistics import Array, Codes

if TYPE_CHECKING:
    import pandas as pd

    from features.frame import Frame

DAY = 86_400_000_000
"""Microseconds."""
_DATES = ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%b-%Y", "%b %Y", "%b%Y", "%Y-%m", "%d-%b-%y", "%d-%b-%Y")
_LEVELS = 5000
"""Distinct texts up to which a category may be dates."""


@dataclass(frozen=True)
class Judged:
    """One column over the n training rows.

    values [n]: numbers; of a category the code of its level; of a time days since 1970; NaN for missing. origin: where
    the value comes from. unlabelled: the share of rows with a value among events of the same period whose outcome is
    unknown; none without such events. day: how fine a time is, in days.
    """

    name: str
    kind: Literal["number", "category", "time"]
    origin: Literal["request", "view", "aggregate", "derived"]
    values: Array
    unlabelled: float | None = None
    day: float = 0.0

    @property
    def sent(self) -> bool:
        """Whether it comes with the request, and so from the event table as somebody exported it."""
        return self.origin in {"request", "derived"}


@dataclass(frozen=True)
class Table:
    """The n training rows.

    y [n]: 1 or 0. time, known [n]: days since 1970 of the event and of its outcome, NaN without times. order [n]: what
    the rows run by: the time, else the number of the event where ids are numbers. keys: those of each entity as codes
    (-1 missing). unlabelled: events of the same period whose outcome is unknown.
    """

    columns: tuple[Judged, ...]
    y: Array
    time: Array
    known: Array
    order: Array
    keys: Mapping[str, Codes]
    unlabelled: int

    @property
    def timed(self) -> bool:
        """Whether every event has a time."""
        return len(self.time) > 0 and not np.isnan(self.time).any()


def table_of(use_case: UseCase, frame: Frame, train: NDArray[np.int64], settings: Settings | None) -> Table:
    """Read the training rows; with `settings` also request fields that are no features, from the event table.

    Beside the training rows only events between them whose outcome is unknown are looked at, and only for whether they
    have values. Features under `training.exclude` are left out. Times of views are no part of a frame: the row of a
    view is joined as it was known at the event.
    """
    label = frame.events["label"].to_numpy(dtype=np.float64)
    beside = _unlabelled(frame, train)
    rows = np.append(train, beside)
    found = [*_features(use_case, frame, rows), *(_fields(use_case, frame, rows, settings) if settings else ())]
    time = days(frame.events["event_time"].iloc[train])
    return Table(
        tuple(_apart(column, len(train)) for column in found),
        label[train],
        time,
        days(frame.events["known"].iloc[train]),
        time if not np.isnan(time).any() else _numbered(frame.events["event_id"].iloc[train]),
        {name: _keys(frame.events[name].iloc[train]) for name in use_case.entities},
        len(beside),
    )


def _numbered(ids: pd.Series[str]) -> Array:
    """Ids as numbers where all are; else the place of the rows."""
    import pandas as pd

    numbers = pd.to_numeric(ids, errors="coerce").to_numpy(dtype=np.float64)
    return np.arange(len(ids), dtype=np.float64) if np.isnan(numbers).any() else numbers


def days(times: pd.Series[Any]) -> Array:
    """Times as days since 1970, NaN for none."""
    stamps = times.dt.as_unit("us").astype("int64").to_numpy().astype(np.float64)
    return np.where(times.isna().to_numpy(), np.nan, stamps / DAY)


def _unlabelled(frame: Frame, train: NDArray[np.int64]) -> NDArray[np.int64]:
    time = frame.events["event_time"]
    unknown = frame.events["label"].isna()
    if not len(train) or time.isna().all():
        return np.flatnonzero(unknown.to_numpy())
    own = time.iloc[train]
    return np.flatnonzero((unknown & (time >= own.min()) & (time <= own.max())).to_numpy())


def _features(use_case: UseCase, frame: Frame, rows: NDArray[np.int64]) -> Iterator[Judged]:
    for feature in features_of(use_case):
        if feature.name in use_case.training.exclude:
            continue
        column = frame.features[feature.name].iloc[rows]
        if feature.kind == "number":
            yield _number(Judged(feature.name, "number", feature.origin, np.empty(0)), column)
        else:
            yield _category(Judged(feature.name, "category", feature.origin, np.empty(0)), column)


def _fields(use_case: UseCase, frame: Frame, rows: NDArray[np.int64], settings: Settings) -> Iterator[Judged]:
    """Request fields that are no features themselves: times, and inputs of derived columns and aggregates."""
    wanted = {name: column for name, column in use_case.request.items() if not column.is_feature}
    if not wanted:
        return
    with connect(settings) as connection, exactly():
        chosen = ", ".join([ID, *map(quote, wanted)])
        query = f"SELECT {chosen} FROM ({events_sql(use_case, connection, settings)})"  # noqa: S608  # quoted names
        table = connection.execute(query).df()
    table = table.set_index(ID.strip('"')).reindex(frame.events["event_id"].iloc[rows].to_numpy())
    for name, column in wanted.items():
        empty = Judged(name, "time", "request", np.empty(0))
        if column.type == "time":
            yield replace(empty, values=days(table[name].astype("datetime64[us]")))
        elif column.type == "category":
            yield _category(replace(empty, kind="category"), table[name])
        else:
            yield _number(replace(empty, kind="number"), table[name])


def _number(column: Judged, values: pd.Series[Any]) -> Judged:
    """A number, or a time if all are whole and read as days (20250701) or years (2025)."""
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    there = np.unique(numbers[~np.isnan(numbers)])
    if len(there) < 3 or np.any(there % 1):
        return replace(column, values=numbers)
    if there[0] >= 19_000_101 and there[-1] <= 21_991_231 and _calendar(there):
        year, month, day = numbers // 10_000, numbers // 100 % 100, numbers % 100
        months = np.where(np.isnan(numbers), 0, (year - 1970) * 12 + month - 1).astype(np.int64)
        first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
        return replace(column, kind="time", values=np.where(np.isnan(numbers), np.nan, first + day - 1), day=1.0)
    if there[0] >= 1950 and there[-1] <= 2100:
        years = np.where(np.isnan(numbers), 0, numbers - 1970).astype(np.int64)
        first = years.astype("datetime64[Y]").astype("datetime64[D]").astype(np.int64)
        return replace(column, kind="time", values=np.where(np.isnan(numbers), np.nan, first), day=366.0)
    return replace(column, values=numbers)


def _calendar(numbers: Array) -> bool:
    month, day = numbers // 100 % 100, numbers % 100
    return bool(np.all((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)))


def _category(column: Judged, values: pd.Series[Any]) -> Judged:
    """A category, or a time if its texts are dates."""
    import pandas as pd

    codes, levels = pd.factorize(values, use_na_sentinel=True)
    if dates := _dates(levels):
        stamps = np.append(dates[0], np.nan)[codes]
        return replace(column, kind="time", values=stamps, day=dates[1])
    return replace(column, values=np.where(codes < 0, np.nan, codes).astype(np.float64))


def _dates(levels: Any) -> tuple[Array, float] | None:
    """Texts as days since 1970 and how fine they are, if nearly all are dates of one form."""
    import pandas as pd

    texts = pd.Series(levels, dtype="object")
    if not 3 <= len(texts) <= _LEVELS or not texts.map(lambda text: isinstance(text, str)).all():
        return None
    if not texts.str.contains(r"\d").all():
        return None
    for form in _DATES:
        found = pd.to_datetime(texts, format=form, errors="coerce")
        if found.notna().mean() >= 0.95:
            return days(found), 1.0 if "%d" in form else 31.0
    return None


def _apart(column: Judged, count: int) -> Judged:
    """The training rows, which come first, and what the rest tells."""
    own, rest = np.split(column.values, [count])
    return replace(column, values=own, unlabelled=float(np.mean(~np.isnan(rest))) if len(rest) else None)


def _keys(values: pd.Series[Any]) -> Codes:
    import pandas as pd

    codes: Codes = pd.factorize(values, use_na_sentinel=True)[0].astype(np.int64)
    return codes


def granularity(times: Array) -> float:
    """How fine times are, in days: 31 for first days of months, 1 for whole days, else 0."""
    there = times[~np.isnan(times)]
    if not len(there) or np.any(there % 1):
        return 0.0
    of_month = (there.astype("datetime64[D]") - there.astype("datetime64[M]").astype("datetime64[D]")).astype(int)
    return 31.0 if not of_month.any() else 1.0
