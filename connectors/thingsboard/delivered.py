"""The receipt for what was delivered with one packet."""

from __future__ import annotations

from datetime import datetime

from connectors.thingsboard.outbox import Pending
from model.messages import Origin, Receipt
from model.timestamps import from_ms

_OF_CYCLES = frozenset((Origin.POLL.value, Origin.PUSH.value))
_READINGS = frozenset(origin.value for origin in Origin)


def receipt(pending: tuple[Pending, ...], acknowledged: datetime) -> Receipt | None:
    """The receipt for the readings in a packet; None when there are none (reports, alerts, tags)."""
    records = [entry.record for entry in pending if entry.record.origin in _READINGS]
    if not records:
        return None
    oldest_read = from_ms(min(record.read_at for record in records))
    return Receipt(
        meter=records[0].meter,
        readings=sum(record.readings for record in records),
        oldest=from_ms(min(record.ts for record in records)),
        newest=from_ms(max(record.ts for record in records)),
        acknowledged=acknowledged,
        delay=max(0.0, (acknowledged - oldest_read).total_seconds()),
        poll_timestamps=tuple(from_ms(ts) for ts in sorted({record.ts for record in records if record.origin in _OF_CYCLES})),
    )
