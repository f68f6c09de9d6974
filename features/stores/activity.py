"""Where the activity state lives: recent events by (stream, entity key), each stored once by its event id.

An `Entry` goes in whole or not at all, so a process that dies in the middle leaves neither half an event nor two of it.
Beside the events stands where each text of a key occurs, so that an event is found that had the same text before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time_ns
from typing import NamedTuple, Protocol

from features.stores.tree import Node, Place

Row = tuple[int, str, bytes, str]
"""Time in microseconds, event id, numbers (float64 each), texts (a JSON list, or empty)."""

NEVER = -(2**63)
Earlier = list[int | None]
"""By slot, when the key had the event's text last before it (microseconds), or `NEVER`; None where it has no text."""


class Member(NamedTuple):
    """An event's place in one stream, and when it entered there: at its own time, or once its outcome was known."""

    stream: str
    key: str
    time: int
    numbers: bytes
    texts: str


class Entry(NamedTuple):
    """An event with everything needed to compute its members again. Times are microseconds."""

    event_id: str
    time: int
    payload: str
    members: tuple[Member, ...]

    @property
    def last(self) -> int:
        """When it enters for the last time. As long as that counts it is known, and enters nowhere a second time."""
        return max([self.time, *(member.time for member in self.members)])


class Ask(NamedTuple):
    """What a request needs to know of one key.

    `edges`, in order: where its windows begin and end. The edge e lies between the times e and e + 1. `event` is the
    scored event (space, id), whose stored payload is wanted, and of its `texts`, by slot, the key's newest up to each
    edge.
    """

    place: Place
    edges: tuple[int, ...]
    event: tuple[str, str] | None = None
    texts: tuple[str | None, ...] = ()


class Found(NamedTuple):
    """The answer, from one moment: all events between the first edge and the last, ordered by time.

    Of a hot key they are in `whole`, the widest buckets that no edge cuts, and in `rows`, from buckets that one does;
    `crowded` ones are cut and have to be split first. Only of these are there `earlier`, one for each row, the
    `payload`, and `newest`: by slot of the text, then by edge, when it was there last.
    """

    hot: bool
    rows: list[Row]
    earlier: Sequence[Earlier] = ()
    whole: Sequence[Node] = ()
    crowded: Sequence[Node] = ()
    payload: str | None = None
    newest: Sequence[Earlier] = ()


class Parts(NamedTuple):
    """What is in a bucket, from one moment: what was kept of it, else its children if it is split, else its events.

    `now` is the bucket itself then, None if it is gone. `rows` is None if there are more than were asked for.
    """

    now: Node | None
    children: Sequence[Node] = ()
    rows: list[Row] | None = None
    earlier: Sequence[Earlier] = ()
    content: bytes | None = None


Rewrite = Callable[[str], tuple[Entry, Entry] | None]
"""From a stored payload to the entry before and after the change; None if nothing changes."""


class EventStore(Protocol):
    """What both stores can do. A `space` holds the events of one table under one definition."""

    def find(self, asked: Sequence[Ask], *, most: int, cut: int) -> list[Found]:
        """What there is of each key: of one that is not hot the oldest `most` events at most.

        A bucket that an edge cuts is crowded with more than `cut` events between the edges.
        """

    def parts(self, nodes: Sequence[Node], *, most: int) -> list[Parts]:
        """What is in each bucket of one key; no more than `most` events, unless it is of one microsecond."""

    def keep(self, contents: Sequence[tuple[Node, bytes]]) -> None:
        """Keep what buckets of one key add up to. It is a cache: nothing happens while somebody else writes."""

    def split(self, nodes: Sequence[Node]) -> None:
        """Give buckets children, where there are events."""

    def promote(self, place: Place) -> None:
        """Make a key hot."""

    def add(self, space: str, entries: Sequence[Entry], *, keep: int, bulk: bool = False) -> list[bool]:
        """Store the entries whose event id is new, and say which.

        What the same keys have that is more than `keep` microseconds older is dropped; `bulk` leaves that to `prune`.
        """

    def change(self, space: str, rewrites: Sequence[tuple[str, Rewrite]], *, keep: int) -> list[bool]:
        """Rewrite stored events by their ids, each whole or not at all; which of them are stored.

        A member that keeps its time and was dropped stays dropped; one that is new, or moved, enters for `keep`.
        """

    def prune(self, space: str, before: int) -> None:
        """Drop every event older than `before`."""

    def drop_idle(self, prefix: str, *, but: str, before: int) -> None:
        """Delete the spaces whose name starts with `prefix` and to which nothing newer than `before` came, but one."""

    def drop(self, prefix: str) -> None:
        """Delete all spaces whose name starts with `prefix`."""

    def close(self) -> None:
        """Close the connections."""


def clock(entry: Entry) -> int:
    """An event from the future doesn't make the present old."""
    return min(entry.time, time_ns() // 1000)
