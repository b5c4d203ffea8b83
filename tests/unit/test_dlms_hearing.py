"""A long answer is taken part by part in the callback of the link; the task that waits for it is woken once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from connectors.dlms.apdu.requests import RequestBuilder
from connectors.dlms.conversation import Conversation
from connectors.dlms.events import Answered, Attribute, Event
from connectors.dlms.hearing import Hearing
from connectors.dlms.link.tcp import TcpLink
from connectors.dlms.states import State
from connectors.dlms.wrapper import wrap
from model.errors import MeterError
from model.settings.meter import MeterSettings

CLIENT, SERVER = 16, 1
BUFFER = Attribute(7, bytes([1, 0, 99, 1, 0, 255]), 2, as_encoded=True)


class Transport:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False


class Wire:
    """A TCP link without a socket, a conversation that has asked for a buffer, and the meter's end of it."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.link = TcpLink("meter:4059")
        self.link.connection_made(cast(asyncio.Transport, self.transport))
        settings = {"id": "m", "connect": "tcp://meter:4059", "template": "t", "framing": "wrapper", "client_sap": CLIENT}
        self.conversation = Conversation(MeterSettings.model_validate({**settings, "server_logical": SERVER}))
        self.conversation.open()
        self.conversation._state = State.ASSOCIATED
        self.conversation.get((BUFFER,))
        self.invoke_id = self.conversation._invoke_id
        self.traced: list[bool] = []
        self.hearing = Hearing(self.conversation, self._trace)

    def _trace(self, data: bytes, sent: bool) -> bytes:
        self.traced.append(sent)
        return data

    def block(self, number: int, data: bytes, last: bool = False) -> bytes:
        head = bytes((0xC4, 0x02, 0xC0 | self.invoke_id, last)) + number.to_bytes(4, "big") + b"\0"
        return wrap(SERVER, CLIENT, head + bytes((len(data),)) + data)

    def asks_for(self, number: int) -> bytes:
        return wrap(CLIENT, SERVER, RequestBuilder(b"", 0, False).next_block(number, self.invoke_id))

    def arrives(self, data: bytes) -> None:
        self.link.get_buffer(-1)[: len(data)] = data
        self.link.buffer_updated(len(data))


def played(scene: Callable[[Wire], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        return await scene(Wire())

    return asyncio.run(run())


async def waiting(wire: Wire, patience: float = 5.0, later: float = 5.0) -> asyncio.Task[list[Event]]:
    wire.hearing.begin(wire.link, patience, later)
    task = asyncio.ensure_future(wire.hearing.events())
    await asyncio.sleep(0)
    return task


def test_the_next_part_is_asked_for_before_the_task_is_woken() -> None:
    async def scene(wire: Wire) -> list[Event]:
        task = await waiting(wire)
        wire.arrives(wire.block(1, b"\x01\x02"))
        wire.arrives(wire.block(2, b"\x03"))
        assert wire.transport.written == [wire.asks_for(1), wire.asks_for(2)]
        await asyncio.sleep(0)
        assert not task.done()
        wire.arrives(wire.block(3, b"\x04", last=True))
        events = await task
        assert wire.traced == [False, True, False, True, False]
        return events

    (answered,) = played(scene)
    assert isinstance(answered, Answered)
    assert answered.results[0].data == b"\x01\x02\x03\x04"


def test_what_cannot_be_sent_at_once_is_left_to_the_task() -> None:
    async def scene(wire: Wire) -> tuple[list[bytes], list[Event]]:
        wire.link.pause_writing()
        task = await waiting(wire)
        wire.arrives(wire.block(1, b"\x01"))
        return wire.transport.written, await task

    written, (event,) = played(scene)
    assert written == []
    assert event.data.endswith(b"\x00\x00\x00\x01")


def test_what_came_behind_the_end_of_a_wait_is_kept_in_order() -> None:
    async def scene(wire: Wire) -> list[Event]:
        task = await waiting(wire)
        wire.arrives(wrap(SERVER, CLIENT, b"\x63\x00") + wire.block(1, b"\x01"))  # one not asked for, and a part: not for the callback
        wire.arrives(wire.block(2, b"\x02", last=True))
        return await task

    discarded, transmit, answered = played(scene)
    assert discarded.count and transmit.data and isinstance(answered, Answered)


def test_each_part_gives_the_meter_a_new_deadline() -> None:
    async def scene(wire: Wire) -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        task = await waiting(wire, patience=0.05, later=0.3)
        wire.arrives(wire.block(1, b"\x01"))
        with pytest.raises(asyncio.TimeoutError):
            await task
        return loop.time() - begun

    assert played(scene) >= 0.3


def test_a_link_that_ends_meanwhile_says_so_and_nobody_listens_after_the_end() -> None:
    async def scene(wire: Wire) -> list[bool]:
        task = await waiting(wire)
        wire.arrives(wire.block(1, b"\x01"))
        wire.link.eof_received()
        with pytest.raises(MeterError, match="closed the connection"):
            await task
        wire.hearing.end()
        before = len(wire.traced)
        wire.arrives(wire.block(2, b"\x02"))
        assert len(wire.traced) == before
        return wire.traced

    assert played(scene) == [False, True]
