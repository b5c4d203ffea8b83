"""Judges what senders push: who it is, whether it is to be believed, what it says. No I/O; fed by `listener`.

Bytes in, cycles out. Whatever is wrong with the bytes is counted and told, and never ends the listener.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from connectors.dlms.axdr import CosemError
from connectors.dlms.events import Discarded
from connectors.dlms.push import blocks
from connectors.dlms.push.authenticity import Counters, Opened, Security
from connectors.dlms.push.blocks import Blocks
from connectors.dlms.push.framing import Deframed, FramingName, PushedApdu, deframer
from connectors.dlms.push.notification import Notification, parse
from connectors.dlms.push.senders import Evidence, Senders, texts
from connectors.dlms.push.stations import Stations
from connectors.dlms.push.troubles import Troubles
from connectors.dlms.push.values import Interpreter
from connectors.dlms.push.violations import Violations
from connectors.dlms.security.protection import NotAuthentic, read_header
from connectors.dlms.security.tags import is_protected
from model.messages import Cycle, ErrorKind, Origin, Outcome, ReadError, Violation
from model.settings.meter import MeterSettings
from model.timestamps import from_ms, to_ms, utc_now

ATTACK_REMEDY = "see the alert possible-attack: check keys, suite, policy and server_system_title, then who that sender is"

JUNK_CASE = 256
"""Bytes without a message between them that count as one case of malformed input."""

JUNK_LIMIT = 65_536
"""Bytes without a message between them after which a connection is not worth its reading."""

LONGEST_ON_THE_WAY = 60.0
"""Seconds by which a notification may be old and still tell of the meter's clock: meters spread their pushes, and repeat them."""

_MOST_UNFINISHED = 8
"""Stations of one sender whose blocks wait for the others."""


@dataclass(slots=True)
class Counts:
    """What a listener has seen since it started."""

    notifications: int = 0
    unknown: int = 0
    malformed: int = 0
    refused: int = 0
    lost: int = 0
    """Cycles thrown away because the flow took nothing."""


class Sender:
    """What is kept of one connection, one UDP peer or one serial port: unfinished frames and blocks.

    :arg address: the IP address or the serial device.
    """

    def __init__(self, address: str, framing: FramingName) -> None:
        self.address = address
        self._deframer = deframer(framing)
        self._junk = 0
        self._blocks: Stations[Blocks] = Stations(_MOST_UNFINISHED)

    def feed(self, data: bytes) -> list[Deframed]:
        """See `Deframer`."""
        return self._deframer.feed(data)

    def end_of_datagram(self) -> list[Deframed]:
        """See `Deframer`."""
        return self._deframer.end_of_datagram()

    def is_new_junk(self, count: int) -> bool:
        """Whether `count` bytes of junk are a case of their own: not where they go on what came before, which may be cut
        into single bytes."""
        before, self._junk = self._junk, self._junk + count
        return before == 0 or before // JUNK_CASE != self._junk // JUNK_CASE

    @property
    def is_hopeless(self) -> bool:
        """Whether it sent nothing but junk for long."""
        return self._junk > JUNK_LIMIT

    def whole(self, pushed: PushedApdu) -> bytes | None:
        """The APDU without general-block-transfer; None until its last block has come.

        :raises CosemError: when a block does not follow the one before.
        """
        self._junk = 0
        if pushed.apdu[:1] != bytes([blocks.TAG]):
            return pushed.apdu
        unfinished = self._blocks.get(pushed.station) or Blocks()
        self._blocks.put(pushed.station, unfinished)
        return unfinished.add(pushed.apdu)


