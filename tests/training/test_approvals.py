"""Approvals: a second pair of eyes, one decision a version, and no half-approved state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from configs.errors import GovernanceError
from configs.settings import Settings
from configs.use_case import UseCase
from training.governance import approvals, release
from training.governance.approvals import approve, refuse
from training.governance.gates import Verdict
from training.governance.ledger import Ledger
from training.governance.registry import ModelVersion, Registry

Filed = Callable[..., ModelVersion]


def actions(settings: Settings) -> list[tuple[str, str]]:
    return [(row.actor, row.action) for row in Ledger(settings).audit.rows()]


def decide(use_case: UseCase, settings: Settings, *, version: int | None = None, by: str = "grace") -> Path:
    return approve(use_case, version, approver=by, comment="sound", settings=settings)


def test_an_approval_puts_the_candidate_into_force(credit: UseCase, governed: Settings, file_candidate: Filed) -> None:
    file_candidate()
    folder = decide(credit, governed)
    current = release.current_release("credit", governed)
    assert (current.folder, current.version, current.manifest["author"]) == (folder, 1, "ada")
    registry = Registry(governed)
    assert registry.version("credit", "champion").version == 1
    assert registry.aliased("credit", "candidate") is None
    assert actions(governed)[1:] == [("grace", "candidate approved"), ("grace", "release in force")]
    assert Ledger(governed).filings("credit")[1].status == "approved"


@pytest.mark.parametrize("name", ["ada", "Ada", " ADA "])
def test_nobody_approves_their_own_work(credit: UseCase, governed: Settings, file_candidate: Filed, name: str) -> None:
    file_candidate()
    with pytest.raises(GovernanceError, match="is the author"):
        decide(credit, governed, by=name)
    assert len(actions(governed)) == 1


def test_editing_the_author_in_the_registry_does_not_help(
    credit: UseCase, governed: Settings, file_candidate: Filed
) -> None:
    file_candidate()
    Registry(governed).tag("credit", 1, {"author": "somebody else"})
    with pytest.raises(GovernanceError, match="is the author"):
        decide(credit, governed, by="ada")


def test_a_candidate_that_failed_its_gates_can_not_be_approved(
    credit: UseCase, governed: Settings, file_candidate: Filed, failed_verdict: Verdict
) -> None:
    file_candidate(verdict=failed_verdict)
    with pytest.raises(GovernanceError, match="did not pass its gates: minimum auc"):
        decide(credit, governed)
    assert refuse(credit, None, approver="grace", comment="too weak", settings=governed) == 1


def test_without_a_candidate_there_is_nothing_to_approve(credit: UseCase, governed: Settings) -> None:
    with pytest.raises(GovernanceError, match="no candidate"):
        decide(credit, governed)


def test_an_unknown_version_is_refused(credit: UseCase, governed: Settings, file_candidate: Filed) -> None:
    file_candidate()
    with pytest.raises(GovernanceError, match="no version 7"):
        decide(credit, governed, version=7)


def test_a_version_is_decided_once(credit: UseCase, governed: Settings, file_candidate: Filed) -> None:
    file_candidate()
    decide(credit, governed)
    with pytest.raises(GovernanceError, match="was approved by grace"):
        decide(credit, governed, version=1)
    with pytest.raises(GovernanceError, match="was approved by grace"):
        refuse(credit, 1, approver="alan", comment="no", settings=governed)


def test_a_refusal_takes_the_alias_and_stays(credit: UseCase, governed: Settings, file_candidate: Filed) -> None:
    file_candidate()
    refuse(credit, None, approver="grace", comment="unstable", settings=governed)
    assert Registry(governed).aliased("credit", "candidate") is None
    with pytest.raises(GovernanceError, match="was refused by grace"):
        decide(credit, governed, version=1)
    assert release.current_version("credit", governed) is None


def test_authors_may_withdraw_their_own_work(credit: UseCase, governed: Settings, file_candidate: Filed) -> None:
    file_candidate()
    assert refuse(credit, None, approver="ada", comment="wrong data", settings=governed) == 1


def test_a_decision_needs_a_comment(credit: UseCase, governed: Settings, file_candidate: Filed) -> None:
    file_candidate()
    with pytest.raises(GovernanceError, match="without a name or a comment"):
        approve(credit, None, approver="grace", comment=" ", settings=governed)


def test_an_earlier_undecided_version_can_be_approved(
    credit: UseCase, governed: Settings, file_candidate: Filed
) -> None:
    file_candidate()
    file_candidate()
    decide(credit, governed, version=1)
    assert release.current_version("credit", governed) == 1
    assert Registry(governed).version("credit", "candidate").version == 2


def test_a_registered_version_that_was_never_filed_is_refused(
    credit: UseCase, governed: Settings, file_candidate: Filed, candidate: Path, submit: Callable[..., object]
) -> None:
    file_candidate()
    Registry(governed).register(submit(candidate))  # type: ignore[arg-type]
    with pytest.raises(GovernanceError, match="never filed"):
        decide(credit, governed, version=2)


def test_changed_artifacts_are_not_approved(credit: UseCase, governed: Settings, file_candidate: Filed) -> None:
    file_candidate()
    (booster,) = (governed.home / "mlartifacts").rglob("candidate/model/booster-0.txt")
    booster.write_text(booster.read_text() + " ")
    with pytest.raises(GovernanceError, match="not those that were filed"):
        decide(credit, governed)
    assert len(actions(governed)) == 1


def test_a_broken_audit_chain_stops_approvals(credit: UseCase, governed: Settings, file_candidate: Filed) -> None:
    file_candidate()
    engine = sa.create_engine(governed.database("governance"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_chain_no_update")
        connection.exec_driver_sql("UPDATE audit_chain SET actor = 'eve'")
    with pytest.raises(GovernanceError, match="broken at row 1"):
        decide(credit, governed)


def test_rows_cut_off_the_end_of_the_chain_stop_approvals(
    credit: UseCase, governed: Settings, file_candidate: Filed
) -> None:
    file_candidate()
    file_candidate()
    decide(credit, governed)
    engine = sa.create_engine(governed.database("governance"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_chain_no_delete")
        connection.exec_driver_sql("DELETE FROM audit_chain WHERE seq > 2")
    assert Ledger(governed).audit.verify() is None, "the chain alone can't tell"
    with pytest.raises(GovernanceError, match="broken at row 3: the row was cut off"):
        decide(credit, governed, version=1)


def test_a_missing_key_is_found_before_anything_is_recorded(
    credit: UseCase, governed: Settings, file_candidate: Filed
) -> None:
    file_candidate()
    with pytest.raises(GovernanceError, match="RISK_SIGNING_KEY"):
        decide(credit, governed.model_copy(update={"profile": "prod"}))
    assert len(actions(governed)) == 1


@pytest.mark.parametrize(
    "place",
    [
        (release, "write_release"),
        (release, "load_release"),
        (Registry, "set_alias"),
        (Registry, "drop_alias"),
        (release, "make_current"),
        (Ledger, "in_force"),
    ],
)
def test_an_interrupted_approval_is_finished_by_repeating_it(
    credit: UseCase,
    governed: Settings,
    file_candidate: Filed,
    monkeypatch: pytest.MonkeyPatch,
    place: tuple[object, str],
) -> None:
    file_candidate()

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*place, interrupt)
        with pytest.raises(KeyboardInterrupt):
            decide(credit, governed)
    assert Ledger(governed).filings("credit")[1].status == "approval interrupted"
    decide(credit, governed, version=1)
    assert release.current_release("credit", governed).version == 1
    assert [action for _, action in actions(governed)].count("candidate approved") == 1
    assert Ledger(governed).filings("credit")[1].status == "approved"


def test_only_its_approver_finishes_an_interrupted_approval(
    credit: UseCase, governed: Settings, file_candidate: Filed, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_candidate()
    with monkeypatch.context() as patched:
        patched.setattr(release, "write_release", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            decide(credit, governed)
    with pytest.raises(GovernanceError, match="but that was interrupted") as error:
        decide(credit, governed, by="alan")
    assert "let grace repeat" in error.value.fix


def test_an_interrupted_approval_does_not_displace_a_later_one(
    credit: UseCase, governed: Settings, file_candidate: Filed, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_candidate()
    with monkeypatch.context() as patched:
        patched.setattr(release, "write_release", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            decide(credit, governed)
    file_candidate()
    decide(credit, governed)
    with pytest.raises(GovernanceError, match="overtaken by that of version 2"):
        decide(credit, governed, version=1)
    assert release.current_version("credit", governed) == 2


def test_approval_works_on_postgresql(
    credit: UseCase, governed: Settings, file_candidate: Filed, postgres_url: str
) -> None:
    settings = governed.model_copy(update={"database_url": postgres_url})
    file_candidate(settings=settings)
    decide(credit, settings)
    assert release.current_release("credit", settings).version == 1
    assert Ledger(settings).audit.verify(anchors=release.anchors(settings)) is None


def test_the_approval_of_one_use_case_does_not_wait_for_another(governed: Settings) -> None:
    with approvals._one_at_a_time("credit", governed), approvals._one_at_a_time("fraud", governed):
        assert (governed.home / "releases" / "fraud").is_dir()
