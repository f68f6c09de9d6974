"""CSV files in other encodings: found by decoding, copied once into UTF-8."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from configs.errors import FeatureError
from features.encodings import as_utf8, encoding_of

TEXT = "name\nCaf\u00e9 M\u00fcller\n" * 3


@pytest.mark.parametrize(
    ("encoding", "found"),
    [("utf-8", "utf-8"), ("latin-1", "windows-1252"), ("utf-16", "utf-16"), ("windows-1252", "windows-1252")],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_an_encoding_is_found_and_read_as_utf_8(tmp_path: Path, encoding: str, found: str, suffix: str) -> None:
    path, content = tmp_path / f"names{suffix}", TEXT.encode(encoding)
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    assert encoding_of(path) == found
    (read,), notes = as_utf8(path, tmp_path / "copies")
    if found == "utf-8":
        assert (read, notes) == (path, [])
    else:
        assert read.read_text(encoding="utf-8").replace("\r\n", "\n") == TEXT
        assert notes == [f"names{suffix} is not UTF-8: it was read as {found}"]


def test_bytes_that_windows_1252_lacks_are_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(b"name\n\x81\xe9\n")
    assert encoding_of(path) == "latin-1"


def test_a_character_across_two_chunks_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_bytes(b"a" * ((1 << 20) - 1) + "\u00e9".encode() + b"\n")
    assert encoding_of(path) == "utf-8"


def test_a_copy_is_used_again_until_the_file_changes(tmp_path: Path) -> None:
    path, copies = tmp_path / "names.csv", tmp_path / "copies"
    path.write_bytes("\u00e9".encode("latin-1"))
    (first,), _ = as_utf8(path, copies)
    written = first.stat().st_mtime_ns
    assert as_utf8(path, copies)[0] == (first,)
    assert first.stat().st_mtime_ns == written
    path.write_bytes("\u00e9\u00e8".encode("latin-1"))
    (second,), _ = as_utf8(path, copies)
    assert second.read_text(encoding="utf-8") == "\u00e9\u00e8"
    assert list(copies.iterdir()) == [second]


def test_a_damaged_gz_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(gzip.compress(b"name\n" * 1000)[:-20])
    with pytest.raises(FeatureError, match="is damaged, or no gzip file"):
        encoding_of(path)
