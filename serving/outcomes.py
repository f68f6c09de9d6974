"""What events turned out to be: which outcomes are taken, repeat what is known, contradict it, or can't be. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class KnownOutcome:
    """What an event turned out to be (0 or 1) and when the bank knew it (UTC)."""

    event_id: str
    label: int
    known_at: datetime


@dataclass(frozen=True)
class OutcomeReport:
    """What became of the outcomes turned in, by their position.

    `accepted` counts all but the rejected; `duplicates` repeat what is known; `contradictions` replace another label
    with a new revision; `stored` changed something; `in_force` are the outcomes now known of all these events.
    """

    accepted: int
    duplicates: int
    contradictions: tuple[int, ...]
    rejected: tuple[tuple[int, str], ...]
    stored: tuple[KnownOutcome, ...]
    in_force: tuple[KnownOutcome, ...] = ()


def sort_out(
    turned_in: Sequence[KnownOutcome],
    *,
    times: Mapping[str, datetime],
    latest: Mapping[str, tuple[int, KnownOutcome]],
) -> OutcomeReport:
    """Judge outcomes in order. `times`: of the decided events; `latest`: the revision and outcome known so far."""
    labels = {event_id: outcome.label for event_id, (_, outcome) in latest.items()}
    duplicates, contradictions, rejected, stored = 0, [], [], []
    for index, outcome in enumerate(turned_in):
        known = labels.get(outcome.event_id)
        if outcome.event_id not in times:
            rejected.append((index, "no decision was made on this event"))
        elif outcome.known_at < times[outcome.event_id]:
            rejected.append((index, "known_at lies before the event"))
        elif known == outcome.label:
            duplicates += 1
        else:
            if known is not None:
                contradictions.append(index)
            labels[outcome.event_id] = outcome.label
            stored.append(outcome)
    accepted = len(turned_in) - len(rejected)
    return OutcomeReport(accepted, duplicates, tuple(contradictions), tuple(rejected), tuple(stored))
