"""The activity state in Redis: see `features.stores.activity`. One Lua script lets an event in, whole or not at all."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from features.stores.activity import Entry, Member, Rewrite, Row, Span, clock
from features.stores.connections import BATCH, RedisServer, literal

_ADD_REDIS = """
if not redis.call('SET', KEYS[1], ARGV[4], 'NX', 'PX', ARGV[2]) then return 0 end
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], ARGV[1], ARGV[i + 3])
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', '(' .. ARGV[3])
end
return 1
"""


class RedisEvents:
    """Events in Redis: one sorted set a stream and key, scored by microseconds (exact in doubles until 2255)."""

    def __init__(self, url: str) -> None:
        self._server = RedisServer(url)
        self._script = self._server.client.register_script(_ADD_REDIS)

    def read(self, spans: Sequence[Span]) -> list[list[Row]]:
        """See `EventStore`. One round trip."""
        with self._server.talking() as client, client.pipeline(transaction=False) as pipeline:
            for span in spans:
                pipeline.zrangebyscore(_place(span), f"({span.after}", span.until, withscores=True)
            return [[_unpack(packed, int(time)) for packed, time in found] for found in pipeline.execute()]

    def add(self, space: str, entries: Sequence[Entry], *, keep: int, bulk: bool = False) -> list[bool]:
        """See `EventStore`. One round trip. Keys expire by the server's clock, `keep` after they were last added to."""
        with self._server.talking() as client, client.pipeline(transaction=False) as pipeline:
            for entry in entries:
                keys = [_event(space, entry.event_id), *(_place(member) for member in entry.members)]
                members = [_pack(entry.event_id, member) for member in entry.members]
                arguments = [entry.time, keep // 1000, clock(entry) - keep, entry.payload, *members]
                self._script(keys=keys, args=arguments, client=pipeline)
            return [bool(new) for new in pipeline.execute()]

    def payloads(self, space: str, event_ids: Sequence[str]) -> list[str | None]:
        """See `EventStore`. One round trip."""
        with self._server.talking() as client:
            found = client.mget([_event(space, event_id) for event_id in event_ids])
        return [None if payload is None else payload.decode() for payload in found]

    def change(self, space: str, event_id: str, rewrite: Rewrite) -> bool:
        """See `EventStore`."""
        name = _event(space, event_id)
        while True:
            try:
                with self._server.talking() as client, client.pipeline() as pipeline:
                    pipeline.watch(name)
                    payload = pipeline.get(name)
                    changed = rewrite(payload.decode()) if payload else None
                    if changed:
                        self._replace(pipeline, name, *changed)
                    return bool(payload)
            except self._server.changed:
                continue

    def _replace(self, pipeline: Any, name: str, before: Entry, after: Entry) -> None:
        """Members that were dropped in the meantime stay dropped."""
        pairs = [
            (_place(old), _pack(before.event_id, old), _pack(after.event_id, new))
            for old, new in _changed(before, after)
        ]
        kept = [pair for pair in pairs if pipeline.zscore(*pair[:2]) is not None]
        pipeline.multi()
        pipeline.set(name, after.payload, keepttl=True)
        for place, old, new in kept:
            pipeline.zrem(place, old)
            pipeline.zadd(place, {new: after.time})
        pipeline.execute()

    def prune(self, space: str, before: int) -> None:
        """See `EventStore`. Events themselves expire."""
        with self._server.talking() as client:
            for key in client.scan_iter(match=literal(f"risk:{space}:") + "*", count=BATCH, _type="zset"):
                client.zremrangebyscore(key, "-inf", f"({before}")

    def drop(self, prefix: str) -> None:
        """See `EventStore`."""
        self._server.forget(literal(f"risk:{prefix}") + "*")

    def close(self) -> None:
        """See `EventStore`."""
        self._server.close()


def _event(space: str, event_id: str) -> str:
    return f"risk:{space}:event:{event_id}"


def _place(at: Member | Span) -> str:
    return f"risk:{at.stream}:{at.key}"


def _pack(event_id: str, member: Member) -> bytes:
    identity = event_id.encode()
    return struct.pack("<II", len(identity), len(member.numbers)) + identity + member.numbers + member.texts.encode()


def _unpack(packed: bytes, time: int) -> Row:
    length, numbers = struct.unpack_from("<II", packed)
    return (
        time,
        packed[8 : 8 + length].decode(),
        packed[8 + length : 8 + length + numbers],
        packed[8 + length + numbers :].decode(),
    )


def _changed(before: Entry, after: Entry) -> list[tuple[Member, Member]]:
    return [(old, new) for old, new in zip(before.members, after.members, strict=True) if old != new]
