"""Personal values are canaries: the whole way with public commands and HTTP, then everything written is searched."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from .test_loop import until_ready

pytestmark = pytest.mark.timeout(600)

MARK, NUMBER = "Xq7Zebra", 918273600000
"""In every personal text, and where personal numbers begin: nothing else looks like them."""

MARKS = (MARK.lower(), str(NUMBER)[:8])
START = pd.Timestamp("2025-01-01")
HELD = "2025-03-02T12:00:00Z"

USE_CASE: dict[str, Any] = {
    "title": "Payments of canaries",
    "kind": "fraud",
    "description": "Payments of persons who are easy to find again.",
    "owner": "tests",
    "tables": {
        "payments": {"path": "payments.csv", "time": "paid_at", "rejects": 0.2},
        "customers": {"url": "sqlite:///${BANK}", "query": "customers", "time": "valid_from", "rejects": 0.2},
        "logins": {"path": "logins.parquet", "time": "at", "rejects": 0.2},
    },
    "entities": {"card": "card_id", "customer": "customer_id"},
    "personal": {
        "card_id": "token", "customer_id": "token", "shop": "token", "device": "token", "town": "token",
        "holder": "mask", "nation": "token", "nickname": "mask",
    },
    "event": {"table": "payments", "id": "payment_id", "time": "paid_at"},
    "label": {"column": "is_fraud", "maturity": "1d"},
    "request": {
        "amount": {"min": 0, "nullable": False, "description": "paid"},
        "shop": {"type": "category", "description": "where"},
        "holder": {"type": "category", "feature": False, "description": "who"},
    },
    "aggregates": [
        {"entity": "card", "column": "amount", "functions": ["count", "mean"], "windows": ["7d"]},
        {"entity": "customer", "column": "shop", "functions": ["distinct"], "windows": ["7d"]},
        {"entity": "customer", "table": "logins", "column": "device", "functions": ["distinct"], "windows": ["30d"]},
    ],
    "views": {
        "profile": {
            "table": "customers", "entity": "customer", "ttl": "100d",
            "columns": {
                "income": {"min": 0, "description": "a month"},
                "town": {"type": "category", "description": "of residence"},
            },
        }
    },
    "protected": {"nation": {"type": "category"}},
    "split": {
        "by": "time",
        "train": {"start": "2025-01-05", "end": "2025-02-10"},
        "test": {"start": "2025-02-15", "end": "2025-03-01"},
        "folds": 1,
    },
    "training": {"learners": ["lightgbm"], "objective": "auc", "trials": 1, "seconds": 10, "seed": 7},
    "gates": {"minimum": {"auc": 0.5}},
    "policy": {
        "bands": [{"decision": "allow", "below": 0.3}, {"decision": "review"}],
        "fallback": "review", "reasons": "fraud", "adverse": ["review"],
    },
    "rehearsal": {"drift": {"kind": "feature_shift", "column": "amount", "factor": 2.0}},
}  # fmt: skip


def personal(kind: str, number: Any) -> str:
    """A canary."""
    return f"{MARK}-{kind}-é-{number}"


def payments(rows: int = 3000) -> pd.DataFrame:
    """Payments in a CSV file that is not UTF-8; the last rows break the contract, each in another way."""
    random = np.random.default_rng(3)
    customers, shops = random.integers(0, 60, rows), random.integers(0, 5, rows)
    amount = np.round(random.lognormal(3.0, 1.0, rows), 2)
    risk = 1 / (1 + np.exp(3.0 - amount / 20 - shops))
    times = START + pd.to_timedelta(np.sort(random.integers(0, 59 * 86400, rows)), unit="s")
    table = pd.DataFrame(
        {
            "payment_id": [f"p{number}" for number in range(rows)],
            "paid_at": times.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "card_id": [personal("card", number) for number in customers],
            "customer_id": NUMBER + customers,
            "amount": amount.astype(str),
            "shop": [personal("shop", number) for number in shops],
            "holder": [personal("holder", number) for number in customers],
            "nation": [personal("nation", number % 3) for number in customers],
            "is_fraud": (random.random(rows) < risk).astype(int),
        }
    )
    bad = table.iloc[:6].assign(payment_id=[f"bad{number}" for number in range(6)])
    bad["card_id"] = [personal("card", "x" * 200), personal("card", "\x07"), *bad["card_id"][2:]]
    bad["shop"] = [*bad["shop"][:2], personal("shop", "y" * 200), *bad["shop"][3:]]
    bad["amount"] = [*bad["amount"][:3], "-1.0", "much", *bad["amount"][5:]]
    bad["paid_at"] = [*bad["paid_at"][:5], "once"]
    return pd.concat([table, bad, table.iloc[7:8]])


def write_tables(folder: Path) -> None:
    """A CSV file, a table of a database and a Parquet file."""
    folder.mkdir()
    payments().to_csv(folder / "payments.csv", index=False, encoding="windows-1252")
    numbers = [NUMBER + number for number in range(60)]
    customers = pd.DataFrame(
        {
            "customer_id": numbers,
            "valid_from": "2024-12-31T00:00:00Z",
            "income": [1000.0 + number for number in range(59)] + [-5.0],
            "town": [personal("town", number % 4) for number in range(60)],
            "nickname": [personal("nickname", number) for number in range(60)],
        }
    )
    with closing(sqlite3.connect(folder / "bank.db")) as bank:
        customers.to_sql("customers", bank, index=False)
    at = [START + pd.Timedelta(hours=number) for number in range(60)]
    devices = [personal("device", number % 7) for number in range(60)]
    logins = pd.DataFrame({"customer_id": numbers, "at": at, "device": devices})
    logins.astype({"at": "datetime64[us]"}).to_parquet(folder / "logins.parquet")


@dataclass
class Loop:
    """The command line over one use case; everything that processes print is kept."""

    risk: Any
    name: str
    config: str
    printed: list[str] = field(default_factory=list)

    def run(self, *arguments: str, expect: int = 0) -> str:
        done = self.risk.run(*arguments, expect=expect)
        self.printed.append(done.stdout + done.stderr)
        return str(done.stdout)

    @contextmanager
    def served(self, log: Path) -> Iterator[httpx.Client]:
        """The service, whose output goes to a file."""
        command = [Path(sys.executable).with_name("risk"), "serve", "--development"]
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=self.risk.environment, stdout=output, stderr=output)
            try:
                with httpx.Client(base_url=self.risk.url, timeout=20) as client:
                    until_ready(client, process)
                    yield client
            finally:
                process.terminate()
                assert process.wait(30) == 0
        self.printed.append(log.read_text())

    def post(self, client: httpx.Client, body: Any, *, status: int) -> httpx.Response:
        """Ask for a decision; the reply is kept as well."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = client.post(f"/v1/{self.name}/decisions", content=content)
        assert reply.status_code == status, reply.text
        self.printed.append(reply.text + str(reply.headers))
        return reply


