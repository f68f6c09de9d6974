"""The OpenAPI document of the service, written from the contracts of the use cases it serves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from configs.inputs import Column
from configs.use_case import UseCase
from serving.contract import MAX_OUTCOMES, RequestContract

_TEXT, _NUMBER, _INTEGER = {"type": "string"}, {"type": "number"}, {"type": "integer"}
_REASON = {
    "code": _TEXT,
    "text": _TEXT,
    "contribution": {"type": ["number", "null"], "description": "log-odds above the baseline; null if a rule gave it"},
    "features": {"type": "array", "items": _TEXT},
}
_DECISION = {
    "decision_id": _TEXT,
    "use_case": _TEXT,
    "event_id": _TEXT,
    "decided_at": {"type": "string", "format": "date-time"},
    "release": {"type": "object", "properties": {"version": _INTEGER, "digest": _TEXT}},
    "probability": {"type": "number", "minimum": 0, "maximum": 1},
    "points": _INTEGER,
    "grade": _INTEGER,
    "decision": _TEXT,
    "reasons": {"type": "array", "items": {"type": "object", "properties": _REASON}},
    "fallback": {
        "type": ["string", "null"],
        "description": "why the features could not be trusted; null if they could",
    },
    "latency_ms": _NUMBER,
}
_MISTAKE = {"field": _TEXT, "found": _TEXT, "expected": _TEXT}
_PROBLEM = {
    "type": _TEXT,
    "title": _TEXT,
    "status": _INTEGER,
    "detail": _TEXT,
    "errors": {"type": "array", "items": {"type": "object", "properties": _MISTAKE}},
}
_OUTCOME = {
    "event_id": _TEXT,
    "label": {"type": "integer", "enum": [0, 1]},
    "known_at": {"type": "string", "format": "date-time"},
}
_REPORT = {
    "accepted": _INTEGER,
    "duplicates": _INTEGER,
    "contradictions": {"type": "array", "items": _INTEGER},
    "rejected": {
        "type": "array",
        "items": {"type": "object", "properties": {"index": _INTEGER, "reason": _TEXT}},
    },
}


def document(contracts: Iterable[RequestContract]) -> dict[str, Any]:
    """OpenAPI 3.1 with one set of paths a use case, each with an example made from its contract."""
    schemas: dict[str, Any] = {
        "Decision": {"type": "object", "properties": _DECISION},
        "Problem": {"type": "object", "properties": _PROBLEM},
        "Outcome": {
            "type": "object",
            "properties": _OUTCOME,
            "required": list(_OUTCOME),
            "additionalProperties": False,
        },
        "OutcomeReport": {"type": "object", "properties": _REPORT},
    }
    paths: dict[str, Any] = {
        "/v1/decisions/{decision_id}": {
            "parameters": [{"name": "decision_id", "in": "path", "required": True, "schema": _TEXT}],
            "get": _operation("A decision by its id", "findDecision", {"200": "Decision"}, problems=(404, 503)),
        }
    }
    for contract in contracts:
        name = contract.use_case.name
        schema = contract.model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[contract.model.__name__] = schema
        paths[f"/v1/{name}/decisions"] = {"post": _decide(contract)}
        paths[f"/v1/{name}/outcomes"] = {"post": _turn_in(contract.use_case)}
        paths[f"/v1/{name}"] = {
            "get": _operation(
                f"{contract.use_case.title}: contract, release, policy", f"describe_{name}", {"200": None}
            )
        }
    info = {
        "title": "Risk decisions",
        "version": "1",
        "description": "Credit and fraud decisions, logged and explained.",
    }
    return {"openapi": "3.1.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def example(use_case: UseCase) -> dict[str, Any]:
    """A request that keeps the contract."""
    return {
        "event_id": "example-1",
        "event_time": "2025-07-01T10:00:00Z",
        "entities": {name: f"{name}-1" for name in use_case.entities},
        "fields": {name: _value(column) for name, column in use_case.request.items()},
    }


def _value(column: Column) -> Any:
    if column.type == "time":
        return "2020-01-01T00:00:00Z"
    if column.type == "boolean":
        return False
    if column.type == "category":
        return column.values[0] if column.values else "other"
    least, most = column.min, column.max
    number = 1.0 if least is None else least + 1.0
    number = number if most is None or number <= most else most
    return int(number) if number.is_integer() else number


def _decide(contract: RequestContract) -> dict[str, Any]:
    use_case = contract.use_case
    replies = {"201": "Decision", "200": "Decision"}
    operation = _operation(
        f"Decide: {use_case.title}", f"decide_{use_case.name}", replies, problems=(400, 409, 413, 415, 422, 503)
    )
    operation["description"] = f"{use_case.description} 201: decided now. 200: decided before under the same key."
    operation["parameters"] = [
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "a retry with the same key gets the same decision; default: the event_id",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
        }
    ]
    operation["requestBody"] = _body(contract.model.__name__, example(use_case))
    return operation


def _turn_in(use_case: UseCase) -> dict[str, Any]:
    replies = {"200": "OutcomeReport"}
    operation = _operation(
        f"Turn in outcomes: {use_case.title}", f"outcomes_{use_case.name}", replies, problems=(400, 413, 415, 422, 503)
    )
    sample = {"event_id": "example-1", "label": 0, "known_at": "2025-08-01T00:00:00Z"}
    outcomes = {"type": "array", "maxItems": MAX_OUTCOMES, "items": {"$ref": "#/components/schemas/Outcome"}}
    schema = {
        "type": "object",
        "properties": {"outcomes": outcomes},
        "required": ["outcomes"],
        "additionalProperties": False,
    }
    content = {"application/json": {"schema": schema, "example": {"outcomes": [sample]}}}
    return operation | {"requestBody": {"required": True, "content": content}}


def _body(schema: str, sample: dict[str, Any]) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"required": True, "content": {"application/json": {"schema": reference, "example": sample}}}


def _operation(
    summary: str, name: str, replies: Mapping[str, str | None], *, problems: tuple[int, ...] = (404, 503)
) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, schema in replies.items():
        reference = {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}
        responses[status] = {"description": "as asked", "content": {"application/json": {"schema": reference}}}
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for number in problems:
        responses[str(number)] = {"description": "a problem", "content": problem}
    return {"summary": summary, "operationId": name, "responses": responses}
