"""Folders that one process has for itself and that go with it: where raw rows lie that nobody else may find."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import weakref
from functools import lru_cache
from pathlib import Path

_PREFIX = ".own-"
_MOST = 64  # of one process, which has one for each home folder and database: then the one unused for longest goes


def own_folder(parent: Path) -> Path:
    """A folder in `parent` for this process, removed when it ends; what killed processes left there is removed now.

    A process holds a lock on its folder, which the kernel frees however the process ends.
    """
    return _own(parent).path


def is_own(path: Path) -> bool:
    """Whether a path lies in such a folder, and so is another one in every process."""
    return any(part.startswith(_PREFIX) for part in path.parts)


@lru_cache(maxsize=_MOST)
def _own(parent: Path) -> _Own:
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    guard = _lock(parent)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for other in parent.glob(f"{_PREFIX}*"):
            if _abandoned(other):
                shutil.rmtree(other, ignore_errors=True)
        return _Own(parent)
    finally:
        os.close(guard)


class _Own:
    def __init__(self, parent: Path) -> None:
        self.path = Path(tempfile.mkdtemp(dir=parent, prefix=_PREFIX))
        lock = _lock(self.path)
        fcntl.flock(lock, fcntl.LOCK_EX)
        weakref.finalize(self, _remove, self.path, lock, owner=os.getpid())


def _remove(path: Path, lock: int, *, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has the object as well
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _abandoned(folder: Path) -> bool:
    lock = _lock(folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _lock(folder: Path) -> int:
    return os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
