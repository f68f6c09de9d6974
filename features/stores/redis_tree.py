"""What the Lua scripts of `features.stores.redis_scripts` take and give: names of keys, events, buckets."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

from features.stores.activity import NEVER, Earlier, Found, Parts, Row
from features.stores.redis_scripts import KINDS
from features.stores.tree import SHIFTS, Node, Place


def names_of(stream: str, key: str) -> list[str]:
    """The names under which a key of a stream is stored."""
    return [f"risk:{stream}#{kind}:{key}" for kind in KINDS]


def siblings_of(name: str) -> list[str]:
    """All names of a key, from that of its events."""
    stream, _, rest = name.partition("#")
    return names_of(stream.removeprefix("risk:"), rest.partition(":")[2])


def level_of(shift: int) -> int:
    """As the scripts count them."""
    return SHIFTS.index(shift) + 1


def field_of(node: Node) -> str:
    """Where a bucket is in its hashes."""
    return f"{node.shift}:{node.number}"


def found_of(place: Place, answer: Sequence[Any]) -> Found:
    """What `FIND` says."""
    if not answer[0]:
        flat = answer[1]
        return Found(False, [unpack(flat[i], int(flat[i + 1])) for i in range(0, len(flat), 2)])
    rows, earlier = _rows(answer[1])
    payload = answer[4].decode() if len(answer) > 4 and answer[4] else None
    newest = [_times(times) for times in answer[3]]
    return Found(True, rows, earlier, list(_nodes(place, answer[2])), (), payload, newest)


def parts_of(node: Node, answer: Sequence[Any]) -> Parts:
    """What `PARTS` says."""
    if not answer:
        return Parts(None)
    now, content, *below = _node(node.place, node.shift, node.number, answer[0]), *answer[1:]
    if content is not None:
        return Parts(now, content=content)
    if now.split:
        return Parts(now, list(_nodes(node.place, below[0])))
    return Parts(now, (), *_rows(below[1])) if len(below) > 1 else Parts(now)


def pack(event_id: str, numbers: bytes, texts: str) -> bytes:
    """A member of the sorted set of events."""
    identity = event_id.encode()
    return struct.pack("<II", len(identity), len(numbers)) + identity + numbers + texts.encode()


def unpack(packed: bytes, time: int) -> Row:
    """What `pack` made."""
    identity, numbers = struct.unpack_from("<II", packed)
    middle = 8 + identity
    return time, packed[8:middle].decode(), packed[middle : middle + numbers], packed[middle + numbers :].decode()


def _rows(flat: Sequence[Any]) -> tuple[list[Row], list[Earlier]]:
    starts = range(0, len(flat), 3)
    return [unpack(flat[i + 1], int(flat[i])) for i in starts], [_times(flat[i + 2]) for i in starts]


def _times(found: Sequence[bytes]) -> Earlier:
    return [None if time == b"" else NEVER if time == b"never" else int(time) for time in found]


def _nodes(place: Place, flat: Sequence[Any]) -> Iterator[Node]:
    for i in range(0, len(flat), 3):
        yield _node(place, int(flat[i]), int(flat[i + 1]), flat[i + 2])


def _node(place: Place, shift: int, number: int, value: bytes) -> Node:
    return Node(place, shift, number, int(value[1:]), value[:1] == b"S")