class Receiver:
    """Turns what one listener receives into cycles of the meters it knows.

    :arg meters: those whose notifications are taken.
    :arg interpreters: by meter id.
    :arg security: by meter id, of the meters that have keys.
    :arg troubles: is told what an operator must know.
    :arg counters: the last invocation counters.
    :arg clock: our time, aware UTC.
    """

    def __init__(
        self,
        meters: Iterable[MeterSettings],
        interpreters: Mapping[str, Interpreter],
        security: Mapping[str, Security],
        troubles: Troubles,
        counters: Counters,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._senders = Senders(meters)
        self._interpreters = interpreters
        self._security = security
        self._troubles = troubles
        self._counters = counters
        self._clock = clock
        self._violations = Violations()
        self.counts = Counts()

    def receive(self, sender: Sender, data: bytes, datagram: bool = False) -> list[Cycle]:
        """The cycles that `data` of `sender` completes."""
        deframed = sender.feed(data) + (sender.end_of_datagram() if datagram else [])
        cycles = []
        for item in deframed:
            if isinstance(item, Discarded):
                if sender.is_new_junk(item.count):
                    self._malformed(sender.address, f"{item.count} bytes: {item.reason}")
                continue
            try:
                apdu = sender.whole(item)
            except CosemError as error:
                self._malformed(f"{sender.address} station {item.station}", f"general-block-transfer: {error}")
                continue
            cycle = None if apdu is None else self._judge(apdu, Evidence(sender.address, item.station))
            if cycle is not None:
                cycles.append(cycle)
        return cycles

    def counted(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self.counts)

    def _judge(self, apdu: bytes, evidence: Evidence) -> Cycle | None:
        return self._protected(apdu, evidence) if apdu and is_protected(apdu[0]) else self._plain(apdu, evidence)

    def _plain(self, apdu: bytes, evidence: Evidence) -> Cycle | None:
        try:
            notification = parse(apdu)
        except CosemError as error:
            return self._unreadable(self._senders.recognise(evidence), evidence, str(error))
        evidence = Evidence(evidence.address, evidence.station, None, texts(notification.body))
        meter = self._senders.recognise(evidence)
        if meter is None:
            self._unknown(evidence)
            return None
        if meter.id in self._security:
            what = "a notification without any protection claims to come from it"
            return self._refuse(meter, evidence, NotAuthentic(Violation.PLAINTEXT, what))
        return self._cycle(meter, notification)

    def _protected(self, apdu: bytes, evidence: Evidence) -> Cycle | None:
        try:
            header = read_header(apdu)
        except NotAuthentic as error:
            self._malformed(str(evidence), error.detail)
            return None
        title = header.title.hex().upper() if header.title else None
        evidence = Evidence(evidence.address, evidence.station, title)
        meter = self._senders.recognise(evidence)
        if meter is None:
            self._unknown(evidence)
            return None
        security = self._security.get(meter.id)
        if security is None:
            return self._failed(meter, ErrorKind.SECURITY, "its notifications are ciphered, and its entry has no keys", "add its keys")
        opened: Opened | None = None
        try:
            opened = self._counters.open(header, security)
            notification = parse(opened.apdu)
        except NotAuthentic as error:
            return self._refuse(meter, evidence, error)
        except CosemError as error:
            return self._unreadable(meter, evidence, f"{error} (deciphered; a wrong encryption key gives such bytes too)")
        self._counters.accept(opened)
        return self._cycle(meter, notification)

    def _cycle(self, meter: MeterSettings, notification: Notification) -> Cycle:
        self.counts.notifications += 1
        now = from_ms(to_ms(self._clock()))
        contents = self._interpreters[meter.id].read(notification)
        outcome = Outcome.FAILED if not contents.values else Outcome.PARTIAL if contents.errors else Outcome.OK
        return Cycle(
            meter.id,
            due=now,
            started=notification.time or now,
            duration=0.0,
            outcome=outcome,
            values=contents.values,
            errors=contents.errors,
            clock_offset=_clock_offset(notification.time, now),
            violations=self._violations.take(meter.id),
            origin=Origin.PUSH,
            received=now,
        )

    def _failed(self, meter: MeterSettings, kind: ErrorKind, what: str, remedy: str) -> Cycle:
        now = from_ms(to_ms(self._clock()))
        error = ReadError(None, kind, what, remedy)
        violations = self._violations.take(meter.id)
        return Cycle(meter.id, now, now, 0.0, Outcome.FAILED, (), (error,), violations=violations, origin=Origin.PUSH, received=now)

    def _unreadable(self, meter: MeterSettings | None, evidence: Evidence, why: str) -> Cycle | None:
        self._malformed(str(evidence), why)
        if meter is None or (meter.id in self._security and evidence.system_title is None):
            return None
        return self._failed(meter, ErrorKind.DECODE, f"a notification cannot be read: {why}", "set log: {level: debug} to see its bytes")

    def _unknown(self, evidence: Evidence) -> None:
        self.counts.unknown += 1
        self._troubles.unknown_sender(evidence)

    def _refuse(self, meter: MeterSettings, evidence: Evidence, error: NotAuthentic) -> Cycle | None:
        self.counts.refused += 1
        self._troubles.not_authentic(meter.id, evidence, error)
        self._violations.add(meter.id, error.violation, f"{error.detail} (from {evidence})")
        if not self._violations.is_due(meter.id):
            return None
        what = f"a notification from {evidence} was not believed: {error.detail}"
        return self._failed(meter, ErrorKind.SECURITY, what, ATTACK_REMEDY)

    def _malformed(self, where: str, why: str) -> None:
        self.counts.malformed += 1
        self._troubles.malformed(where, why)


def _clock_offset(stated: datetime | None, now: datetime) -> float | None:
    """Seconds by which the meter's clock is ahead; None where the notification may have waited before it was sent."""
    offset = None if stated is None else (stated - now).total_seconds()
    return None if offset is None or offset < -LONGEST_ON_THE_WAY else offset
