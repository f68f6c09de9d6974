"""`risk package`: code, use cases and approved releases in one Bento, built without the network."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from configs.errors import ServingError
from configs.settings import Settings
from serving.releases import approved_releases
from training.governance.release import Release, current_version

SERVICE = "serving.service:RiskService"
_ROOMS = ("configs", "features", "training", "serving")
_RUNTIME = (
    "bentoml", "cryptography", "lightgbm", "numpy", "prometheus-client", "pydantic", "pydantic-settings", "pyyaml",
    "sqlalchemy", "sqlglot", "starlette", "xgboost-cpu",
)  # fmt: skip
_OPTIONAL = ("redis", "psycopg", "psycopg-binary")
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Package:
    """A built Bento and what is in it."""

    tag: str
    folder: Path
    versions: dict[str, int]


def package(names: Sequence[str], settings: Settings) -> Package:
    """Build a Bento of the named use cases (none: of every one with an approved release) into `home/bentos`.

    Raises `GovernanceError` for a use case without a trusted release, `ServingError` when the build fails.
    """
    releases = approved_releases(names, settings)
    bento_home(settings)
    with tempfile.TemporaryDirectory(prefix="risk-package-") as folder:  # BentoML reads no hidden folder, such as .risk
        staging = Path(folder)
        stage(staging, releases)
        tag = _build(staging, settings)
    return Package(tag, _path(tag, settings), {release.use_case.name: release.version for release in releases})


def stage(staging: Path, releases: Sequence[Release]) -> None:
    """Lay out what goes into the Bento: the rooms that scoring needs, the releases, and the build's description."""
    for room in _ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(_ROOT / room, staging / room, ignore=ignored)
    for release in releases:
        shutil.copytree(release.folder, staging / "releases" / release.use_case.name / str(release.version))
    described = {
        "service": SERVICE,
        "name": "risk",
        "description": "Credit and fraud decisions: " + ", ".join(_title(release) for release in releases),
        "labels": {release.use_case.name: str(release.version) for release in releases},
        "include": ["*"],
        # what is installed here is what was tested; locking again would need the network
        "python": {"packages": pinned(), "lock_packages": False},
    }
    (staging / "bentofile.yaml").write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")


def pinned() -> list[str]:
    """`name==version` of everything that scoring needs at run time, as installed here, dependencies included."""
    wanted = [*_RUNTIME, *(name for name in _OPTIONAL if _installed(name))]
    found: dict[str, str] = {}
    while wanted:
        name = canonicalize_name(wanted.pop())
        distribution = _installed(name)
        if name in found or distribution is None:
            continue
        found[name] = distribution.version
        requirements = [Requirement(text) for text in distribution.requires or []]
        wanted += [one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name != "bentoml"]  # which pins itself


def newest(settings: Settings) -> Path:
    """Folder of the Bento built last. Raises `ServingError` when there is none."""
    latest = settings.home / "bentos" / "bentos" / "risk" / "latest"
    try:
        return _path(f"risk:{latest.read_text(encoding='utf-8').strip()}", settings)
    except FileNotFoundError:
        raise ServingError(
            f"no Bento in {settings.home / 'bentos'}", expected="a packed Bento", fix="risk package"
        ) from None


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a child process that is to have the same settings. Telemetry is off.

    A setting that is None here is unset there, so that no server named in our environment is reached by the child.
    """
    fields = {f"RISK_{name.upper()}": value for name, value in settings.model_dump().items()}
    inherited = {name: value for name, value in os.environ.items() if name.upper() not in fields}
    given = {name: str(value) for name, value in fields.items() if value is not None}
    quiet = {"DO_NOT_TRACK": "true", "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(bento_home(settings))}
    return {**inherited, **given, **quiet}


def bento_home(settings: Settings) -> Path:
    """BentoML's own home inside ours; it has to exist."""
    folder = settings.home / "bentos"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def overtaken(settings: Settings) -> dict[str, tuple[int, int]]:
    """Use cases whose approved version isn't the one in the newest Bento: (packed, approved)."""
    folders = newest(settings).glob("src/releases/*/*")
    pairs = {
        folder.parent.name: (int(folder.name), current_version(folder.parent.name, settings)) for folder in folders
    }
    return {name: (packed, now) for name, (packed, now) in pairs.items() if now is not None and now != packed}


def _installed(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _title(release: Release) -> str:
    return f"{release.use_case.name} {release.version}"


def _path(tag: str, settings: Settings) -> Path:
    name, _, version = tag.partition(":")
    return settings.home / "bentos" / "bentos" / name / version


def _build(staging: Path, settings: Settings) -> str:
    """Build in a child process, whose imports come from the staged code alone."""
    command = [sys.executable, "-m", "bentoml", "build", "--output", "tag", str(staging)]
    done = subprocess.run(  # noqa: S603  # our own interpreter and arguments
        command, env=environment(settings), cwd=staging, capture_output=True, text=True, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:] or ["no message"]
        raise ServingError(
            f"bentoml build failed: {' '.join(last)}", expected="a Bento", fix="mend what it names, then risk package"
        )
    return done.stdout.strip().splitlines()[-1].removeprefix("__tag__:")
