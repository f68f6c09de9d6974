"""The HTTP interface: strict requests in, decisions or RFC 9457 problems out. No value of a request is ever echoed."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from configs.errors import RiskError
from serving import metrics
from serving.contract import (
    MAX_BODY,
    MAX_OUTCOMES,
    MAX_OUTCOMES_BODY,
    ContractError,
    Mistake,
    read_json,
    read_outcome,
)
from serving.decisions import ConflictError
from serving.desk import Desk, UnknownError, Window
from serving.openapi import document
from serving.outcomes import KnownOutcome

Handler = Callable[[Desk, Request], Awaitable[Response]]
_KEY = re.compile(r"[!-~]{1,128}")  # visible ASCII: what a header can carry and a log can show
_TITLES = {
    400: "The body is not strict JSON",
    404: "Not found",
    409: "The idempotency key was used with another request",
    405: "The method is not allowed here",
    413: "The body is too large",
    415: "The body is not declared as JSON",
    422: "The request breaks its contract",
    500: "The service failed",
    503: "The service is not ready",
}


def application(desk: Desk) -> Starlette:
    """The routes as an ASGI application over a desk."""
    return Starlette(
        routes=[
            _route(desk, "/v1/{use_case}/decisions", _decide, "POST"),
            _route(desk, "/v1/{use_case}/outcomes", _turn_in, "POST"),
            _route(desk, "/v1/decisions/{decision_id}", _find, "GET"),
            _route(desk, "/v1/{use_case}", _describe, "GET"),
            _route(desk, "/openapi.json", _openapi, "GET"),
            _route(desk, "/docs.json", _openapi, "GET"),  # BentoML's page of the interface reads this
            Route("/metrics", lambda _: Response(desk.metrics.render(), media_type=metrics.CONTENT_TYPE)),
            _route(desk, "/v1/{path:path}", _unknown, "GET", "POST", "PUT", "PATCH", "DELETE"),
        ],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )


def problem(status: int, detail: str, mistakes: tuple[Mistake, ...] = ()) -> Response:
    """An RFC 9457 problem document."""
    content = {
        "type": "about:blank",
        "title": _TITLES[status],
        "status": status,
        "detail": detail,
        "errors": [mistake.as_json() for mistake in mistakes],
    }
    headers = {"Retry-After": "1"} if status == 503 else None
    return Response(json.dumps(content), status, media_type="application/problem+json", headers=headers)


def _route(desk: Desk, path: str, handler: Handler, *methods: str) -> Route:
    async def endpoint(request: Request) -> Response:
        status = 500  # of what `_failed` answers
        try:
            response = await _answered(handler, desk, request)
            status = response.status_code
        finally:
            desk.metrics.requests.labels(path, str(status)).inc()
        return response

    return Route(path, endpoint, methods=list(methods))


async def _answered(handler: Handler, desk: Desk, request: Request) -> Response:
    try:
        return await handler(desk, request)
    except ContractError as error:
        return problem(error.status, "every mistake is listed in errors", error.mistakes)
    except ConflictError as error:
        return problem(409, f"{error.found}; {error.fix}")
    except UnknownError as error:
        return problem(404, f"{error.found}; expected: {error.expected}")
    except RiskError as error:  # a store or a release: nothing was decided, and a retry is safe
        return problem(503, error.found)


async def _refused(_request: Request, error: Exception) -> Response:
    """What the router says to an address or a method that no route has."""
    return problem(error.status_code if isinstance(error, HTTPException) else 500, "see /openapi.json")


async def _failed(_request: Request, _error: Exception) -> Response:
    return problem(500, "the failure was logged; nothing was decided unless a retry says so")


async def _decide(desk: Desk, request: Request) -> Response:
    name = request.path_params["use_case"]
    desk.window(name)
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise ContractError(
            [Mistake("Idempotency-Key", "other characters or length", "1 to 128 visible ASCII characters")]
        )
    answer = await desk.decide(name, await _body(request, most=MAX_BODY), key=key)
    settle = BackgroundTask(desk.settle, name) if answer.created else None
    return _json(answer.decision.reply(), 201 if answer.created else 200, background=settle)


async def _turn_in(desk: Desk, request: Request) -> Response:
    name = request.path_params["use_case"]
    desk.window(name)
    body = read_json(await _body(request, most=MAX_OUTCOMES_BODY), most=MAX_OUTCOMES_BODY)
    rows = body.get("outcomes") if isinstance(body, dict) and set(body) == {"outcomes"} else None
    if not isinstance(rows, list) or len(rows) > MAX_OUTCOMES:
        expected = f'an object with one field "outcomes", a list of at most {MAX_OUTCOMES}'
        raise ContractError([Mistake("(body)", "something else", expected)])
    readable, rejected = _read(rows)
    report = await desk.outcomes(name, [outcome for _, outcome in readable])
    places = [index for index, _ in readable]
    rejected += [(places[index], reason) for index, reason in report.rejected]
    return _json(
        {
            "accepted": report.accepted,
            "duplicates": report.duplicates,
            "contradictions": [places[index] for index in report.contradictions],
            "rejected": [{"index": index, "reason": reason} for index, reason in sorted(rejected)],
        }
    )


def _read(rows: list[Any]) -> tuple[list[tuple[int, KnownOutcome]], list[tuple[int, str]]]:
    """Good outcomes with their positions, and for the others the reason why not."""
    readable, rejected = [], []
    for index, row in enumerate(rows):
        try:
            outcome = read_outcome(row)
        except ContractError as error:
            mistakes = "; ".join(f"{one.field}: found {one.found}, expected {one.expected}" for one in error.mistakes)
            rejected.append((index, mistakes))
            continue
        readable.append((index, KnownOutcome(outcome.event_id, outcome.label, outcome.known_at)))
    return readable, rejected


async def _find(desk: Desk, request: Request) -> Response:
    decision = await desk.find(request.path_params["decision_id"])
    return _json(decision.reply())


async def _describe(desk: Desk, request: Request) -> Response:
    window = desk.window(request.path_params["use_case"])
    return _json(_description(window))


def _description(window: Window) -> dict[str, Any]:
    use_case, release, policy = window.contract.use_case, window.scorer.release, window.scorer.rules.policy
    manifest = release.manifest
    return {
        "use_case": use_case.name,
        "title": use_case.title,
        "kind": use_case.kind,
        "description": use_case.description,
        "release": {
            "version": release.version,
            "digest": release.digest,
            "learner": release.model.learner,
            "approver": manifest.get("approver"),
            "approved_at": manifest.get("approved_at"),
            "metrics": manifest.get("metrics"),
        },
        "policy": use_case.policy.model_dump(mode="json") | {"hash": policy.digest},
        "contract": window.contract.model.model_json_schema(),
    }


async def _openapi(desk: Desk, _request: Request) -> Response:
    return _json(document(window.contract for window in desk.windows.values()))


async def _unknown(_desk: Desk, _request: Request) -> Response:
    raise UnknownError("no such address or method", expected="an operation of /openapi.json")


async def _body(request: Request, *, most: int) -> bytes:
    """The body, read no further than the limit."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ContractError([Mistake("Content-Type", "another media type", "application/json")], status=415)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise ContractError([Mistake("(body)", f"more than {most} bytes", f"at most {most} bytes")], status=413)
        chunks.append(chunk)
    return b"".join(chunks)


def _json(content: Any, status: int = 200, *, background: BackgroundTask | None = None) -> Response:
    body = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Response(body, status, media_type="application/json", background=background)
