"""A search that is killed, and goes on; one that several processes share. The processes and their deaths are real."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import TrainingError
from configs.settings import Settings
from configs.use_case import Training
from training.folds import Fold
from training.learners.protocol import Column
from training.search.claims import advisory, only_process
from training.search.search import search
from training.search.study import Record, in_file, in_memory, in_postgresql
from training.search.task import Task
from training.search.trials import Trial
from training.search.workers import PROMOTED, Workers

PROGRAM = Path(__file__).with_name("search_program.py")
SPEC = importlib.util.spec_from_file_location("search_program", PROGRAM)
assert SPEC is not None and SPEC.loader is not None
search_program = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(search_program)


def command(home: Path, url: str = "", workers: int = 1) -> list[str]:
    return [sys.executable, str(PROGRAM), str(home), url, str(workers)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}


def searched(home: Path, url: str = "", workers: int = 1) -> dict[str, Any]:
    """What the program finds in a process of its own."""
    output = subprocess.run(
        command(home, url, workers), env=environment(), check=True, capture_output=True, text=True, timeout=100
    ).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def killed(home: Path, url: str = "", workers: int = 1, *, after: int) -> str:
    """Kill the program when so many trials are finished; all that it printed."""
    with subprocess.Popen(command(home, url, workers), env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        return "".join([*lines, process.stdout.read()])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return searched(tmp_path_factory.mktemp("home"))


def data(n: int = 600) -> dict[str, Any]:
    generator = np.random.default_rng(2)
    X = generator.normal(size=(n, 3))
    y = (X[:, 0] + generator.normal(size=n) > 1).astype(float)
    folds = [Fold(np.arange(n // 2), np.arange(n // 2, n))]
    return {"X": X, "y": y, "columns": tuple(Column(f"x{place}") for place in range(3)), "folds": folds}


TRAINING = Training(trials=3, seed=5, learners=("lightgbm",))


def trial(number: int) -> Trial:
    params = {"num_leaves": 5, "min_data_in_leaf": 20, "feature_fraction": 0.5, "bagging_fraction": 0.7}
    params |= {"lambda_l2": 1.1 + 2.2, "cat_smooth": 1e2 / 3}
    return Trial(number, "lightgbm", params, (0.1 + 0.2, 2 / 3), "complete", 1.5, (0.4,), ("a", "b"), 0.75)


@pytest.mark.slow
@pytest.mark.parametrize("after", [3, 10])
def test_a_killed_search_goes_on_to_the_same_result(tmp_path: Path, uninterrupted: dict[str, Any], after: int) -> None:
    """Killed among the trials on a share of the rows, and among the best on all of them."""
    output = killed(tmp_path, after=after)
    assert '{"trials"' not in output
    (journal,) = (tmp_path / "searches").glob("*.journal")
    kept = sum('"rung"' in line for line in journal.read_text().splitlines())
    assert kept >= after, "every trial that was told of is durable"
    assert searched(tmp_path) == uninterrupted
    assert not list((tmp_path / "searches").glob("*")), "a search that ended leaves nothing behind"


def test_a_search_repeated_on_purpose_finds_the_same(settings: Settings) -> None:
    first, again = (search(**data(), training=TRAINING, seconds=600, settings=settings) for _ in range(2))
    assert [replace(each, seconds=0) for each in first.trials] == [replace(each, seconds=0) for each in again.trials]


def test_a_half_written_line_costs_its_trial_only(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    record = in_file(path)
    record.add(trial(0), 0)
    whole = path.read_bytes()
    record.add(trial(1), 0)
    path.write_bytes(path.read_bytes()[:-10])
    (tmp_path / "x.journal.lock").symlink_to(path)  # as a kill in the middle of writing leaves it
    again = in_file(path)
    assert list(again.trials(0)) == [0] and path.read_bytes().startswith(whole)
    again.add(trial(2), 0)
    assert list(in_file(path).trials(0)) == [0, 2]


@pytest.mark.parametrize("kind", ["memory", "file", "postgresql"])
def test_a_recorded_trial_comes_back_to_the_last_bit(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    make: Callable[[str], Record] = {
        "memory": lambda _: in_memory(),
        "file": lambda name: in_file(tmp_path / f"{name}.journal"),
        "postgresql": lambda name: in_postgresql(request.getfixturevalue("postgres_url"), name),
    }[kind]
    with closing(make("a")) as record, closing(make("b")) as other:
        record.add(trial(0), 0)
        record.add(trial(0), 0)
        record.add(trial(1), 1)
        assert record.trials(0) == {0: trial(0)} and record.trials(1) == {1: trial(1)}
        assert record.once("fact", lambda: [1, 2]) == [1, 2] == record.once("fact", lambda: [3])
        assert other.trials(0) == {} and other.fact("fact") is None
        record.remove()


def test_two_searches_of_a_kind_at_once_are_refused(postgres_url: str, tmp_path: Path) -> None:
    with only_process(tmp_path / "x"), pytest.raises(TrainingError, match="another process"):
        only_process(tmp_path / "x").__enter__()
    with advisory(postgres_url, "x", owner=True), pytest.raises(TrainingError, match="another process"):
        advisory(postgres_url, "x", owner=True).__enter__()
    with only_process(tmp_path / "x"), advisory(postgres_url, "x", owner=True):
        pass


def test_a_trial_is_claimed_by_one_process_only(postgres_url: str) -> None:
    with (
        advisory(postgres_url, "x", owner=True) as one,
        advisory(postgres_url, "x", owner=False) as two,
        advisory(postgres_url, "y", owner=True) as other,
    ):
        assert one.take(3) and not two.take(3) and two.take(4) and other.take(3)
        one.release(3)
        assert two.take(3)


def test_workers_need_a_database(settings: Settings) -> None:
    with pytest.raises(TrainingError, match="2 worker processes without a database"):
        search(**data(), training=TRAINING, seconds=1, settings=settings, workers=2)


def test_a_database_that_is_down_is_told_without_its_password(settings: Settings) -> None:
    lost = settings.model_copy(update={"database_url": "postgresql://ada:secret@127.0.0.1:1/none"})
    with pytest.raises(TrainingError, match="database of the search") as error:
        search(**data(), training=TRAINING, seconds=1, settings=lost)
    assert "secret" not in str(error.value)


def test_a_search_beside_other_tables_of_the_database(postgres_url: str, settings: Settings) -> None:
    """MLflow keeps the version of its own tables under the name that Optuna uses, too."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE alembic_version (version_num varchar(32))"))
        connection.execute(sqlalchemy.text("INSERT INTO alembic_version VALUES ('of another project')"))
    shared = settings.model_copy(update={"database_url": postgres_url})
    assert len(search(**data(), training=TRAINING, seconds=600, settings=shared).trials) == 3
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT * FROM alembic_version")).all() == [("of another project",)]
        assert connection.execute(sqlalchemy.text("SELECT count(*) FROM search.studies")).scalar_one() == 0
    engine.dispose()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "nothing happened for a minute"
        threading.Event().wait(0.01)


