"""One event as it asks for a decision, and what became of it. Pure data: nothing here reads a store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from configs.errors import FeatureError

Value = float | str | bool | datetime | None
"""A field: a number, a category, a flag, a time (UTC) or missing."""


@dataclass(frozen=True)
class ScoringRequest:
    """The event to be scored: keys by entity, fields by name; sentinel codes are None by now."""

    event_id: str
    event_time: datetime
    entities: Mapping[str, str | None]
    fields: Mapping[str, Value]

    def __post_init__(self) -> None:
        object.__setattr__(self, "event_time", utc(self.event_time))

    def wire(self) -> dict[str, Any]:
        """The JSON body of `POST /v1/<use_case>/decisions`."""
        fields = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in self.fields.items()}
        return {
            "event_id": self.event_id,
            "event_time": rfc3339(self.event_time),
            "entities": dict(self.entities),
            "fields": fields,
        }

    @classmethod
    def from_wire(cls, body: Mapping[str, Any], *, times: Collection[str] = ()) -> ScoringRequest:
        """Read a body that was validated before, such as a logged one; `times` names the fields that hold times."""
        fields = {
            name: parse_time(value) if name in times and value is not None else value
            for name, value in body["fields"].items()
        }
        return cls(body["event_id"], parse_time(body["event_time"]), dict(body["entities"]), fields)


@dataclass(frozen=True)
class Outcome:
    """What an event turned out to be: 1 (positive), 0, or None while unknown; and when this was known."""

    label: int | None
    known: datetime | None
    event_id: str = ""


def utc(time: datetime) -> datetime:
    """The same instant in UTC; a time without a zone is read as UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def rfc3339(time: datetime) -> str:
    """A time as JSON has it: UTC with a `Z`, microseconds only where there are some.

    >>> rfc3339(datetime(2025, 7, 1, 10))
    '2025-07-01T10:00:00Z'
    """
    return utc(time).isoformat().removesuffix("+00:00") + "Z"


def parse_time(text: str) -> datetime:
    """The time an RFC 3339 text names, in UTC; without an offset it is read as UTC."""
    try:
        return utc(datetime.fromisoformat(text))
    except (TypeError, ValueError):
        raise FeatureError("a text that is not a time", expected="RFC 3339, such as 2025-07-01T10:00:00Z") from None


def joined_key(parts: Sequence[str | None]) -> str | None:
    """One text for an entity key, or for the keys of a pair; None when any part is missing.

    Parts of a pair carry their length, so that no two different pairs share a text.

    >>> joined_key(["C1"]), joined_key(["C1", "D22"]), joined_key(["C1", None])
    ('C1', '2:C1|3:D22', None)
    """
    if len(parts) == 1:
        return parts[0]
    present = [part for part in parts if part is not None]
    return "|".join(f"{len(part)}:{part}" for part in present) if len(present) == len(parts) else None
