"""Text files in another encoding than UTF-8: found by decoding them, and copied once into UTF-8."""

from __future__ import annotations

import codecs
import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from configs.errors import FeatureError

_CHUNK = 1 << 20
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_GUESSES = ("utf-8", "windows-1252", "latin-1")
"""In this order: nearly no other text is valid UTF-8 by chance, and latin-1 takes every byte."""


def as_utf8(path: Path, copies: Path) -> tuple[tuple[Path, ...], list[str]]:
    """The file to read in place of `path`, and notes on it: itself if it is UTF-8, else a copy in the folder `copies`.

    A copy is used again until the file's size or time changes. A damaged .gz file is a `FeatureError`.
    """
    encoding = encoding_of(path)
    if encoding == "utf-8":
        return (path,), []
    place = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    found = path.stat()
    copy = copies / f"{place}-{found.st_size}-{found.st_mtime_ns}.csv"
    if not copy.is_file():
        copies.mkdir(mode=0o700, parents=True, exist_ok=True)
        outdated = list(copies.glob(f"{place}-*.csv"))
        _transcode(path, encoding, copy)
        for each in outdated:
            each.unlink(missing_ok=True)
    return (copy,), [f"{path.name} is not UTF-8: it was read as {encoding}"]


def encoding_of(path: Path) -> str:
    """The first encoding that decodes all of the file: utf-16 by its mark, utf-8, windows-1252, latin-1."""
    start = next(_chunks(path), b"")[:2]
    if start in _MARKS:
        return _MARKS[start]
    return next(encoding for encoding in _GUESSES if _decodes(path, encoding))


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in _chunks(path):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _transcode(path: Path, encoding: str, target: Path) -> None:
    """Written beside its place and renamed, so that a reader never sees half of it."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".copying-")
    try:
        with os.fdopen(handle, "wb") as copy:
            for chunk in _chunks(path):
                copy.write(decoder.decode(chunk).encode())
            copy.write(decoder.decode(b"", final=True).encode())
        Path(name).rename(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise FeatureError(
            f"{path} is damaged, or no gzip file", expected="a complete .csv.gz", fix="copy or write it again"
        ) from None
