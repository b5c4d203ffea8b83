"""Reading registers and profiles: this project's client against the stock gurux client, one meter after the other and in threads.

Against virtual meters, which do what a meter does, and against prepared ones, which cost next to nothing and so leave the two
clients to show what they can do.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench.measure import Row, side_by_side
from bench.meters import virtual_meters
from bench.prepared_ciphering import AUTHENTICATION_KEY, BLOCK_CIPHER_KEY, CLIENT_TITLE, SERVER_TITLE
from bench.prepared_meters import prepared_meters
from bench.prepared_replies import PERIOD, REGISTERS
from bench.stock import INFORMATION_SIZE, StockMeter, cipher_of_the_library
from connectors.dlms.invocation_counters import InvocationCounters
from connectors.dlms.plan import plan_reads
from connectors.dlms.poll import MeterPoll
from connectors.dlms.profile.ledger import Ledger
from connectors.dlms.profile.reader import ProfileReader
from connectors.dlms.session import Session
from model.settings.meter import MeterSettings
from model.settings.profile import ProfileSettings
from model.settings.template import ReadSettings

METERS = 40
FLEET = 200
"""Prepared meters of the rows that are about many of them."""
COUNT = 10
"""Registers of one cycle."""
CYCLES = 5
THREADS = 16
ROWS, COLUMNS = 10_000, 5
PROFILE = "1.0.99.1.0.255"
LATENCY = 0.2
"""Seconds, where meters are slow."""

CIPHERED: dict[str, Any] = {
    "client_sap": 1,
    "authentication": "high-gmac",
    "security_policy": "authenticated-encryption",
    "block_cipher_key": BLOCK_CIPHER_KEY.hex(),
    "authentication_key": AUTHENTICATION_KEY.hex(),
    "client_system_title": CLIENT_TITLE.hex(),
    "server_system_title": SERVER_TITLE.hex(),
}
"""Settings of a ciphered prepared meter."""


class OurReader:
    """All meters at once on one asyncio loop, as `dlms-in` reads them; associations stay open between runs.

    :arg settings: of every meter, besides its address.
    """

    def __init__(self, addresses: Sequence[str], cycles: int = CYCLES, **settings: object) -> None:
        plan = plan_reads({f"r{number}": ReadSettings(obis=f"1-0:{register}") for number, register in enumerate(REGISTERS[:COUNT])})
        self._cycles = cycles
        self._loop = asyncio.new_event_loop()
        self._folder = tempfile.TemporaryDirectory()
        counters = InvocationCounters(Path(self._folder.name) / "counters.sqlite")
        self._polls = []
        for number, address in enumerate(addresses):
            meter = _meter(number, address, settings)
            self._polls.append(MeterPoll(meter, plan, 60.0, Session(meter, lambda _id, connect: connect, counters)))

    def __call__(self) -> int:
        return self._loop.run_until_complete(self._read())

    async def _read(self) -> int:
        read, why = 0, ""
        for _ in range(self._cycles):
            cycles = await asyncio.gather(*(poll.cycle(datetime.now(timezone.utc)) for poll in self._polls))
            read += sum(len(cycle.values) for cycle in cycles)
            why = why or next((f"{cycle.meter}: {cycle.errors[0].detail}" for cycle in cycles if cycle.errors), "")
        assert read == self._cycles * len(self._polls) * COUNT, f"a meter was not read: {why}"
        return read

    def close(self) -> None:
        """Release all meters."""
        self._loop.run_until_complete(self._release())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        self._folder.cleanup()

    async def _release(self) -> None:
        await asyncio.gather(*(poll.close() for poll in self._polls))


def _meter(number: int, address: str, settings: dict[str, object]) -> MeterSettings:
    own = {"id": f"m{number}", "connect": address, "template": "t", "hdlc_information_size": INFORMATION_SIZE, "line": "separate"}
    return MeterSettings.model_validate({**own, **settings})


class OurProfile:
    """Reads the profile of one meter from its beginning, shape and scalers included, until there are cycles of every row."""

    def __init__(self, address: str, rows: int, **settings: object) -> None:
        self._loop = asyncio.new_event_loop()
        self._meter = _meter(0, address, settings)
        self._rows = rows
        self._session = Session(self._meter, lambda _id, connect: connect)

    def __call__(self) -> int:
        return self._loop.run_until_complete(self._read())

    async def _read(self) -> int:
        if not self._session.usable():
            await self._session.associate()
        settings = ProfileSettings(obis="1-0:99.1.0", horizon=(self._rows + 2) * PERIOD)
        reader = ProfileReader(self._meter, "load", settings, {}, Ledger())
        rows = 0
        while not reader.wait():
            progress = await reader.step(self._session)
            rows += 0 if progress is None else len(progress.cycles)
        assert rows == self._rows, f"{rows} rows were read"
        return rows

    def close(self) -> None:
        """Release the meter."""
        self._loop.run_until_complete(self._session.close())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


def _in_a_loop(meters: Sequence[StockMeter], cycles: int = CYCLES) -> Callable[[], int]:
    return lambda: sum(meter.read() for _ in range(cycles) for meter in meters)


def _in_threads(meters: Sequence[StockMeter], pool: ThreadPoolExecutor, cycles: int = CYCLES) -> Callable[[], int]:
    return lambda: sum(sum(pool.map(StockMeter.read, meters)) for _ in range(cycles))


def rows(rounds: int) -> list[Row]:
    """All rows about reading."""
    return [*virtual_rows(rounds), *prepared_rows(rounds), *ciphered_rows(rounds), *profile_rows(rounds)]


def virtual_rows(rounds: int) -> list[Row]:
    """Plain and with-list reading against both ways to use the stock client."""
    with ExitStack() as stack:
        ours_at, lists_at, stock_at = (stack.enter_context(virtual_meters(METERS)) for _ in range(3))
        single, lists = _ours(stack, ours_at, with_list=False), _ours(stack, lists_at)
        stock, pool = _stock(stack, stock_at), stack.enter_context(ThreadPoolExecutor(THREADS))
        name = f"{METERS} virtual meters x {COUNT} registers, hdlc"
        return [
            side_by_side(f"{name}, single GETs", "registers", single, "gurux client in a loop", _in_a_loop(stock), rounds),
            side_by_side(f"{name}, single GETs", "registers", single, f"gurux client, {THREADS} threads", _in_threads(stock, pool), rounds),
            side_by_side(f"{name}, with-list", "registers", lists, f"gurux client, {THREADS} threads", _in_threads(stock, pool), rounds),
        ]


def prepared_rows(rounds: int) -> list[Row]:
    """The same against the load generator, which answers at once, and with as many meters as a fleet has and slow ones."""
    with ExitStack() as stack:
        meters = stack.enter_context(prepared_meters())
        slow = stack.enter_context(prepared_meters(latency=LATENCY))
        addresses = [meters.connect(number) for number in range(FLEET)]
        single, lists = _ours(stack, addresses, with_list=False), _ours(stack, addresses)
        patient = _ours(stack, [slow.connect(number) for number in range(FLEET)], cycles=1, with_list=False)
        stock = _stock(stack, addresses)
        stock_slow = _stock(stack, [slow.connect(number) for number in range(FLEET)])
        pool, wide = stack.enter_context(ThreadPoolExecutor(THREADS)), stack.enter_context(ThreadPoolExecutor(4 * THREADS))
        name, threads = f"{FLEET} prepared meters x {COUNT}", f"gurux client, {THREADS} threads"
        table = [
            side_by_side(f"{name}, single GETs", "registers", single, "gurux client in a loop", _in_a_loop(stock, 1), rounds),
            side_by_side(f"{name}, single GETs", "registers", single, threads, _in_threads(stock, pool, 1), rounds),
            side_by_side(f"{name}, with-list", "registers", lists, threads, _in_threads(stock, pool, 1), rounds),
            side_by_side(
                f"{name}, {LATENCY * 1000:g} ms latency, single GETs",
                "registers",
                patient,
                f"gurux client, {4 * THREADS} threads",
                _in_threads(stock_slow, wide, 1),
                1,
            ),
        ]
    print_load("plain", meters.statistics)
    return table


def ciphered_rows(rounds: int) -> list[Row]:
    """Suite 0, authenticated and encrypted; what arrives is verified by us, and not by the stock client."""
    with ExitStack() as stack:
        meters = stack.enter_context(prepared_meters())
        addresses = [meters.connect(number) for number in range(METERS)]
        single, lists = _ours(stack, addresses, with_list=False, **CIPHERED), _ours(stack, addresses, **CIPHERED)
        stack.enter_context(cipher_of_the_library())
        stock, pool = _stock(stack, addresses, ciphered=True), stack.enter_context(ThreadPoolExecutor(THREADS))
        name = f"{METERS} ciphered meters x {COUNT}"
        table = [
            side_by_side(f"{name}, single GETs", "registers", single, "gurux client in a loop", _in_a_loop(stock, 1), rounds),
            side_by_side(
                f"{name}, single GETs", "registers", single, f"gurux client, {THREADS} threads", _in_threads(stock, pool, 1), rounds
            ),
            side_by_side(f"{name}, with-list", "registers", lists, f"gurux client, {THREADS} threads", _in_threads(stock, pool, 1), rounds),
        ]
    print_load("ciphered", meters.statistics)
    return table


def profile_rows(rounds: int) -> list[Row]:
    """A whole profile by block transfer; ours comes out as cycles with scaled columns, the stock client's as lists."""
    with ExitStack() as stack:
        meters = stack.enter_context(prepared_meters(framing="wrapper", rows=ROWS, columns=COLUMNS))
        ours = OurProfile(meters.connect(0), ROWS, framing="wrapper")
        stack.callback(ours.close)
        stock = StockMeter(meters.connect(0), [], framing="wrapper")
        stack.callback(stock.close)
        name = f"profile of {ROWS:,} rows x {COLUMNS}, blocks of 1 kB"
        table = [side_by_side(name, "rows", ours, "gurux client", lambda: stock.read_profile(PROFILE), rounds)]
    print_load("profile", meters.statistics)
    return table


def print_load(name: str, statistics: dict[str, object]) -> None:
    """What the load generator had to do: whether it could have been what was measured."""
    cost, share = statistics["cpu_us_per_reply"], statistics["share_of_a_core"]
    print(f"load generator, {name}: {statistics['replies']} replies, {cost} µs of CPU each, {share} of a core")


def _ours(stack: ExitStack, addresses: Sequence[str], cycles: int = CYCLES, **settings: Any) -> OurReader:
    reader = OurReader(addresses, cycles, **settings)
    stack.callback(reader.close)
    return reader


def _stock(stack: ExitStack, addresses: Sequence[str], ciphered: bool = False) -> list[StockMeter]:
    meters = [StockMeter(address, REGISTERS[:COUNT], ciphered=ciphered) for address in addresses]
    for meter in meters:
        stack.callback(meter.close)
    return meters
