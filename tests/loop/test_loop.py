"""The whole loop on a small simulated world, through the public commands and HTTP alone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.timeout(400)


def test_from_a_raw_table_to_a_retrained_candidate(command_line: Any, tmp_path: Path) -> None:
    """Simulate, build features, train, approve, package, serve, decide, turn in outcomes, monitor, retrain."""
    risk = command_line
    assert risk.json("simulate", "fraud")["rows in transactions"] == 48000
    for verb in ("apply", "backfill", "materialize"):
        risk.run("features", verb, "fraud")
    assert {row["feature"] for row in risk.json("features", "list", "fraud")} >= {"amount", "card_amount_mean_7d"}

    trained = risk.json("train", "fraud", "--as", "dana")
    assert trained["version"] == 1
    assert trained["verdict"]["passed"]
    refused = risk.run("approve", "fraud", "--as", "dana", "--comment", "mine", expect=2)
    assert "author" in refused.stderr
    risk.run("package", "fraud", expect=2)  # nothing is approved yet
    risk.run("approve", "fraud", "--as", "ben", "--comment", "looks right")
    risk.run("package", "fraud")

    requests, outcomes = live_traffic(risk.home)
    with served(risk) as client:
        replies = [client.post("/v1/fraud/decisions", json=request) for request in requests]
        again = client.post("/v1/fraud/decisions", json=requests[0])
        other = client.post(
            "/v1/fraud/decisions", json=requests[0] | {"fields": {**requests[0]["fields"], "amount": 1.0}}
        )
        turned_in = client.post("/v1/fraud/outcomes", json={"outcomes": outcomes}).json()
    assert {reply.status_code for reply in replies} == {201}
    assert (again.status_code, again.json()) == (200, replies[0].json())
    assert other.status_code == 409
    assert turned_in["accepted"] == len(outcomes)

    decision = replies[-1].json()
    assert risk.json("replay", decision["decision_id"])["equal"]
    window = ("--start", "2025-04-01", "--end", "2025-04-10", "--as-of", "2025-05-15")
    run = risk.json("monitor", "fraud", *window, "--retrain")
    assert run["rows"] == len(requests)
    assert any("amount" in alarm["subject"] and alarm["severity"] == "high" for alarm in run["alarms"])
    assert Path(run["report"]).exists()
    assert run["verdict"]["retrain"]
    newest = risk.json("models", "fraud")[0]
    assert (newest["version"], newest["author"], newest["status"]) == (2, "retraining", "waiting")
    assert risk.json("audit", "verify")["unbroken"]


def live_traffic(home: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The simulator's live events as requests with doubled amounts (a drift to be found), and their outcomes."""
    rows = pq.read_table(home / "raw" / "fraud" / "live_transactions.parquet").slice(0, 400).to_pylist()
    entities = {"customer": "customer_id", "card": "card_id", "terminal": "terminal_id", "device": "device_id"}
    fields = ("amount", "channel", "merchant_category", "cross_border")
    requests = [
        {
            "event_id": str(row["transaction_id"]),
            "event_time": stamp(row["tx_time"]),
            "entities": {entity: row[key] for entity, key in entities.items()},
            "fields": {**{name: row[name] for name in fields}, "amount": row["amount"] * 4},
        }
        for row in rows
    ]
    outcomes = [
        {"event_id": str(row["transaction_id"]), "label": int(row["is_fraud"]), "known_at": stamp(row["outcome_at"])}
        for row in rows
    ]
    return requests, outcomes


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


@contextmanager
def served(command_line: Any) -> Iterator[httpx.Client]:
    """`risk serve` from ready until the block ends."""
    process = subprocess.Popen([Path(sys.executable).with_name("risk"), "serve"], env=command_line.environment)
    try:
        with httpx.Client(base_url=command_line.url, timeout=10) as client:
            until_ready(client, process)
            yield client
    finally:
        process.terminate()
        assert process.wait(30) == 0


def until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    """Return when the service is ready."""
    for _ in range(600):
        assert process.poll() is None
        try:
            if client.get("/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the service was not ready in a minute")
