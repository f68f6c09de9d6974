"""Where the activity state lives: recent events by (stream, entity key), each stored once by its event id.

An `Entry` goes in whole or not at all, so a process that dies in the middle leaves neither half an event nor two of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time_ns
from typing import NamedTuple, Protocol

Row = tuple[int, str, bytes, str]
"""Time in microseconds, event id, numbers (float64 each), texts (a JSON list, or empty)."""


class Member(NamedTuple):
    """An event's place in one stream."""

    stream: str
    key: str
    numbers: bytes
    texts: str


class Entry(NamedTuple):
    """An event with everything needed to compute its members again. Times are microseconds."""

    event_id: str
    time: int
    payload: str
    members: tuple[Member, ...]


class Span(NamedTuple):
    """The events of one key with `after` < time <= `until`, in microseconds."""

    stream: str
    key: str
    after: int
    until: int


Rewrite = Callable[[str], tuple[Entry, Entry] | None]
"""From a stored payload to the entry before and after the change; None if nothing changes."""


class EventStore(Protocol):
    """What both stores can do. A `space` holds the events of one table under one definition."""

    def read(self, spans: Sequence[Span]) -> list[list[Row]]:
        """The events of each span, ordered by time."""

    def add(self, space: str, entries: Sequence[Entry], *, keep: int, bulk: bool = False) -> list[bool]:
        """Store the entries whose event id is new, and say which.

        What the same keys have that is more than `keep` microseconds older is dropped; `bulk` leaves that to `prune`.
        """

    def payloads(self, space: str, event_ids: Sequence[str]) -> list[str | None]:
        """The payloads of stored events; None for one that isn't there."""

    def change(self, space: str, event_id: str, rewrite: Rewrite) -> bool:
        """Rewrite a stored event in one transaction; False if it isn't stored."""

    def prune(self, space: str, before: int) -> None:
        """Drop every event older than `before`."""

    def drop(self, prefix: str) -> None:
        """Delete all spaces whose name starts with `prefix`."""

    def close(self) -> None:
        """Close the connections."""


def clock(entry: Entry) -> int:
    """An event from the future doesn't make the present old."""
    return min(entry.time, time_ns() // 1000)
