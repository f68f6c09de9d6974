"""The stage of `risk demo`: a home of its own, one served Bento for all use cases, a closing table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from configs.console import progress, show
from configs.errors import MonitoringError
from configs.loading import load_use_case
from configs.settings import Settings
from monitoring.rehearsal import APPROVER, SCIENTIST, Rehearsal
from serving import launch
from serving.packaging import package

_MARK = "demo.mark"


def demo(names: Sequence[str], settings: Settings, *, stay: bool, as_json: bool = False) -> list[dict[str, Any]]:
    """Rehearse the loop for each use case and return one row of figures each.

    Embedded defaults whatever the environment says. `stay` leaves the scoring service and MLflow's pages running until
    Ctrl-C. Raises `RiskError` as the steps do; a home folder that holds other work, or that a running service uses, is
    never touched.
    """
    started = time.monotonic()
    settings = settings.model_copy(update={"redis_url": None, "database_url": None, "mlflow_uri": None})
    acts = [Rehearsal(load_use_case(name, settings), settings) for name in dict.fromkeys(names)]
    for port in (settings.port, settings.port + 1) if stay else (settings.port,):
        launch.require_free(settings.host, port)
    fresh(settings)
    for act in acts:
        act.prepare()
    with progress("packing the Bento"):
        package([act.use_case.name for act in acts], settings)
    url = f"http://{settings.host}:{settings.port}"
    with ExitStack() as stack:
        stack.enter_context(launch.ended_by_signals())
        stack.enter_context(served(settings, url))
        for act in acts:
            act.go_live(url)
            act.watch()
        rows = [{"use case": act.use_case.name, **act.figures} for act in acts]
        _closing(rows, settings, seconds=time.monotonic() - started, as_json=as_json)
        if stay:
            stack.enter_context(pages(settings))
            _wait(url, settings, output=sys.stderr if as_json else sys.stdout)
    return rows


def fresh(settings: Settings) -> None:
    """Empty the home folder of an earlier demo.

    Raises `MonitoringError` when it holds anything else, `ServingError` when a service runs on it.
    """
    home = settings.home
    if home.exists() and not (home.is_dir() and (not any(home.iterdir()) or (home / _MARK).exists())):
        raise MonitoringError(
            f"{home} holds work that is not a demo's",
            expected="an empty or missing home folder, or an earlier demo's",
            fix="RISK_HOME=/another/folder make demo",
        )
    if home.exists():
        launch.require_sole(settings)
        shutil.rmtree(home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / _MARK).touch()


@contextmanager
def served(settings: Settings, url: str) -> Iterator[None]:
    """The newest Bento, served from ready until the block ends."""
    with progress("starting the scoring service"), (settings.home / "service.log").open("wb") as output:
        process = launch.start(settings, output=output)
        try:
            launch.wait_until_ready(process, url)
        except BaseException:
            launch.stop(process)
            raise
    try:
        yield
    finally:
        launch.stop(process)


@contextmanager
def pages(settings: Settings) -> Iterator[None]:
    """MLflow's own pages over the demo's runs, from the first answer until the block ends."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", settings.database("mlflow")]
    address = ["--host", settings.host, "--port", str(settings.port + 1), "--workers", "1"]
    with (settings.home / "mlflow.log").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  # our own interpreter and arguments
            [*command, *address],
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # its job workers take 2 GB for nothing
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        with progress("starting MLflow's pages"):
            url = f"http://{settings.host}:{settings.port + 1}"
            launch.wait_until_ready(process, url, path="/health", seconds=180)  # its imports are slow on a busy machine
        yield
    finally:
        launch.stop(process)


def _closing(rows: Sequence[dict[str, Any]], settings: Settings, *, seconds: float, as_json: bool) -> None:
    if as_json:
        show({"seconds": seconds, "home": str(settings.home), "use_cases": rows}, as_json=True)
        return
    for row in rows:
        show({key: value for key, value in row.items() if key != "use case"}, as_json=False, title=row["use case"])
    print(f"the whole loop took {seconds:.0f} s; everything is in {settings.home}")
    print(f"trained as {SCIENTIST}, approved as {APPROVER}")


def _wait(url: str, settings: Settings, *, output: TextIO) -> None:
    print("left running until Ctrl-C:", file=output)
    print(f"  scoring  {url} (contract {url}/openapi.json, metrics {url}/metrics)", file=output)
    print(f"  MLflow   http://{settings.host}:{settings.port + 1}", file=output)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("stopping", file=output)
