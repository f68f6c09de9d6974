"""Releases: signed folders with everything scoring needs, checked byte by byte before anything in them is parsed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import configs.loading
from configs.errors import GovernanceError
from configs.settings import Settings
from configs.use_case import UseCase
from features.intake.privacy import Tokenizer
from training.governance.keys import signing_key, trusted_key
from training.model import Model

MANIFEST, SIGNATURE, CURRENT = "manifest.json", "manifest.sig", "CURRENT"
FORMAT = 1
_AGAIN = "restore the folder from a copy you trust, or train and approve a new version"


@dataclass(frozen=True)
class Release:
    """A verified release. `digest` is the SHA-256 of its manifest, and so stands for every byte of it."""

    use_case: UseCase
    version: int
    model: Model
    reference: dict[str, Any]
    manifest: dict[str, Any]
    folder: Path
    digest: str

    def upgraded(self, tokenizer: Tokenizer | None) -> Release:
        """The release with the tokens in its vocabularies and bins as the newest keys make them; its digest stays."""
        if tokenizer is None:
            return self
        model = self.model.with_vocabularies(tokenizer.upgrade_data(dict(self.model.vocabularies)))
        return replace(self, model=model, reference=tokenizer.upgrade_data(self.reference))


@dataclass(frozen=True)
class Provenance:
    """Who made and who approved a version, and where its numbers come from: what a manifest says beside the hashes."""

    use_case: str
    version: int
    author: str
    approver: str
    comment: str
    approved_at: str
    run_id: str
    metrics: Mapping[str, float | None]
    candidate_digest: str
    audit: Mapping[str, Any]


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path in the folder (with `/`), sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _sha256(path.read_bytes()) for path in files}


def folder_digest(folder: Path) -> str:
    """One SHA-256 for a whole folder: over the names and hashes of its files."""
    return _sha256(_canonical(file_hashes(folder)))


def releases_folder(use_case_name: str, settings: Settings) -> Path:
    """The folder of a use case's releases, one folder a version, and the file `CURRENT`."""
    return settings.home / "releases" / use_case_name


