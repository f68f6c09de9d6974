"""Windows of a hot key from the buckets that no window's edge cuts, and the events of those that one does.

What a bucket adds up to belongs to its stamp (`features.stores.tree`), so it can be kept, here and in the store, for as
long as the stamp lives: a new event changes only the buckets on its path. What is found here was true at one moment.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, repeat
from typing import Any, NamedTuple

from features.state.recent import Rows
from features.state.streams import Stream
from features.state.summaries import Summary, greatest, least, merged, newest, packed, summed, unpacked
from features.stores.activity import Ask, EventStore, Found, Parts
from features.stores.tree import Memory, Node


class Limits(NamedTuple):
    """How keys are kept; smaller ones only let tests meet trees sooner.

    hot: events in its windows beyond which a key gets buckets. cut: events beyond which a bucket is split that an edge
    cuts. fill: the same for one that is summed up. memory: bytes of sums that a process keeps, of all keys together.
    """

    hot: int = 2_000
    cut: int = 16
    fill: int = 256
    memory: int = 64 * 2**20


_BATCH = 32


class Buckets:
    """`Spans` over a hot key: what was found, and the summaries of the buckets in it."""

    def __init__(self, stream: Stream, asked: Ask, found: Found, summaries: Sequence[Summary]) -> None:
        self._rows = Rows(found.rows, width=len(stream.numbers))
        self._times = [row[0] for row in found.rows]
        self._earlier, self._newest = found.earlier, found.newest
        self._texts = asked.texts
        self._edges = {edge: index for index, edge in enumerate(asked.edges)}
        self._begins = [node.begin for node in found.whole]
        self._newest_of = [each.newest for each in summaries]
        self._counts = list(accumulate([each.events for each in summaries], initial=0))
        self._numbers = list(zip(*[each.numbers for each in summaries], strict=True)) or [()] * len(stream.numbers)
        self._before = list(zip(*[each.before for each in summaries], strict=True)) or [()] * len(stream.texts)
        self._columns: dict[tuple[int, int], list[Any]] = {}
        self._totals: dict[tuple[int, int], list[int]] = {}
        self._cuts: dict[tuple[int, int], tuple[int, int]] = {}
        self._sums: dict[tuple[int, int, int], tuple[int, int, int]] = {}

    def events(self, after: int, until: int) -> int:
        """See `Spans`."""
        low, high = self._cut(after, until)
        return self._counts[high] - self._counts[low] + self._rows.events(after, until)

    def present(self, slot: int, after: int, until: int) -> int:
        """See `Spans`."""
        return self._sum(slot, 0, after, until) + self._rows.present(slot, after, until)

    def whole(self, slot: int, after: int, until: int) -> tuple[int, int, int]:
        """See `Spans`."""
        place = slot, after, until
        if place not in self._sums:
            count, sums, squares = self._rows.whole(*place)
            more = [self._sum(slot, part, after, until) for part in range(3)]
            self._sums[place] = count + more[0], sums + more[1], squares + more[2]
        return self._sums[place]

    def extremes(self, slot: int, after: int, until: int) -> tuple[float | None, float | None]:
        """See `Spans`."""
        low, high = self._cut(after, until)
        here = self._rows.extremes(slot, after, until)
        return (
            least([here[0], *self._column(slot, 0)[low:high]]),
            greatest([here[1], *self._column(slot, 1)[low:high]]),
        )

    def last(self, slot: int | None, after: int, until: int) -> int | None:
        """See `Spans`."""
        low, high = self._cut(after, until)
        times = (self._newest_of if slot is None else self._column(slot, 1))[low:high]
        return newest(
            [next((time for time in reversed(times) if time is not None), None), self._rows.last(slot, after, until)]
        )

    def distinct(self, slot: int, after: int, until: int) -> int:
        """See `Spans`."""
        low, high = self._cut(after, until)
        count = sum(map(bisect_right, self._before[slot][low:high], repeat(after)))
        low, high = bisect_right(self._times, after), bisect_right(self._times, until)
        return count + sum((time := each[slot]) is not None and time <= after for each in self._earlier[low:high])

    def holds(self, slot: int, text: str, after: int, until: int) -> bool:
        """See `Spans`. Only of the text that was asked for, and up to an edge."""
        if self._texts[slot] != text:
            raise AssertionError("only the scored event's own texts are looked up")
        found = self._newest[slot][self._edges[until]]
        return found is not None and found > after

    def _cut(self, after: int, until: int) -> tuple[int, int]:
        found = self._cuts.get((after, until))
        if found is None:
            found = bisect_right(self._begins, after), bisect_right(self._begins, until)
            self._cuts[after, until] = found
        return found

    def _column(self, slot: int, part: int) -> list[Any]:
        found = self._columns.get((slot, part))
        if found is None:
            found = self._columns[slot, part] = [numbers[part] for numbers in self._numbers[slot]]
        return found

    def _sum(self, slot: int, part: int, after: int, until: int) -> int:
        totals = self._totals.get((slot, part))
        if totals is None:
            totals = self._totals[slot, part] = list(accumulate(self._column(slot, part), initial=0))
        low, high = self._cut(after, until)
        return totals[high] - totals[low]


class Summaries:
    """What buckets add up to: kept in memory, up to so many bytes, else read from the store, else summed up."""

    def __init__(self, store: EventStore, limits: Limits) -> None:
        self._store, self._limits = store, limits
        self._memory: Memory[Summary] = Memory(limits.memory)

    def of(self, stream: Stream, nodes: Sequence[Node]) -> list[Summary] | None:
        """The summaries of one key's buckets, in their order; None if one of them has changed since it was read."""
        made: list[tuple[Node, bytes]] = []
        found = self._of(stream, nodes, made)
        self._keep(made)
        return None if found is None else [found[node] for node in nodes]

    def _of(self, stream: Stream, nodes: Sequence[Node], made: list[tuple[Node, bytes]]) -> dict[Node, Summary] | None:
        known = {node: self._memory.get(node) for node in nodes}
        found = {node: summary for node, summary in known.items() if summary is not None}
        for batch in _batches([node for node in nodes if node not in found]):
            read = self._read(stream, batch, made)
            if read is None:
                return None
            for node, summary in read.items():
                self._memory.put(node, summary, size=summary.size)
            found |= read
            if len(made) >= _BATCH:
                self._keep(made)
        return found

    def _read(
        self, stream: Stream, nodes: Sequence[Node], made: list[tuple[Node, bytes]]
    ) -> dict[Node, Summary] | None:
        """As they were kept, else summed up from events or the buckets below: all of them at the nodes' stamps."""
        forms, texts, found = stream.forms, len(stream.texts), {}
        parts = self._parts(nodes)
        if any(part.now is None or part.now.stamp != node.stamp for node, part in parts.items()):
            return None
        below = self._of(stream, [child for part in parts.values() for child in part.children], made)
        if below is None:
            return None
        for node, part in parts.items():
            if part.content is not None:
                found[node] = unpacked(part.content)
                continue
            if part.rows is not None:
                summary = summed(forms, texts, part.rows, part.earlier, begin=node.begin)
            else:
                summary = merged(forms, texts, [below[child] for child in part.children], begin=node.begin)
            if summary.events > self._limits.cut:  # small ones are summed up again as fast as they are read
                made.append((node, packed(summary)))
            found[node] = summary
        return found

    def _keep(self, made: list[tuple[Node, bytes]]) -> None:
        if made:
            self._store.keep(made)
            made.clear()

    def _parts(self, nodes: Sequence[Node]) -> dict[Node, Parts]:
        """What is in the buckets; those with too many events are split."""
        if not nodes:
            return {}
        parts = dict(zip(nodes, self._store.parts(nodes, most=self._limits.fill), strict=True))
        crowded = [
            node
            for node, part in parts.items()
            if part.now and not part.now.split and part.rows is None and part.content is None
        ]
        if crowded:
            self._store.split(crowded)
            parts |= self._parts(crowded)
        return parts


def _batches(nodes: Sequence[Node]) -> list[Sequence[Node]]:
    return [nodes[start : start + _BATCH] for start in range(0, len(nodes), _BATCH)]
