"""The audit chain: what is appended stays, and what was changed is named."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from configs.errors import GovernanceError
from configs.settings import Settings
from training.governance.audit import GENESIS, AuditLog


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return settings.model_copy(update={"database_url": request.getfixturevalue("postgres_url")})


@pytest.fixture
def log(store: Settings) -> AuditLog:
    log = AuditLog(store)
    for number in range(4):
        log.append("ada", "candidate filed", f"credit/{number}", {"number": number})
    return log


def tamper(store: Settings, statement: str) -> None:
    """What somebody with full rights over the database can do: switch the guards off, then change rows."""
    engine = sa.create_engine(store.database("governance"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.execute(sa.text("DROP TRIGGER audit_chain_no_update"))
            connection.execute(sa.text("DROP TRIGGER audit_chain_no_delete"))
        else:
            connection.execute(sa.text("DROP TRIGGER audit_chain_append_only ON audit_chain"))
        connection.exec_driver_sql(statement)


def test_rows_are_chained_from_the_first(log: AuditLog) -> None:
    rows = log.rows()
    assert [row.seq for row in rows] == [1, 2, 3, 4]
    assert [row.previous for row in rows] == [GENESIS, *(row.hash for row in rows[:-1])]
    assert log.verify() is None


def test_an_empty_chain_holds(store: Settings) -> None:
    assert AuditLog(store).verify() is None


@pytest.mark.parametrize(
    ("statement", "seq"),
    [
        ("UPDATE audit_chain SET actor = 'eve' WHERE seq = 2", 2),
        ("UPDATE audit_chain SET detail = '{\"number\":9}' WHERE seq = 3", 3),
        ("UPDATE audit_chain SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 4", 4),
        ("DELETE FROM audit_chain WHERE seq = 2", 2),
        ("DELETE FROM audit_chain WHERE seq = 1", 1),
    ],
)
def test_verify_names_the_first_row_that_was_changed(log: AuditLog, store: Settings, statement: str, seq: int) -> None:
    tamper(store, statement)
    broken = log.verify()
    assert broken is not None
    assert broken.seq == seq


def test_rows_cut_off_at_the_end_show_against_an_anchor(log: AuditLog, store: Settings) -> None:
    anchors = {4: log.rows()[-1].hash}
    assert log.verify(anchors=anchors) is None
    tamper(store, "DELETE FROM audit_chain WHERE seq = 4")
    assert log.verify() is None
    broken = log.verify(anchors=anchors)
    assert broken is not None
    assert (broken.seq, broken.reason) == (4, "the row was cut off")


@pytest.mark.parametrize("statement", ["UPDATE audit_chain SET actor = 'eve'", "DELETE FROM audit_chain"])
def test_the_database_itself_refuses_changes(log: AuditLog, store: Settings, statement: str) -> None:
    engine = sa.create_engine(store.database("governance"), poolclass=sa.NullPool)
    with engine.connect() as connection, pytest.raises(sa.exc.DBAPIError, match="append-only"):
        connection.exec_driver_sql(statement)


def test_rows_are_found_by_subject_and_below(log: AuditLog) -> None:
    log.append("bob", "policy changed", "credit", {})
    log.append("bob", "candidate filed", "creditx/1", {})
    assert [row.subject for row in log.rows(subject="credit")] == [*(f"credit/{n}" for n in range(4)), "credit"]
    assert [row.subject for row in log.rows(subject="credit/2")] == ["credit/2"]


def test_an_interrupted_transaction_leaves_no_row(log: AuditLog) -> None:
    def interrupted() -> Iterator[None]:
        with log.writing() as connection:
            log.append("ada", "candidate approved", "credit/1", {}, within=connection)
            raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        next(interrupted())
    assert len(log.rows()) == 4


def append_many(home: str, database_url: str | None, actor: str) -> None:
    log = AuditLog(Settings(home=home, database_url=database_url))
    for number in range(15):
        log.append(actor, "counted", "credit", {"number": number})


def test_processes_that_append_together_make_one_chain(store: Settings) -> None:
    context = multiprocessing.get_context("fork")
    writers = [
        context.Process(target=append_many, args=(str(store.home), store.database_url, f"writer {number}"))
        for number in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    log = AuditLog(store)
    assert len(log.rows()) == 45
    assert log.verify() is None


def test_a_database_that_cannot_be_used_is_told_in_one_message(settings: Settings) -> None:
    (settings.home / "governance.db").mkdir(parents=True)
    with pytest.raises(GovernanceError, match="governance database can't be used: unable to open"):
        AuditLog(settings)