def request(number: int, **changes: Any) -> dict[str, Any]:
    """A good request, changed where told."""
    entities = {"card": personal("card", number % 60), "customer": str(NUMBER + number % 60)}
    fields = {"amount": 20.0 + number, "shop": personal("shop", number % 5), "holder": personal("holder", number)}
    body = {"event_id": f"live-{number}", "event_time": HELD, "entities": entities, "fields": fields}
    return body | {
        part: {**body[part], **change} if isinstance(change, dict) else change  # type: ignore[dict-item]
        for part, change in changes.items()
    }


BAD: tuple[tuple[Any, int], ...] = (
    (f'{{"event_id": "e", "entities": {{"card": "{MARK}'.encode(), 400),
    (f'{{"card": "{MARK}", "card": "{MARK}"}}'.encode(), 400),
    (json.dumps([MARK]).encode(), 422),
    (f'{{"card": "{MARK}\xff"}}'.encode("latin-1"), 400),
    (request(1, entities={"card": {"number": MARK}}), 422),
    (request(1, entities={"customer": NUMBER}), 422),
    (request(1, entities={"card": MARK * 40}), 422),
    (request(1, entities={"card": MARK + "\x07"}), 422),
    (request(1, fields={"amount": MARK}), 422),
    (request(1, fields={"amount": -NUMBER}), 422),
    (request(1, fields={"shop": MARK * 40}), 422),
    (request(1, fields={"holder": [MARK]}), 422),
    (request(1, event_time=MARK), 422),
)


