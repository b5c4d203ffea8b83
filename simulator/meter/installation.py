"""Many virtual meters on one asyncio loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.virtual_meter import Address, VirtualMeter


class Installation:
    """The meters of one place, by id."""

    def __init__(self) -> None:
        self._meters: dict[str, VirtualMeter] = {}

    @property
    def meters(self) -> Mapping[str, VirtualMeter]:
        """The running meters by id."""
        return self._meters

    async def start(self, config: MeterConfig, behaviour: Behaviour | None = None, host: str = "127.0.0.1", port: int = 0) -> Address:
        """Start a meter; where one with that id runs already, its address is returned and nothing changes.

        :raises OSError: when the port is taken.
        :raises ValueError: when the profile is not known.
        """
        meter = self._meters.get(config.id)
        if meter is None:
            meter = VirtualMeter(config, behaviour)
            await meter.start(host, port)
            self._meters[config.id] = meter
        assert meter.address is not None
        return meter.address

    async def stop(self, ids: Iterable[str] | None = None) -> None:
        """Stop the meters of these ids, or all."""
        for id_ in list(self._meters if ids is None else ids):
            await self._meters.pop(id_).stop()

    def statistics(self) -> dict[str, Any]:
        """All counters by meter id, as plain data for JSON."""
        return {id_: meter.counters.as_dict() for id_, meter in self._meters.items()}
