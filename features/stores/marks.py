"""How far a view or a table is loaded: marks beside the data in the packed store.

A mark is written after the data it speaks of, so that a load which was killed anywhere is simply run again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from features.stores.packed import PackedStore


@dataclass(frozen=True)
class Mark:
    """How far one view or table is online. Times are microseconds by the data's own clock.

    `signature`: of the definition. `start`: the oldest event that was wanted. `reached`: the newest row that is
    online (None: no load has ended). `place`: in a load that was broken off, the time up to which events are online.
    """

    signature: str
    start: int = 0
    reached: int | None = None
    place: int | None = None


def view_mark(view: str) -> str:
    """Name of a view's mark."""
    return f"view:{view}"


def events_mark(table: str) -> str:
    """Name of the mark of a table whose events are counted."""
    return f"events:{table}"


def read_mark(packed: PackedStore, use_case: str, name: str) -> Mark | None:
    """The mark of that name; None where nothing was loaded."""
    found = packed.mark(use_case, name)
    return None if found is None else Mark(**json.loads(found))


def write_mark(packed: PackedStore, use_case: str, name: str, mark: Mark, *, lives: int | None = None) -> None:
    """Set a mark. On Redis it is gone after `lives` milliseconds; None: when it would have been gone anyway."""
    packed.set_mark(use_case, name, json.dumps(asdict(mark)), lives=lives)


def drop_view(packed: PackedStore, use_case: str, view: str) -> None:
    """Delete the rows of a view; first its mark says so, so that whoever is killed in between begins anew."""
    write_mark(packed, use_case, view_mark(view), Mark(""))
    packed.drop(use_case, view)
