"""Processes that help with a search on PostgreSQL: started here, or on another machine that sees the same folder.

    RISK_DATABASE_URL=postgresql://... python -m training.search.worker FOLDER

FOLDER is what the leading process keeps in `home/searches/` while it has workers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from training.search.task import Task

if TYPE_CHECKING:
    from configs.settings import Settings

PROMOTED = "promoted"
"""Under which the leading process notes which trials go on to all rows."""
GRACE = 30.0
"""Seconds that workers get to finish after the leading process has; each ends at its next look at the clock."""


class Workers:
    """Worker processes with the folder they read, which is removed at the end. Without a count there is neither."""

    def __init__(
        self,
        task: Task,
        settings: Settings | None,
        *,
        count: int,
        ends: tuple[float, float],
        total: int,
        threads: int,
    ) -> None:
        self._task, self._settings, self._count = task, settings, count
        self._job, self._ends = {"total": total, "threads": threads}, ends
        self.processes: list[subprocess.Popen[bytes]] = []
        self._folder: Path | None = None
        self.notes: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        if not self._count or self._settings is None:
            return self
        home = self._settings.home / "searches"
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="workers-", dir=home))
        self._task.save(self._folder)
        until = [time.time() + end - time.monotonic() for end in self._ends]
        (self._folder / "job.json").write_text(json.dumps(self._job | {"name": self._task.name, "until": until}))
        environment = os.environ | {"RISK_DATABASE_URL": str(self._settings.database_url)}
        command = [sys.executable, "-m", "training.search.worker", str(self._folder), str(os.getpid())]
        for _ in range(self._count):
            self.processes.append(
                subprocess.Popen(  # noqa: S603  # this interpreter, with paths of our own making
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
        return self

    def __exit__(self, *error: object) -> None:
        (self._folder / "over").touch() if self._folder else None
        for process in self.processes:
            self._end(process)
        codes = [process.returncode for process in self.processes]
        lost = [code for code in codes if code]
        if lost:
            self.notes = (f"{len(lost)} of {len(codes)} worker processes ended early, with code {lost[0]}",)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    @staticmethod
    def _end(process: subprocess.Popen[Any]) -> None:
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
