"""Suggestions, and the durable record of finished trials. The only module that imports Optuna.

A suggestion is a function of the seed, the trial's number and the trials it may know of, and of nothing else: each is
asked of a new sampler that is told those trials in order. So a search that was killed goes on as if nothing had
happened, and processes that share one need not agree on anything but who tries what.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.exc import DBAPIError

from configs.errors import TrainingError
from training.learners.choice import learner
from training.learners.protocol import Range
from training.search.claims import create_schema
from training.search.trials import Against, Trial, gain

with warnings.catch_warnings():  # in a notebook, of progress bars that are not used here
    warnings.filterwarnings("ignore", "IProgress not found")
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState, create_trial

optuna.logging.set_verbosity(optuna.logging.WARNING)

LOST: tuple[type[Exception], ...] = (optuna.exceptions.StorageInternalError, DBAPIError)
"""What a lost or refused connection raises."""
SCHEMA = "search"
"""Schema of the studies in PostgreSQL: a database of their own would be too much, and in the public schema Optuna's
version table has the name of MLflow's."""
STARTUP = 5
"""Trials of a learner that are drawn at random before any is modelled."""
LEVEL = "columns"
"""The parameter that says how many columns a trial keeps, as a place in the counts on offer."""


@dataclass(frozen=True)
class Columns:
    """For a search with a second objective: all columns, and the numbers of them that a trial may keep, most first."""

    total: int
    counts: tuple[int, ...] = ()

    def level(self, trial: Trial) -> int | None:
        """Place of the trial's number of columns among the counts; None where it kept another number."""
        kept = self.total - len(trial.left_out)
        return self.counts.index(kept) if kept in self.counts else None


def suggest(
    name: str, number: int, told: Mapping[int, Trial], *, seed: int, against: Against | None, columns: Columns
) -> dict[str, float | int]:
    """Parameters for the trial `number` of a learner, by its finished trials (tree-structured Parzen estimator).

    Where columns are on offer also `LEVEL`: the place of the number of columns to keep among the counts.
    """
    space = _space(name, len(columns.counts))
    draw = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=draw, n_startup_trials=STARTUP)
    study = optuna.create_study(directions=["maximize"] * (2 if against else 1), sampler=sampler)
    for each in told.values():
        params = dict(each.params) | {LEVEL: columns.level(each)}
        known = {key: params.get(key) for key in space}
        if each.learner == name and None not in known.values():
            values = [each.rungs[0]] if against is None else [each.rungs[0], gain(each, against)]
            study.add_trial(create_trial(values=values, params=known, distributions=space))
    return dict(study.ask(space).params)


def _space(name: str, levels: int) -> dict[str, BaseDistribution]:
    space = {key: _distribution(part) for key, part in learner(name).space.items()}
    return space | ({LEVEL: IntDistribution(0, levels - 1)} if levels > 1 else {})


def _distribution(part: Range) -> BaseDistribution:
    if part.integer:
        return IntDistribution(int(part.low), int(part.high), log=part.log)
    return FloatDistribution(part.low, part.high, log=part.log)


class Record:
    """Finished trials by rung and number, in memory, in a file or in PostgreSQL; durable once `add` returns."""

    def __init__(self, study: optuna.Study, remove: Callable[[], None], close: Callable[[], None]) -> None:
        self._study, self.remove, self.close = study, remove, close

    def trials(self, rung: int) -> dict[int, Trial]:
        """All that were finished at a rung; of two records of one trial, which can only be equal, the first."""
        found: dict[int, Trial] = {}
        for each in self._study.get_trials(deepcopy=False):
            if each.user_attrs["rung"] == rung:
                trial = Trial.of_json(json.loads(each.user_attrs["trial"]))
                found.setdefault(trial.number, trial)
        return found

    def add(self, trial: Trial, rung: int) -> None:
        """Write a trial that was finished at a rung, in one step."""
        space = {f"{trial.learner}.{name}": part for name, part in _space(trial.learner, 0).items()}
        self._study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if trial.state == "complete" else TrialState.PRUNED,
                value=trial.rungs[-1],
                params={name: trial.params[name.partition(".")[2]] for name in space},
                distributions=space,
                intermediate_values={rung: trial.rungs[-1]},
                user_attrs={"rung": rung, "trial": json.dumps(trial.as_json())},
            )
        )

    def fact(self, name: str) -> Any:
        """Plain data that was noted under a name; None while there is none."""
        return self._study.user_attrs.get(name)

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` gave when this was first asked for, as plain data."""
        if (found := self.fact(name)) is None:
            found = make()
            self._study.set_user_attr(name, found)
        return found


def in_memory() -> Record:
    """A record that nobody else sees and no kill survives."""
    return Record(optuna.create_study(direction="maximize"), _nothing, _nothing)


def in_file(path: Path) -> Record:
    """A record in a journal that one process at a time may open. What a kill has left half written is cut off."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in path.parent.glob(f"{path.name}.lock*"):
        left.unlink()
    if path.exists():
        _cut_half_line(path)
    storage = JournalStorage(JournalFileBackend(str(path)))
    return Record(_loaded(path.stem, storage), lambda: path.unlink(missing_ok=True), _nothing)


def in_postgresql(url: str, name: str) -> Record:
    """A record that processes on any machine may share. Raises `TrainingError` when the database can't be used."""
    try:
        create_schema(url, SCHEMA)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = optuna.storages.RDBStorage(
                url, engine_kwargs={"connect_args": {"options": f"-csearch_path={SCHEMA}"}, "pool_pre_ping": True}
            )
    except RuntimeError as error:  # Optuna's own word for tables of another version
        raise TrainingError(
            f"the tables of the search in the schema {SCHEMA!r} are of another version of Optuna",
            expected=f"tables of Optuna {optuna.__version__}",
            fix=f"drop the schema {SCHEMA!r}: it holds unfinished searches only",
        ) from error

    def close() -> None:
        storage.remove_session()
        storage.engine.dispose()

    return Record(_loaded(name, storage), lambda: optuna.delete_study(study_name=name, storage=storage), close)


def _nothing() -> None:
    """A record that isn't kept needs no removing, and a file no closing."""


def _loaded(name: str, storage: Any) -> optuna.Study:
    return optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)


def _cut_half_line(path: Path) -> None:
    """A killed process may have left the start of a line; anything appended to it would be lost with it."""
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
