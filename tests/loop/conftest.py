"""Small versions of the simulated use cases, and the command line as a user has it: one child process a command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.loading import FOLDER, overlaid, read_yaml

RISK = Path(sys.executable).with_name("risk")

SMALL: dict[str, dict[str, Any]] = {
    "fraud": {
        "simulator": {"rows": 48000, "months": 3, "live_rows": 1200},
        "split": {
            "train": {"start": "2025-01-20", "end": "2025-02-20"},
            "test": {"start": "2025-03-06", "end": "2025-03-28"},
        },
        "gates": {  # some dozens of frauds can't tell more than this
            "minimum": {"auc": 0.6, "average_precision": 0.0},
            "champion_margin": 0.4,
            "month_psi": 1.0,
            "explanation_rank": 0.0,
            "explanation_overlap": 0.2,
        },
        "monitoring": {"window": "7d"},
        "rehearsal": {"period": None, "requests": 500},
    },
    "credit": {
        "simulator": {"rows": 6000, "live_rows": 1000},
        "gates": {"minimum": {"auc": 0.6}, "month_psi": 1.0, "explanation_rank": 0.0, "explanation_overlap": 0.2},
        "rehearsal": {"requests": 600},
    },
}


@dataclass(frozen=True)
class CommandLine:
    """Runs `risk` in a home folder of its own."""

    home: Path
    configs: Path
    port: int
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The caller's environment, with this home and these use cases."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("RISK_") or name == "RISK_DATA"
        }
        own = {"RISK_HOME": str(self.home), "RISK_CONFIGS": str(self.configs), "RISK_PORT": str(self.port)}
        return {**clean, **own, "RISK_PROFILE": "test", "COLUMNS": "160", **self.extra}

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one command; the exit code must be `expect`."""
        done = subprocess.run([RISK, *arguments], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == expect, f"risk {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """Run one command with --json and read its output."""
        return json.loads(self.run(*arguments, "--json").stdout)

    @property
    def url(self) -> str:
        """Address of the scoring service."""
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    """A port nobody uses, whose successor is free as well."""
    with socket.socket() as probe, socket.socket() as neighbour:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        neighbour.bind(("127.0.0.1", port + 1))
        return port


@pytest.fixture(scope="session")
def small_configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small versions of the simulated use cases; they come before the shipped ones of the same name."""
    folder = tmp_path_factory.mktemp("configs")
    for name, overlay in SMALL.items():
        small = overlaid(read_yaml(FOLDER / f"{name}.yaml"), overlay)
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(small, sort_keys=False, allow_unicode=True))
    return folder


@pytest.fixture
def command_line(tmp_path: Path, small_configs: Path) -> CommandLine:
    """The command line over an empty home."""
    return CommandLine(tmp_path / "home", small_configs, free_port())


@pytest.fixture(scope="session")
def rehearsed(tmp_path_factory: pytest.TempPathFactory, small_configs: Path) -> CommandLine:
    """The command line over a home in which the whole demo has run."""
    folder = tmp_path_factory.mktemp("rehearsed")
    command_line = CommandLine(folder / ".risk", small_configs, free_port())
    command_line.run("demo", "credit,fraud", "--exit")
    return command_line
