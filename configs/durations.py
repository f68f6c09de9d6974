"""Durations as people write them in a use case: `90s`, `15m`, `3h`, `7d`, `2w`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PATTERN = re.compile(r"(\d+)([smhdw])")

LONGEST = timedelta(days=36_500)
"""A century: longer ones would leave the range of times when they are added to one."""


def parse(text: object) -> timedelta:
    """A duration of at least zero seconds and at most `LONGEST`.

    >>> parse("7d")
    datetime.timedelta(days=7)
    """
    if isinstance(text, timedelta):
        return text
    match = _PATTERN.fullmatch(str(text).strip())
    if not match:
        raise ValueError("a whole number and a unit, such as 30m, 12h, 7d or 2w")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > LONGEST.total_seconds():
        raise ValueError(f"at most {LONGEST.days}d")
    return timedelta(seconds=seconds)


def render(value: timedelta) -> str:
    """The shortest text that `parse` reads back, in days at most (so that feature names keep the usual `30d`).

    >>> render(parse("24h")), render(parse("90m"))
    ('1d', '90m')
    """
    seconds = int(value.total_seconds())
    unit = next(unit for unit in "dhms" if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("more than zero")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(parse),
    PlainSerializer(render, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+[smhdw]$", "examples": ["7d"]}),
]
Window = Annotated[Duration, AfterValidator(_positive)]
