from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

import serving.cli
from configs.errors import ServingError
from serving.client import Client, Problem
from serving.packaging import environment
from serving.turnin import read_outcomes, turn_in

from .conftest import Payments, Served

KNOWN = "2025-03-05T00:00:00Z"


def run(served: Served, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Any]:
    for name, value in environment(served.payments.settings).items():
        if name not in os.environ or name.startswith("RISK_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("RISK_PORT", served.url.rpartition(":")[2])
    app = typer.Typer()
    serving.cli.mount(app)
    done = CliRunner().invoke(app, [*arguments, "--json"])
    if isinstance(done.exception, ServingError):
        raise done.exception
    return done.exit_code, json.loads(done.stdout)


def test_a_typed_request_is_decided(served: Served, payments: Payments) -> None:
    with Client(served.url, "payments") as client:
        reply = client.decide(payments.request())
        assert client.find(reply["decision_id"]) == reply
    assert reply["decision"] == "allow"


def test_a_retry_gives_the_same_decision(served: Served, payments: Payments) -> None:
    request = payments.request()
    with Client(served.url, "payments") as client:
        assert client.decide(request.wire(), idempotency_key="k") == client.decide(request, idempotency_key="k")


def test_a_refusal_names_field_found_and_expected(served: Served, payments: Payments) -> None:
    body = payments.request().wire()
    body["fields"]["amount"] = "much"
    with Client(served.url, "payments") as client, pytest.raises(Problem) as caught:
        client.decide(body)
    assert caught.value.status == 422
    assert caught.value.errors == [{"field": "fields.amount", "found": "text", "expected": "a valid number"}]
    assert "fields.amount: found text" in str(caught.value)


def test_bare_numbers_are_no_times(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("event_id,label,known_at\na,1,1751360400\n")
    with pytest.raises(ServingError, match="no time"):
        read_outcomes(tmp_path / "o.csv")


def test_another_service_at_the_address_is_named() -> None:
    with Client("http://here", "payments") as client:
        page = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
        client._http = httpx.Client(base_url="http://here", transport=page)
        with pytest.raises(ServingError, match="answered 200 without a JSON object"):
            client.decide({})


def test_a_service_that_is_not_there_is_named() -> None:
    with Client("http://127.0.0.1:9", "payments") as client, pytest.raises(ServingError, match="no answer from"):
        client.describe()


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_outcomes_are_read_from_files(tmp_path: Path, suffix: str) -> None:
    table = pd.DataFrame({"event_id": ["1", "2"], "label": [0, 1], "known_at": [KNOWN, "2025-03-06 00:00:00"]})
    path = tmp_path / f"outcomes{suffix}"
    writers = {".parquet": table.to_parquet, ".csv": lambda file: table.to_csv(file, index=False)}
    writers.get(suffix, lambda file: table.to_json(file, orient="records", lines=True))(path)
    assert read_outcomes(path) == [
        {"event_id": "1", "label": 0, "known_at": KNOWN},
        {"event_id": "2", "label": 1, "known_at": "2025-03-06T00:00:00Z"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "event_id,label\n1,0\n", "no column known_at"),
        ("a.txt", "", "suffix"),
        ("a.parquet", "no parquet", "can't be read"),
        ("a.csv", "event_id,label,known_at\n1,0,soon\n", "known_at"),
    ],
)
def test_a_file_that_is_no_table_of_outcomes_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ServingError, match=message):
        read_outcomes(tmp_path / name)


def test_outcomes_go_in_pieces_and_keep_their_places(served: Served, payments: Payments) -> None:
    with Client(served.url, "payments") as client:
        event = client.decide(payments.request())["event_id"]
        rows = [{"event_id": f"nobody-{number}", "label": 0, "known_at": KNOWN} for number in range(1500)]
        rows[1200] = {"event_id": event, "label": 1, "known_at": KNOWN}
        report = turn_in(client, rows)
    assert report["accepted"] == 1
    assert 1200 not in {one["index"] for one in report["rejected"]}
    assert len(report["rejected"]) == 1499


def test_the_commands_decide_list_and_replay(
    served: Served, payments: Payments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "request.json").write_text(json.dumps(payments.request(amount=900.0, channel="online").wire()))
    _, reply = run(served, "decide", "payments", "--file", str(tmp_path / "request.json"), monkeypatch=monkeypatch)
    code, replayed = run(served, "replay", reply["decision_id"], monkeypatch=monkeypatch)
    assert (code, replayed["equal"]) == (0, True)
    _, listed = run(served, "decisions", "payments", "--limit", "3", monkeypatch=monkeypatch)
    assert listed[0] == reply


def test_the_command_turns_outcomes_in(
    served: Served, payments: Payments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(served.url, "payments") as client:
        event = client.decide(payments.request())["event_id"]
    path = tmp_path / "outcomes.csv"
    path.write_text(f"event_id,label,known_at\n{event},1,{KNOWN}\nnobody,0,{KNOWN}\n")
    _, report = run(served, "outcomes", "payments", "--file", str(path), monkeypatch=monkeypatch)
    assert (report["accepted"], [one["index"] for one in report["rejected"]]) == (1, [1])


def test_a_decision_that_does_not_exist_is_an_error(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServingError, match="no decision 'none'"):
        run(served, "replay", "none", monkeypatch=monkeypatch)
