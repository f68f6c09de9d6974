"""A typed client of the scoring service.

>>> with Client("http://127.0.0.1:3000", "fraud") as client:  # doctest: +SKIP
...     reply = client.decide(request)
...     reply["decision"], [reason["text"] for reason in reply["reasons"]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypedDict, cast

import httpx

from configs.errors import ServingError
from features.request import ScoringRequest


class ReasonReply(TypedDict):
    """One reason; `contribution` is in log-odds above the baseline, None where a rule gave the reason."""

    code: str
    text: str
    contribution: float | None
    features: list[str]


class ReleaseReply(TypedDict):
    """The release that scored."""

    version: int
    digest: str


class DecisionReply(TypedDict):
    """A decision as the service returns it."""

    decision_id: str
    use_case: str
    event_id: str
    decided_at: str
    release: ReleaseReply
    probability: float
    points: int
    grade: int
    decision: str
    reasons: list[ReasonReply]
    fallback: str | None
    latency_ms: float


class Rejection(TypedDict):
    """An outcome that wasn't taken, by its position."""

    index: int
    reason: str


class OutcomesReply(TypedDict):
    """What became of outcomes. `contradictions` are positions of those that replaced another label."""

    accepted: int
    duplicates: int
    contradictions: list[int]
    rejected: list[Rejection]


class Problem(ServingError):  # noqa: N818  # the name that RFC 9457 gives it
    """The service refused a request: `status` is HTTP's, `errors` names each field with what was found and expected."""

    def __init__(self, status: int, title: str, detail: str, errors: Sequence[Mapping[str, str]]) -> None:
        self.status, self.errors = status, list(errors)
        lines = [f"{one['field']}: found {one['found']}, expected {one['expected']}" for one in self.errors]
        super().__init__("\n  ".join([f"{status} {title}: {detail}", *lines]))


class Client:
    """Decisions and outcomes of one use case over one kept connection. A context manager."""

    def __init__(self, base_url: str, use_case: str, *, timeout: float = 10.0) -> None:
        """`timeout` in seconds."""
        self.use_case = use_case
        self._http = httpx.Client(base_url=base_url, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def decide(
        self, request: ScoringRequest | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> DecisionReply:
        """Ask for a decision. Asking again with the same request (and key; default: its event id) gives the same one.

        Raises `Problem` when the service refuses, `ServingError` when it can't be reached.
        """
        body = request.wire() if isinstance(request, ScoringRequest) else dict(request)
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return cast("DecisionReply", self._send("POST", f"/v1/{self.use_case}/decisions", json=body, headers=headers))

    def outcomes(self, outcomes: Sequence[Mapping[str, Any]]) -> OutcomesReply:
        """Turn in what became of events, at most 1,000 at once: `event_id`, `label` (0 or 1) and `known_at`."""
        body = {"outcomes": [dict(outcome) for outcome in outcomes]}
        return cast("OutcomesReply", self._send("POST", f"/v1/{self.use_case}/outcomes", json=body))

    def find(self, decision_id: str) -> DecisionReply:
        """A decision made before."""
        return cast("DecisionReply", self._send("GET", f"/v1/decisions/{decision_id}"))

    def describe(self) -> dict[str, Any]:
        """Contract, release and policy."""
        return self._send("GET", f"/v1/{self.use_case}")

    def _send(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **options)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise ServingError(
                f"no answer from {self._http.base_url} ({type(error).__name__})",
                expected="a running service",
                fix="risk serve, or correct the address",
            ) from None
        content = _content(response)
        if response.is_success and content is None:
            raise ServingError(
                f"{self._http.base_url} answered {response.status_code} without a JSON object",
                expected="the scoring service",
                fix="correct the address: --url, or RISK_HOST and RISK_PORT",
            )
        content = content or {}
        if response.is_success:
            return content
        title = str(content.get("title", response.reason_phrase))
        raise Problem(response.status_code, title, str(content.get("detail", "")), content.get("errors", []))


def _content(response: httpx.Response) -> dict[str, Any] | None:
    try:
        content = response.json()
    except ValueError:
        content = None
    return content if isinstance(content, dict) else None
