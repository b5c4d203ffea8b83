"""The whole meter without sockets: APDUs over the wrapper, because its frames are only a header."""

from __future__ import annotations

import struct
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.meter import axdr
from simulator.meter.acse import Mechanism
from simulator.meter.behaviour import Behaviour
from simulator.meter.client_access import ClientAccess
from simulator.meter.config import MeterConfig
from simulator.meter.counters import Counters
from simulator.meter.hdlc_frame import Frame, FrameReader, encode_frame, information_control
from simulator.meter.logical_device import LogicalDevice
from simulator.meter.station import Station

NOW = 1_770_000_000.0
AARQ = bytes.fromhex("601DA109060760857405080101BE10040E01000000065F1F0400007E1F") + struct.pack(">H", 0)
RLRQ = bytes.fromhex("6203800100")
VOLTAGE = bytes((1, 0, 32, 7, 0, 255))
OBJECT_LIST = bytes((0, 0, 40, 0, 0, 255))
NOT_ASSOCIATED = "D80101"


class Client:
    """One connection to a station of its own."""

    def __init__(self, behaviour: Behaviour | None = None, **config: Any) -> None:
        self.config = MeterConfig("meter", framing="wrapper", seed=7, **config)
        self.device = LogicalDevice(self.config, behaviour or Behaviour())
        self.counters = Counters(self.config.exchanges_kept)
        self.station = Station(self.device, self.counters)

    def ask(self, apdu: bytes, at: float = NOW, client: int = 16) -> list[bytes]:
        frame = struct.pack(">HHHH", 1, client, self.config.server_logical, len(apdu)) + apdu
        return [reply[8:] for reply in self.station.receive(frame, at) if isinstance(reply, bytes)]

    def associated(self, max_pdu_size: int = 0) -> Client:
        (reply,) = self.ask(AARQ[:-2] + struct.pack(">H", max_pdu_size))
        assert bytes.fromhex("A203020100") in reply
        return self


def get(name: bytes, index: int = 2, class_id: int = 3, invoke: int = 0xC1) -> bytes:
    return bytes((0xC0, 1, invoke)) + struct.pack(">H", class_id) + name + bytes((index, 0))


def get_list(*names: bytes) -> bytes:
    return bytes((0xC0, 3, 0xC1, len(names))) + b"".join(struct.pack(">H", 3) + name + b"\x02\x00" for name in names)


def test_a_value_carries_the_invoke_id_and_the_truth() -> None:
    client = Client().associated()
    (reply,) = client.ask(get(VOLTAGE, invoke=0xC5))
    assert reply[:4] == bytes.fromhex("C401C500")
    assert axdr.plain(axdr.decode(reply, 4)[0]) == client.device.truth(VOLTAGE, 2, NOW)
    assert client.counters.exchanges[-1] == (NOW, 16, "get-normal", ((3, VOLTAGE, 2),))


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        (get(bytes(6)), 4),
        (get(VOLTAGE, class_id=1), 9),
        (get(VOLTAGE, index=4), 13),
        (get(VOLTAGE, index=0), 13),
        (get(OBJECT_LIST, index=7, class_id=15), 3),
        (get(VOLTAGE)[:-1] + b"\x01\x01\x00", 13),
    ],
)
def test_what_cannot_be_read_has_an_access_result(request_: bytes, result: int) -> None:
    assert Client().associated().ask(request_) == [bytes((0xC4, 1, 0xC1, 1, result))]


def test_one_bad_item_does_not_spoil_a_list() -> None:
    (reply,) = Client().associated().ask(get_list(VOLTAGE, bytes(6), VOLTAGE))
    assert reply[:5] == bytes.fromhex("C403C10300")
    assert reply[8:10] == bytes((1, 4))
    assert reply[5:8] == reply[11:14]


