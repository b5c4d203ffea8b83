"""The services by which a server speaks unasked: DataNotification and EventNotification, IEC 62056-5-3 clause 9.3.10 and 9.3.12."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from connectors.dlms.axdr import CosemError, Reader
from connectors.dlms.cosem import decode_from
from connectors.dlms.cosem_time import date_time, utc
from connectors.dlms.events import Attribute, CosemData

DATA_NOTIFICATION, EVENT_NOTIFICATION = 0x0F, 0xC2
_OCTET_STRING = 0x09
_INVALID_CLOCK = 0x01
_NO_STATUS = 0xFF

_OTHERS = {
    0x18: "an InformationReport (short-name referencing)",
    0xDF: "a signed APDU",
}


@dataclass(frozen=True, slots=True)
class Notification:
    """What a meter says by itself.

    `time` is the meter's own, aware UTC, None where it is not specified, has no deviation or the meter itself calls its
    clock invalid. `attribute` says what the body is: of an event; a DataNotification describes itself or follows a
    pattern.
    """

    time: datetime | None
    body: CosemData
    attribute: Attribute | None = None


def parse(apdu: bytes) -> Notification:
    """The notification in a plain APDU.

    :raises CosemError: when it is none, or is damaged.
    """
    reader = Reader(apdu)
    tag = reader.byte()
    if tag == DATA_NOTIFICATION:
        reader.take(4)  # long-invoke-id-and-priority
        notification = Notification(_time(reader), decode_from(reader))
    elif tag == EVENT_NOTIFICATION:
        time = _time(reader) if reader.byte() else None
        attribute = Attribute(reader.unsigned(2), reader.take(6), reader.byte())
        notification = Notification(time, decode_from(reader), attribute)
    else:
        raise CosemError(f"{_OTHERS.get(tag, f'an APDU with tag {tag:02X}')} is not a notification that can be read")
    reader.finish()
    return notification


def _time(reader: Reader) -> datetime | None:
    """An optional date-time: its length and its bytes. Meters are known that put the tag of octet-string before it."""
    size = reader.byte()
    if size == _OCTET_STRING:
        size = reader.byte()
    if size == 0:
        return None
    if size != 12:
        raise CosemError(f"a date-time of {size} bytes")
    raw = reader.take(12)
    if raw[11] != _NO_STATUS and raw[11] & _INVALID_CLOCK:
        return None
    moment = date_time(raw)
    return utc(moment) if isinstance(moment, datetime) else None
