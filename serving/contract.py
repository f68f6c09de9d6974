"""The contract of a use case's requests: a strict model of its declared columns; mistakes never echo a value."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from configs.errors import ServingError
from configs.use_case import UseCase
from features.contracts import contract_of
from features.request import ScoringRequest
from features.request_model import EventTime, Identifier, Time, entity_fields, request_fields

MAX_BODY = 64 * 1024
MAX_OUTCOMES_BODY = 1024 * 1024
MAX_OUTCOMES = 1000
_MAX_DEPTH = 8


@dataclass(frozen=True)
class Mistake:
    """One field of a request that broke the contract: where, what kind of thing was there, what the contract wants."""

    field: str
    found: str
    expected: str

    def as_json(self) -> dict[str, str]:
        """The mistake as problem documents list it."""
        return asdict(self)


class ContractError(ServingError):
    """A request that breaks its contract; `mistakes` has every one, `status` is what HTTP says to it."""

    def __init__(self, mistakes: Iterable[Mistake], *, status: int = 422) -> None:
        self.status = status
        self.mistakes = tuple(mistakes)
        fields = ", ".join(mistake.field for mistake in self.mistakes)
        super().__init__(f"the request breaks its contract in {fields}", expected="see the contract in /openapi.json")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True, hide_input_in_errors=True)


class Outcome(_Strict):
    """What turned out: 1 for the event the label speaks of (default, fraud), 0 for its absence."""

    event_id: Identifier
    label: Annotated[int, Field(strict=True, ge=0, le=1)]
    known_at: Time


class RequestContract:
    """Reads and checks the requests of one use case."""

    def __init__(self, use_case: UseCase) -> None:
        self.use_case = use_case
        self.model = request_model(use_case)

    def read(self, body: bytes) -> ScoringRequest:
        """JSON bytes -> the request, or `ContractError` with every mistake."""
        document = read_json(body, most=MAX_BODY)
        return self.check(document)

    def check(self, document: object) -> ScoringRequest:
        """Plain data (as JSON gives it) -> the request, or `ContractError` with every mistake."""
        try:
            checked = cast("Any", self.model.model_validate(document))
        except ValidationError as error:
            raise ContractError(mistakes_of(error)) from None
        return ScoringRequest(
            event_id=checked.event_id,
            event_time=checked.event_time,
            entities={name: getattr(checked.entities, name) for name in self.use_case.entities},
            fields={name: getattr(checked.fields, name) for name in self.use_case.request},
        )


def request_model(use_case: UseCase) -> type[BaseModel]:
    """The model of a request: id, time, entity keys and the declared request fields. Nothing else is let in."""
    contract = contract_of(use_case, use_case.event.table)
    entities: dict[str, Any] = dict(entity_fields(contract))
    fields: dict[str, Any] = dict(request_fields(contract))
    title = "".join(part.title() for part in use_case.name.split("_"))
    return create_model(
        f"{title}Request",
        __base__=_Strict,
        event_id=(Identifier, Field(description="identifies the event; the default idempotency key")),
        event_time=(EventTime, Field(description="when the event happened (RFC 3339; without a zone: UTC)")),
        entities=(create_model(f"{title}Entities", __base__=_Strict, **entities), Field()),
        fields=(create_model(f"{title}Fields", __base__=_Strict, **fields), Field()),
    )


class _RefusedError(ValueError):
    """JSON that the standard allows a reader to refuse."""


def _no_constant(name: str) -> object:
    raise _RefusedError(f"{name} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RefusedError("a name stands twice in one object")
    return found


def read_json(body: bytes, *, most: int) -> Any:
    """Strict JSON: UTF-8, at most `most` bytes, no NaN or Infinity, no name twice, at most eight levels."""
    if len(body) > most:
        raise ContractError([Mistake("(body)", f"{len(body)} bytes", f"at most {most} bytes")], status=413)
    try:
        document = json.loads(body.decode(), parse_constant=_no_constant, object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise ContractError([Mistake("(body)", "bytes that are not UTF-8", "JSON in UTF-8")], status=400) from None
    except json.JSONDecodeError as error:
        place = f"something else at line {error.lineno}, column {error.colno}"
        raise ContractError([Mistake("(body)", place, "a JSON document")], status=400) from None
    except _RefusedError as error:
        raise ContractError([Mistake("(body)", str(error), "strict JSON")], status=400) from None
    except (ValueError, RecursionError):
        raise ContractError(
            [Mistake("(body)", "a number or nesting out of all bounds", "strict JSON")], status=400
        ) from None
    if _depth(document) > _MAX_DEPTH:
        raise ContractError([Mistake("(body)", "deeper nesting", f"at most {_MAX_DEPTH} levels")], status=400)
    return document


def _depth(document: object) -> int:
    deepest, level = 0, [document]
    while level and deepest <= _MAX_DEPTH:
        deepest += 1
        level = [
            child
            for part in level
            if isinstance(part, (dict, list))
            for child in (part.values() if isinstance(part, dict) else part)
        ]
    return deepest


_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


def read_outcome(document: object) -> Outcome:
    """One outcome, or `ContractError` with every mistake."""
    try:
        return _OUTCOME.validate_python(document)
    except ValidationError as error:
        raise ContractError(mistakes_of(error)) from None


def mistakes_of(error: ValidationError) -> list[Mistake]:
    """The report of pydantic as mistakes: each says the kind of what was found, never the value."""
    found: dict[str, Mistake] = {}
    for entry in error.errors(include_url=False):
        path = ".".join(str(part)[:80] for part in entry["loc"]) or "(body)"
        found.setdefault(path, Mistake(path, _kind(entry), _expected(entry)))
    return list(found.values())


def _kind(entry: Mapping[str, Any]) -> str:
    if entry["type"] == "missing":
        return "nothing"
    if entry["type"] == "extra_forbidden":
        return "an undeclared field"
    value = entry["input"]
    names = {bool: "a boolean", int: "a number", float: "a number", str: "text", dict: "an object", list: "a list"}
    return "null" if value is None else names.get(type(value), "something else")


def _expected(entry: Mapping[str, Any]) -> str:
    if entry["type"] == "missing":
        return "a value"
    if entry["type"] == "extra_forbidden":
        return "only the fields of the contract"
    if entry["type"] == "model_type":
        return "an object"
    if entry["type"] == "string_pattern_mismatch":
        return "text without control characters"
    text = (
        str(entry["msg"])
        .removeprefix("Value error, ")
        .removeprefix("Input should be ")
        .removeprefix("String should have ")
    )
    return text.split(", unable to parse", maxsplit=1)[0]
