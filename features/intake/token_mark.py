"""Which keys a use case's tokens were made with, so that other keys are an error and not empty joins.

A mark is a list of fingerprints, one a version: it gives nothing of a key away. A lock tells who works with the keys.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from configs.errors import FeatureError
from configs.secret_files import publish
from configs.settings import Settings


def fingerprints(keys: Sequence[bytes]) -> list[str]:
    """16 hex digits a version."""
    return [sha256(b"token key fingerprint:" + key).hexdigest()[:16] for key in keys]


def check_mark(use_case: str, keys: Sequence[bytes], settings: Settings) -> None:
    """Raise `FeatureError` unless the use case's tokens are of these keys; one without tokens gets the mark."""
    wanted = fingerprints(keys)
    if read_marks(settings).get(use_case) is None:
        write_mark(use_case, keys, settings, overwrite=False)
    found = read_marks(settings)[use_case]
    if outdated(found, wanted):
        raise FeatureError(
            f"the token keys are of version {len(wanted)}, the tokens of {use_case} of version {len(found)}",
            expected="tokens of the newest version",
            fix="stop the service, then risk features keys rotate",
        )


def outdated(found: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether tokens marked as `found` are of an earlier version; raises `FeatureError` for tokens of other keys."""
    if list(found) != list(wanted[: len(found)]):
        raise FeatureError(
            "the token keys are not those that the stored tokens were made with",
            expected="the same keys: with others no stored token would be found again",
            fix="set RISK_TOKEN_KEY_FILE or RISK_TOKEN_KEYS as before, or begin with an empty RISK_HOME",
        )
    return len(found) < len(wanted)


def read_marks(settings: Settings) -> dict[str, list[str]]:
    """The fingerprints of the keys that tokens were made with, by use case."""
    paths = sorted((settings.home / "tokens").glob("*.json"))
    return {path.stem: [str(each) for each in json.loads(path.read_text(encoding="utf-8"))] for path in paths}


def write_mark(use_case: str, keys: Sequence[bytes], settings: Settings, *, overwrite: bool) -> None:
    """Put the mark in place at once; without `overwrite` one that is there stays."""
    path = settings.home / "tokens" / f"{use_case}.json"
    publish(json.dumps(fingerprints(keys)).encode(), path, overwrite=overwrite)


@contextmanager
def keys_held(settings: Settings, *, alone: bool = False) -> Iterator[None]:
    """Hold the keys as they are: a service does, and rotation (`alone`) waits for nobody but refuses.

    The kernel frees the lock when the process ends, however it ends.
    """
    path = settings.home / "locks" / "token-keys.lock"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise FeatureError(
            "a service of this home folder is using the token keys" if alone else "the token keys are being rotated",
            expected="a rotation while nothing makes tokens",
            fix="stop the service, then risk features keys rotate" if alone else "start again when it is done",
        ) from None
    finally:
        os.close(descriptor)
