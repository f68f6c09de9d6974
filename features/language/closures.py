"""Control flow of the expression language: closures over one event's values, with SQL's three-valued logic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from features.language import operators as ops

Run = Callable[[Mapping[str, Any]], Any]


def read(name: str) -> Run:
    """The value of a field; a field that isn't there is missing."""

    def run(values: Mapping[str, Any]) -> Any:
        value = values.get(name)
        return value if value is None or type(value) is str else ops.plain(value)

    return run


def one(a: Run, apply: Callable[[Any], Any]) -> Run:
    """A function of one value; missing stays missing."""

    def run(values: Mapping[str, Any]) -> Any:
        x = a(values)
        return None if x is None else apply(x)

    return run


def two(a: Run, b: Run, apply: Callable[[Any, Any], Any]) -> Run:
    """A function of two values; missing if either is."""

    def run(values: Mapping[str, Any]) -> Any:
        x, y = a(values), b(values)
        return None if x is None or y is None else apply(x, y)

    return run


def conjunction(a: Run, b: Run) -> Run:
    """AND in three-valued logic."""

    def run(values: Mapping[str, Any]) -> bool | None:
        x, y = a(values), b(values)
        return False if x is False or y is False else None if x is None or y is None else True

    return run


def disjunction(a: Run, b: Run) -> Run:
    """OR in three-valued logic."""

    def run(values: Mapping[str, Any]) -> bool | None:
        x, y = a(values), b(values)
        return True if x is True or y is True else None if x is None or y is None else False

    return run


def member(x: Run, options: Sequence[Run]) -> Run:
    """IN: missing when not found beside a missing option."""

    def run(values: Mapping[str, Any]) -> bool | None:
        found = x(values)
        if found is None:
            return None
        candidates = [option(values) for option in options]
        if any(candidate is not None and ops.equal(found, candidate) for candidate in candidates):
            return True
        return None if None in candidates else False

    return run


def choice(branches: Sequence[tuple[Run, Run]], other: Run) -> Run:
    """CASE: the result of the first test that is true."""

    def run(values: Mapping[str, Any]) -> Any:
        for test, result in branches:
            if test(values) is True:
                return result(values)
        return other(values)

    return run


def unless_equal(a: Run, b: Run) -> Run:
    """NULLIF."""

    def run(values: Mapping[str, Any]) -> Any:
        x, y = a(values), b(values)
        return None if x is not None and y is not None and ops.equal(x, y) else x

    return run


def coalesce(runs: Sequence[Run]) -> Run:
    """The first value that isn't missing."""
    return lambda values: next((x for run in runs if (x := run(values)) is not None), None)


def extreme(better: Callable[[Any, Any], bool]) -> Callable[[Sequence[Run]], Run]:
    """GREATEST or LEAST: the best of the values that aren't missing."""

    def combine(runs: Sequence[Run]) -> Run:
        def run(values: Mapping[str, Any]) -> Any:
            best = None
            for each in runs:
                x = each(values)
                if x is not None and (best is None or better(x, best)):
                    best = x
            return best

        return run

    return combine