@pytest.fixture
def loop(command_line: Any, tmp_path: Path) -> Loop:
    name = f"canaries_{uuid.uuid4().hex[:8]}"
    write_tables(tmp_path / "tables")
    config = tmp_path / f"{name}.yaml"
    config.write_text(yaml.safe_dump({"name": name} | USE_CASE))
    command_line.extra.update(
        RISK_DATA=str(tmp_path / "tables"),
        RISK_CONFIGS=str(tmp_path),
        RISK_TOKEN_KEY_FILE=str(tmp_path / "token.keys"),
        BANK=str(tmp_path / "tables" / "bank.db"),
    )
    key = "1:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
    with (tmp_path / "token.keys").open("w") as file:
        (tmp_path / "token.keys").chmod(0o600)
        file.write(key)
    return Loop(command_line, name, str(config))


def test_no_personal_value_is_anywhere_but_in_the_tables(loop: Loop, tmp_path: Path) -> None:
    trained_and_approved(loop)
    with loop.served(tmp_path / "service.log") as client:
        talked(loop, client, tmp_path)
    loop.run("monitor", loop.name, "--start", "2025-03-01", "--end", "2025-03-03", "--as-of", "2025-03-10")
    loop.run("features", "keys", "show")
    found = [f"printed {index}" for index, text in enumerate(loop.printed) if seen(text)]
    written = files(loop.risk.home)
    found += [str(path) for path in written if seen(str(path)) or any(map(seen, contents(path)))]
    found += [str(path) for path in written if any(map(seen, rows_of(path)))]
    assert found == []


def trained_and_approved(loop: Loop) -> None:
    """From raw tables to a release."""
    name = loop.name
    loop.run("config", "check", loop.config)
    for verb in ("validate", "backfill", "materialize"):
        loop.run("features", verb, name)
    loop.run("features", "show", name, "p100")
    loop.run("train", name, "--as", "dana")
    loop.run("approve", name, "--as", "ben", "--comment", "looks right")


def talked(loop: Loop, client: httpx.Client, folder: Path) -> None:
    """Good requests and bad ones, over HTTP and from the command line, and outcomes."""
    first = loop.post(client, request(0), status=201)
    assert loop.post(client, request(0), status=200).json() == first.json()
    loop.post(client, request(0, fields={"amount": 1.0}), status=409)
    for number in range(1, 120):
        loop.post(client, request(number), status=201)
    for body, status in BAD:
        loop.post(client, body, status=status)
    for body in (BAD[0][0], BAD[4][0]):
        (folder / "body.json").write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        loop.run("decide", loop.name, "--file", str(folder / "body.json"), expect=2)
    outcomes = [
        {"event_id": f"live-{number}", "label": number % 2, "known_at": "2025-03-04T00:00:00Z"} for number in range(120)
    ]
    reply = client.post(
        f"/v1/{loop.name}/outcomes", json={"outcomes": [*outcomes, {"event_id": [MARK], "label": MARK}]}
    )
    assert reply.json()["accepted"] == len(outcomes)
    loop.printed.append(reply.text)
    loop.run("decisions", loop.name, "--json")
    loop.run("replay", first.json()["decision_id"])


def seen(text: str) -> bool:
    """Whether a canary is in a text."""
    folded = text.lower()
    return any(mark in folded for mark in MARKS)


def files(home: Path) -> list[Path]:
    """Everything that was written: a search that finds little has been looking at the wrong place."""
    found = [path for path in home.rglob("*") if path.is_file()]
    assert len(found) > 40
    assert {path.suffix for path in found} >= {".parquet", ".db", ".html", ".json"}
    return found


def contents(path: Path) -> Iterator[str]:
    """A file as texts: its bytes, and what is in them where they are packed."""
    raw = path.read_bytes()
    yield raw.decode("latin-1")
    yield raw.decode("utf-16-le", errors="ignore")
    if raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw).decode("latin-1")
    if raw[:4] == b"PAR1":
        yield str(pq.read_table(path).to_pydict())


def rows_of(path: Path) -> Iterator[str]:
    """The rows of a SQLite file; opening one may remove the files beside it, which were searched before."""
    if not (path.exists() and path.read_bytes()[:15] == b"SQLite format 3"):
        return
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                yield " ".join(each.decode("latin-1") if isinstance(each, bytes) else str(each) for each in row)


def test_the_search_finds_canaries(tmp_path: Path) -> None:
    """Otherwise finding none would say nothing."""
    write_tables(tmp_path / "tables")
    paths = list((tmp_path / "tables").iterdir())
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress((tmp_path / "tables" / "payments.csv").read_bytes()))
    assert len(paths) == 3
    assert all(any(map(seen, contents(path))) for path in [*paths, packed])
    assert any(map(seen, rows_of(tmp_path / "tables" / "bank.db")))
