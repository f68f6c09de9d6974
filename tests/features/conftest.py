"""A small use case over made tables, which tests change where they need to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from configs.loading import parse
from configs.settings import Settings
from configs.use_case import UseCase

RAW: dict[str, Any] = {
    "name": "made",
    "title": "Made payments",
    "kind": "fraud",
    "description": "Payments made up for a test.",
    "owner": "tests",
    "tables": {
        "payments": {"path": "payments.parquet", "time": "paid_at"},
        "profiles": {"path": "profiles.parquet", "time": "valid_from", "created": "created_at"},
    },
    "entities": {"card": "card_id", "device": "device_id"},
    "event": {"table": "payments", "id": "payment_id", "time": "paid_at"},
    "label": {"column": "is_fraud", "maturity": "2d"},
    "request": {
        "amount": {},
        "channel": {"type": "category", "values": ["chip", "online"]},
    },
    "split": {
        "by": "time",
        "train": {"start": "2025-01-01", "end": "2025-01-05"},
        "test": {"start": "2025-01-08", "end": "2025-01-10"},
    },
    "policy": {"bands": [{"decision": "allow"}], "fallback": "allow", "reasons": "fraud", "adverse": []},
    "rehearsal": {"drift": {"kind": "feature_shift", "column": "amount"}},
}

TIMELESS: dict[str, Any] = {
    "tables": RAW["tables"] | {"payments": {"path": "payments.parquet"}},
    "event": {"table": "payments", "id": "payment_id"},
    "split": {"by": "random"},
}
"""Changes for a table without a time."""


class Made:
    """A folder with tables, and use cases over them."""

    start = datetime(2025, 1, 1, tzinfo=UTC)

    def __init__(self, settings: Settings, folder: Path) -> None:
        folder.mkdir()
        self.settings = settings.model_copy(update={"data": folder})

    def use_case(self, **changes: Any) -> UseCase:
        return parse(RAW | changes)

    def timeless(self, **changes: Any) -> UseCase:
        return self.use_case(**TIMELESS | changes)

    def at(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)

    @staticmethod
    def loads_at(now: datetime, patch: pytest.MonkeyPatch) -> None:
        """From here on tables are loaded as if it were `now`."""

        class Clock(datetime):
            @classmethod
            def now(cls, _: Any = None) -> datetime:  # type: ignore[override]
                return now

        for module in ("kept", "loads"):
            patch.setattr(f"features.intake.{module}.datetime", Clock)

    def payments(self, rows: list[Mapping[str, Any]], *, file: str = "payments.parquet") -> None:
        """Write payments; each row gives what differs from the default, `at` is in seconds after the start."""
        full = [
            {
                "payment_id": f"p{index:03}",
                "card_id": "c1",
                "device_id": "d1",
                "amount": 10.0,
                "channel": "chip",
                "is_fraud": index % 2,
            }
            | {"paid_at": self.at(row.get("at", index))}
            | {name: value for name, value in row.items() if name != "at"}
            for index, row in enumerate(rows)
        ]
        self.write(pd.DataFrame(full), file)

    def write(self, table: pd.DataFrame, file: str) -> None:
        for column in table.select_dtypes("datetimetz"):
            table[column] = table[column].astype("datetime64[us, UTC]")
        table.to_parquet(self.settings.data / file) if file.endswith("parquet") else table.to_csv(
            self.settings.data / file, index=False
        )


@pytest.fixture
def made(settings: Settings, tmp_path: Path) -> Made:
    return Made(settings, tmp_path / "data")


@pytest.fixture(scope="session")
def made_in() -> Callable[[Path], Made]:
    """The same for tests that make many worlds: one folder each."""
    return lambda folder: Made(Settings(home=folder / "home", profile="test"), folder / "data")
