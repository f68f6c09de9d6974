"""Small files that only their owner may read, put in place at once: keys, and what belongs to them."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def publish(content: bytes, path: Path, *, overwrite: bool) -> None:
    """Write beside, with mode 0600 from the start, then put in place; folders that lack are made with mode 0700.

    A reader sees all of the old file or all of the new one, also after a crash. Without `overwrite` a file that is
    there stays: of two processes that start together one wins, and both read its file. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".publishing-")
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            beside.replace(path)
        else:
            with suppress(FileExistsError):
                path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)
