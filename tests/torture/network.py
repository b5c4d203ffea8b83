"""The network between the processes of a torture test: relays that are cut, made deaf on one side, held up, slowed down and reset.

One asyncio loop on a background thread serves all relays, so that twenty of them cost next to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

Side = Literal["server", "client"]
CHUNK = 65_536
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Relay:
    """Passes bytes from its own `port` to `target`, which may change; belongs to the loop of its `Network`."""

    def __init__(self) -> None:
        self.port = 0
        self.target = 0
        self._deaf: set[Side] = set()
        self._delay = 0.0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Listen no longer, and end every connection."""
        assert self._server is not None
        self._server.close()
        self.reset()

    def cut(self, *sides: Side) -> None:
        """What is sent to these sides is swallowed from now on, and also later on the connections that lost something."""
        self._deaf = set(sides)

    def hold(self) -> None:
        """What is sent waits, as behind a link that loses every packet: TCP sends it again later."""
        self._flowing.clear()

    def slow_down(self, delay: float) -> None:
        """Every piece arrives `delay` seconds later."""
        self._delay = delay

    def reset(self) -> None:
        """End every connection on both sides with RST."""
        for pair in list(self._pairs):
            pair.reset()

    def mend(self) -> None:
        """Pass on everything again, and end the connections whose one end is gone."""
        self._deaf, self._delay = set(), 0.0
        self._flowing.set()
        for pair in list(self._pairs):
            if pair.ended:
                pair.reset()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            if "server" in self._deaf:
                pair.lost.add("server")
            server_reader, pair.server = await asyncio.open_connection("127.0.0.1", self.target)
            await asyncio.gather(self._pump(reader, "server", pair), self._pump(server_reader, "client", pair))
        except (OSError, asyncio.CancelledError):
            pass  # only the end of the network cancels
        finally:
            pair.reset()
            self._pairs.discard(pair)

    async def _pump(self, reader: asyncio.StreamReader, side: Side, pair: _Pair) -> None:
        """Until the sender ends; while nothing gets through, the other side does not learn of the end."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if self._delay:
                    await asyncio.sleep(self._delay)
                await self._flowing.wait()
                if side in self._deaf:
                    pair.lost.add(side)
                if side not in pair.lost:
                    pair.pass_on(side, data)
        pair.ended = True
        await self._flowing.wait()
        if side not in self._deaf and side not in pair.lost:
            pair.reset()


class _Pair:
    """The two connections of one client."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.lost: set[Side] = set()
        self.ended = False

    def pass_on(self, side: Side, data: bytes) -> None:
        writer = self.server if side == "server" else self.client
        if writer is not None and not writer.is_closing():
            writer.write(data)

    def reset(self) -> None:
        for writer in (self.client, self.server):
            if writer is not None and not writer.is_closing():
                with contextlib.suppress(OSError):
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                writer.transport.abort()


class Network:
    """All relays; `call` does something to them on their loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._relays: list[Relay] = []

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()

    def relay(self) -> Relay:
        """A new one; its `target` is to be set."""
        relay = Relay()
        asyncio.run_coroutine_threadsafe(relay.open(), self._loop).result(10.0)
        self._relays.append(relay)
        return relay

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Call a method of a relay and wait until it is done."""

        async def done() -> None:
            function(*arguments)

        asyncio.run_coroutine_threadsafe(done(), self._loop).result(10.0)

    async def _end(self) -> None:
        for relay in self._relays:
            relay.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
