"""The activity state in Redis: see `features.stores.activity`. One Lua script lets an event in, whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from configs.errors import FeatureError
from features.stores.activity import Ask, Entry, Found, Member, Parts, Rewrite, clock
from features.stores.connections import BATCH, RedisServer, batches, literal
from features.stores.redis_scripts import ADD, CHANGE, CUT, FIND, KEEP, LIBRARY, PARTS, PROMOTE, SPLIT
from features.stores.redis_tree import field_of, found_of, level_of, names_of, pack, parts_of, siblings_of
from features.stores.tree import Node, Place, new_stamp

_SCRIPTS = {script: LIBRARY + script for script in (ADD, CHANGE, CUT, FIND, KEEP, PARTS, PROMOTE, SPLIT)}


class RedisEvents:
    """Events in Redis: one sorted set a stream and key, scored by microseconds (exact in doubles until 2255)."""

    def __init__(self, url: str) -> None:
        self._server = RedisServer(url)

    def find(self, asked: Sequence[Ask], *, most: int, cut: int) -> list[Found]:
        """See `EventStore`. One round trip, in which crowded buckets are split."""
        calls, stamp = [], new_stamp()
        for ask in asked:
            event = _event(*ask.event) if ask.event else f"risk:{ask.place.stream}:none"
            texts = [part for slot, text in enumerate(ask.texts) if text is not None for part in (slot, text)]
            calls.append(([*names_of(*ask.place), event], [most, cut, stamp, len(ask.edges), *ask.edges, *texts]))
        answers = self._run(FIND, calls)
        return [_by_slot(ask, found_of(ask.place, answer)) for ask, answer in zip(asked, answers, strict=True)]

    def parts(self, nodes: Sequence[Node], *, most: int) -> list[Parts]:
        """See `EventStore`. One round trip."""
        places = [part for node in nodes for part in (level_of(node.shift), node.number)]
        (answers,) = self._run(PARTS, [(names_of(*nodes[0].place), [most, *places])])
        return [parts_of(node, answer) for node, answer in zip(nodes, answers, strict=True)]

    def keep(self, contents: Sequence[tuple[Node, bytes]]) -> None:
        """See `EventStore`. One round trip. Without room for it the next request adds up again."""
        kept = [part for node, content in contents for part in (field_of(node), node.stamp, content)]
        with suppress(FeatureError):
            self._run(KEEP, [(names_of(*contents[0][0].place), kept)])

    def split(self, nodes: Sequence[Node]) -> None:
        """See `EventStore`. One round trip."""
        stamp = new_stamp()
        self._run(SPLIT, [(names_of(*node.place), [stamp, level_of(node.shift), node.number]) for node in nodes])

    def promote(self, place: Place) -> None:
        """See `EventStore`."""
        self._run(PROMOTE, [(names_of(*place), [new_stamp()])])

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
        return [bool(new) for new in self._run(ADD, calls)]

    def _payloads(self, space: str, event_ids: Sequence[str]) -> list[str | None]:
        with self._server.talking() as client:
            found = client.mget([_event(space, event_id) for event_id in event_ids])
        return [None if payload is None else payload.decode() for payload in found]

    def change(self, space: str, rewrites: Sequence[tuple[str, Rewrite]], *, keep: int) -> list[bool]:
        """See `EventStore`. Two round trips; again for those that somebody else changed in the meantime."""
        there: dict[int, bool] = {}
        waiting = list(enumerate(rewrites))
        while waiting:
            payloads = self._payloads(space, [event_id for _, (event_id, _) in waiting])
            there |= {place: payload is not None for (place, _), payload in zip(waiting, payloads, strict=True)}
            changed = [
                (each, change)
                for each, payload in zip(waiting, payloads, strict=True)
                if payload is not None and (change := each[1][1](payload))
            ]
            done = self._run(CHANGE, [_changing(space, *change, keep=keep) for _, change in changed])
            waiting = [each for (each, _), made in zip(changed, done, strict=True) if not made]
        return [there[place] for place in range(len(rewrites))]

    def prune(self, space: str, before: int) -> None:
        """See `EventStore`. Events themselves expire."""
        stamp = new_stamp()
        with self._server.talking() as client:
            pattern = literal(f"risk:{space}:") + "*#events:*"
            for batch in batches(client.scan_iter(match=pattern, count=BATCH, _type="zset")):
                self._run(CUT, [(siblings_of(name.decode()), [before, stamp]) for name in batch])

    def drop_idle(self, prefix: str, *, but: str, before: int) -> None:
        """See `EventStore`. They expire."""

    def drop(self, prefix: str) -> None:
        """See `EventStore`."""
        self._server.forget(literal(f"risk:{prefix}") + "*")

    def close(self) -> None:
        """See `EventStore`."""
        self._server.close()

    def _run(self, script: str, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        return self._server.run(_SCRIPTS[script], calls)


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
