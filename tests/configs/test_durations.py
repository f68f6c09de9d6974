"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.durations import parse, render


@pytest.mark.parametrize(
    ("text", "seconds"), [("15s", 15), ("30m", 1800), ("12h", 43200), ("7d", 604800), ("2w", 1209600)]
)
def test_units(text: str, seconds: int) -> None:
    assert parse(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "7 days", None])
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="unit"):
        parse(text)


def test_a_duration_that_no_time_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 36500d"):
        parse("99999999999w")


@given(st.integers(0, 10**9))
def test_what_is_rendered_reads_back(seconds: int) -> None:
    assert parse(render(timedelta(seconds=seconds))) == timedelta(seconds=seconds)
