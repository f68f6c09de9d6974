"""Which releases a scoring process serves: those packed beside its code, else the approved ones of the home folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from configs.errors import GovernanceError, ServingError
from configs.settings import Settings
from training.governance.keys import trusted_key
from training.governance.release import Release, current_release, load_release

PACKED = Path(__file__).resolve().parents[1] / "releases"
"""Inside a Bento: `<use case>/<version>/`."""


def serving_releases(settings: Settings, *, packed: Path = PACKED) -> list[Release]:
    """The releases to serve, with signature and hashes verified.

    Raises `GovernanceError` for one that can't be trusted, and when there is none.
    """
    if not packed.is_dir():
        return approved_releases([], settings)
    key = trusted_key(settings)
    releases = [load_release(folder, trusted_key=key) for folder in sorted(packed.glob("*/*")) if folder.is_dir()]
    names = [release.use_case.name for release in releases]
    if len(set(names)) < len(names):
        raise ServingError(f"{packed} has a use case twice", expected="one release a use case", fix="risk package")
    return releases


def approved_releases(names: Sequence[str], settings: Settings) -> list[Release]:
    """The releases in force of the named use cases (none: of all that have one), verified."""
    return [current_release(name, settings) for name in names or approved(settings)]


def approved(settings: Settings) -> list[str]:
    """Names of the use cases with an approved release. Raises `GovernanceError` when there is none."""
    names = sorted(path.parent.name for path in (settings.home / "releases").glob("*/CURRENT"))
    if not names:
        raise GovernanceError(
            f"no use case in {settings.home} has an approved release",
            expected="at least one",
            fix="risk train <use case>, then as another person: risk approve <use case>",
        )
    return names
