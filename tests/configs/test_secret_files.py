"""Small files for their owner alone, put in place at once."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from configs.secret_files import publish


def test_only_the_owner_may_read_the_file_and_the_folders_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "own.key"
    publish(b"secret", path, overwrite=False)
    assert path.read_bytes() == b"secret"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]


@pytest.mark.parametrize(("overwrite", "content"), [(False, b"first"), (True, b"second")])
def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(
    tmp_path: Path, overwrite: bool, content: bytes
) -> None:
    path = tmp_path / "own.key"
    publish(b"first", path, overwrite=False)
    publish(b"second", path, overwrite=overwrite)
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (content, [path])


def test_nothing_is_left_beside_where_the_file_cant_be_put(tmp_path: Path) -> None:
    (tmp_path / "own.key").mkdir()
    with pytest.raises(OSError, match="own"):
        publish(b"secret", tmp_path / "own.key", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["own.key"]
