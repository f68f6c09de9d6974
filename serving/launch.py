"""The scoring service as a child process: `bentoml serve` with this process's settings, from ready to stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import httpx

from configs.errors import ServingError
from configs.settings import Settings
from features.intake.privacy import tokenizer_of
from serving import tables
from serving.packaging import SERVICE, environment, newest
from serving.releases import serving_releases

ROOT = Path(__file__).resolve().parents[1]
_GRACE = 15.0
"""Seconds that a stopped service has to finish what it began."""


def start(
    settings: Settings, *, port: int | None = None, development: bool = False, output: IO[Any] | int | None = None
) -> subprocess.Popen[bytes]:
    """Start serving the newest Bento (`development`: the code as it is here, with the approved releases).

    What can be found out before is: releases that can't be trusted, missing token keys, a port in use, a second service
    on the same log. Then `GovernanceError`, `FeatureError` or `ServingError` is raised and nothing is started.
    """
    port = port or settings.port
    bento = None if development else newest(settings)
    releases = serving_releases(settings, packed=bento / "src" / "releases") if bento else serving_releases(settings)
    for release in releases:
        tokenizer_of(release.use_case, settings)
    require_free(settings.host, port)
    require_sole(settings)
    target = [str(bento)] if bento else [SERVICE, "--working-dir", str(ROOT)]
    command = [sys.executable, "-m", "bentoml", "serve", *target, "--host", settings.host, "--port", str(port)]
    return subprocess.Popen(  # noqa: S603  # our own interpreter and arguments
        command,
        env=environment(settings),
        cwd=bento / "src" if bento else ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # a Ctrl-C in the terminal reaches it once, through `stop`
    )


def wait_until_ready(process: subprocess.Popen[bytes], url: str, *, path: str = "/readyz", seconds: float = 60) -> None:
    """Return when `path` says yes. Raises `ServingError` when the process ends before, or time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServingError(
                f"the service ended with exit code {process.returncode}",
                expected="a running service",
                fix="read its log",
            )
        try:
            if httpx.get(f"{url}{path}", timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise ServingError(
        f"the service at {url} was not ready within {seconds:.0f} s", expected=f"{path} says 200", fix="read its log"
    )


def stop(process: subprocess.Popen[bytes]) -> int:
    """Ask the service to finish and end, insist after a while; gives its exit code. Its own children end with it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        pass
    finally:  # also when a second Ctrl-C ends the wait
        with suppress(ProcessLookupError):  # nobody is left of the group that `start_new_session` made
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal (SIGHUP) end the block as Ctrl-C does, so that it stops what it started."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    heeded = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heeded}  # under nohup a SIGHUP stays ignored
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def require_free(host: str, port: int) -> None:
    """Raise `ServingError` when the address is none of this machine's or something else listens there."""
    if not 1 <= port <= 65535:
        raise ServingError(f"port {port}", expected="a port from 1 to 65535", fix="choose another: RISK_PORT or --port")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror as error:
            raise ServingError(
                f"can't serve at {host}: {error.strerror}",
                expected="an address or name of this machine",
                fix="correct RISK_HOST; 127.0.0.1 is the default",
            ) from None
        except OSError as error:
            raise ServingError(
                f"can't serve at {host}:{port}: {error.strerror}",
                expected="a free port of this machine",
                fix=f"stop what uses it, or choose another: risk serve --port {port + 1 if port < 65535 else 3000}",
            ) from None


def require_sole(settings: Settings) -> None:
    """Raise `ServingError` when another process writes the decision log of the home folder."""
    lock = tables.claim(settings)
    if lock is not None:
        os.close(lock)
