"""Loading history and taking in events survives being killed: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from configs.settings import Settings

_PROGRAM = """
import sys
from pathlib import Path
from benchmarks.kills import survived
print(survived(Path(sys.argv[1]), kills=15, rows=600, redis_url=sys.argv[2] or None)[0])
"""


@pytest.mark.parametrize("store", ["sqlite", "redis"])
def test_fifteen_kills_lose_nothing_and_double_nothing(
    request: pytest.FixtureRequest, settings: Settings, tmp_path: Path, store: str
) -> None:
    del settings  # which clears the environment
    url = request.getfixturevalue("redis_url") if store == "redis" else ""
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path), url]  # a process of its own: it forks
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (found.stderr, found.stdout) == ("", "15\n")
