"""The present time, and times as whole milliseconds since 1970 UTC: what ThingsBoard, archive and health windows count in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """`moment` (aware) in milliseconds since 1970 UTC, rounded down, exactly (no float on the way)."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """The aware UTC time that many milliseconds after 1970 UTC."""
    return _EPOCH + milliseconds * _MILLISECOND


def utc_now() -> datetime:
    """The host's time, aware UTC."""
    return datetime.now(timezone.utc)
