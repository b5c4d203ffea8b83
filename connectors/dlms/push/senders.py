"""Recognises which meter a notification comes from, and remembers who is not recognised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from connectors.dlms.events import CosemData
from connectors.dlms.push.stations import Stations
from model.settings.meter import MeterSettings

MOST_REMEMBERED = 100
"""Unknown senders that are told apart; of more only the number of notifications is kept."""
_MOST_TEXTS = 64
"""Texts of a body that may be the meter's identity."""
_SHOWN_TEXTS = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a sender: `address` the IP address or the serial device, `station` its address in the frames,
    `system_title` 16 hexadecimal digits where it was ciphered, `texts` what stands in the body."""

    address: str
    station: str
    system_title: str | None = None
    texts: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [self.address, f"station {self.station}"]
        if self.system_title is not None:
            parts.append(f"system title {self.system_title}")
        if self.texts:
            parts.append(f"with {', '.join(map(repr, self.texts[:_SHOWN_TEXTS]))}")
        return " ".join(parts)

    @property
    def remedy(self) -> str:
        """The line for pipeline.yaml that would make the sender known, the strongest that the notification allows."""
        if self.system_title is not None:
            line = f"server_system_title: {self.system_title}"
        elif self.texts:
            line = f'push_identity: "{self.texts[-1]}"' if len(self.texts) == 1 else f"push_address: {self.address}"
        else:
            line = f"push_address: {self.address}"
        return f"if it is yours, add {line} to the meter's entry, and the meter to the patterns of this node"


def texts(body: CosemData) -> tuple[str, ...]:
    """The texts in `body`, the first few."""
    found: list[str] = []
    for text in _texts(body):
        found.append(text)
        if len(found) == _MOST_TEXTS:
            break
    return tuple(found)


def _texts(data: CosemData) -> Iterator[str]:
    if isinstance(data, list):
        for item in data:
            yield from _texts(item)
    elif isinstance(data, str):
        yield data
    elif isinstance(data, bytes) and data and all(0x20 <= byte < 0x7F for byte in data):
        yield data.decode("ascii")


class Senders:
    """The meters of a node that may call in. A meter is meant when everything fits that its entry gives."""

    def __init__(self, meters: Iterable[MeterSettings]) -> None:
        self._meters: dict[str, MeterSettings] = {}
        self._by: dict[tuple[str, str], list[str]] = {}
        for meter in meters:
            selectors = meter.push_selectors()
            if selectors:
                self._meters[meter.id] = meter
            # The most particular one finds the meter; behind a title, which plaintext does not show, the next one too.
            count = 2 if "server_system_title" in selectors else 1
            for selector in list(selectors.items())[:count]:
                self._by.setdefault(selector, []).append(meter.id)

    def recognise(self, evidence: Evidence) -> MeterSettings | None:
        """The meter that sent, None when none or more than one may be meant; of several the one whose entry gives most.

        A plaintext notification has no system title: it can still claim to be a meter by everything else.
        """
        shown = _shown(evidence)
        candidates = {meter for selector in shown for meter in self._by.get(selector, ())}
        fitting: dict[int, list[MeterSettings]] = {}
        for meter in (self._meters[name] for name in candidates):
            selectors = meter.push_selectors()
            if _fits(selectors, shown, evidence.system_title is None):
                fitting.setdefault(len(selectors), []).append(meter)
        meant = fitting[max(fitting)] if fitting else []
        return meant[0] if len(meant) == 1 else None


def _shown(evidence: Evidence) -> set[tuple[str, str]]:
    shown = {("push_address", evidence.address), ("push_station", evidence.station)}
    if evidence.system_title is not None:
        shown.add(("server_system_title", evidence.system_title))
    return shown | {("push_identity", text) for text in evidence.texts}


def _fits(selectors: Mapping[str, str], shown: set[tuple[str, str]], plaintext: bool) -> bool:
    return all(selector in shown or (plaintext and selector[0] == "server_system_title") for selector in selectors.items())


@dataclass(slots=True)
class _Unknown:
    evidence: Evidence
    count: int = 0
    last: float = 0.0


@dataclass(slots=True)
class UnknownSenders:
    """Who calls in without being known: who, how often, and when last (monotonic seconds)."""

    count: int = 0
    last: float | None = None
    _senders: Stations[_Unknown] = field(default_factory=lambda: Stations(MOST_REMEMBERED))

    def note(self, evidence: Evidence, now: float) -> bool:
        """Count one notification; whether its sender is seen for the first time."""
        name = f"{evidence.address} {evidence.station} {evidence.system_title}"
        known = self._senders.get(name)
        sender = known or _Unknown(evidence)
        sender.count += 1
        sender.last = now
        self._senders.put(name, sender)
        self.count += 1
        self.last = now
        return known is None

    def describe(self, most: int = 5) -> tuple[str, str]:
        """Evidence and remedy of an alert."""
        senders = self._senders.newest(most)
        listed = "; ".join(f"{sender.evidence} ({sender.count} notifications)" for sender in senders)
        more = len(self._senders) - len(senders)
        suffix = f"; and {more} more" if more > 0 else ""
        return f"{self.count} notifications of {len(self._senders)} unknown senders: {listed}{suffix}", senders[0].evidence.remedy
