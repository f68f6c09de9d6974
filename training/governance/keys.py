"""The Ed25519 keys behind releases: a private one that signs, a public one that scoring trusts."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from configs.errors import GovernanceError
from configs.secret_files import publish
from configs.settings import Settings

_MAKE_KEYS = (
    "openssl genpkey -algorithm ed25519 -out signing.pem && openssl pkey -in signing.pem -pubout -out trusted.pem"
)


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The key that signs releases: `RISK_SIGNING_KEY`, or outside production a pair made at first use in `home/keys`.

    Raises `GovernanceError` in production without the setting, and for a file that is unreadable, open to others or no
    Ed25519 key.
    """
    path = (
        settings.signing_key
        or _own(settings, "RISK_SIGNING_KEY", "the private key that signs releases") / "signing.pem"
    )
    if settings.signing_key is None:
        _ensure_pair(path.parent)
    content = _read(path, "RISK_SIGNING_KEY")
    if path.stat().st_mode & stat.S_IRWXO:
        raise GovernanceError(
            f"the signing key {path} is open to every user", expected="mode 0600", fix=f"chmod 600 {path}"
        )
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "an unencrypted Ed25519 private key in PEM")
    return key


def trusted_key(settings: Settings) -> Ed25519PublicKey:
    """The key that releases must verify against: `RISK_TRUSTED_KEY`, or outside production the one in `home/keys`."""
    path = (
        settings.trusted_key
        or _own(settings, "RISK_TRUSTED_KEY", "the public key that releases must verify against") / "trusted.pem"
    )
    try:
        key = load_pem_public_key(_read(path, "RISK_TRUSTED_KEY"))
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "an Ed25519 public key in PEM")
    return key


def _own(settings: Settings, variable: str, meaning: str) -> Path:
    if settings.profile == "prod":
        raise GovernanceError(
            f"{variable} is not set, and profile prod uses no key of its own making",
            expected=f"the path of {meaning}",
            fix=f"{_MAKE_KEYS}; RISK_SIGNING_KEY is for those who approve, RISK_TRUSTED_KEY for everyone",
        )
    return settings.home / "keys"


def _read(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GovernanceError(
            f"the key {path} can't be read: {error.strerror}",
            expected=f"a key made at the first `risk approve`, or {variable} naming a readable file",
            fix="approve a version first, or correct the setting",
        ) from None


def _no_key(path: Path, expected: str) -> GovernanceError:
    return GovernanceError(f"{path} holds no such key", expected=expected, fix=_MAKE_KEYS)


def _ensure_pair(folder: Path) -> None:
    """Make the pair unless it is there. Of two processes that start together, one wins and both use its key."""
    private, public = folder / "signing.pem", folder / "trusted.pem"
    if not private.exists():
        made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        publish(made, private, overwrite=False)
    if not public.exists():
        key = load_pem_private_key(private.read_bytes(), password=None)
        publish(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), public, overwrite=True)
