from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from configs.errors import GovernanceError, ServingError
from configs.settings import Settings
from features.online import OnlineFeatures
from serving import launch
from serving.decisions import DecisionLog
from serving.desk import Desk
from serving.logs import WithoutMessages
from serving.outcomes import KnownOutcome
from serving.packaging import environment, newest, overtaken, package, pinned
from serving.routes import application
from training.governance.release import make_current

from .conftest import LIVE, Payments, Served

HEAVY = {
    "mlflow",
    "feast",
    "duckdb",
    "optuna",
    "shap",
    "evidently",
    "sklearn",
    "optbinning",
    "matplotlib",
    "numba",
}
SECRET = "personal-4711"


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=10) as client:
        yield client


def post(http: httpx.Client, body: Any, **headers: str) -> httpx.Response:
    return http.post("/v1/payments/decisions", json=body, headers=headers)


def test_a_request_is_decided_and_found_again(http: httpx.Client, payments: Payments) -> None:
    response = post(http, payments.request(amount=900.0, channel="online").wire())
    reply = response.json()
    assert (response.status_code, reply["decision"], reply["fallback"]) == (201, "review", None)
    assert reply["reasons"]
    assert http.get(f"/v1/decisions/{reply['decision_id']}").json() == reply


def test_the_decision_is_in_the_log_when_the_reply_arrives(http: httpx.Client, payments: Payments) -> None:
    reply = post(http, payments.request().wire()).json()
    with DecisionLog(payments.settings, readonly=True) as log:
        logged = log.get(reply["decision_id"])
    assert logged is not None
    assert logged.reply() == reply


def test_the_served_features_are_those_of_the_platform(http: httpx.Client, payments: Payments) -> None:
    request = payments.request(amount=77.0)
    reply = post(http, request.wire()).json()
    online = OnlineFeatures(payments.use_case, payments.settings)
    expected = online.read(request).values
    online.close()
    with DecisionLog(payments.settings, readonly=True) as log:
        logged = log.get(reply["decision_id"])
    assert logged is not None
    assert logged.features == expected


def test_simultaneous_retries_get_one_decision(http: httpx.Client, payments: Payments) -> None:
    body = payments.request().wire()
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: post(http, body), range(16)))
    assert len({response.json()["decision_id"] for response in responses}) == 1
    assert sorted(response.status_code for response in responses) == [200] * 15 + [201]


def test_another_request_under_a_used_key_is_a_conflict(http: httpx.Client, payments: Payments) -> None:
    post(http, payments.request().wire(), **{"Idempotency-Key": "k-1"})
    response = post(http, payments.request().wire(), **{"Idempotency-Key": "k-1"})
    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"


def test_events_of_a_card_count_for_the_next_one(http: httpx.Client, payments: Payments) -> None:
    first = payments.request()
    bodies = [first.wire(), *(payments.request(card=first.entities["card"]).wire() for _ in range(3))]
    ids = [post(http, body).json()["decision_id"] for body in bodies]
    with DecisionLog(payments.settings, readonly=True) as log:
        counts = [log.get(decision_id).features["card_amount_count_1d"] for decision_id in ids]  # type: ignore[union-attr]
    assert counts == [1.0, 2.0, 3.0, 4.0]


def test_mistakes_come_as_a_problem_without_values(http: httpx.Client, payments: Payments, served: Served) -> None:
    body = payments.request().wire()
    body["fields"] |= {"amount": SECRET, "channel": SECRET}
    response = post(http, body)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["fields.amount", "fields.channel"]
    assert SECRET not in response.text + served.output.read_text()


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b'{"a": NaN}', {}, 400),
        (b" " * 70_000, {}, 413),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Idempotency-Key": "with space"}, 422),
        (b"[]", {}, 422),
    ],
)
def test_hostile_bodies_are_refused(http: httpx.Client, content: bytes, headers: dict[str, str], status: int) -> None:
    headers = {"Content-Type": "application/json"} | headers
    assert http.post("/v1/payments/decisions", content=content, headers=headers).status_code == status


def test_unknown_names_are_not_found(http: httpx.Client) -> None:
    for path in ("/v1/nobody", "/v1/decisions/none", "/v1/a/b/c"):
        response = http.get(path)
        assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert http.post("/v1/nobody/decisions", json={}).status_code == 404


