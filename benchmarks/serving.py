"""Latency of one decision over HTTP: sequential requests on a kept connection, the durable log included.

Serves the approved releases of `RISK_HOME` from a copy of it, so that nothing is added to its log; without one, a small
simulated use case is trained first.
"""

from __future__ import annotations

import dataclasses
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.bars import Line, line, publish
from configs.console import progress
from configs.errors import RiskError
from configs.loading import load_use_case
from configs.settings import Settings, load_settings
from features.request import ScoringRequest
from features.store import FeatureStore
from serving import launch
from serving.client import Client
from serving.packaging import package
from serving.releases import approved
from training.governance.release import Provenance, make_current, write_release

REQUESTS, WARM_UP = 500, 100
_EMBEDDED = {"redis_url": None, "database_url": None, "mlflow_uri": None}


def main() -> None:
    """Measure every approved use case and publish p50 and p99."""
    with tempfile.TemporaryDirectory(prefix="risk-bench-") as folder:
        source = load_settings().model_copy(update=_EMBEDDED)
        if not list((source.home / "releases").glob("*/CURRENT")):
            source = source.model_copy(update={"home": Path(folder) / "made"})
            make(source)
        settings = copied(source, Path(folder) / "home")
        lines: list[Line] = []
        with served(settings, Path(folder) / "log.txt") as url:
            for name in approved(settings):
                lines += measure(name, source, url)
    publish("serving", lines, title="One decision over HTTP, durable log included")


def measure(name: str, settings: Settings, url: str) -> list[Line]:
    """p50 and p99 in milliseconds of events that the service has not seen."""
    use_case = load_use_case(name, settings)
    events = FeatureStore(use_case, settings).requests(period=use_case.rehearsal.period, limit=WARM_UP + REQUESTS)
    requests = [dataclasses.replace(request, event_id=f"bench-{request.event_id}") for request, _ in events]
    with Client(url, name) as client:
        timed = [_timed(client, request) for request in requests]
    milliseconds, shares = np.array([ms for ms, _ in timed[WARM_UP:]]), [reasons for _, reasons in timed[WARM_UP:]]
    return [
        line(f"{name}: p50", float(np.quantile(milliseconds, 0.5)), unit="ms", bar="< 10"),
        line(f"{name}: p99", float(np.quantile(milliseconds, 0.99)), unit="ms"),
        line(f"{name}: decisions with reasons", 100 * float(np.mean(shares)), unit="%"),
    ]


def _timed(client: Client, request: ScoringRequest) -> tuple[float, bool]:
    start = time.perf_counter()
    reply = client.decide(request)
    return (time.perf_counter() - start) * 1000, bool(reply["reasons"])


@contextmanager
def served(settings: Settings, log: Path) -> Iterator[str]:
    """The Bento of all approved releases, served on a free port."""
    with socket.socket() as probe:
        probe.bind((settings.host, 0))
        port = int(probe.getsockname()[1])
    url = f"http://{settings.host}:{port}"
    with progress("packing and starting"), log.open("wb") as output:
        package([], settings)
        process = launch.start(settings, port=port, output=output)
        try:
            launch.wait_until_ready(process, url)
        except RiskError:
            launch.stop(process)
            raise
    try:
        yield url
    finally:
        launch.stop(process)


def copied(settings: Settings, home: Path) -> Settings:
    """The same settings with a home of their own that holds what serving reads."""
    home.mkdir()
    for name in ("releases", "keys"):
        shutil.copytree(settings.home / name, home / name)
    for path in settings.home.glob("online.db*"):
        shutil.copy(path, home / path.name)
    return settings.model_copy(update={"home": home})


def make(settings: Settings) -> None:
    """Simulate, train and release the fraud use case with a small budget."""
    from features.simulators.world import simulate
    from training.candidate import build_candidate

    use_case = load_use_case("fraud", settings.model_copy(update={"profile": "test"}))
    if use_case.simulator is None:
        raise RiskError("the use case fraud has no simulator", expected="a `simulator` section")
    world = use_case.simulator.model_copy(update={"rows": 60_000, "live_rows": 2 * (WARM_UP + REQUESTS)})
    use_case = use_case.model_copy(update={"simulator": world})
    store = FeatureStore(use_case, settings)
    with progress("making a small release") as ticker:
        simulate(use_case, settings.home / "raw" / use_case.name, ticker=ticker)
        store.materialize(ticker=ticker)
        candidate = build_candidate(use_case, store.training_frame(), settings, ticker=ticker)
    provenance = Provenance(
        use_case=use_case.name, version=1, author="bench", approver="bench", comment="benchmark",
        approved_at=datetime.now(UTC).isoformat(), run_id="none", metrics=candidate.metrics, candidate_digest="none",
        audit={"seq": 1, "hash": "0" * 64},
    )  # fmt: skip
    write_release(candidate.folder, provenance, settings)
    make_current(use_case.name, 1, settings)


if __name__ == "__main__":
    main()
