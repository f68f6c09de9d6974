"""One process that helps with a search: `python -m training.search.worker FOLDER [PID of the leading process]`."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from contextlib import closing
from pathlib import Path

from configs.settings import load_settings
from training.search.claims import advisory
from training.search.runner import Runner, final, opening
from training.search.search import planned
from training.search.study import in_postgresql
from training.search.task import Task
from training.search.workers import PROMOTED


def work(folder: Path, *, parent: int | None) -> None:
    """Try trials until none is left, the time is up, or the leading process has ended."""
    job = json.loads((folder / "job.json").read_text())
    url, task = load_settings().database("search"), Task.load(folder)

    def over() -> bool:
        return (folder / "over").exists() or not folder.exists() or (parent is not None and os.getppid() != parent)

    with advisory(url, job["name"], owner=False) as claims, closing(in_postgresql(url, job["name"])) as record:
        plan = planned(task, record, threads=job["threads"])
        runner = Runner(plan, record, claims, job["threads"], lambda _rung, _trials: None, over)
        ends = [time.monotonic() + until - time.time() for until in job["until"]]
        if record.fact(PROMOTED) is None:
            runner.run(opening(plan, job["total"], ends[0]))
        found = runner.wait(PROMOTED)
        if found is not None and len(plan.bench.rungs) > 1:
            runner.run(final(plan, record.trials(0), found[1], ends[1]))
    if parent is not None and os.getppid() != parent:  # nobody else is left to do it
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Read the command line."""
    folder, *parent = sys.argv[1:]
    work(Path(folder), parent=int(parent[0]) if parent else None)


if __name__ == "__main__":
    main()
