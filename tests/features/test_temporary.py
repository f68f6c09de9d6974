from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from features.temporary import is_own, own_folder

MAKING = """
import os, sys
from pathlib import Path
from features.temporary import own_folder
made = own_folder(Path(sys.argv[1]))
(made / "rows").write_text("raw")
print(made, flush=True)
if sys.argv[2] == "killed":
    os.kill(os.getpid(), 9)
if sys.argv[2] == "waiting":
    sys.stdin.read()
"""


def started(parent: Path, end: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKING, str(parent), end]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finished(parent: Path, end: str) -> Path:
    process = started(parent, end)
    return Path(process.communicate()[0].strip())


def test_a_folder_goes_with_its_process(tmp_path: Path) -> None:
    made = finished(tmp_path, "ended")
    assert made.parent == tmp_path
    assert not made.exists()


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    killed = finished(tmp_path, "killed")
    assert (killed / "rows").exists()
    finished(tmp_path, "ended")
    assert not killed.exists()


def test_the_folder_of_a_living_process_stays(tmp_path: Path) -> None:
    process = started(tmp_path, "waiting")
    assert process.stdout
    living = Path(process.stdout.readline().strip())
    finished(tmp_path, "ended")
    assert (living / "rows").exists()
    process.communicate("")
    assert not living.exists()


def test_it_is_the_same_for_all_of_a_process_and_known_as_its_own(tmp_path: Path) -> None:
    assert own_folder(tmp_path / "a") == own_folder(tmp_path / "a") != own_folder(tmp_path / "b")
    assert is_own(own_folder(tmp_path / "a") / "table.parquet")
    assert not is_own(tmp_path / "table.parquet")
