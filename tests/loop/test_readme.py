"""The README, word for word: its commands are run in order over a home in which the demo has run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVERS = {"risk serve": "/readyz", "mlflow ui": "/health"}
"""Commands that stay in the foreground, and the address that says when they are up."""

pytestmark = pytest.mark.timeout(400)


def blocks(language: str) -> list[str]:
    """Fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_block_holds_the_two_commands() -> None:
    assert blocks("bash")[0].split("\n") == ["make demo", "make test", ""]


def test_every_link_leads_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_command_runs(rehearsed: Any, tmp_path: Path) -> None:
    """Each command in a shell whose `risk` is this environment's and whose `.risk` is the demo's."""
    environment = rehearsed.environment | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for command in [command for block in blocks("bash")[1:] for command in commands(block)]:
            if command.startswith("source "):
                continue
            text = command.replace(":3000", f":{rehearsed.port}").replace("--port 3000", f"--port {rehearsed.port}")
            server = next((name for name in SERVERS if text.startswith(name)), None)
            if server:
                servers.append(started(text, environment, rehearsed.home.parent, SERVERS[server]))
                continue
            done = subprocess.run(
                ["bash", "-c", text],
                env=environment,
                cwd=rehearsed.home.parent,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            if text.startswith("curl"):
                assert '"release"' in done.stdout, done.stdout
    finally:
        for process in servers:
            process.terminate()
        for process in servers:
            process.wait(30)


def commands(block: str) -> list[str]:
    """The commands of a block; a here-document belongs to its command."""
    found: list[str] = []
    end = ""
    for row in block.splitlines():
        if end:
            found[-1] += "\n" + row
            end = "" if row == end else end
        elif row.strip():
            found.append(row)
            match = re.search(r"<<'(\w+)'", row)
            end = match[1] if match else ""
    return found


def started(command: str, environment: dict[str, str], folder: Path, ready: str) -> subprocess.Popen[bytes]:
    """A server in the background, up and answering."""
    words = shlex.split(command)
    port = words[words.index("--port") + 1]
    process = subprocess.Popen(words, env=environment, cwd=folder)
    for _ in range(600):
        assert process.poll() is None, command
        try:
            if httpx.get(f"http://127.0.0.1:{port}{ready}", timeout=2).is_success:
                return process
        except httpx.TransportError:
            time.sleep(0.1)
    process.terminate()
    raise AssertionError(f"{command} did not come up")
