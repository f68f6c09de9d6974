"""Prometheus counters and histograms of the scoring service, in a registry of their own."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """What the service counts. Labels never hold anything a caller sent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "risk_requests", "Requests by route and HTTP status", ["route", "status"], registry=self.registry
        )
        self.decisions = Counter(
            "risk_decisions",
            "Decisions made, by outcome, and whether features could be trusted",
            ["use_case", "decision", "fallback"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "risk_decision_seconds",
            "Seconds from the arrival of a request to its reply, commit included",
            ["use_case"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.activity_failures = Counter(
            "risk_activity_failures",
            "Failed attempts to let a decided event enter the activity of its entities",
            ["use_case"],
            registry=self.registry,
        )
        self.outcomes = Counter(
            "risk_outcomes",
            "Outcomes turned in, by what became of them",
            ["use_case", "result"],
            registry=self.registry,
        )

    def render(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
