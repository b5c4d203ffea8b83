"""Many virtual meters on one asyncio loop: with a port each, or several on a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.converter_port import ConverterPort
from simulator.meter.line_timing import LineTiming
from simulator.meter.pty_port import PtyPort
from simulator.meter.shared_line import SharedLine
from simulator.meter.sign_on import SignOnConfig
from simulator.meter.udp_meter import UdpMeter
from simulator.meter.virtual_meter import Address, VirtualMeter


class Installation:
    """The meters of one place, by id."""

    def __init__(self) -> None:
        self._meters: dict[str, VirtualMeter] = {}
        self._lines: dict[str, tuple[SharedLine, PtyPort | ConverterPort]] = {}

    @property
    def lines(self) -> Mapping[str, SharedLine]:
        """The running lines by their address."""
        return {address: line for address, (line, _) in self._lines.items()}

    @property
    def meters(self) -> Mapping[str, VirtualMeter]:
        """The running meters by id."""
        return self._meters

    async def start(
        self,
        config: MeterConfig,
        behaviour: Behaviour | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        transport: Literal["tcp", "udp"] = "tcp",
    ) -> Address:
        """Start a meter; where one with that id runs already, its address is returned and nothing changes.

        :raises OSError: when the port is taken.
        :raises ValueError: when the profile is not known.
        """
        meter = self._meters.get(config.id)
        if meter is None:
            meter = (UdpMeter if transport == "udp" else VirtualMeter)(config, behaviour)
            await meter.start(host, port)
            self._meters[config.id] = meter
        assert meter.address is not None
        return meter.address

    async def start_line(
        self,
        meters: Sequence[tuple[MeterConfig, Behaviour]],
        timing: LineTiming | None = None,
        sign_on: SignOnConfig | None = None,
        link: Path | None = None,
    ) -> str:
        """Start meters on one line behind a pseudo terminal and return its address, such as serial:///dev/pts/7?baud=9600.

        :arg link: a lasting name for the pseudo terminal.
        :raises ValueError: see `SharedLine`.
        """
        timing = timing or LineTiming()
        line = SharedLine(meters, timing, sign_on)
        port = PtyPort(line, link)
        options = f"baud={timing.baud}" if sign_on is None else "handshake=mode-e"
        return self._running(f"serial://{await port.start()}?{options}", line, port)

    async def start_converter(
        self, meters: Sequence[tuple[MeterConfig, Behaviour]], timing: LineTiming | None = None, host: str = "127.0.0.1", port: int = 0
    ) -> str:
        """Start meters on one line behind a serial-to-TCP converter that serves one client, and return its address.

        :raises OSError: when the port is taken.
        :raises ValueError: see `SharedLine`.
        """
        line = SharedLine(meters, timing)
        converter = ConverterPort(line)
        return self._running(str(await converter.start(host, port)), line, converter)

    def converter(self, address: str) -> ConverterPort:
        """The converter at an address that `start_converter` returned."""
        port = self._lines[address][1]
        assert isinstance(port, ConverterPort)
        return port

    async def stop_line(self, address: str) -> None:
        """Stop a line with its meters, as if its converter lost its supply or its adapter was pulled out."""
        line, port = self._lines.pop(address)
        for id_ in line.meters:
            self._meters.pop(id_, None)
        await port.stop()

    async def stop(self, ids: Iterable[str] | None = None) -> None:
        """Stop the meters of these ids, or everything."""
        if ids is None:
            for address in list(self._lines):
                await self.stop_line(address)
        for id_ in list(self._meters if ids is None else ids):
            await self._meters.pop(id_).stop()

    def statistics(self) -> dict[str, Any]:
        """All counters by meter id, and what was on each line by its address, as plain data for JSON."""
        meters = {id_: meter.counters.as_dict() for id_, meter in self._meters.items()}
        lines = {
            address: {**line.record.as_dict(), "connections": port.connections, "rejected": port.rejected}
            for address, (line, port) in self._lines.items()
        }
        return {**meters, **lines}

    def _running(self, address: str, line: SharedLine, port: PtyPort | ConverterPort) -> str:
        self._meters.update(line.meters)
        self._lines[address] = line, port
        return address
