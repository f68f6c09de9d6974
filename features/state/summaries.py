"""What the events of one bucket add up to: exact, so that buckets can be merged in any way and give the same bits.

How many different texts there are can't be merged from numbers of them. But the texts of a window are as many as its
events that had their text last before the window began; so a bucket keeps, sorted, when each of its texts occurred last
before the bucket did begin. That is one time a text, and counting those not after the window's begin is a bisection.
"""

from __future__ import annotations

import json
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from features.state.recent import Rows
from features.stores.activity import Earlier, Row

Form = Literal["present", "value", "units"]

Part = tuple[Any, ...]
"""Of `present` numbers: count and newest time; of `value`: least and greatest; of `units`: count, sum and squares."""

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Summary:
    """`numbers` has one part a number slot; `before` one sorted array a text slot (see above)."""

    events: int
    newest: int | None
    numbers: tuple[Part, ...]
    before: tuple[array[int], ...]

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return 500 + 200 * len(self.numbers) + sum(100 + 8 * len(times) for times in self.before)


def summed(
    forms: Sequence[Form], texts: int, rows: Sequence[Row], earlier: Sequence[Earlier], *, begin: int
) -> Summary:
    """Of the events of a bucket, ordered by time, which begins at `begin`."""
    if not rows:
        return merged(forms, texts, [], begin=begin)
    spans, last = Rows(rows, width=len(forms)), rows[-1][0]
    parts: dict[Form, Any] = {
        "present": lambda slot: (spans.present(slot, begin - 1, last), spans.last(slot, begin - 1, last)),
        "value": lambda slot: spans.extremes(slot, begin - 1, last),
        "units": lambda slot: spans.whole(slot, begin - 1, last),
    }
    numbers = tuple(parts[form](slot) for slot, form in enumerate(forms))
    return Summary(len(rows), last, numbers, tuple(_firsts(earlier, slot, begin) for slot in range(texts)))


def merged(forms: Sequence[Form], texts: int, parts: Sequence[Summary], *, begin: int) -> Summary:
    """Of a bucket that begins at `begin`, from its children."""
    numbers = tuple(_MERGE[form]([each.numbers[slot] for each in parts]) for slot, form in enumerate(forms))
    before = []
    for slot in range(texts):
        times = [each.before[slot] for each in parts]
        before.append(_in_order([each[: bisect_left(each, begin)] for each in times]))
    return Summary(sum(each.events for each in parts), newest(each.newest for each in parts), numbers, tuple(before))


def _in_order(times: Sequence[array[int]]) -> array[int]:
    """Sorted ones as one; NumPy, because a large bucket has tens of thousands, and only such keys need it."""
    import numpy as np

    found = np.concatenate([np.asarray(each) for each in times], dtype=np.int64) if times else np.empty(0, np.int64)
    found.sort(kind="stable")  # merges what is in order already
    return array("q", found.tobytes())


def newest(times: Iterable[int | None]) -> int | None:
    """The greatest that there is."""
    return max((time for time in times if time is not None), default=None)


def least(values: Iterable[float | None]) -> float | None:
    """The least that there is."""
    return min((value for value in values if value is not None), default=None)


def greatest(values: Iterable[float | None]) -> float | None:
    """The greatest that there is."""
    return max((value for value in values if value is not None), default=None)


_MERGE: dict[Form, Any] = {
    "present": lambda parts: (sum(part[0] for part in parts), newest(part[1] for part in parts)),
    "value": lambda parts: (least(part[0] for part in parts), greatest(part[1] for part in parts)),
    "units": lambda parts: tuple(sum(part[index] for part in parts) for index in range(3)),
}


def _firsts(earlier: Sequence[Earlier], slot: int, begin: int) -> array[int]:
    return array("q", sorted(time for times in earlier if (time := times[slot]) is not None and time < begin))


def packed(summary: Summary) -> bytes:
    """As it is stored."""
    sizes = [len(times) for times in summary.before]
    head = json.dumps([summary.events, summary.newest, summary.numbers, sizes], separators=(",", ":")).encode()
    return b"".join([_LENGTH.pack(len(head)), head, *(times.tobytes() for times in summary.before)])


def unpacked(content: bytes) -> Summary:
    """What `packed` made."""
    (length,) = _LENGTH.unpack_from(content)
    at = _LENGTH.size + length
    events, last, numbers, sizes = json.loads(content[_LENGTH.size : at])
    before = []
    for size in sizes:
        times = array("q")
        times.frombytes(content[at : at + 8 * size])
        before.append(times)
        at += 8 * size
    return Summary(events, last, tuple(tuple(part) for part in numbers), tuple(before))
