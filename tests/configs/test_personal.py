"""Columns that `personal` may not name, told with all other mistakes of a use case."""

from __future__ import annotations

from typing import Any

import pytest

from configs.personal import misplaced

BASE: dict[str, Any] = {
    "tables": {"payments": {"path": "p.parquet", "time": "paid_at"}},
    "entities": {"card": "card_id"},
    "event": {"table": "payments", "id": "payment_id", "time": "paid_at"},
    "label": {"column": "is_fraud", "maturity": "2d"},
    "request": {
        "amount": {"min": 0},
        "shop": {"type": "category", "column": "shop_name"},
        "channel": {"type": "category", "values": ["chip", "online"]},
        "note": {"type": "category", "feature": False},
    },
}


def found(personal: dict[str, str], **changes: Any) -> list[tuple[str, str, str]]:
    return list(misplaced(BASE | {"personal": personal} | changes))


def test_tokens_of_keys_and_categories_and_masks_of_unused_columns_are_fine() -> None:
    assert found({"card_id": "token", "shop_name": "token", "note": "mask", "a_name_in_some_table": "mask"}) == []


@pytest.mark.parametrize(
    ("personal", "path", "says"),
    [
        ({"amount": "token"}, "request.amount", "a token is text"),
        ({"amount": "mask"}, "request.amount", "feature: false"),
        ({"channel": "token"}, "request.channel", "no `values`"),
        ({"card_id": "mask"}, "personal.card_id", "masked keys would all be one"),
        ({"is_fraud": "token"}, "personal.is_fraud", "label.column"),
        ({"paid_at": "mask"}, "personal.paid_at", "event.time"),
        ({"payment_id": "token"}, "personal.payment_id", "event.id"),
        ({"card": "token"}, "personal.card", "did you mean 'card_id'?"),
        ({"shop": "token"}, "personal.shop", "did you mean 'shop_name'?"),
    ],
)
def test_a_column_that_a_token_would_empty_is_refused(personal: dict[str, str], path: str, says: str) -> None:
    ((place, _, expected),) = [each for each in found(personal) if each[0] == path]
    assert place == path
    assert says in expected


def test_an_aggregate_over_a_mask_is_refused() -> None:
    part = {"entity": "card", "column": "note", "functions": ["distinct"], "windows": ["1d"]}
    assert [path for path, *_ in found({"note": "mask"}, aggregates=[part])] == ["aggregates.0.column"]


def test_any_shape_is_tolerated() -> None:
    assert list(misplaced({"personal": ["card"], "request": 3, "entities": None, "aggregates": {"a": 1}})) == []
