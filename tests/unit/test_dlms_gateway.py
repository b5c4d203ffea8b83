"""The prefix of a gateway: on every request, and required on every reply."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.dlms.conversation import Conversation
from connectors.dlms.events import Answered, Associated, Attribute, AttributeResult, Discarded, Event, Refused, ServiceRefused
from connectors.dlms.states import State
from connectors.dlms.wrapper import wrap
from model.settings.meter import MeterSettings

ENERGY = Attribute(3, bytes([1, 0, 1, 8, 0, 255]), 2)
AARE = bytes.fromhex("6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040000121404c80007")
PREFIX = bytes.fromhex("e705" + "03" + "313233")


def conversation(**more: Any) -> Conversation:
    base = {"id": "m", "connect": "tcp://127.0.0.1:4059", "template": "t", "framing": "wrapper"}
    return Conversation(MeterSettings.model_validate({**base, "gateway_address": "123", "gateway_network": 5, **more}))


def answer(apdu: bytes) -> bytes:
    return wrap(1, 16, apdu)


def reading() -> tuple[Conversation, bytes]:
    """A conversation that awaits the answer to a GET, and that answer."""
    talk = conversation()
    assert talk.open()[8:14].hex() == "e6" + "05" + "03" + "313233"
    (event,) = talk.receive(answer(PREFIX + AARE))
    assert isinstance(event, Associated)
    request = talk.get([ENERGY])
    assert request[8:14].hex() == "e60503313233"
    return talk, bytes.fromhex("c401") + request[16:17] + bytes.fromhex("001105")


def test_requests_carry_the_prefix_and_replies_lose_it() -> None:
    talk, good = reading()
    assert talk.receive(answer(PREFIX + good)) == [Answered((AttributeResult(ENERGY, 5),))]


@pytest.mark.parametrize("prefix", ["", "e70503313234", "e70603313233", "e7050431323300", "e60503313233", "e705", "e7"])
def test_another_devices_reply_is_not_ours(prefix: str) -> None:
    talk, good = reading()
    events: list[Event] = talk.receive(answer(bytes.fromhex(prefix) + good))
    assert len(events) == 1
    assert isinstance(events[0], Discarded)
    assert talk.state is State.READING
    assert isinstance(talk.receive(answer(PREFIX + good))[0], Answered)


def test_the_gateways_own_refusal_is_heard() -> None:
    talk, _ = reading()
    assert isinstance(talk.receive(answer(bytes.fromhex("d80201")))[0], ServiceRefused)
    talk = conversation()
    talk.open()
    assert isinstance(talk.receive(answer(bytes.fromhex("0e010601")))[0], Refused)


def test_an_address_may_be_bytes() -> None:
    assert conversation(gateway_address="hex:00ff", gateway_network=0).open()[8:13].hex() == "e6000200ff"


def test_the_trace_says_for_whom_and_hides_the_password() -> None:
    talk = conversation(authentication="low", password="s3cret-s3cret")
    line = talk.trace(talk.open(), sent=True)
    assert "gateway-request network 5 device 313233: AARQ" in line
    assert b"s3cret".hex() not in line