def test_outcomes_are_accepted_rejected_and_reported(http: httpx.Client, payments: Payments) -> None:
    event = post(http, payments.request().wire()).json()["event_id"]
    rows = [
        {"event_id": event, "label": 0, "known_at": "2025-03-03T00:00:00Z"},
        {"event_id": "nobody", "label": 1, "known_at": "2025-03-03T00:00:00Z"},
        {"event_id": event, "label": 2, "known_at": "2025-03-03T00:00:00Z"},
        {"event_id": event, "label": 1, "known_at": "2025-03-04T00:00:00Z"},
    ]
    report = http.post("/v1/payments/outcomes", json={"outcomes": rows}).json()
    assert (report["accepted"], report["contradictions"]) == (2, [3])
    assert [one["index"] for one in report["rejected"]] == [1, 2]


def test_an_outcome_turned_in_again_reaches_the_online_features(payments: Payments, tmp_path: Path) -> None:
    home = tmp_path / "home"
    _copy(payments.settings.home, home, "releases", "keys")
    desk = Desk(payments.settings.model_copy(update={"home": home}))
    desk.open()
    outcome = KnownOutcome(payments.request().event_id, 1, LIVE + timedelta(days=2))
    entered: list[tuple[str, int]] = []
    desk.windows["payments"] = dataclasses.replace(desk.windows["payments"], online=Recorder(entered))  # type: ignore[arg-type]
    request = payments.request(event_id=outcome.event_id).wire()
    asyncio.run(_asked(desk, request))
    for _ in range(2):
        asyncio.run(desk.outcomes("payments", [outcome]))
    desk.windows.clear()
    desk.close()
    assert entered == [(outcome.event_id, 1)] * 2


class Recorder:
    """Takes outcomes down."""

    def __init__(self, entered: list[tuple[str, int]]) -> None:
        self.entered = entered

    def outcome(self, event_id: str, label: int, known: datetime) -> None:
        assert known.tzinfo
        self.entered.append((event_id, label))


def test_the_use_case_describes_itself(http: httpx.Client, payments: Payments) -> None:
    found = http.get("/v1/payments").json()
    assert found["release"]["digest"] == payments.release.digest
    assert found["policy"]["fallback"] == "review"
    assert "amount" in json.dumps(found["contract"])


def test_the_example_of_the_interface_document_works(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    operation = document["paths"]["/v1/payments/decisions"]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    assert post(http, example).status_code in {200, 201}
    assert http.get("/docs.json").json() == document


def test_health_and_metrics_answer(http: httpx.Client, payments: Payments) -> None:
    post(http, payments.request().wire())
    assert http.get("/livez").status_code == http.get("/readyz").status_code == 200
    metrics = http.get("/metrics").text
    assert 'risk_decisions_total{decision="allow",fallback="no",use_case="payments"}' in metrics
    assert 'risk_decision_seconds_bucket{le="0.01",use_case="payments"}' in metrics


def test_the_bento_is_served_with_its_own_code_and_release(served: Served) -> None:
    bento = newest(served.payments.settings)
    assert (bento / "src" / "releases" / "payments" / "1" / "manifest.sig").exists()
    assert (bento / "src" / "serving" / "service.py").exists()
    assert f"lightgbm=={_version('lightgbm')}" in (bento / "env" / "python" / "requirements.txt").read_text()


def test_a_second_service_on_the_same_log_is_refused(served: Served) -> None:
    with pytest.raises(ServingError, match="another process writes the decision log"):
        launch.start(served.payments.settings, port=_free_port())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_the_command_serves_until_it_is_interrupted(payments: Payments, tmp_path: Path, number: signal.Signals) -> None:
    settings = payments.settings.model_copy(update={"home": tmp_path / "home", "port": _free_port()})
    _copy(payments.settings.home, settings.home, "releases", "keys")
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # under nohup it would be ignored
        "import serving.cli, typer; app = typer.Typer(); serving.cli.mount(app); app()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--development"],
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any("ready" in line and f"http://127.0.0.1:{settings.port}" in line for line in lines)
    process.send_signal(number)
    rest = process.communicate(timeout=30)[0]
    assert process.returncode == 0, rest
    launch.require_free(settings.host, settings.port)


