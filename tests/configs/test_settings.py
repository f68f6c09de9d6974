"""Process settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.settings import Settings, load_settings, sqlalchemy_url


def test_each_database_is_a_file_of_its_own_by_default(settings: Settings) -> None:
    assert settings.database("decisions") != settings.database("governance")
    assert settings.database("decisions").startswith("sqlite:///")


def test_a_database_url_is_shared_by_all_databases() -> None:
    settings = Settings(database_url="postgresql:///bank")
    assert settings.database("decisions") == settings.database("governance") == "postgresql+psycopg:///bank"


def test_other_database_urls_are_left_alone() -> None:
    assert sqlalchemy_url("sqlite:///x.db") == "sqlite:///x.db"


def test_a_bad_setting_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISK_PORT", "99999")
    with pytest.raises(ConfigError, match="RISK_PORT"):
        load_settings()


def test_a_bad_address_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISK_DATABASE_URL", "mysql://bank:secret@host/risk")
    with pytest.raises(ConfigError, match=r"RISK_DATABASE_URL: .*postgresql://") as caught:
        load_settings()
    assert "secret" not in str(caught.value)


def test_the_paths_of_keys_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(trusted_key=Path("public.pem")).trusted_key == tmp_path / "public.pem"


def test_a_relative_home_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(home=Path("here")).home == tmp_path / "here"
