"""A small approved release on synthetic payments, trained once for the tests of this room, and its online store."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.loading import load_use_case
from configs.settings import Settings
from configs.use_case import UseCase
from features.frame import training_frame
from features.request import ScoringRequest
from features.stores.packed import open_packed
from features.stores.segments import PackedRow, shapes_of
from serving import launch
from serving.packaging import package
from training.candidate import build_candidate
from training.governance.release import Provenance, Release, current_release, make_current, write_release

START = datetime(2025, 1, 1, tzinfo=UTC)
LIVE = datetime(2025, 3, 1, 12, tzinfo=UTC)
_numbers = itertools.count()


@dataclass(frozen=True)
class Payments:
    """The use case, settings with a home in which it is approved, and requests that no test has sent before."""

    use_case: UseCase
    settings: Settings

    @property
    def release(self) -> Release:
        return current_release("payments", self.settings)

    def request(self, **changes: Any) -> ScoringRequest:
        number = next(_numbers)
        fields = {"amount": 20.0, "channel": "chip", "opened": START}
        entities: dict[str, str | None] = {"card": f"card-{number}", "customer": "customer-1"}
        entities |= {name: changes.pop(name) for name in ("card", "customer") if name in changes}
        event_id = changes.pop("event_id", f"live-{number}")
        return ScoringRequest(event_id, changes.pop("event_time", LIVE), entities, fields | changes)


def tables(folder: Path, *, rows: int = 3000, seed: int = 5) -> None:
    """Payments whose risk rises with the amount over the customer's limit and online."""
    random = np.random.default_rng(seed)
    customers = random.integers(0, 100, rows)
    limit = 500.0 + 20.0 * np.arange(100)
    amount = np.round(random.lognormal(4.0, 1.0, rows), 2)
    online = random.random(rows) < 0.4
    log_odds = -3.5 + 4.0 * amount / limit[customers] + 1.5 * online
    times = pd.Timestamp(START) + pd.to_timedelta(np.sort(random.integers(0, 59 * 86400, rows)), unit="s")
    frame = pd.DataFrame(
        {
            "payment_id": [f"p{number}" for number in range(rows)],
            "paid_at": times.as_unit("us"),
            "card_id": [f"card-h{customer}" for customer in customers],
            "customer_id": [f"customer-{customer}" for customer in customers],
            "amount": amount,
            "channel": np.where(online, "online", "chip"),
            "opened": (times - pd.to_timedelta(random.integers(1, 2000, rows), unit="D")).as_unit("us"),
            "is_fraud": (random.random(rows) < 1 / (1 + np.exp(-log_odds))).astype(int),
            "sex": random.choice(["f", "m"], rows),
        }
    )
    frame.to_parquet(folder / "payments.parquet")
    valid = pd.Timestamp(START - timedelta(days=1)).as_unit("us")
    names = [f"customer-{number}" for number in range(100)]
    profile = pd.DataFrame({"customer_id": names, "valid_from": valid, "credit_limit": limit})
    profile.to_parquet(folder / "customers.parquet")


@pytest.fixture(scope="session")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Payments:
    folder = tmp_path_factory.mktemp("payments")
    tables(folder)
    embedded = {"home": folder / "home", "data": folder, "configs": Path(__file__).parent, "profile": "test"}
    settings = Settings.model_construct(
        **(Settings().model_dump() | embedded | {"redis_url": None, "database_url": None})
    )
    use_case = load_use_case("payments", settings.model_copy(update={"profile": "dev"}))
    approve(use_case, settings)
    limits = pd.read_parquet(folder / "customers.parquet")
    rows = [
        (key, PackedRow(START - timedelta(days=1), None, {"credit_limit": limit}))
        for key, limit in zip(limits["customer_id"], limits["credit_limit"], strict=True)
    ]
    store = open_packed(path=settings.online_db)
    store.write("payments", shapes_of(use_case)["profile"], rows)
    store.close()
    return Payments(use_case, settings)


@dataclass(frozen=True)
class Served:
    """A running service: its address, and what it wrote to its log so far."""

    url: str
    output: Path
    payments: Payments


@pytest.fixture(scope="session")
def served(payments: Payments, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The packed Bento of the payments, served by a real `bentoml serve` on a free port."""
    package([], payments.settings)
    output = tmp_path_factory.mktemp("served") / "log.txt"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with output.open("wb") as file:
        process = launch.start(payments.settings, port=port, output=file)
        try:
            launch.wait_until_ready(process, url)
            yield Served(url, output, payments)
        finally:
            launch.stop(process)


def approve(use_case: UseCase, settings: Settings) -> None:
    """Train with a tiny budget and put the result into force."""
    candidate = build_candidate(use_case, training_frame(use_case, settings), settings)
    provenance = Provenance(
        use_case=use_case.name, version=1, author="ann", approver="bob", comment="test", approved_at=START.isoformat(),
        run_id="none", metrics=candidate.metrics, candidate_digest="none", audit={"seq": 1, "hash": "0" * 64},
    )  # fmt: skip
    write_release(candidate.folder, provenance, settings)
    make_current(use_case.name, 1, settings)
