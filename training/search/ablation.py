"""Categories with many labels, before the first trial: each is left out where the folds are predicted better without.

Such a column can tell training rows apart without saying anything of later ones; a three-digit zip code is the classic.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from training.learners.choice import learner
from training.search.bench import Bench
from training.search.trials import Dropped

MANY = 50
"""Labels from which on a category is put to the test."""


def ablate(bench: Bench, *, threads: int) -> tuple[Dropped, ...]:
    """The objective on all rows with and without each such column, to the default of each boosting learner.

    One by one, those with the most labels first; a column is judged without those left out before it.
    """
    many = [column for column in bench.columns if len(column.labels) >= MANY]
    many.sort(key=lambda column: (-len(column.labels), column.name))
    names = [name for name in bench.training.learners if "trees" in learner(name).default] if many else []

    def value(name: str, left_out: tuple[str, ...]) -> float:
        grown = bench.grow(name, learner(name).default, len(bench.rungs) - 1, left_out=left_out)
        return grown.value if grown is not None else float("nan")

    def judged(name: str) -> list[Dropped]:
        found, left_out = list[Dropped](), tuple[str, ...]()
        base = value(name, ())
        for column in many:
            fewer = (*left_out, column.name)
            found.append(Dropped(name, column.name, len(column.labels), base, value(name, fewer)))
            bench.forget(name, left_out if found[-1].left_out else fewer)
            if found[-1].left_out:
                left_out, base = fewer, found[-1].without_it
        return found

    with ThreadPoolExecutor(max_workers=threads) as pool:
        return tuple(each for found in pool.map(judged, names) for each in found)


def left_out_by(ablation: tuple[Dropped, ...], name: str) -> tuple[str, ...]:
    """Columns that the learner's trials do without."""
    return tuple(each.column for each in ablation if each.learner == name and each.left_out)
