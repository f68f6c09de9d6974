"""PD by grade of a master scale: whether the default rate of each grade agrees with the PDs that put rows there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.evidence.reliability import each_row_once, wilson

if TYPE_CHECKING:
    from training.evidence.tested import Tested

Array = NDArray[np.float64]

LEVEL = 0.05
"""Level of each one-sided test; with many grades one of them crosses it by chance now and then."""


def grades(tested: Tested, bounds: Sequence[float]) -> list[dict[str, Any]]:
    """One entry a grade, the least risky first, and one for `all` rows; grade i has bounds[i-1] <= PD < bounds[i].

    grade ("1", "2", ..., "all"), from, below (None for the last and for all), rows, share, mean_pd, defaults, rate,
    low and high (95 % Wilson interval of the rate), and, against the mean PD: p_low (exact binomial test that as many
    defaults or more come by chance: small where the PD is too low), p_high (as few or fewer), p_two_sided (outcomes no
    likelier than the observed one), jeffreys (the test of the ECB's instructions for reporting the validation results
    of internal models, 2019: posterior probability, under Jeffreys' prior, that the default rate is below the PD) and
    verdict: `PD too low`, `PD too high` or `in line` by the one-sided binomial tests at `LEVEL`, `no rows`. Figures of
    an empty grade are None. Defaults are taken as independent; where they move together the tests alarm too often.
    """
    y, p = each_row_once(tested)
    place, edges = np.searchsorted(np.asarray(bounds), p, side="right"), [0.0, *bounds, None]
    found = [
        {"grade": str(number + 1), "from": edges[number], "below": edges[number + 1]}
        | _entry(y[place == number], p[place == number], of=len(y))
        for number in range(len(bounds) + 1)
    ]
    return [*found, {"grade": "all", "from": 0.0, "below": None} | _entry(y, p, of=len(y))]


def in_order(graded: Sequence[dict[str, Any]]) -> bool:
    """Whether the observed rates of the grades with rows never fall."""
    rates = [one["rate"] for one in graded if one["rows"] and one["grade"] != "all"]
    return rates == sorted(rates)


def _entry(y: Array, p: Array, *, of: int) -> dict[str, Any]:
    n, defaults = len(y), int(y.sum())
    if not n:
        empty = ("mean_pd", "rate", "low", "high", "p_low", "p_high", "p_two_sided", "jeffreys")
        return {"rows": 0, "share": 0.0, "defaults": 0, "verdict": "no rows"} | dict.fromkeys(empty)
    pd, (low, high) = float(p.mean()), wilson(defaults, n)
    tests = _tests(defaults, n, pd)
    verdict = "PD too low" if tests["p_low"] < LEVEL else "PD too high" if tests["p_high"] < LEVEL else "in line"
    counts = {"rows": n, "share": n / of, "mean_pd": pd, "defaults": defaults, "rate": defaults / n}
    return counts | {"low": low, "high": high} | tests | {"verdict": verdict}


def _tests(defaults: int, n: int, pd: float) -> dict[str, float]:
    from scipy.stats import beta, binomtest

    kinds = {"p_low": "greater", "p_high": "less", "p_two_sided": "two-sided"}
    found = {name: float(binomtest(defaults, n, pd, alternative=kind).pvalue) for name, kind in kinds.items()}
    return found | {"jeffreys": float(beta.cdf(pd, defaults + 0.5, n - defaults + 0.5))}