@pytest.mark.parametrize("size", [64, 100, 500])
def test_blocks_fit_the_clients_pdu_size_and_make_up_the_whole(size: int) -> None:
    client = Client(max_pdu_size=1024).associated(size)
    (reply,) = client.ask(get(OBJECT_LIST, class_id=15))
    data, number = b"", 1
    while True:
        assert len(reply) <= size
        assert reply[:3] == bytes.fromhex("C402C1")
        assert int.from_bytes(reply[4:8], "big") == number
        length, start = axdr.decode_length(reply, 9)
        data += reply[start:]
        assert len(reply) == start + length
        if reply[3]:
            break
        request = bytes((0xC0, 2, 0xC1)) + struct.pack(">I", number)
        (reply,), repeated = client.ask(request), client.ask(request)
        assert repeated == [reply]
        number += 1
    objects, end = axdr.decode(data)
    assert end == len(data)
    assert len(objects.value) == len(client.device.objects)


def test_a_list_that_is_too_long_comes_in_blocks() -> None:
    client = Client().associated(64)
    (reply,) = client.ask(get_list(*[VOLTAGE] * 30))
    data = reply[10:]
    for number in range(1, 100):
        if reply[3]:
            break
        (reply,) = client.ask(bytes((0xC0, 2, 0xC1)) + struct.pack(">I", number))
        data += reply[10:]
    assert data[0] == 30
    assert len(data) == 1 + 30 * 4


def test_a_next_block_that_is_not_there_ends_the_transfer() -> None:
    client = Client().associated(64)
    nothing = bytes.fromhex("C0 02 C1 00000001".replace(" ", ""))
    assert client.ask(nothing) == [bytes.fromhex("C402C1010000000101") + bytes((16,))]
    client.ask(get(OBJECT_LIST, class_id=15))
    wrong = bytes.fromhex("C002C100009999")
    assert client.ask(wrong) == [bytes.fromhex("C402C1010000999901") + bytes((19,))]
    assert client.ask(nothing)[0][-1] == 16


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("C101C1 0003 0100200700FF 02 00 120000", "C501C103"),
        ("C104C1 02 0003 0100200700FF 02 00 0003 0100200700FF 02 00 02 120000 120000", "C505C1020303"),
        ("C301C1 0008 0000010000FF 01 00", "C701C10300"),
        ("C303C1 01 0008 0000010000FF 01 00", "C703C1010300"),
        ("0506", "D80202"),
        ("C0", "D80203"),
        ("C009C1", "D80203"),
        ("C104C1 FF", "D80203"),
        ("", "D80202"),
    ],
)
def test_what_is_not_reading_is_refused_in_order(request_: str, reply: str) -> None:
    assert Client().associated().ask(bytes.fromhex(request_.replace(" ", ""))) == [bytes.fromhex(reply)]


def test_a_request_longer_than_the_meter_receives_is_refused() -> None:
    assert Client(max_pdu_size=64).associated().ask(get_list(*[VOLTAGE] * 7)) == [bytes.fromhex("D80104")]


def test_nothing_is_served_without_an_association_or_after_its_release() -> None:
    client = Client()
    assert client.ask(get(VOLTAGE)) == [bytes.fromhex(NOT_ASSOCIATED)]
    client.associated()
    assert client.ask(RLRQ) == [bytes.fromhex("6303800100")]
    assert client.ask(get(VOLTAGE)) == [bytes.fromhex(NOT_ASSOCIATED)]
    assert (client.counters.associations, client.counters.releases) == (1, 1)


def test_each_client_has_its_own_password() -> None:
    clients = MappingProxyType({1: ClientAccess(Mechanism.LOW, b"one"), 17: ClientAccess(Mechanism.LOW, b"seventeen"), 16: ClientAccess()})
    low = "A109060760857405080101 8A020780 8B0760857405080201 AC{:02X}80{:02X}{} BE10040E01000000065F1F0400007E1F0000"

    def result(client: int, password: bytes) -> tuple[int, int]:
        body = bytes.fromhex(low.format(len(password) + 2, len(password), password.hex()).replace(" ", ""))
        (reply,) = Client(clients=clients).ask(b"\x60" + bytes((len(body),)) + body, client=client)
        return reply[17], reply[24]

    assert result(1, b"one") == (0, 0)
    assert result(17, b"seventeen") == (0, 0)
    assert result(1, b"seventeen") == (1, 13)
    assert result(16, b"one") == (1, 11)
    assert Client(clients=clients).ask(AARQ, client=1)[0][24] == 14
    assert Client(clients=clients).ask(AARQ, client=5) == []
    assert "seventeen" not in repr(Client(clients=clients).config)


