"""Process settings, read from the environment (`RISK_*`) with embedded defaults that need no server."""

from __future__ import annotations

import getpass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from configs.errors import ConfigError

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


class Settings(BaseSettings):
    """Where things are and who acts. Every field is an environment variable with the prefix `RISK_`.

    Embedded defaults keep everything in `home`; `redis_url` and `database_url` switch to servers.
    Secrets are never fields: the signing key and the token keys are files, named by path.
    """

    model_config = SettingsConfigDict(env_prefix="RISK_", frozen=True, extra="ignore")

    home: Path = Field(Path(".risk"), description="folder for everything the platform writes")
    data: Path = Field(_SHARED_DATA, description="folder with the real tables")
    configs: Path | None = Field(None, description="a further folder of use case files")
    profile: Literal["dev", "test", "prod"] = Field("dev", description="overlay laid over each use case")
    identity: str = Field(default_factory=getpass.getuser, description="who acts: author, validator or approver")
    host: str = Field("127.0.0.1", description="address that servers bind to")
    port: int = Field(3000, ge=1, le=65535, description="port of the scoring service")
    redis_url: str | None = Field(None, description="online store on Redis instead of SQLite")
    database_url: str | None = Field(None, description="PostgreSQL instead of SQLite files: postgresql://...")
    mlflow_uri: str | None = Field(None, description="MLflow tracking server or database instead of SQLite")
    signing_key: Path | None = Field(None, description="Ed25519 private key (PEM) that signs releases")
    trusted_key: Path | None = Field(None, description="Ed25519 public key (PEM) that releases must verify against")
    token_key_file: Path | None = Field(None, description="file with the keys that make tokens of personal data")
    memory: str = Field("3GB", description="DuckDB's memory limit before it spills to disk")
    threads: int = Field(2, ge=1, description="threads for queries and training")

    @field_validator("home", "data", "configs", "signing_key", "trusted_key", "token_key_file", mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """Absolute, because child processes work in other folders."""
        return None if path is None else path.expanduser().resolve()

    @field_validator("database_url", mode="after")
    @classmethod
    def _postgresql(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
            raise ValueError("should be an address of PostgreSQL, postgresql://user@host/database")
        return url

    @cached_property
    def online_db(self) -> Path:
        """SQLite file of the online store and the activity state."""
        return self.home / "online.db"

    def database(self, name: str) -> str:
        """SQLAlchemy address of the database `name` (decisions, governance, monitoring, feast, mlflow).

        With SQLite each name is a file of its own, because a file has one writing process; in PostgreSQL they share one
        database.
        """
        if self.database_url:
            return sqlalchemy_url(self.database_url)
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)  # it will hold raw requests
        return f"sqlite:///{self.home / name}.db"


def sqlalchemy_url(url: str) -> str:
    """A PostgreSQL address with the driver this project installs; other addresses are returned as they are."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def load_settings() -> Settings:
    """Read the settings, turning pydantic's report into one `ConfigError`."""
    from pydantic import ValidationError

    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{_assigned(str(e['loc'][0]), e.get('input'))}: {e['msg']}" for e in error.errors()]
        raise ConfigError(
            "; ".join(lines), expected="valid settings", fix="correct the environment variables"
        ) from None


def _assigned(field: str, value: object) -> str:
    """The variable as it was set; an address only by its name, because it may hold a password."""
    name = f"RISK_{field.upper()}"
    return name if field.endswith(("url", "uri")) else f"{name} = {value!r}"
