"""Group commit: callers at once share one transaction, and each waits until its own part is stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from configs.errors import FeatureError

In = TypeVar("In")
Out = TypeVar("Out")


class _Turn(Generic[In, Out]):
    def __init__(self, item: In) -> None:
        self.item = item
        self.result: list[Out] = []


class GroupCommit(Generic[In, Out]):
    """`store` stores many items in one transaction, and says something of each.

    Whoever's turn it is stores all that waits, also for the others. If that fails, nothing of it is stored, and each of
    the others tries by itself: an item that can't be stored fails only its own caller.
    """

    def __init__(self, store: Callable[[Sequence[In]], Sequence[Out]], *, most: int = 500) -> None:
        self._store, self._most = store, most
        self._waiting: list[_Turn[In, Out]] = []
        self._adding, self._storing = threading.Lock(), threading.Lock()

    def __call__(self, item: In) -> Out:
        """Store it; what `store` says of it. Returns once it is stored, raises what `store` raises."""
        mine: _Turn[In, Out] = _Turn(item)
        with self._adding:
            self._waiting.append(mine)
        with self._storing:
            if not mine.result:
                self._commit(mine)
        return mine.result[0]

    def _commit(self, mine: _Turn[In, Out]) -> None:
        with self._adding:
            others = [turn for turn in self._waiting if turn is not mine]
            batch = [mine, *others[: self._most - 1]]
            self._waiting = others[self._most - 1 :]
        try:
            results = self._store([turn.item for turn in batch])
        except (FeatureError, ValueError):
            if len(batch) == 1:
                raise
            results = self._store([mine.item])
        for turn, result in zip(batch, results, strict=False):
            turn.result.append(result)
