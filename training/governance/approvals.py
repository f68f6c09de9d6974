"""Approvals: a second person puts a candidate into force, or refuses it. Nobody approves their own work.

What is decided about is read from the audit chain, never from tags that a user of the registry could edit: the row
`candidate filed` names the author, the verdict and the digest of the candidate's bytes. The decision is a row of that
chain before anything takes effect; an approval that is interrupted afterwards is finished by repeating it.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import GovernanceError
from configs.settings import Settings
from configs.use_case import UseCase
from training.governance import release
from training.governance.keys import signing_key, trusted_key
from training.governance.ledger import Decision, Filing, Ledger
from training.governance.registry import CANDIDATE, CHAMPION, Registry


def approve(use_case: UseCase, version: int | None, *, approver: str, comment: str, settings: Settings) -> Path:
    """Put a version (None: the one that `@candidate` names) into force and return its signed release folder.

    Raises `GovernanceError` if the approver is the author, the gates were not passed, the version was decided before,
    or the candidate's bytes are not those that were filed. Repeating an interrupted approval finishes it.
    """
    ledger, registry = Ledger(settings), Registry(settings)
    _require_words(approver, comment)
    with _one_at_a_time(use_case.name, settings):
        filing = _filed(use_case.name, version, ledger, registry, settings)
        _require_another(filing, approver)
        _require_passed(filing)
        signing_key(settings)  # a missing key is found before anything is recorded
        with _downloaded(filing, registry, settings) as candidate:
            decision = ledger.decide(filing, "approved", approver=approver, comment=comment)
            _require_latest(filing, ledger.overtaken_by(filing, decision))
            folder = release.write_release(candidate, _provenance(filing, decision), settings)
        digest = release.load_release(folder, trusted_key=trusted_key(settings)).digest
        registry.set_alias(filing.use_case, CHAMPION, filing.version)
        _close(filing, "approved", approver, registry)
        release.make_current(filing.use_case, filing.version, settings)
        ledger.in_force(filing, decision, digest=digest)
    return folder


def refuse(use_case: UseCase, version: int | None, *, approver: str, comment: str, settings: Settings) -> int:
    """Refuse a version (None: the one that `@candidate` names) for a stated reason and return its number.

    Authors may refuse their own work: that withdraws it.
    """
    ledger, registry = Ledger(settings), Registry(settings)
    _require_words(approver, comment)
    with _one_at_a_time(use_case.name, settings):
        filing = _filed(use_case.name, version, ledger, registry, settings)
        ledger.decide(filing, "refused", approver=approver, comment=comment)
        _close(filing, "refused", approver, registry)
    return filing.version


def _filed(use_case_name: str, version: int | None, ledger: Ledger, registry: Registry, settings: Settings) -> Filing:
    """The filing of a registered version, from a chain that holds and has every row that a release names."""
    found = registry.version(use_case_name, CANDIDATE if version is None else version)
    ledger.audit.require_intact(anchors=release.anchors(settings))
    filing = ledger.filings(use_case_name).get(found.version)
    if filing is None or filing.run_id != found.run_id:
        raise GovernanceError(
            f"{use_case_name}/{found.version} was registered but never filed: its training was interrupted",
            expected="a version that `risk train` has finished",
            fix=f"risk train {use_case_name}",
        )
    return filing


def _close(filing: Filing, status: str, approver: str, registry: Registry) -> None:
    registry.drop_alias(filing.use_case, CANDIDATE, filing.version)
    registry.tag(filing.use_case, filing.version, {"status": status, "approver": approver})


def _require_words(approver: str, comment: str) -> None:
    if not approver.strip() or not comment.strip():
        raise GovernanceError(
            "a decision without a name or a comment", expected="who decides, and why", fix="--as NAME --comment WHY"
        )


def _require_another(filing: Filing, approver: str) -> None:
    if approver.strip().casefold() == filing.author.strip().casefold():
        raise GovernanceError(
            f"{approver} is the author of {filing.subject}",
            expected="an approver who is not the author: nobody approves their own work",
            fix="let another person decide, under their own name (--as or RISK_IDENTITY)",
        )


def _require_passed(filing: Filing) -> None:
    if not filing.verdict.passed:
        failed = "; ".join(f"{gate.name}: {gate.reason}" for gate in filing.verdict.failed)
        raise GovernanceError(
            f"{filing.subject} did not pass its gates: {failed}",
            expected="a version that passed all of them",
            fix=f"risk refuse {filing.use_case} {filing.version} --comment WHY, then train a better one",
        )


def _require_latest(filing: Filing, overtaken_by: int | None) -> None:
    if overtaken_by is not None:
        raise GovernanceError(
            f"the interrupted approval of {filing.subject} was overtaken by that of version {overtaken_by}",
            expected="the latest approval",
            fix=f"risk train {filing.use_case}",
        )


@contextmanager
def _downloaded(filing: Filing, registry: Registry, settings: Settings) -> Iterator[Path]:
    """The candidate's folder, only if it holds the very bytes that were filed."""
    scratch = settings.home / "candidates"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{filing.use_case}-{filing.version}-", dir=scratch) as folder:
        candidate = registry.download(registry.version(filing.use_case, filing.version), Path(folder))
        if release.folder_digest(candidate) != filing.digest:
            raise GovernanceError(
                f"the registered files of {filing.subject} are not those that were filed",
                expected=f"the digest {filing.digest[:12]} that the audit chain holds",
                fix="find out who changed the artifact store, then train again",
            )
        yield candidate


@contextmanager
def _one_at_a_time(use_case_name: str, settings: Settings) -> Iterator[None]:
    """Decisions about one use case wait for each other, so that alias, `CURRENT` and audit rows tell one story."""
    folder = release.releases_folder(use_case_name, settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _provenance(filing: Filing, decision: Decision) -> release.Provenance:
    return release.Provenance(
        use_case=filing.use_case,
        version=filing.version,
        author=filing.author,
        approver=decision.approver,
        comment=decision.comment,
        approved_at=decision.at,
        run_id=filing.run_id,
        metrics=filing.metrics,
        candidate_digest=filing.digest,
        audit={"seq": decision.audit_seq, "hash": decision.audit_hash},
    )
