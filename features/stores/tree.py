"""Time buckets of hot keys: a tree over the events of one key in one stream, as the stores keep it.

A bucket of shift s and number n covers the times from n * 2**s to (n + 1) * 2**s - 1 (microseconds). The rules that
every writer keeps:

- a key is hot when it has buckets; then every event of it lies in one of the widest buckets (51 days);
- a bucket that is not split has no buckets below it; below a split one, every event lies in one of its children;
- whoever touches an event gives every bucket on its path a new stamp, one that is never used again.

So a bucket with its stamp stands for the same events for ever. What they add up to, its `content`, is kept with the
stamp that it belongs to, and is none of the bucket any more when the stamp has changed.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

TOP, STEP = 42, 3
SHIFTS = tuple(range(TOP, -1, -STEP))
"""51 days, 6 days, 19 hours, 2 hours, 18 minutes, ... one microsecond: 8 children each."""

T = TypeVar("T")


class Place(NamedTuple):
    """One key of one stream."""

    stream: str
    key: str


class Node(NamedTuple):
    """One bucket; `stamp` changes with every change of an event in it."""

    place: Place
    shift: int
    number: int
    stamp: int
    split: bool

    @property
    def begin(self) -> int:
        """First microsecond in it."""
        return self.number << self.shift

    @property
    def end(self) -> int:
        """First microsecond after it."""
        return (self.number + 1) << self.shift

    @property
    def at(self) -> tuple[str, str, int, int]:
        """Where it is: stream, key, shift and number."""
        stream, key = self.place
        return stream, key, self.shift, self.number


def path(time: int) -> Iterator[tuple[int, int]]:
    """Shift and number of the buckets that hold a time, the widest first."""
    return ((shift, time >> shift) for shift in SHIFTS)


def new_stamp() -> int:
    """A number that no other writer has or will have; exact in a double."""
    return secrets.randbits(53)


class Memory(Generic[T]):
    """What is known of buckets at their stamps, up to so many bytes: what was used last."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._kept: OrderedDict[tuple[str, str, int, int], tuple[Node, T, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, node: Node) -> T | None:
        """What was put for this very bucket."""
        at = node.at
        with self._lock:
            kept = self._kept.get(at)
            if kept is None or kept[0].stamp != node.stamp or kept[0].split != node.split:
                return None
            self._kept.move_to_end(at)
            return kept[1]

    def forget_above(self, node: Node) -> None:
        """Drop what is known of the buckets that hold this one: it was split, and their stamps don't tell."""
        stream, key = node.place
        with self._lock:
            for shift, number in path(node.begin):
                kept = self._kept.pop((stream, key, shift, number), None) if shift > node.shift else None
                self._left += kept[2] if kept else 0

    def put(self, node: Node, value: T, *, size: int) -> None:
        """Keep it, and drop what was not used for longest."""
        at = node.at
        with self._lock:
            old = self._kept.pop(at, None)
            self._kept[at] = node, value, size
            self._left += (old[2] if old else 0) - size
            while self._left < 0 and self._kept:
                self._left += self._kept.popitem(last=False)[1][2]
