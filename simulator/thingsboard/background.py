"""The stand-in in a thread of its own, for programs and tests that have no event loop."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from simulator.thingsboard.accounts import Account
from simulator.thingsboard.limits import Limits
from simulator.thingsboard.misbehaviour import Misbehaviour
from simulator.thingsboard.payload import StoredValue
from simulator.thingsboard.stand_in import StandIn
from simulator.thingsboard.statistics import Statistics
from simulator.thingsboard.store import Latest

Result = TypeVar("Result")
_TIMEOUT = 10.0


class BackgroundStandIn:
    """`StandIn` on a daemon thread; every method may be called from any thread. A context manager.

    `misbehaviour` may be changed directly, at any time, from any thread.
    """

    def __init__(self, accounts: Iterable[Account], **settings: Any) -> None:
        """Takes what `StandIn` takes."""
        self._stand_in = StandIn(accounts, **settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="thingsboard-stand-in", daemon=True)

    def __enter__(self) -> BackgroundStandIn:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def misbehaviour(self) -> Misbehaviour:
        """How badly it answers."""
        return self._stand_in.misbehaviour

    @property
    def address(self) -> str:
        """mqtt://host:port, or mqtts:// with TLS."""
        return self._stand_in.address

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._stand_in.port

    def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Start the thread and listen; the address to connect to.

        :raises OSError: when the port cannot be had.
        """
        self._thread.start()
        return self._await(self._stand_in.start(host, port))

    def close(self) -> None:
        """Close everything and end the thread; nothing happens the second time."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self._await(self._stand_in.stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_TIMEOUT)
        self._loop.close()

    def stop_listening(self) -> None:
        """Close the port and every connection without a word; what was stored stays."""
        self._await(self._stand_in.stop_listening())

    def start_listening(self) -> None:
        """Open the same port again."""
        self._await(self._stand_in.start_listening())

    def change_token(self, device: str, token: str) -> None:
        """Give a device another access token; its session is ended."""
        self._call(lambda: self._stand_in.change_token(device, token))

    def mark_gateway(self, device: str, gateway: bool) -> None:
        """Set or clear a device's mark "Is gateway", for sessions to come."""
        self._call(lambda: self._stand_in.mark_gateway(device, gateway))

    def change_certificate(self, ssl_context: ssl.SSLContext) -> None:
        """Serve TLS with another certificate after the next `start_listening`."""
        self._call(lambda: self._stand_in.change_certificate(ssl_context))

    def change_limits(self, limits: Limits) -> None:
        """Other limits from now on."""
        self._call(lambda: self._stand_in.change_limits(limits))

    def disconnect(self, device: str, cause: str = "closed on purpose", reason: int | None = None) -> bool:
        """Close a device's connection; False when it has none."""
        return self._call(lambda: self._stand_in.disconnect(device, cause, reason))

    def send_rpc(self, gateway: str, device: str, request: int, method: str, params: Any) -> bool:
        """Ask a device behind a gateway to do something; False when the gateway is not there or did not subscribe."""
        return self._call(lambda: self._stand_in.send_rpc(gateway, device, request, method, params))

    def rpc_responses(self) -> list[dict[str, Any]]:
        """What devices answered to RPC calls."""
        return self._call(self._stand_in.rpc_responses)

    def connected(self) -> list[str]:
        """The devices that have a session now."""
        return self._call(self._stand_in.connected)

    def devices(self) -> dict[str, str]:
        """Name and type of every device known."""
        return self._call(self._stand_in.devices)

    def points(self, device: str) -> dict[tuple[str, int], StoredValue]:
        """(key, ts in ms) -> value of one device; empty when it is unknown."""
        return self._call(lambda: self._stand_in.points(device))

    def attributes(self, device: str) -> dict[str, StoredValue]:
        """The client attributes of one device; empty when it is unknown."""
        return self._call(lambda: self._stand_in.attributes(device))

    def latest(self) -> list[Latest]:
        """The newest value of every key of every device."""
        return self._call(self._stand_in.latest)

    def repeats(self) -> dict[str, tuple[int, int]]:
        """Per device, how often a (key, ts) came again: with the same value, with another one."""
        return self._call(self._stand_in.repeats)

    def snapshot(self) -> Statistics:
        """A copy of all counters and of the session history."""
        return self._call(self._stand_in.snapshot)

    def _call(self, function: Callable[[], Result]) -> Result:
        async def call() -> Result:
            return function()

        return self._await(call())

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run on the stand-in's loop; once that is closed nothing changes any more and it runs right here."""
        if self._loop.is_closed():
            return asyncio.run(work)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_TIMEOUT)
