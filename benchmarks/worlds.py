"""The made use case that measurements of the online store are about: payments, and what each of them adds."""

from __future__ import annotations

from typing import Any

from configs.loading import parse
from configs.use_case import UseCase


def payments(name: str, **parts: Any) -> UseCase:
    """Payments in January 2025 by card and device; `parts` are sections in place of these, or beside them."""
    return parse({
        "name": name,
        "title": "Payments",
        "kind": "fraud",
        "description": "Payments of a made world.",
        "owner": "benchmarks",
        "tables": {"payments": {"path": "payments.parquet", "time": "paid_at"}},
        "entities": {"card": "card_id", "device": "device_id"},
        "event": {"table": "payments", "id": "payment_id", "time": "paid_at"},
        "label": {"column": "is_fraud", "maturity": "2d"},
        "request": {"amount": {"min": 0}},
        "split": {
            "by": "time",
            "train": {"start": "2025-01-01", "end": "2025-01-10"},
            "test": {"start": "2025-01-13", "end": "2025-01-20"},
        },
        "policy": {"bands": [{"decision": "allow"}], "fallback": "allow", "reasons": "fraud", "adverse": []},
        "rehearsal": {"drift": {"kind": "feature_shift", "column": "amount"}},
        **parts,
    })  # fmt: skip
