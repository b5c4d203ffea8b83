"""The bytes of IEC 62056-21 mode E, and the handshake with a scripted optical port."""

from __future__ import annotations

import asyncio

import pytest

from connectors.dlms.link import mode_e
from connectors.dlms.link.mode_e import acknowledgement, chosen_baud, identification, request_message, sign_on, with_parity
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.link_address import ModeE, SerialParameters


def test_the_request_goes_out_as_7e1_would_send_it() -> None:
    assert request_message() == bytes.fromhex("af 3f 21 8d 0a")  # / ? ! CR LF; each with an even number of ones
    assert bytes(byte & 0x7F for byte in request_message("12345678")) == b"/?12345678!\r\n"
    assert all(byte.bit_count() % 2 == 0 for byte in request_message("12345678"))


def test_the_acknowledgement_names_protocol_baud_rate_and_mode() -> None:
    assert bytes(byte & 0x7F for byte in acknowledgement(9600)) == b"\x06252\r\n"
    assert bytes(byte & 0x7F for byte in acknowledgement(300)) == b"\x06202\r\n"


@pytest.mark.parametrize(
    ("line", "maker", "baud", "knows", "kind"),
    [
        (b"/LGZ5\\2ZMD4004407.B32\r\n", "LGZ", 9600, True, "ZMD4004407.B32"),
        (b"/ISk5\\2MT382-1000\r\n", "ISk", 9600, True, "MT382-1000"),
        (b"/ELS6\\@\\2AS1440\r\n", "ELS", 19200, True, "AS1440"),
        (b"/EMH4 LZQJ\r\n", "EMH", 4800, False, " LZQJ"),
        (b"\x00\xff/?!\r\n\x7f/ACE0\\2\r\n", "ACE", 300, True, ""),
    ],
)
def test_the_identification_is_found_wherever_it_begins(line: bytes, maker: str, baud: int, knows: bool, kind: str) -> None:
    for data in (line, with_parity(bytes(byte & 0x7F for byte in line))):
        meter = identification(data)
        assert meter is not None
        assert (meter.maker, meter.baud, meter.mode_e, meter.type) == (maker, baud, knows, kind)


@pytest.mark.parametrize("line", [b"", b"/?!\r\n", b"/LGZ5\\2ZMD4004407.B32", b"/LG5\\2\r\n", b"LGZ5\\2X\r\n", b"/LGZ9\\2X\r\n"])
def test_what_is_incomplete_or_something_else_is_no_identification(line: bytes) -> None:
    assert identification(line) is None


@pytest.mark.parametrize(
    ("offered", "limit", "chosen"),
    [
        (9600, None, 9600),
        (9600, 4800, 4800),
        (9600, 19200, 9600),
        (19200, 5000, 4800),
        (300, 50, 300),
    ],
)
def test_the_baud_rate_is_the_highest_that_both_can_do(offered: int, limit: int | None, chosen: int) -> None:
    assert chosen_baud(offered, limit) == chosen


class OpticalPort:
    """Answers each burst of bytes with the next of `answers`."""

    closed = False

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.written: list[bytes] = []
        self.settings: list[SerialParameters] = []
        self._arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def write(self, data: bytes) -> None:
        self.written.append(data)
        if self.answers and (answer := self.answers.pop(0)):
            for byte in answer:
                self._arrived.put_nowait(bytes([byte]))

    async def read(self, within: float | None = None) -> bytes:
        return await asyncio.wait_for(self._arrived.get(), within)

    async def configure(self, parameters: SerialParameters) -> None:
        self.settings.append(parameters)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mode_e, "REACTION", 0.02)
    monkeypatch.setattr(mode_e, "_on_the_line", lambda _count: 0.0)


def test_the_port_changes_its_baud_rate_after_the_confirmation() -> None:
    port = OpticalPort(b"/ISk5\\2MT382\r\n", b"\x06252\r\n")
    assert asyncio.run(sign_on(port, ModeE(), "here")) == 9600
    assert port.written == [request_message(), acknowledgement(9600)]
    assert port.settings == [SerialParameters(baud=9600)]


def test_a_meter_that_sleeps_through_the_first_request_and_confirms_nothing_is_opened_too() -> None:
    port = OpticalPort(b"", request_message() + b"/ISk5\\2MT382\r\n")
    assert asyncio.run(sign_on(port, ModeE(max_baud=2400), "here")) == 2400
    assert port.written == [request_message()] * 2 + [acknowledgement(2400)]


def test_a_meter_that_does_not_announce_mode_e_but_confirms_it_is_opened() -> None:
    port = OpticalPort(b"/GRX0\r\n", acknowledgement(300))
    assert asyncio.run(sign_on(port, ModeE(), "here")) == 300


@pytest.mark.parametrize(
    ("answers", "kind", "what"),
    [
        ((), ErrorKind.TIMEOUT, "no meter answers"),
        ((request_message(),) * 3, ErrorKind.TIMEOUT, "no meter answers"),  # only the head's own echo
        ((b"\x00\x80\x00",) * 3, ErrorKind.PROTOCOL, "no identification"),
        ((b"/EMH4 LZQJ\r\n",), ErrorKind.REFUSED, "EMH  LZQJ"),
    ],
)
def test_what_went_wrong_is_told_with_a_remedy(answers: tuple[bytes, ...], kind: ErrorKind, what: str) -> None:
    port = OpticalPort(*answers)
    with pytest.raises(MeterError) as caught:
        asyncio.run(sign_on(port, ModeE(), "/dev/ttyUSB0"))
    assert (caught.value.kind, what in caught.value.what) == (kind, True)
    assert caught.value.remedy
    assert not port.settings