def write_release(candidate_folder: Path, provenance: Provenance, settings: Settings) -> Path:
    """Copy a candidate, add reasons, manifest and signature, check it as scoring would, and put it in place at once.

    A release that is already there and verifies is kept, so that an interrupted approval can be finished.
    Raises `GovernanceError` where keys are missing or the candidate is not the one the provenance speaks of.
    """
    target = releases_folder(provenance.use_case, settings) / str(provenance.version)
    if target.exists():
        return _same(load_release(target, trusted_key=trusted_key(settings)), provenance).folder
    key = signing_key(settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{provenance.version}-", dir=target.parent))
    try:
        shutil.copytree(candidate_folder, beside, dirs_exist_ok=True)
        _add_reasons(beside)
        manifest = _manifest(beside, provenance)
        _write_durably(beside / MANIFEST, manifest)
        _write_durably(beside / SIGNATURE, base64.b64encode(key.sign(manifest)) + b"\n")
        load_release(beside, trusted_key=trusted_key(settings))
        beside.chmod(0o755)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def load_release(folder: Path, *, trusted_key: Ed25519PublicKey) -> Release:
    """Verify the signature, then every hash, and only then parse. Raises `GovernanceError` naming the file at fault."""
    content = _verified_manifest(folder, trusted_key)
    manifest = json.loads(content)
    if manifest.get("format") != FORMAT:
        raise GovernanceError(
            f"{folder / MANIFEST} has format {manifest.get('format')!r}",
            expected=f"format {FORMAT}",
            fix="use the version of this platform that wrote the release, or approve a version anew",
        )
    _check_files(folder, manifest["files"])
    use_case = configs.loading.parse(_json(folder / "use_case.json"), file=str(folder / "use_case.json"))
    if use_case.name != manifest["use_case"]:
        raise GovernanceError(
            f"{folder} holds {use_case.name!r}", expected=f"{manifest['use_case']!r}, as its manifest says"
        )
    return Release(
        use_case=use_case,
        version=int(manifest["version"]),
        model=Model.load(folder / "model"),
        reference=_json(folder / "reference.json"),
        manifest=manifest,
        folder=folder,
        digest=_sha256(content),
    )


def current_version(use_case_name: str, settings: Settings) -> int | None:
    """The version that `CURRENT` names, or None without an approved release."""
    try:
        text = (releases_folder(use_case_name, settings) / CURRENT).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    if not text.isdecimal():
        raise GovernanceError(
            f"{CURRENT} of {use_case_name!r} holds {text[:20]!r}", expected="a version number", fix=_AGAIN
        )
    return int(text)


def current_release(use_case_name: str, settings: Settings) -> Release:
    """The release in force, verified. Raises `GovernanceError` if there is none or it can't be trusted."""
    version = current_version(use_case_name, settings)
    if version is None:
        raise GovernanceError(
            f"the use case {use_case_name!r} has no approved release",
            expected=f"an approved version in {releases_folder(use_case_name, settings)}",
            fix=f"risk train {use_case_name}; then another person: risk approve {use_case_name} --comment WHY",
        )
    release = load_release(releases_folder(use_case_name, settings) / str(version), trusted_key=trusted_key(settings))
    if (release.use_case.name, release.version) != (use_case_name, version):
        raise GovernanceError(
            f"{release.folder} holds {release.use_case.name} {release.version}",
            expected=f"{use_case_name} {version}",
            fix=_AGAIN,
        )
    return release


def make_current(use_case_name: str, version: int, settings: Settings) -> None:
    """Name the release in force, at once: a reader sees the old version or the new one."""
    path = releases_folder(use_case_name, settings) / CURRENT
    beside = path.with_name(f".{CURRENT}-{os.getpid()}")
    _write_durably(beside, f"{version}\n".encode())
    beside.replace(path)


def anchors(settings: Settings) -> dict[int, str]:
    """Hashes of audit rows, by seq, that the signed releases of all use cases carry."""
    found: dict[int, str] = {}
    for path in sorted((settings.home / "releases").glob(f"*/[0-9]*/{MANIFEST}")):
        audit = json.loads(_verified_manifest(path.parent, trusted_key(settings)))["audit"]
        found[int(audit["seq"])] = str(audit["hash"])
    return found


def _verified_manifest(folder: Path, key: Ed25519PublicKey) -> bytes:
    content, signature = (_bytes(folder / name) for name in (MANIFEST, SIGNATURE))
    try:
        key.verify(base64.b64decode(signature, validate=False), content)
    except (InvalidSignature, ValueError):
        raise GovernanceError(
            f"{folder / MANIFEST} is not signed by the trusted key",
            expected="a manifest as it was signed, and the public key of its signer",
            fix=f"check RISK_TRUSTED_KEY; {_AGAIN}",
        ) from None
    return content


def _check_files(folder: Path, expected: Mapping[str, str]) -> None:
    found = {name: digest for name, digest in file_hashes(folder).items() if name not in {MANIFEST, SIGNATURE}}
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            state = "is missing" if name not in found else "was changed" if name in expected else "was added"
            raise GovernanceError(
                f"{folder / name} {state} since the release was signed", expected="every file as signed", fix=_AGAIN
            )


def _same(release: Release, provenance: Provenance) -> Release:
    if release.manifest["candidate_digest"] != provenance.candidate_digest:
        raise GovernanceError(
            f"{release.folder} is a release of another candidate",
            expected=f"the candidate of version {provenance.version}",
            fix=f"move {release.folder} away, then approve again",
        )
    return release


def _add_reasons(folder: Path) -> None:
    """The catalogue as it was at approval: a later edit must not change the reasons of a version that scores."""
    name = _json(folder / "use_case.json")["policy"]["reasons"]
    shutil.copyfile(configs.loading.FOLDER / "reasons" / f"{name}.yaml", folder / "reasons.yaml")


def _manifest(folder: Path, provenance: Provenance) -> bytes:
    datetime.fromisoformat(provenance.approved_at)  # a malformed time must not be signed
    content = {"format": FORMAT, **vars(provenance), "files": file_hashes(folder)}
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise GovernanceError(
            f"{path} can't be read: {error.strerror}", expected="a signed release", fix=_AGAIN
        ) from None


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_bytes(path)))
    except ValueError as error:
        raise GovernanceError(f"{path} is not JSON: {error}", expected="a JSON object", fix=_AGAIN) from None


def _canonical(data: Any) -> bytes:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