def test_stopping_a_service_ends_what_it_started() -> None:
    code = (
        "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "print('started', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    assert launch.stop(process) == -signal.SIGTERM
    assert process.communicate(timeout=10) == (b"", None)  # the end of the pipe: nobody holds it any more


def test_signals_end_a_block_as_ctrl_c_does_unless_they_were_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"), launch.ended_by_signals():
            list(map(signal.raise_signal, (signal.SIGHUP, signal.SIGTERM)))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_child_gets_these_settings_and_not_those_of_our_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RISK_DATABASE_URL", "postgresql://production")
    monkeypatch.setenv("RISK_REDIS_URL", "redis://production")
    given = environment(settings)
    assert "production" not in " ".join(given.values())
    assert given["RISK_HOME"] == str(settings.home)


@pytest.mark.parametrize(
    ("host", "port", "fix"), [("127.0.0.1", 65536, "another"), ("no.such.host.invalid", 3000, "RISK_HOST")]
)
def test_an_impossible_address_is_named(host: str, port: int, fix: str) -> None:
    with pytest.raises(ServingError) as caught:
        launch.require_free(host, port)
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("OPTIONS", "/v1/payments", 405), ("PUT", "/v1/x/y", 404)]
)
def test_what_no_route_has_is_a_problem_document(settings: Settings, method: str, path: str, status: int) -> None:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application(Desk(settings)))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path)

    response = asyncio.run(ask())
    assert (response.status_code, response.json()["status"]) == (status, status)
    assert response.headers["content-type"] == "application/problem+json"


def test_a_failure_nobody_foresaw_is_counted(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(settings)

    def broken(_use_case: str) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(desk, "window", broken)
    response = asyncio.run(_asked(desk, {}))
    assert (response.status_code, SECRET in response.text) == (500, False)
    assert 'risk_requests_total{route="/v1/{use_case}/decisions",status="500"} 1.0' in desk.metrics.render().decode()


def test_refusing_again_and_again_keeps_no_request_alive(settings: Settings) -> None:
    desk = Desk(settings)
    lengths = []
    for _ in range(3):
        with pytest.raises(ServingError, match="starting") as caught:
            desk.window("payments")
        lengths.append(len(caught.traceback))
    assert len(set(lengths)) == 1


def test_an_approval_after_packing_is_noticed(served: Served) -> None:
    settings = served.payments.settings
    assert overtaken(settings) == {}
    make_current("payments", 2, settings)
    try:
        assert overtaken(settings) == {"payments": (1, 2)}
    finally:
        make_current("payments", 1, settings)


def test_a_port_in_use_is_named_with_a_way_out(served: Served) -> None:
    port = int(served.url.rpartition(":")[2])
    with pytest.raises(ServingError, match=f"can't serve at 127.0.0.1:{port}") as caught:
        launch.start(served.payments.settings, port=port)
    assert "--port" in caught.value.fix


def test_nothing_is_packed_or_served_without_an_approved_release(settings: Settings) -> None:
    with pytest.raises(GovernanceError, match="approved release"):
        package(["fraud"], settings)
    with pytest.raises(GovernanceError, match="approved release"):
        launch.start(settings, development=True)
    with pytest.raises(ServingError, match="no Bento"):
        launch.start(settings)
    assert not (settings.home / "bentos").exists()


def test_a_changed_release_makes_the_service_not_ready(payments: Payments, tmp_path: Path) -> None:
    home = tmp_path / "home"
    _copy(payments.settings.home, home, "releases", "keys")
    model = next(home.glob("releases/payments/1/model/booster-*"))
    model.write_bytes(model.read_bytes() + b" ")
    desk = Desk(payments.settings.model_copy(update={"home": home}))
    desk.open()
    response = asyncio.run(_asked(desk, payments.request().wire()))
    desk.close()
    assert isinstance(desk.trouble, GovernanceError)
    assert response.status_code == 503
    assert "booster" in response.json()["detail"]


def test_the_worker_imports_no_training_or_reporting_library(payments: Payments, tmp_path: Path) -> None:
    home = tmp_path / "home"
    _copy(payments.settings.home, home, "releases", "keys")
    code = (
        "import sys; from serving.service import desk; desk.open(); assert desk.trouble is None, desk.trouble; "
        "desk.close(); print(','.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("RISK_")} | {"RISK_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.strip().splitlines()[-1].split(","))
    assert "lightgbm" in loaded
    assert loaded & HEAVY == set()


def test_a_failure_is_logged_without_its_message() -> None:
    try:
        float(SECRET)
    except ValueError:
        record = logging.LogRecord("uvicorn.error", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    assert WithoutMessages().filter(record)
    text = logging.Formatter().format(record)
    assert SECRET not in text
    assert "ValueError at" in text


def test_the_pinned_requirements_hold_the_runtime_and_no_trainer() -> None:
    names = {line.partition("==")[0] for line in pinned()}
    assert {"lightgbm", "sqlalchemy", "starlette"} <= names
    assert not names & HEAVY


async def _asked(desk: Desk, body: dict[str, Any]) -> httpx.Response:
    """One request without a port: this process isn't the one that serves."""
    transport = httpx.ASGITransport(application(desk), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        return await client.post("/v1/payments/decisions", json=body)


def _copy(source: Path, target: Path, *names: str) -> None:
    import shutil

    for name in names:
        shutil.copytree(source / name, target / name)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)
