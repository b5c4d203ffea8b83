"""A receiver with meters, as the unit tests of pushing need it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from connectors.dlms.push.authenticity import Counters, Security
from connectors.dlms.push.framing import FramingName
from connectors.dlms.push.receiver import Receiver, Sender
from connectors.dlms.push.troubles import Troubles
from connectors.dlms.push.values import Interpreter
from model.messages import Alert, Cycle
from model.settings.meter import MeterSettings
from model.settings.template import TemplateSettings

NOW = datetime(2026, 5, 4, 17, 20, tzinfo=timezone.utc)
ADDRESS = "192.0.2.7"
READ = {"power": "1-0:1.7.0", "voltage": "1-0:32.7.0", "energy": "1-0:1.8.0"}


class Bench:
    """One listener without its port: bytes in, cycles and alerts out.

    :arg read: what the template of the meters reads.
    :arg push: the template's `push`.
    :arg meters: id -> how the meter is recognised.
    """

    def __init__(
        self,
        framing: FramingName,
        read: Mapping[str, Any] = READ,
        push: Mapping[str, Any] | None = None,
        meters: Mapping[str, Mapping[str, Any]] | None = None,
        security: Mapping[str, Security] | None = None,
        counters: Counters | None = None,
    ) -> None:
        template = TemplateSettings.model_validate({"read": read, "push": push or {}})
        known = meters or {"m": {"push_address": ADDRESS}}
        settings = [MeterSettings.model_validate({"id": name, "connect": "push", "template": "t", **how}) for name, how in known.items()]
        self.seconds = 0.0
        self.troubles = Troubles("pushed", now=lambda: self.seconds, clock=lambda: NOW)
        self.counters = counters or Counters()
        interpreters = {meter.id: Interpreter(template.read, template.push) for meter in settings}
        self.receiver = Receiver(settings, interpreters, security or {}, self.troubles, self.counters, lambda: NOW)
        self._framing: FramingName = framing
        self.sender = self.new_sender()

    def new_sender(self, address: str = ADDRESS) -> Sender:
        """Another connection."""
        return Sender(address, self._framing)

    def push(self, data: bytes, sender: Sender | None = None) -> list[Cycle]:
        """What the bytes give."""
        return self.receiver.receive(sender or self.sender, data)

    def alerts(self) -> list[Alert]:
        """What was told since the last look."""
        return self.troubles.take()


def values(cycle: Cycle) -> dict[str, tuple[Any, int | None, int | None]]:
    """Key -> raw value, scaler, unit."""
    return {raw.key: (raw.value, raw.scaler, raw.unit) for raw in cycle.values}


def wrapped(apdu: bytes, source: int = 1, destination: int = 102) -> bytes:
    """A wrapper message, written by hand."""
    return b"\x00\x01" + source.to_bytes(2, "big") + destination.to_bytes(2, "big") + len(apdu).to_bytes(2, "big") + apdu
