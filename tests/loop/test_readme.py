"""The README, word for word: its commands are run in order over a home in which the demo has run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVERS = {"risk serve": "/readyz", "mlflow ui": "/health"}
"""Commands that stay in the foreground, and the address that says when they are up."""

pytestmark = pytest.mark.timeout(400)


def blocks(*languages: str) -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks of these languages, in order."""
    return re.findall(rf"```({'|'.join(languages)})\n(.*?)```", README, flags=re.DOTALL)


def test_the_first_block_holds_the_two_commands() -> None:
    assert blocks("bash")[0][1].split("\n") == ["make demo", "make test", ""]


def test_every_link_leads_somewhere() -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_command_runs(rehearsed: Any) -> None:
    """Each command, and each piece of Python, where `.risk` is the demo's and `risk` is this environment's."""
    environment = rehearsed.environment | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    folder, servers = rehearsed.home.parent, ExitStack()
    with servers:
        for language, block in blocks("bash", "python")[1:]:
            for written in [block] if language == "python" else commands(block):
                text = written.replace(":3000", f":{rehearsed.port}").replace("--port 3000", f"--port {rehearsed.port}")
                server = next((name for name in SERVERS if text.startswith(name)), None)
                if server:
                    servers.enter_context(running(text, environment, folder, SERVERS[server]))
                elif not text.startswith("source "):
                    interpreter = [sys.executable, "-c"] if language == "python" else ["bash", "-c"]
                    ran(interpreter, text, environment, folder)


def ran(interpreter: list[str], text: str, environment: dict[str, str], folder: Path) -> None:
    """Run a piece of the README; it must succeed, and a request must bring an answer."""
    done = subprocess.run(
        [*interpreter, text], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    if text.startswith("curl"):
        assert '"release"' in done.stdout, done.stdout


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


@contextmanager
def running(command: str, environment: dict[str, str], folder: Path, ready: str) -> Iterator[None]:
    """A server in the background, from up and answering until the block ends."""
    words = shlex.split(command)
    url = f"http://127.0.0.1:{words[words.index('--port') + 1]}{ready}"
    process = subprocess.Popen(words, env=environment, cwd=folder)
    try:
        until_answering(process, url, command)
        yield
    finally:
        process.terminate()
        process.wait(30)


def until_answering(process: subprocess.Popen[bytes], url: str, command: str) -> None:
    """Return when the server answers; fail when it ends before or takes more than a minute."""
    for _ in range(600):
        assert process.poll() is None, command
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"{command} did not come up")
