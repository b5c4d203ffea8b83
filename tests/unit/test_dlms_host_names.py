"""Look-ups with a name server of the test's own making: `socket.getaddrinfo` is what is replaced, not what is tested."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.dlms import host_names
from connectors.dlms.host_names import lookup


class NameServer:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.known: dict[str, list[str]] = {}
        self.answer = threading.Event()
        self.answer.set()

    def getaddrinfo(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        self.answer.wait(10)
        if host not in self.known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.known[host]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer()
    monkeypatch.setattr(host_names.socket, "getaddrinfo", server.getaddrinfo)
    monkeypatch.setattr(host_names, "_answers", {})
    yield server
    server.answer.set()


@pytest.mark.parametrize("address", ["192.0.2.1", "::1"])
def test_an_address_needs_no_look_up(server: NameServer, address: str) -> None:
    assert asyncio.run(lookup(address)) == [address]
    assert server.asked == []


def test_an_answer_is_used_again(server: NameServer) -> None:
    server.known["meter"] = ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
    assert [asyncio.run(lookup("meter")) for _ in range(3)] == [["192.0.2.1", "192.0.2.2"]] * 3
    assert server.asked == ["meter"]


def test_an_unknown_name_is_an_error(server: NameServer) -> None:
    with pytest.raises(socket.gaierror):
        asyncio.run(lookup("nobody"))


def test_an_old_answer_serves_while_the_name_server_has_none(server: NameServer, monkeypatch: pytest.MonkeyPatch) -> None:
    host_names._answers["meter"] = (time.monotonic() - 2 * host_names.FRESH, ["192.0.2.1"])
    assert asyncio.run(lookup("meter")) == ["192.0.2.1"]
    monkeypatch.setattr(host_names, "PATIENCE", 0.05)
    server.answer.clear()
    assert asyncio.run(lookup("meter")) == ["192.0.2.1"]


def test_names_that_hang_hold_up_nobody_else(server: NameServer) -> None:
    server.answer.clear()
    host_names._answers["well"] = (time.monotonic(), ["192.0.2.9"])

    async def run() -> list[str]:
        hanging = [asyncio.ensure_future(lookup(f"hangs{number}")) for number in range(50)]
        await asyncio.sleep(0)
        try:
            return await asyncio.wait_for(lookup("well"), 5)
        finally:
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    assert asyncio.run(run()) == ["192.0.2.9"]
