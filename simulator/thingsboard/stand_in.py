"""The stand-in itself: listens, lets one session per device live, and answers questions about what it has seen."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import json
import ssl
from collections.abc import Iterable
from typing import Any

import structlog

from simulator.thingsboard.accounts import Account, Accounts
from simulator.thingsboard.application import GATEWAY_RPC, Application
from simulator.thingsboard.connection import Connection
from simulator.thingsboard.limits import Limiters, Limits
from simulator.thingsboard.misbehaviour import Misbehaviour
from simulator.thingsboard.packets import Connect, Publish, Reason
from simulator.thingsboard.payload import StoredValue
from simulator.thingsboard.statistics import Statistics
from simulator.thingsboard.store import Latest, Store

_log = structlog.get_logger()
_CLOSE_TIMEOUT = 2.0


class StandIn:
    """An MQTT server for MQTT 5 and 3.1.1 that accepts and refuses as ThingsBoard does.

    All methods belong to the event loop that called `start`; `BackgroundStandIn` is for everyone else.

    :arg accounts: the devices that may connect.
    :arg limits: what the server allows.
    :arg store: where accepted data is kept; in memory by default. The caller closes it.
    :arg misbehaviour: how badly to answer; may be changed at any time.
    :arg ssl_context: serve TLS with it.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        limits: Limits | None = None,
        store: Store | None = None,
        misbehaviour: Misbehaviour | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        accounts = list(accounts)
        self.accounts = Accounts(accounts)
        self.limits = limits or Limits()
        self.store = Store() if store is None else store
        self.misbehaviour = misbehaviour or Misbehaviour()
        self.statistics = Statistics()
        self.application = Application(self.store, self.limits, self.statistics)
        for account in accounts:
            self.store.get_or_create(account.name, account.device_type)
        self._ssl_context = ssl_context
        self._host = "127.0.0.1"
        self._port = 0
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], Connection] = {}
        self._sessions: dict[str, Connection] = {}

    @property
    def address(self) -> str:
        """mqtt://host:port, or mqtts:// with TLS."""
        return f"{'mqtts' if self._ssl_context else 'mqtt'}://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        """The port it listens on; it stays the same over `stop_listening` and `start_listening`."""
        return self._port

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; the address to connect to.

        :arg port: 0 for any free one.
        :raises OSError: when the port cannot be had.
        """
        self._host, self._port = host, port
        await self.start_listening()
        return self.address

    async def stop(self) -> None:
        """Close everything and wait until it is closed."""
        await self.stop_listening()

    async def start_listening(self) -> None:
        """Open the port, the same as before if there was one."""
        self._server = await asyncio.start_server(self._accept, self._host, self._port, ssl=self._ssl_context)
        self._port = self._server.sockets[0].getsockname()[1]
        _log.debug("thingsboard stand-in listening", address=self.address)

    async def stop_listening(self) -> None:
        """Close the port and every connection, without a word, as a broker that is killed. What was stored stays."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task, connection in self._tasks.items():
            connection.end("server stopped")
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if server is not None:
            # Python 3.12 waits here for TLS handshakes too, which a client may never finish.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(server.wait_closed(), _CLOSE_TIMEOUT)

    def authenticate(self, packet: Connect) -> Account | None:
        """The device whose credentials came with CONNECT, or None."""
        return self.accounts.find(packet.user_name, packet.password)

    def open_session(self, connection: Connection) -> None:
        """Take the device's session over: the newcomer wins, whatever the client ids."""
        assert connection.caller is not None and connection.record is not None
        device = connection.caller.account.name
        holder = self._sessions.get(device)
        if holder is not None:
            self.statistics.takeovers += 1
            holder.end("taken over", Reason.SESSION_TAKEN_OVER)
            _log.debug("session taken over", device=device, client_id=connection.record.client_id)
        self._sessions[device] = connection
        self.statistics.sessions_opened += 1
        self.statistics.sessions.append(connection.record)
        _log.debug("session opened", device=device, client_id=connection.record.client_id, version=connection.record.version)

    def close_session(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        if connection.caller is None or connection.record is None:
            return
        device = connection.caller.account.name
        if self._sessions.get(device) is connection:
            del self._sessions[device]
        _log.debug("session ended", device=device, client_id=connection.record.client_id, cause=connection.record.end)

    def change_token(self, device: str, token: str) -> None:
        """Give a device another access token; its session is ended, as an administrator does it in ThingsBoard.

        :raises KeyError: when no such device has credentials.
        """
        account = self.accounts.named(device)
        if account is None:
            raise KeyError(device)
        self.accounts.add(dataclasses.replace(account, token=token))
        self.disconnect(device, "credentials changed", Reason.ADMINISTRATIVE_ACTION)

    def mark_gateway(self, device: str, gateway: bool) -> None:
        """Set or clear a device's mark "Is gateway"; it counts for sessions that begin from now on.

        :raises KeyError: when no such device has credentials.
        """
        account = self.accounts.named(device)
        if account is None:
            raise KeyError(device)
        self.accounts.add(dataclasses.replace(account, gateway=gateway))

    def change_certificate(self, ssl_context: ssl.SSLContext) -> None:
        """Serve TLS with another certificate; it counts after the next `start_listening`."""
        self._ssl_context = ssl_context

    def disconnect(self, device: str, cause: str = "closed on purpose", reason: int | None = None) -> bool:
        """Close a device's connection, saying `reason` to a MQTT 5 client if given; False when it has none."""
        connection = self._sessions.get(device)
        if connection is not None:
            connection.end(cause, reason)
        return connection is not None

    def change_limits(self, limits: Limits) -> None:
        """Other limits from now on, for new connections too; all buckets start full."""
        self.limits = limits
        self.application.limiters = Limiters(limits)

    def send_rpc(self, gateway: str, device: str, request: int, method: str, params: Any) -> bool:
        """Ask a device behind a gateway to do something; False when the gateway is not there or did not subscribe."""
        connection = self._sessions.get(gateway)
        if connection is None or not connection.subscribed(GATEWAY_RPC):
            return False
        call = {"device": device, "data": {"id": request, "method": method, "params": params}}
        connection.deliver(Publish(GATEWAY_RPC, json.dumps(call).encode()))
        return True

    def rpc_responses(self) -> list[dict[str, Any]]:
        """What devices answered to RPC calls: device, id and data."""
        return list(self.application.rpc_responses)

    def connected(self) -> list[str]:
        """The devices that have a session now."""
        return sorted(self._sessions)

    def devices(self) -> dict[str, str]:
        """Name and type of every device known."""
        return {device.name: device.device_type for device in self.store}

    def points(self, device: str) -> dict[tuple[str, int], StoredValue]:
        """(key, ts in ms) -> value of one device; empty when it is unknown."""
        return dict(self.store.get_or_create(device).points) if device in self.store else {}

    def attributes(self, device: str) -> dict[str, StoredValue]:
        """The client attributes of one device; empty when it is unknown."""
        return dict(self.store.get_or_create(device).attributes) if device in self.store else {}

    def latest(self) -> list[Latest]:
        """The newest value of every key of every device, in order of name and key."""
        rows = [Latest(device.name, key, ts, value) for device in self.store for key, (ts, value) in device.latest.items()]
        return sorted(rows, key=lambda row: (row.device, row.key))

    def repeats(self) -> dict[str, tuple[int, int]]:
        """Per device, how often a (key, ts) came again: with the same value, with another one."""
        return {device.name: (device.repeated_same, device.repeated_other) for device in self.store}

    def snapshot(self) -> Statistics:
        """A copy of all counters and of the session history."""
        return copy.deepcopy(self.statistics)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._server is None:
            writer.close()
            return
        connection = Connection(self, reader, writer)
        self.statistics.connections += 1
        self._tasks[task] = connection
        try:
            await connection.run()
        except asyncio.CancelledError:
            # Only stop_listening cancels; swallowed because asyncio.streams logs a cancelled callback as an error.
            pass
        finally:
            del self._tasks[task]
