"""Reading registers: this project's client against the stock gurux client, one meter after the other and in threads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timezone

from gurux_dlms import GXDLMSClient, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType
from gurux_dlms.objects import GXDLMSRegister

from bench.measure import Row, side_by_side
from bench.meters import virtual_meters
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.session import Session
from model.settings.meter import MeterSettings
from model.settings.template import ReadSettings

REGISTERS = ["32.7.0", "52.7.0", "72.7.0", "31.7.0", "51.7.0", "71.7.0", "14.7.0", "1.7.0", "1.8.0", "2.8.0"]
METERS = 40
CYCLES = 5
THREADS = 16


class OurReader:
    """All meters at once on one asyncio loop, as `dlms-in` reads them; associations stay open between runs."""

    def __init__(self, addresses: Sequence[str], **settings: object) -> None:
        plan = plan_reads({f"r{number}": ReadSettings(obis=f"1-0:{register}") for number, register in enumerate(REGISTERS)})
        self._loop = asyncio.new_event_loop()
        self._polls = []
        for number, address in enumerate(addresses):
            meter = MeterSettings.model_validate({"id": f"m{number}", "connect": address, "template": "t", **settings})
            self._polls.append(MeterPoll(meter, plan, 60.0, Session(meter, lambda _id, connect: connect)))

    def __call__(self) -> int:
        return self._loop.run_until_complete(self._cycles())

    async def _cycles(self) -> int:
        read = 0
        for _ in range(CYCLES):
            cycles = await asyncio.gather(*(poll.cycle(datetime.now(timezone.utc)) for poll in self._polls))
            read += sum(len(cycle.values) for cycle in cycles)
        return read

    def close(self) -> None:
        self._loop.run_until_complete(self._release())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _release(self) -> None:
        await asyncio.gather(*(poll.close() for poll in self._polls))


class StockMeter:
    """One association of the stock client over a blocking socket, scalers left out as in our steady state."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("tcp://").split(":")
        self._socket = socket.create_connection((host, int(port)), 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = GXDLMSClient(True, 16, 1, Authentication.NONE, None, InterfaceType.HDLC)
        self._client.parseUAResponse(self._ask(self._client.snrmRequest()).data)
        reply = GXReplyData()
        for request in self._client.aarqRequest():
            reply = self._ask(request)
        self._client.parseAareResponse(reply.data)
        self._registers = [GXDLMSRegister(f"1.0.{register}.255") for register in REGISTERS]

    def read(self) -> int:
        """One cycle, one GET per register."""
        for register in self._registers:
            for request in self._client.read(register, 2):
                self._client.updateValue(register, 2, self._ask(request).value)
        return len(self._registers)

    def close(self) -> None:
        self._socket.close()

    def _ask(self, request: bytes) -> GXReplyData:
        reply = GXReplyData()
        self._socket.sendall(bytes(request))
        received = b""
        while not self._client.getData(received, reply, GXReplyData()):
            received += self._socket.recv(4096)
        return reply


def _in_a_loop(meters: Sequence[StockMeter]) -> Callable[[], int]:
    return lambda: sum(meter.read() for _ in range(CYCLES) for meter in meters)


def _in_threads(meters: Sequence[StockMeter], pool: ThreadPoolExecutor) -> Callable[[], int]:
    return lambda: sum(sum(pool.map(StockMeter.read, meters)) for _ in range(CYCLES))


def rows(rounds: int) -> list[Row]:
    """Plain and with-list reading against both ways to use the stock client."""
    with ExitStack() as stack:
        ours_at, lists_at, stock_at = (stack.enter_context(virtual_meters(METERS)) for _ in range(3))
        single = OurReader(ours_at, with_list=False)
        lists = OurReader(lists_at)
        stock = [StockMeter(address) for address in stock_at]
        pool = stack.enter_context(ThreadPoolExecutor(THREADS))
        for meter in stock:
            stack.callback(meter.close)
        stack.callback(single.close)
        stack.callback(lists.close)
        name = f"{METERS} meters x {len(REGISTERS)} registers, hdlc"
        return [
            side_by_side(f"{name}, single GETs", "registers", single, "gurux client in a loop", _in_a_loop(stock), rounds),
            side_by_side(f"{name}, single GETs", "registers", single, f"gurux client, {THREADS} threads", _in_threads(stock, pool), rounds),
            side_by_side(f"{name}, with-list", "registers", lists, f"gurux client, {THREADS} threads", _in_threads(stock, pool), rounds),
        ]