def test_inactivity_drops_the_association_silently() -> None:
    client = Client(inactivity_timeout=120.0).associated()
    assert client.ask(get(VOLTAGE), NOW + 119)[0][0] == 0xC4
    assert client.ask(get(VOLTAGE), NOW + 238)[0][0] == 0xC4
    assert client.ask(get(VOLTAGE), NOW + 359) == [bytes.fromhex(NOT_ASSOCIATED)]
    assert client.counters.dropped == 1


def test_conformance_is_what_both_sides_can_and_lists_may_be_off() -> None:
    offered = Client().ask(AARQ)[0]
    refused = Client(Behaviour(with_list="refused")).ask(AARQ)[0]
    assert (offered[-7:-4], refused[-7:-4]) == (bytes.fromhex("00521D"), bytes.fromhex("00501D"))


def test_denied_objects_show_in_the_object_list_and_still_have_a_name() -> None:
    client = Client(Behaviour(denied=frozenset({VOLTAGE}))).associated()
    assert client.ask(get(VOLTAGE)) == [bytes.fromhex("C401C10103")]
    assert client.ask(get(VOLTAGE, index=1)) == [bytes.fromhex("C401C1000906") + VOLTAGE]
    rights = {bytes(item[2]): item[3][0] for item in client.device.truth(OBJECT_LIST, 2, NOW)}
    assert [mode for _, mode, _ in rights[VOLTAGE]] == [1, 0, 0]


def test_a_repeated_hdlc_request_is_executed_once() -> None:
    config = MeterConfig("meter", seed=7)
    counters = Counters(10)
    station = Station(LogicalDevice(config, Behaviour()), counters)

    def frame(control: int, apdu: bytes = b"") -> bytes:
        return encode_frame(Frame(b"\x03", b"\x21", control, bytes.fromhex("E6E600") + apdu if apdu else b""))

    list(station.receive(frame(0x93), NOW))
    list(station.receive(frame(information_control(0, 0), AARQ), NOW))
    request = frame(information_control(1, 1), get(VOLTAGE))
    first, later = list(station.receive(request, NOW)), list(station.receive(request, NOW + 30))
    assert first == later
    assert (counters.requests["get-normal"], counters.requests["repeated"]) == (1, 1)
    (reply,) = FrameReader().feed(first[0])  # type: ignore[arg-type]
    assert reply.information[3:7] == bytes.fromhex("C401C100")


def test_inactivity_drops_the_hdlc_link_too() -> None:
    counters = Counters(10)
    station = Station(LogicalDevice(MeterConfig("meter", inactivity_timeout=120.0), Behaviour()), counters)
    disconnect, connect = (encode_frame(Frame(b"\x03", b"\x21", control)) for control in (0x53, 0x93))

    def control(request: bytes, at: float) -> list[int]:
        return [frame.control for reply in station.receive(request, at) for frame in FrameReader().feed(reply)]  # type: ignore[arg-type]

    assert control(connect, NOW) == [0x73]
    assert control(disconnect, NOW + 121) == [0x1F]
    assert control(connect, NOW + 122) == [0x73]
    assert control(disconnect, NOW + 123) == [0x73]
    assert counters.dropped == 1


@given(st.lists(st.one_of(st.binary(max_size=80), st.binary(max_size=40).map(lambda tail: b"\xc0" + tail)), max_size=5))
def test_any_apdu_gets_an_answer_and_the_meter_goes_on(apdus: list[bytes]) -> None:
    client = Client().associated()
    for apdu in apdus:
        assert len(client.ask(apdu)) == 1
    assert client.associated().ask(get(VOLTAGE))[0][0] == 0xC4


@given(st.lists(st.binary(max_size=200), max_size=5), st.sampled_from(["hdlc", "wrapper"]))
def test_any_bytes_are_survived(pieces: list[bytes], framing: Any) -> None:
    station = Station(LogicalDevice(MeterConfig("meter", framing=framing), Behaviour()), Counters(0))
    for piece in pieces:
        list(station.receive(piece, NOW))