@pytest.mark.slow
def test_two_workers_share_a_search_and_one_outlives_the_other(
    postgres_url: str, settings: Settings, uninterrupted: dict[str, Any]
) -> None:
    """One is killed at a moment when each of the two is in the middle of a trial."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    shared = settings.model_copy(update={"database_url": postgres_url})
    whole = uninterrupted["trials"]
    promoted = [each["number"] for each in whole if each["state"] == "complete"]
    task = Task(*search_program.data(), search_program.TRAINING, 3)
    ends, holders = (time.monotonic() + 90,) * 2, "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory'"
    engine = sqlalchemy.create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, closing(in_postgresql(postgres_url, task.name)) as record:
        with Workers(task, shared, count=2, ends=ends, total=len(whole), threads=1) as workers:
            wait_until(lambda: connection.execute(sqlalchemy.text(holders)).scalar_one() == 2)
            workers.processes[0].kill()
            wait_until(lambda: len(record.trials(0)) == len(whole))
            record.once(PROMOTED, lambda: [len(whole), promoted])
            wait_until(lambda: len(record.trials(1)) == len(promoted))
        assert workers.notes == ("1 of 2 worker processes ended early, with code -9",)
        assert [record.trials(0)[each["number"]].rungs[0] for each in whole] == [each["rungs"][0] for each in whole]
        found = [list(record.trials(1)[number].scores) for number in promoted]
        assert found == [whole[number]["scores"] for number in promoted]
    engine.dispose()


@pytest.mark.slow
def test_a_search_with_a_worker_finds_what_one_process_finds(
    tmp_path: Path, postgres_url: str, uninterrupted: dict[str, Any]
) -> None:
    assert searched(tmp_path, postgres_url, 2) == uninterrupted
    assert not list((tmp_path / "searches").glob("*"))


@pytest.mark.slow
def test_a_search_whose_leading_process_is_killed_goes_on_when_it_is_asked_again(
    tmp_path: Path, postgres_url: str, uninterrupted: dict[str, Any]
) -> None:
    assert '{"trials"' not in killed(tmp_path, postgres_url, 2, after=3)
    assert searched(tmp_path, postgres_url)["trials"] == uninterrupted["trials"]
