"""The keys behind tokens: from the environment, from a file, or outside production from a file made at first use.

A key is never a setting, never in the home or data folder, never in a message.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from configs.errors import FeatureError
from configs.secret_files import publish
from configs.settings import Settings

VARIABLE = "RISK_TOKEN_KEYS"
LENGTH = 32
"""Bytes of a key that is made here, and the least that is accepted."""

_MAKE = '(umask 077; echo "1:$(openssl rand -base64 32)" > token.keys); export RISK_TOKEN_KEY_FILE="$PWD/token.keys"'
_FORM = f"1:<base64>,2:<base64>, versions without a gap from 1, each key of at least {LENGTH} bytes"


def token_keys(settings: Settings) -> tuple[bytes, ...]:
    """The keys of versions 1, 2, ..., from `RISK_TOKEN_KEYS`, else the key file.

    Raises `FeatureError` without keys in production, for a file that others can read or that lies beside the data, and
    for keys that are too short, unreadable or lack a version.
    """
    given = os.environ.get(VARIABLE)
    if given is not None:
        return parsed(given, place=VARIABLE)
    path = key_file(settings)
    if settings.token_key_file is None and not path.exists():
        write_keys([secrets.token_bytes(LENGTH)], path, overwrite=False)
    return parsed(_read(path), place=str(path))


def key_file(settings: Settings) -> Path:
    """Path of the key file: `RISK_TOKEN_KEY_FILE`, or outside production one in the user's configuration folder."""
    if settings.token_key_file is None and settings.profile == "prod":
        raise FeatureError(
            "no token keys are set, and profile prod uses none of its own making",
            expected=f"RISK_TOKEN_KEY_FILE with a path, or {VARIABLE} as {_FORM}",
            fix=f"{_MAKE}; keep a copy: without the key no stored token can be joined again",
        )
    path = settings.token_key_file or _default()
    for folder in (settings.home, settings.data):
        if path.is_relative_to(folder):
            raise FeatureError(
                f"the token keys {path} lie in {folder}",
                expected="a file outside of RISK_HOME and RISK_DATA: keys beside the tokens protect nothing",
                fix="move the file, and name it by RISK_TOKEN_KEY_FILE",
            )
    return path


def _default() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config").resolve() / "risk-platform" / "token.keys"


def _read(path: Path) -> str:
    try:
        with path.open(encoding="ascii") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise FeatureError(f"the token keys {path} can't be read: {reason}", expected="a key file", fix=_MAKE) from None
    if stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO):
        raise FeatureError(f"the token keys {path} are open to others", expected="mode 0600", fix=f"chmod 600 {path}")
    return content


def parsed(content: str, *, place: str) -> tuple[bytes, ...]:
    """Keys by version, in order. A mistake is told by its place, never by what stands there."""
    parts = [part for part in re.split(r"[,\s]+", content) if part]
    found: dict[int, bytes] = {}
    for number, part in enumerate(parts, 1):
        version, _, encoded = part.partition(":")
        key = _decoded(encoded)
        if not re.fullmatch(r"[1-9][0-9]{0,3}", version) or key is None or int(version) in found:
            raise _unusable(f"entry {number} of {place} is no key, too short, or of a version given twice")
        found[int(version)] = key
    if not found or sorted(found) != list(range(1, len(found) + 1)):
        raise _unusable(f"{place} lacks a version")
    return tuple(found[version] for version in sorted(found))


def _decoded(encoded: str) -> bytes | None:
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    return key if len(key) >= LENGTH else None


def _unusable(found: str) -> FeatureError:
    return FeatureError(found, expected=_FORM, fix=_MAKE)


def write_keys(keys: Sequence[bytes], path: Path, *, overwrite: bool) -> None:
    """Put the key file in place at once, with mode 0600. Without `overwrite` one that is there stays, and counts."""
    lines = [f"{version}:{base64.b64encode(key).decode()}\n" for version, key in enumerate(keys, 1)]
    publish("".join(lines).encode(), path, overwrite=overwrite)
