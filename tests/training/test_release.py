"""Releases: signed, checked before anything is parsed, and put in place at once."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from configs.errors import GovernanceError
from configs.settings import Settings
from training.governance.keys import signing_key, trusted_key
from training.governance.release import (
    Provenance,
    anchors,
    current_release,
    folder_digest,
    load_release,
    make_current,
    write_release,
)
from training.model import Model


def provenance(candidate: Path, version: int = 3) -> Provenance:
    return Provenance(
        use_case="credit",
        version=version,
        author="ada",
        approver="grace",
        comment="sound",
        approved_at="2025-01-01T00:00:00.000000Z",
        run_id="r",
        metrics={"auc": 0.8, "undefined": None},
        candidate_digest=folder_digest(candidate),
        audit={"seq": 5, "hash": "ab"},
    )


@pytest.fixture
def release_folder(candidate: Path, settings: Settings) -> Path:
    return write_release(candidate, provenance(candidate), settings)


def test_a_release_scores_as_its_candidate_did(release_folder: Path, candidate: Path, settings: Settings) -> None:
    release = load_release(release_folder, trusted_key=trusted_key(settings))
    X = np.random.default_rng(1).normal(size=(20, 3))
    assert (release.model.probability(X) == Model.load(candidate / "model").probability(X)).all()
    assert (release.use_case.name, release.version, release.manifest["approver"]) == ("credit", 3, "grace")


def test_the_release_in_force_is_the_one_that_current_names(release_folder: Path, settings: Settings) -> None:
    make_current("credit", 3, settings)
    assert current_release("credit", settings).folder == release_folder


def test_without_an_approved_release_the_way_to_one_is_shown(settings: Settings) -> None:
    with pytest.raises(GovernanceError, match="no approved release") as error:
        current_release("credit", settings)
    assert "risk approve credit" in error.value.fix


@pytest.mark.parametrize(
    "name", ["model/booster-0.txt", "model/model.json", "use_case.json", "reference.json", "reasons.yaml"]
)
def test_a_changed_file_is_named(release_folder: Path, settings: Settings, name: str) -> None:
    with (release_folder / name).open("a") as file:
        file.write(" ")
    with pytest.raises(GovernanceError, match=f"{name} was changed"):
        load_release(release_folder, trusted_key=trusted_key(settings))


def test_a_removed_file_is_named(release_folder: Path, settings: Settings) -> None:
    (release_folder / "reference.json").unlink()
    with pytest.raises(GovernanceError, match=r"reference\.json is missing"):
        load_release(release_folder, trusted_key=trusted_key(settings))


def test_an_added_file_is_named(release_folder: Path, settings: Settings) -> None:
    (release_folder / "model" / "booster-1.txt").write_text("tree")
    with pytest.raises(GovernanceError, match=r"booster-1\.txt was added"):
        load_release(release_folder, trusted_key=trusted_key(settings))


def test_a_changed_manifest_is_not_trusted(release_folder: Path, settings: Settings) -> None:
    manifest = json.loads((release_folder / "manifest.json").read_text())
    (release_folder / "manifest.json").write_text(json.dumps(manifest | {"approver": "eve"}))
    with pytest.raises(GovernanceError, match="not signed by the trusted key"):
        load_release(release_folder, trusted_key=trusted_key(settings))


def test_another_signer_is_not_trusted(release_folder: Path) -> None:
    with pytest.raises(GovernanceError, match="not signed by the trusted key"):
        load_release(release_folder, trusted_key=Ed25519PrivateKey.generate().public_key())


def test_a_release_put_in_another_version_s_place_is_refused(release_folder: Path, settings: Settings) -> None:
    release_folder.rename(release_folder.with_name("4"))
    make_current("credit", 4, settings)
    with pytest.raises(GovernanceError, match="holds credit 3"):
        current_release("credit", settings)


def test_a_failed_write_leaves_nothing_behind(candidate: Path, settings: Settings) -> None:
    (candidate / "model" / "model.json").write_text("{")
    with pytest.raises(Exception, match=r"model\.json"):
        write_release(candidate, provenance(candidate), settings)
    assert [path.name for path in (settings.home / "releases" / "credit").iterdir()] == []


def test_writing_the_same_release_again_keeps_it(candidate: Path, release_folder: Path, settings: Settings) -> None:
    before = (release_folder / "manifest.json").read_bytes()
    assert write_release(candidate, provenance(candidate), settings) == release_folder
    assert (release_folder / "manifest.json").read_bytes() == before


def test_a_version_can_not_be_another_candidate(candidate: Path, release_folder: Path, settings: Settings) -> None:
    (candidate / "reference.json").write_text("{}")
    with pytest.raises(GovernanceError, match="another candidate"):
        write_release(candidate, provenance(candidate), settings)


def test_releases_anchor_the_audit_chain(release_folder: Path, settings: Settings) -> None:
    assert anchors(settings) == {5: "ab"}


def test_keys_of_our_own_are_private(settings: Settings) -> None:
    first = signing_key(settings).public_key()
    path = settings.home / "keys" / "signing.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert trusted_key(settings) == first == signing_key(settings).public_key()


def test_production_makes_no_keys_of_its_own(settings: Settings) -> None:
    production = settings.model_copy(update={"profile": "prod"})
    with pytest.raises(GovernanceError, match="RISK_SIGNING_KEY") as error:
        signing_key(production)
    assert "openssl genpkey" in error.value.fix
    with pytest.raises(GovernanceError, match="RISK_TRUSTED_KEY"):
        trusted_key(production)


def test_production_takes_keys_by_path(settings: Settings) -> None:
    signing_key(settings)
    keys = settings.home / "keys"
    named = {"profile": "prod", "signing_key": keys / "signing.pem", "trusted_key": keys / "trusted.pem"}
    production = settings.model_copy(update=named)
    assert signing_key(production).public_key() == trusted_key(production)


def test_a_signing_key_that_others_can_read_is_refused(settings: Settings) -> None:
    signing_key(settings)
    (settings.home / "keys" / "signing.pem").chmod(0o644)
    with pytest.raises(GovernanceError, match="open to every user"):
        signing_key(settings)


def test_a_file_that_is_no_key_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("not a key")
    with pytest.raises(GovernanceError, match="no such key"):
        trusted_key(settings.model_copy(update={"trusted_key": tmp_path / "key.pem"}))


def test_loading_a_release_imports_nothing_that_scoring_must_not(release_folder: Path, settings: Settings) -> None:
    code = (
        "import sys; from pathlib import Path; from configs.settings import Settings;"
        "from training.governance.release import load_release; from training.governance.keys import trusted_key;"
        "load_release(Path(sys.argv[1]), trusted_key=trusted_key(Settings()));"
        "unwanted = {'feast', 'duckdb', 'mlflow', 'optuna', 'shap', 'evidently', 'sklearn', 'optbinning'};"
        "found = unwanted & set(sys.modules);"
        "sys.exit(str(sorted(found)) if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(release_folder)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
