"""Which column of an unknown table is the label, and which of its values is the positive one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from configs.errors import FeatureError
from features.intake.profile import Profile
from features.intake.suspects import named_label
from features.sources import Source, quote

_POSITIVE = ("1", "bad", "yes", "y", "true", "t", "fraud", "default", "charged off", "chgoff", "late", "positive")
_FEW = 12


@dataclass(frozen=True)
class DraftLabel:
    """The label of a draft. `text` is its positive value as text, `rate` the share of positives among known outcomes.

    `others` are further columns that sound like a label, best first; `asked` says that the user named the column.
    """

    column: str
    positive: int | str | bool
    text: str
    rows: int
    rate: float
    others: tuple[str, ...] = ()
    asked: bool = False


def label_of(
    connection: duckdb.DuckDBPyConnection,
    raw: Source,
    profiles: Mapping[str, Profile],
    *,
    column: str | None = None,
    positive: str | None = None,
) -> DraftLabel:
    """The label: `column` if named, else the two-valued column whose name sounds most like one.

    Raises `FeatureError` when no column does, and for a column that hasn't two values and no `positive` one named.
    """
    named = sorted(_candidates(profiles), key=lambda name: -named_label(name))
    sounding = [name for name in named if named_label(name)]
    if column is not None:
        require_column(column, profiles, option="--label")
    elif not sounding:
        raise _no_label(raw, named)
    chosen = column or sounding[0]
    counts = _counts(connection, raw, chosen)
    text = _positive(chosen, counts, positive)
    others = tuple(name for name in sounding if name != chosen)
    rows = sum(counts.values())
    rate = counts[text] / rows
    return DraftLabel(chosen, _typed(text, profiles[chosen].found), text, rows, rate, others, column is not None)


def require_column(name: str, profiles: Mapping[str, Profile], *, option: str) -> None:
    """Raise `FeatureError` for a column that an option names and the table hasn't."""
    if name in profiles:
        return
    nearest = difflib.get_close_matches(name, profiles, n=1)
    raise FeatureError(
        f"the table has no column {name!r}" + (f" (did you mean {nearest[0]!r}?)" if nearest else ""),
        expected=f"one of its columns: {', '.join(profiles)}",
        fix=f"correct {option}",
    )


def _candidates(profiles: Mapping[str, Profile]) -> list[str]:
    return [name for name, each in profiles.items() if each.distinct == 2 and each.kind != "time"]


def _no_label(raw: Source, candidates: list[str]) -> FeatureError:
    if candidates:
        found = f"these columns have two values: {', '.join(candidates)}"
    else:
        found = "no column has exactly two values"
    return FeatureError(
        f"no column of {raw.path.name} sounds like a label; {found}",
        expected="the column that says what became of the event, such as default or is_fraud",
        fix=f"risk init ... --label {candidates[0] if candidates else 'COLUMN --positive VALUE'}",
    )


def _counts(connection: duckdb.DuckDBPyConnection, raw: Source, column: str) -> dict[str, int]:
    """Rows of each value as text, over the whole table; a label with very many values is cut off."""
    query = f"SELECT CAST({quote(column)} AS VARCHAR) AS v, count(*) FROM {raw.scan} WHERE v IS NOT NULL GROUP BY v"
    return dict(connection.execute(f"{query} ORDER BY count(*) DESC, v LIMIT 100").fetchall())


def _positive(column: str, counts: Mapping[str, int], wanted: str | None) -> str:
    few = len(counts) <= _FEW  # many values may be names, which no message may hold
    shown = ", ".join(map(repr, counts)) if few else "its values"
    if len(counts) < 2:
        raise FeatureError(
            f"the label {column!r} has {'one value only' if counts else 'no value at all'}",
            expected="a column with positive and negative outcomes",
            fix="name another column with --label, or add rows of the other class",
        )
    if wanted is not None:
        return _wanted(column, counts, wanted, shown)
    if len(counts) > 2:
        raise FeatureError(
            f"the label {column!r} has {f'{len(counts)} values: {shown}' if few else f'more than {_FEW} values'}",
            expected="two values, or the one that is positive",
            fix="add --positive VALUE (all others are then negative; an open case should have no value at all)",
        )
    return max(counts, key=lambda text: _adversity(text, counts))


def _wanted(column: str, counts: Mapping[str, int], wanted: str, shown: str) -> str:
    same = [text for text in counts if text == wanted or _number(text) == _number(wanted) is not None]
    same += [text for text in counts if text.lower() == wanted.lower()]
    if not same:
        raise FeatureError(
            f"the label {column!r} has no value {wanted!r}",
            expected=f"one of {shown}",
            fix="correct --positive",
        )
    return same[0]


def _adversity(text: str, counts: Mapping[str, int]) -> tuple[float, float]:
    """Order of two values: the greater number, the word for something bad, else the rarer one."""
    number = _number(text)
    if number is not None:
        return number, 0
    worded = any(text.strip().lower().startswith(word) for word in _POSITIVE if len(word) > 1)
    return float(worded or text.strip().lower() in _POSITIVE), -counts[text]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _typed(text: str, found: str) -> int | str | bool:
    """The value as a use case states it: texts as they are, truth values and whole numbers as such."""
    if found == "BOOLEAN":
        return text == "true"
    number = _number(text)
    if found == "VARCHAR" or found.startswith("ENUM") or number is None or number != int(number):
        return text
    return int(number)
