"""Fixtures shared by all rooms: settings in a folder of their own, and the real services or a reason why not."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.settings import Settings, sqlalchemy_url

# Read before any test: the fixture `settings` clears the environment
REQUIRED = os.environ.get("RISK_REQUIRE_SERVICES") == "1"
REDIS = os.environ.get("RISK_REDIS_URL", "redis://127.0.0.1:6379")
POSTGRES = os.environ.get("RISK_DATABASE_URL", "postgresql:///test")

os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("MPLBACKEND", "Agg")


def absent(what: str) -> None:
    """Skip with the reason; fail where the services are promised (continuous integration)."""
    if REQUIRED:
        pytest.fail(f"{what}, and RISK_REQUIRE_SERVICES=1 promises it")
    pytest.skip(what)


@pytest.fixture(scope="session", autouse=True)
def configuration_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Token keys that are made at first use come into a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a home of their own and the embedded defaults, whatever the caller's environment says."""
    for name in [name for name in os.environ if name.startswith("RISK_") and name != "RISK_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RISK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RISK_PROFILE", "test")
    return Settings()


@pytest.fixture
def redis_url() -> str:
    """A real Redis server; every test gets keys of its own by using its own use case names or prefixes."""
    redis = pytest.importorskip("redis")
    try:
        with redis.Redis.from_url(REDIS) as client:
            client.ping()
    except redis.exceptions.ConnectionError:
        absent(f"no Redis server at {REDIS}")
    return REDIS


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A new, empty database on a real PostgreSQL server, dropped afterwards."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    pytest.importorskip("psycopg")
    server = sqlalchemy.make_url(sqlalchemy_url(POSTGRES))
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool)
    name = f"risk_test_{uuid.uuid4().hex[:12]}"
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f'CREATE DATABASE "{name}"'))
    except sqlalchemy.exc.OperationalError:
        absent(f"no PostgreSQL server at {server.render_as_string(hide_password=True)}")
    yield server.set(database=name, drivername="postgresql").render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium that can be driven."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        absent("no Chromium on this machine (Debian: apt-get install chromium)")
    return str(found)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real tables."""
    folder = Settings().data
    if not (folder / "lending_club.parquet").exists():
        pytest.skip(f"no real tables in {folder} (set RISK_DATA)")
    return folder
