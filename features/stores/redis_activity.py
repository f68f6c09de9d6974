"""The activity state in Redis: see `features.stores.activity`. One Lua script lets an event in, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from features.stores.activity import Ask, Entry, Found, Member, Parts, Rewrite, clock
from features.stores.connections import BATCH, RedisServer, batches, literal
from features.stores.redis_scripts import ADD, CHANGE, CUT, FIND, KEEP, LIBRARY, PARTS, PROMOTE, SPLIT
from features.stores.redis_tree import field_of, found_of, level_of, names_of, pack, parts_of, siblings_of
from features.stores.tree import Node, Place, new_stamp


class RedisEvents:
    """Events in Redis: one sorted set a stream and key, scored by microseconds (exact in doubles until 2255)."""

    def __init__(self, url: str) -> None:
        self._server = RedisServer(url)
        register = self._server.client.register_script
        self._add, self._change, self._cut = (register(LIBRARY + script) for script in (ADD, CHANGE, CUT))
        self._find, self._parts, self._keep = (register(LIBRARY + script) for script in (FIND, PARTS, KEEP))
        self._split, self._promote = register(LIBRARY + SPLIT), register(LIBRARY + PROMOTE)

    def find(self, asked: Sequence[Ask], *, most: int, cut: int) -> list[Found]:
        """See `EventStore`. One round trip, in which crowded buckets are split."""
        calls, stamp = [], new_stamp()
        for ask in asked:
            event = _event(*ask.event) if ask.event else f"risk:{ask.place.stream}:none"
            texts = [part for slot, text in enumerate(ask.texts) if text is not None for part in (slot, text)]
            calls.append(([*names_of(*ask.place), event], [most, cut, stamp, len(ask.edges), *ask.edges, *texts]))
        answers = self._run(self._find, calls)
        return [_by_slot(ask, found_of(ask.place, answer)) for ask, answer in zip(asked, answers, strict=True)]

    def parts(self, nodes: Sequence[Node], *, most: int) -> list[Parts]:
        """See `EventStore`. One round trip."""
        calls = [(names_of(*node.place), [most, level_of(node.shift), node.number]) for node in nodes]
        answers = self._run(self._parts, calls)
        return [parts_of(node, answer) for node, answer in zip(nodes, answers, strict=True)]

    def contents(self, nodes: Sequence[Node]) -> list[bytes | None]:
        """See `EventStore`. One round trip."""
        with self._server.talking() as client, client.pipeline(transaction=False) as pipeline:
            for node in nodes:
                pipeline.hget(names_of(*node.place)[3], field_of(node))
            answers = [(answer or b"").partition(b";") for answer in pipeline.execute()]
        stamps = [str(node.stamp).encode() for node in nodes]
        return [found if stamp == known else None for known, (stamp, _, found) in zip(stamps, answers, strict=True)]

    def keep(self, contents: Sequence[tuple[Node, bytes]]) -> None:
        """See `EventStore`. One round trip."""
        calls = [(names_of(*node.place), [field_of(node), node.stamp, content]) for node, content in contents]
        self._run(self._keep, calls)

    def split(self, nodes: Sequence[Node]) -> None:
        """See `EventStore`. One round trip."""
        stamp = new_stamp()
        self._run(self._split, [(names_of(*node.place), [stamp, level_of(node.shift), node.number]) for node in nodes])

    def promote(self, place: Place) -> None:
        """See `EventStore`."""
        self._run(self._promote, [(names_of(*place), [new_stamp()])])

    def add(self, space: str, entries: Sequence[Entry], *, keep: int, bulk: bool = False) -> list[bool]:
        """See `EventStore`. One round trip. Keys expire by the server's clock, `keep` after they were last added to."""
        stamp, calls = new_stamp(), []
        for entry in entries:
            keys = [
                _event(space, entry.event_id),
                *(name for member in entry.members for name in names_of(*member[:2])),
            ]
            members = [part for member in entry.members for part in _packed(entry, member)]
            arguments = [keep // 1000, clock(entry) - keep, stamp, int(bulk), entry.payload, *members]
            calls.append((keys, arguments))
        return [bool(new) for new in self._run(self._add, calls)]

    def payloads(self, space: str, event_ids: Sequence[str]) -> list[str | None]:
        """See `EventStore`. One round trip."""
        with self._server.talking() as client:
            found = client.mget([_event(space, event_id) for event_id in event_ids])
        return [None if payload is None else payload.decode() for payload in found]

    def change(self, space: str, event_id: str, rewrite: Rewrite, *, keep: int) -> bool:
        """See `EventStore`. Again if somebody else changed the event in the meantime."""
        done = False
        while not done:
            (payload,) = self.payloads(space, [event_id])
            changed = rewrite(payload) if payload is not None else None
            if changed is None:
                return payload is not None
            (done,) = self._run(self._change, [_changing(space, *changed, keep=keep)])
        return True

    def prune(self, space: str, before: int) -> None:
        """See `EventStore`. Events themselves expire."""
        stamp = new_stamp()
        with self._server.talking() as client:
            pattern = literal(f"risk:{space}:") + "*#events:*"
            for batch in batches(client.scan_iter(match=pattern, count=BATCH, _type="zset")):
                self._run(self._cut, [(siblings_of(name.decode()), [before, stamp]) for name in batch])

    def drop(self, prefix: str) -> None:
        """See `EventStore`."""
        self._server.forget(literal(f"risk:{prefix}") + "*")

    def close(self) -> None:
        """See `EventStore`."""
        self._server.close()

    def _run(self, script: Any, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """A script for each (keys, arguments), in one round trip."""
        with self._server.talking() as client:
            if len(calls) == 1:
                return [script(*calls[0], client=client)]
            with client.pipeline(transaction=False) as pipeline:
                for keys, arguments in calls:
                    script(keys=keys, args=arguments, client=pipeline)
                found: list[Any] = pipeline.execute()
        return found


def _event(space: str, event_id: str) -> str:
    return f"risk:{space}:event:{event_id}"


def _packed(entry: Entry, member: Member) -> tuple[int, bytes]:
    return member.time, pack(entry.event_id, member.numbers, member.texts)


def _changing(space: str, before: Entry, after: Entry, *, keep: int) -> tuple[list[str], list[Any]]:
    """Keys and arguments of the script that changes an event."""
    old, new = ({Place(*m[:2]): _packed(entry, m) for m in entry.members} for entry in (before, after))
    changed = [place for place in {**old, **new} if old.get(place) != new.get(place)]
    parts = [part for place in changed for each in (old, new) for part in each.get(place, ("", ""))]
    keys = [_event(space, before.event_id), *(name for place in changed for name in names_of(*place))]
    return keys, [before.payload, after.payload, keep // 1000, new_stamp(), *parts]


def _by_slot(asked: Ask, found: Found) -> Found:
    """The answer leaves out the slots without a text."""
    if not found.newest:
        return found
    answers = iter(found.newest)
    return found._replace(newest=[next(answers) if text is not None else [] for text in asked.texts])
