from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from configs.loading import load_use_case, parse
from configs.settings import Settings
from configs.use_case import UseCase
from serving.contract import ContractError, RequestContract, read_json, read_outcome
from serving.openapi import document, example

SECRET = "personal-4711"


@pytest.fixture
def fraud(settings: Settings) -> UseCase:
    return load_use_case("fraud", settings)


def request(**changes: Any) -> dict[str, Any]:
    fields = {"amount": 12.5, "channel": "online", "merchant_category": "fuel", "cross_border": True}
    entities = {"customer": "C1", "card": "K1", "terminal": "T1", "device": None}
    body = {"event_id": "e1", "event_time": "2025-07-01T10:00:00+02:00", "entities": entities, "fields": fields}
    for path, value in changes.items():
        place, _, name = path.rpartition("__")
        (body[place] if place else body)[name] = value  # type: ignore[index]
    return body


def mistakes(use_case: UseCase, body: Any) -> dict[str, tuple[str, str]]:
    with pytest.raises(ContractError) as caught:
        RequestContract(use_case).read(json.dumps(body).encode())
    assert SECRET not in str(caught.value)
    return {one.field: (one.found, one.expected) for one in caught.value.mistakes}


def test_a_good_request_is_read_in_utc(fraud: UseCase) -> None:
    read = RequestContract(fraud).read(json.dumps(request()).encode())
    assert read.event_time == datetime(2025, 7, 1, 8, tzinfo=UTC)
    assert read.entities["device"] is None
    assert read.fields == {"amount": 12.5, "channel": "online", "merchant_category": "fuel", "cross_border": True}


def test_a_nullable_field_may_be_left_out(fraud: UseCase) -> None:
    body = request()
    del body["fields"]["cross_border"]
    assert RequestContract(fraud).check(body).fields["cross_border"] is None


@pytest.mark.parametrize(
    ("change", "field", "found"),
    [
        ({"fields__amount": SECRET}, "fields.amount", "text"),
        ({"fields__amount": "12.5"}, "fields.amount", "text"),
        ({"fields__amount": None}, "fields.amount", "null"),
        ({"fields__amount": -1}, "fields.amount", "a number"),
        ({"fields__amount": True}, "fields.amount", "a boolean"),
        ({"fields__channel": SECRET}, "fields.channel", "text"),
        ({"fields__cross_border": 1}, "fields.cross_border", "a number"),
        ({"fields__other": 1}, "fields.other", "an undeclared field"),
        ({"entities__card": 4711}, "entities.card", "a number"),
        ({"entities__card": ""}, "entities.card", "text"),
        ({"entities__card": "x" * 129}, "entities.card", "text"),
        ({"entities__card": "a\x00b"}, "entities.card", "text"),
        ({"entities__card": "\ud800"}, "entities.card", "text"),
        ({"event_time": 1751364000}, "event_time", "a number"),
        ({"event_time": "1751364000"}, "event_time", "text"),
        ({"event_time": "9999-12-31T23:59:59-14:00"}, "event_time", "text"),
        ({"event_id": None}, "event_id", "null"),
        ({"surprise": SECRET}, "surprise", "an undeclared field"),
        ({"entities": None}, "entities", "null"),
    ],
)
def test_a_broken_field_is_named_with_its_kind_and_never_its_value(
    fraud: UseCase, change: dict[str, Any], field: str, found: str
) -> None:
    assert mistakes(fraud, request(**change))[field][0] == found


def test_every_mistake_is_reported_at_once(fraud: UseCase) -> None:
    found = mistakes(fraud, {"event_time": "yesterday", "fields": {"amount": -1}, "entities": {}})
    expected = {"event_id", "event_time", "fields.amount", "fields.channel", "entities.card", "entities.terminal"}
    assert expected <= set(found)


def test_a_part_of_another_kind_is_told_to_be_an_object(fraud: UseCase) -> None:
    assert mistakes(fraud, request(fields=[]))["fields"] == ("a list", "an object")


def test_a_category_outside_its_vocabulary_is_told_the_vocabulary(fraud: UseCase) -> None:
    assert "contactless" in mistakes(fraud, request(fields__channel="fax"))["fields.channel"][1]


def test_integers_and_sentinels_follow_their_columns(settings: Settings) -> None:
    raw = load_use_case("taiwan_default", settings).as_json()
    raw["request"]["education"] |= {"missing": [0, -9]}
    contract = RequestContract(parse(raw))
    body = example(contract.use_case)
    assert contract.check(body | {"fields": body["fields"] | {"education": -9}}).fields["education"] is None
    assert contract.check(body | {"fields": body["fields"] | {"education": 3.0}}).fields["education"] == 3
    with pytest.raises(ContractError, match=r"fields\.education"):
        contract.check(body | {"fields": body["fields"] | {"education": 2.5}})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"\xff", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1, "a": 2}', b"[" * 100_000,
        b"[[[[[[[[[1]]]]]]]]]",
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_not_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(ContractError) as caught:
        read_json(body, most=200_000)
    assert caught.value.status == 400


def test_a_number_beyond_doubles_is_refused(fraud: UseCase) -> None:
    body = json.dumps(request()).replace("12.5", "1e400").encode()
    with pytest.raises(ContractError, match=r"fields\.amount"):
        RequestContract(fraud).read(body)


def test_a_large_body_is_refused() -> None:
    with pytest.raises(ContractError) as caught:
        read_json(b" " * 11, most=10)
    assert caught.value.status == 413


FRAUD = RequestContract(load_use_case("fraud", Settings()))
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(st.dictionaries(st.sampled_from(["event_id", "event_time", "entities", "fields"]), JSON))
def test_no_document_breaks_the_reader(document: dict[str, Any]) -> None:
    with pytest.raises(ContractError):
        FRAUD.check(document)


@pytest.mark.parametrize("label", [2, -1, True, "1", None, 0.5])
def test_an_outcome_is_zero_or_one(label: Any) -> None:
    with pytest.raises(ContractError, match="label"):
        read_outcome({"event_id": "e1", "label": label, "known_at": "2025-07-01T10:00:00Z"})


@pytest.mark.parametrize("name", ["credit", "fraud", "handbook_fraud", "lending_club", "taiwan_default"])
def test_the_example_of_every_use_case_keeps_its_contract(name: str, settings: Settings) -> None:
    contract = RequestContract(load_use_case(name, settings))
    contract.check(example(contract.use_case))
    assert f"/v1/{name}/decisions" in document([contract])["paths"]
