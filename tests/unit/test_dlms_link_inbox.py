"""Reads from an inbox: what arrives, the time limit, the end of the link, an interruption."""

from __future__ import annotations

import asyncio

import pytest

from connectors.dlms.link.inbox import LONGEST, Inbox
from model.errors import MeterError
from model.messages import ErrorKind

ENDED = MeterError(ErrorKind.LINK_LOST, "it is gone", "look for it")


async def soon(inbox: Inbox) -> bytes:
    return await asyncio.wait_for(inbox.read(), 10)


def test_what_arrived_before_is_read_at_once_even_with_no_time_left() -> None:
    async def run() -> None:
        inbox = Inbox()
        inbox.put(b"ab")
        inbox.put(bytearray(b"c"))
        assert await inbox.read(0.0) == b"abc"
        with pytest.raises(asyncio.TimeoutError):
            await inbox.read(0.0)

    asyncio.run(run())


def test_a_read_waits_for_bytes_and_loses_none_when_it_comes_to_its_limit_or_is_cancelled() -> None:
    async def run() -> None:
        inbox = Inbox()
        waiting = asyncio.ensure_future(inbox.read(60))
        await asyncio.sleep(0)
        inbox.put(b"first")
        assert await waiting == b"first"
        with pytest.raises(asyncio.TimeoutError):
            await inbox.read(0.001)
        cancelled = asyncio.ensure_future(inbox.read())
        await asyncio.sleep(0)
        inbox.put(b"second")
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert await soon(inbox) == b"second"

    asyncio.run(run())


def test_the_end_comes_after_what_arrived_before_it() -> None:
    async def run() -> None:
        inbox = Inbox()
        waiting = asyncio.ensure_future(inbox.read(60))
        await asyncio.sleep(0)
        inbox.put(b"last words")
        inbox.fail(ENDED)
        inbox.fail(MeterError(ErrorKind.PROTOCOL, "something later"))
        assert await waiting == b"last words"
        for _ in range(2):
            with pytest.raises(MeterError, match="it is gone") as error:
                await inbox.read(60)
            assert error.value.remedy == "look for it"
        assert inbox.broken

    asyncio.run(run())


def test_an_interruption_ends_the_read_that_waits_and_no_other() -> None:
    async def run() -> None:
        inbox = Inbox()
        inbox.interrupt(ENDED)  # nobody waits
        waiting = asyncio.ensure_future(inbox.read(60))
        await asyncio.sleep(0)
        inbox.interrupt(ENDED)
        with pytest.raises(MeterError, match="it is gone"):
            await waiting
        cancelled = asyncio.ensure_future(inbox.read())
        await asyncio.sleep(0)
        inbox.interrupt(ENDED)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        later = asyncio.ensure_future(inbox.read(60))
        await asyncio.sleep(0)
        inbox.put(b"goes on")
        assert await later == b"goes on"

    asyncio.run(run())


def test_a_flood_that_nobody_reads_is_cut_off() -> None:
    async def run() -> None:
        inbox = Inbox()
        for _ in range(3):
            inbox.put(bytes(LONGEST // 2))
        assert inbox.size == LONGEST
        assert inbox.clear() == LONGEST and inbox.size == 0

    asyncio.run(run())
