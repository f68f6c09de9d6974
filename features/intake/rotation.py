"""A new version of the token keys, and every stored token brought to it without the values behind them.

What is rewritten in place: the online store (views and activity) and the accrued events. Loads and backfills are made
anew from the tables, because the version is part of what names them. The decision log is immutable and keeps its old
tokens; who reads it joins them through `Tokenizer.upgraded`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from configs.errors import FeatureError
from configs.settings import Settings
from features.intake.privacy import TOKENS, Tokenizer
from features.intake.token_keys import LENGTH, VARIABLE, key_file, token_keys, write_keys
from features.intake.token_mark import fingerprints, keys_held, outdated, read_marks, write_mark
from features.sources import connect, quote, source, text
from features.stores.rewriting import rewrite_online


@dataclass(frozen=True)
class Rotation:
    """What a rotation did: the version now, whether it finished an earlier one, and how much it rewrote."""

    version: int
    resumed: bool
    online: int
    accrued: int


def rotate(settings: Settings) -> Rotation:
    """Add a version to the key file, and upgrade all stored tokens.

    Killed at any point, it is run again and goes on: as long as the mark of some use case names fewer versions than
    the keys have, no further key is made. Raises `FeatureError` while a service uses the keys, and where the keys can't
    be written.
    """
    with keys_held(settings, alone=True):
        keys, marks = token_keys(settings), read_marks(settings)
        behind = [outdated(mark, fingerprints(keys)) for mark in marks.values()]  # of all: one may be of other keys
        resumed = any(behind)
        if not resumed:
            keys = _added(keys, settings)
        tokenizer = Tokenizer(keys, {})
        online = rewrite_online(settings.online_db, settings.redis_url, list(marks), tokenizer.upgrade_all)
        accrued = sum(_rewrite_file(path, tokenizer, settings) for path in _accrued(settings))
        for use_case in marks:
            write_mark(use_case, keys, settings, overwrite=True)
    return Rotation(tokenizer.version, resumed, online, accrued)


def _added(keys: Sequence[bytes], settings: Settings) -> tuple[bytes, ...]:
    more = (*keys, secrets.token_bytes(LENGTH))
    if VARIABLE in os.environ:
        raise FeatureError(
            f"the keys come from {VARIABLE}, which no command can change",
            expected=f"a further key there, as version {len(more)}",
            fix=f'export {VARIABLE}="${VARIABLE},{len(more)}:$(openssl rand -base64 32)", and rotate again',
        )
    path = key_file(settings)
    try:
        write_keys(more, path, overwrite=True)
    except OSError as error:
        raise FeatureError(
            f"the key file {path} can't be written: {error.strerror}",
            expected="a writable file and folder",
            fix="add a line with the next version by hand, and rotate again",
        ) from None
    return more


def _accrued(settings: Settings) -> list[Path]:
    return sorted((settings.home / "accrued").glob("*/*.parquet"))


def _rewrite_file(path: Path, tokenizer: Tokenizer, settings: Settings) -> bool:
    """Upgrade the tokens in a file's text columns; the new file takes the old one's place at once."""
    beside = path.with_name(f".{path.name}-rotation-{os.getpid()}")
    with connect(settings) as connection:
        raw = source(connection, path)
        texts = [name for name, kind in raw.columns.items() if kind == "VARCHAR"]
        found = [name for name in texts if _outdated(connection, raw.scan, name, tokenizer.version)]
        if not found:
            return False
        connection.create_function("upgraded", tokenizer.upgrade_text, ["VARCHAR"], "VARCHAR")
        replaced = ", ".join(f"upgraded({quote(name)}) AS {quote(name)}" for name in found)
        try:
            query = f"SELECT * REPLACE ({replaced}) FROM {raw.scan}"
            connection.execute(f"COPY ({query}) TO {text(str(beside))} (FORMAT parquet)")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return True


def _outdated(connection: duckdb.DuckDBPyConnection, scan: str, column: str, version: int) -> bool:
    """Whether a column holds tokens of an earlier version."""
    query = (
        f"SELECT count(*) FROM {scan} WHERE regexp_full_match({quote(column)}, {text(TOKENS)}) "
        f"AND NOT starts_with({quote(column)}, 't{version:04}_')"
    )
    row = connection.execute(query).fetchone()
    return bool(row and row[0])
