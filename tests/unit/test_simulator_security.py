"""What a ciphered association of the virtual meter answers and what it refuses, APDU by APDU over the wrapper."""

from __future__ import annotations

import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from simulator.meter import axdr
from simulator.meter.behaviour import ATTACKS, Behaviour
from simulator.meter.client_access import ClientAccess, client_access
from simulator.meter.config import MeterConfig
from simulator.meter.counters import Counters
from simulator.meter.forgery import FORGED_BYTE, forged
from simulator.meter.invocation_counters import InvocationCounters
from simulator.meter.logical_device import LogicalDevice
from simulator.meter.station import Station

NOW = 1_770_000_000.0
ENCRYPTION_KEY, AUTHENTICATION_KEY, DEDICATED_KEY = bytes(range(16)), bytes(range(0xD0, 0xE0)), bytes(range(50, 66))
CLIENT_TITLE, SERVER_TITLE = b"CLIENT01", b"SERVER01"
VOLTAGE, FREQUENCY = bytes((1, 0, 32, 7, 0, 255)), bytes((1, 0, 14, 7, 0, 255))
COUNTER_OBJECT = bytes((0, 0, 43, 1, 0, 255))
REPLAYED, UNDECIPHERABLE, REFUSED = "D80106", "D80105", "D80101"


def initiate(dedicated_key: bytes = b"", max_pdu_size: int = 0) -> bytes:
    key = bytes((1, len(dedicated_key))) + dedicated_key if dedicated_key else b"\x00"
    return b"\x01" + key + bytes.fromhex("0000065F1F0400407E1F") + struct.pack(">H", max_pdu_size)


def get(name: bytes, class_id: int = 3, index: int = 2) -> bytes:
    return bytes.fromhex("C001C1") + struct.pack(">H", class_id) + name + bytes((index, 0))


def field(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + axdr.encode_length(len(content)) + content


class Client:
    """SAP 1 over a station of its own, with authenticated encryption on AESGCM, whose tag it cuts to twelve bytes."""

    def __init__(self, behaviour: Behaviour | None = None, device: LogicalDevice | None = None, **config: Any) -> None:
        words = {"security_policy": "authenticated-encryption", **config.pop("access", {})}
        access = client_access(block_cipher_key=ENCRYPTION_KEY, authentication_key=AUTHENTICATION_KEY, **words)
        clients = {16: ClientAccess(), 1: access}
        config = {"initial_server_counter": 0, **config}
        settings = MeterConfig("meter", framing="wrapper", seed=7, clients=clients, system_title=SERVER_TITLE, **config)
        self.device = device or LogicalDevice(settings, behaviour or Behaviour())
        self.counters = Counters(10)
        self.station = Station(self.device, self.counters)
        self.counter = 0

    def send(self, apdu: bytes, client: int = 1) -> bytes:
        (reply,) = self.try_to_send(apdu, client)
        return reply

    def try_to_send(self, apdu: bytes, client: int = 1) -> list[bytes]:
        frame = struct.pack(">HHHH", 1, client, 1, len(apdu)) + apdu
        return [reply[8:] for reply in self.station.receive(frame, NOW) if isinstance(reply, bytes)]

    def sealed(self, tag: int, apdu: bytes, counter: int | None = None, title: bytes = b"", key: bytes = ENCRYPTION_KEY) -> bytes:
        self.counter += 1
        number = struct.pack(">I", self.counter if counter is None else counter)
        secret = AESGCM(key).encrypt(CLIENT_TITLE + number, apdu, b"\x30" + AUTHENTICATION_KEY)[:-4]
        head = bytes((tag,)) + (field(len(title), title)[0:1] + title if tag in (0xDB, 0xDC) else b"")
        return head + axdr.encode_length(len(secret) + 5) + b"\x30" + number + secret

    def aarq(self, user_information: bytes | None = None, context: int = 3, title: bytes = CLIENT_TITLE, mechanism: bytes = b"") -> bytes:
        information = self.sealed(0x21, initiate()) if user_information is None else user_information
        name = field(0xA1, field(0x06, bytes.fromhex("608574050801") + bytes((context,))))
        caller = field(0xA6, field(0x04, title)) if title else b""
        return field(0x60, name + caller + mechanism + field(0xBE, field(0x04, information)))

    def associated(self, dedicated_key: bytes = b"", max_pdu_size: int = 0) -> Client:
        aare = self.send(self.aarq(self.sealed(0x21, initiate(dedicated_key, max_pdu_size))))
        assert bytes.fromhex("A203020100A305A103020100") in aare
        return self

    def ask(self, apdu: bytes, tag: int = 0xC8, **how: Any) -> str:
        return self.send(self.sealed(tag, apdu, **how)).hex().upper()


def opened(reply: bytes, key: bytes = ENCRYPTION_KEY) -> tuple[bytes, int]:
    """The plain APDU in a glo- or ded- reply of the meter, and its counter; the tag is not looked at."""
    _, start = axdr.decode_length(reply, 1)
    assert reply[start] == 0x30
    number = reply[start + 1 : start + 5]
    nonce = SERVER_TITLE + number
    stream = AESGCM(key).encrypt(nonce, bytes(len(reply)), None)
    body = reply[start + 5 : -12]
    plain = bytes(a ^ b for a, b in zip(body, stream, strict=False))
    assert AESGCM(key).encrypt(nonce, plain, b"\x30" + AUTHENTICATION_KEY)[:-4] == reply[start + 5 :]
    return plain, int.from_bytes(number, "big")


def test_the_answer_is_protected_like_the_request_under_rising_counters() -> None:
    client = Client().associated()
    replies = [opened(client.send(client.sealed(0xC8, get(VOLTAGE)))) for _ in range(3)]
    truth = client.device.truth(VOLTAGE, 2, NOW)
    assert [axdr.plain(axdr.decode(plain, 4)[0]) for plain, _ in replies] == [truth] * 3
    assert [counter for _, counter in replies] == [2, 3, 4]


def test_the_dedicated_key_has_counters_of_its_own() -> None:
    client = Client(initial_server_counter=100).associated(DEDICATED_KEY)
    reply = client.send(client.sealed(0xD0, get(VOLTAGE), counter=0, key=DEDICATED_KEY))
    assert reply[0] == 0xD4
    assert opened(reply, DEDICATED_KEY)[1] == 1
    assert client.ask(get(VOLTAGE), 0xD0, counter=0, key=DEDICATED_KEY).startswith(REPLAYED)
    assert opened(client.send(client.sealed(0xC8, get(VOLTAGE))))[1] == 102


def test_without_a_dedicated_key_there_is_no_dedicated_ciphering() -> None:
    assert Client().associated().ask(get(VOLTAGE), 0xD0, key=DEDICATED_KEY) == UNDECIPHERABLE
    client = Client()
    assert bytes.fromhex("A305A10302010D") in client.send(client.aarq(client.sealed(0x21, initiate(bytes(8)))))


@pytest.mark.parametrize(("tag", "answer"), [(0xDB, 0xDB), (0xC8, 0xCC)])
def test_a_general_request_has_a_general_answer(tag: int, answer: int) -> None:
    client = Client().associated()
    reply = client.send(client.sealed(tag, get(VOLTAGE), title=CLIENT_TITLE))
    assert reply[0] == answer
    assert (reply[1:10] == b"\x08" + SERVER_TITLE) == (tag == 0xDB)


def test_a_foreign_title_or_key_or_a_wrong_tag_is_undecipherable() -> None:
    client = Client().associated()
    assert client.ask(get(VOLTAGE), 0xDB, title=b"SOMEBODY") == UNDECIPHERABLE
    assert client.ask(get(VOLTAGE), key=bytes(16)) == UNDECIPHERABLE
    wrong = bytearray(client.sealed(0xC8, get(VOLTAGE)))
    wrong[-1] ^= 1
    assert client.send(bytes(wrong)).hex().upper() == UNDECIPHERABLE
    assert client.counters.refusals == {"undecipherable": 3}
    assert client.send(client.sealed(0xC8, get(VOLTAGE)))[0] == 0xCC


def test_the_service_inside_must_be_the_one_outside() -> None:
    assert Client().associated().ask(get(VOLTAGE), 0xC9) == UNDECIPHERABLE


def test_a_plain_or_weaker_request_is_refused() -> None:
    client = Client().associated()
    assert client.send(get(VOLTAGE)).hex().upper() == REFUSED
    encrypted = AESGCM(ENCRYPTION_KEY).encrypt(CLIENT_TITLE + struct.pack(">I", 9), get(VOLTAGE), None)[:-16]
    assert client.send(field(0xC8, bytes.fromhex("2000000009") + encrypted)).hex().upper() == REFUSED
    assert client.send(field(0xC8, bytes.fromhex("0000000009") + get(VOLTAGE))).hex().upper() == REFUSED
    assert client.counters.refusals == {"plaintext": 1, "weaker": 2}


@pytest.mark.parametrize("control", [0x31, 0x32, 0x70, 0xB0])
def test_another_suite_broadcast_key_and_compression_are_undecipherable(control: int) -> None:
    client = Client().associated()
    request = bytearray(client.sealed(0xC8, get(VOLTAGE)))
    request[2] = control
    assert client.send(bytes(request)).hex().upper() == UNDECIPHERABLE


def test_a_replayed_request_is_refused_and_the_lowest_counter_named() -> None:
    client = Client().associated()
    request = client.sealed(0xC8, get(VOLTAGE), counter=500)
    assert client.send(request)[0] == 0xCC
    assert client.send(request) == bytes.fromhex(REPLAYED) + struct.pack(">I", 501)
    assert client.ask(get(VOLTAGE), counter=499).startswith(REPLAYED)
    assert client.send(client.sealed(0xC8, get(VOLTAGE), counter=501))[0] == 0xCC
    assert client.counters.refusals == {"replayed": 2}


def test_counters_outlive_associations_and_connections() -> None:
    client = Client()
    client.counter = 70_000
    client.associated()
    again = Client(device=client.device)
    assert again.send(again.aarq(again.sealed(0x21, initiate(), counter=70_001))).hex().upper().startswith(REPLAYED)
    again.counter = 70_001
    aare = again.associated().send(again.sealed(0xC8, get(COUNTER_OBJECT, class_id=1)))
    assert axdr.decode(opened(aare)[0], 4)[0].value == again.counter


def test_the_meters_counter_does_not_fall_over_a_restart_without_a_file() -> None:
    first = LogicalDevice(MeterConfig("meter"), Behaviour()).invocation_counters.take()
    assert LogicalDevice(MeterConfig("meter"), Behaviour()).invocation_counters.take() >= first > 1_000_000


def test_a_forged_request_does_not_move_the_counter() -> None:
    client = Client().associated()
    assert client.ask(get(VOLTAGE), counter=0xFFFFFFFF, key=bytes(16)) == UNDECIPHERABLE
    assert client.send(client.sealed(0xC8, get(VOLTAGE)))[0] == 0xCC


@pytest.mark.parametrize(
    ("manner", "aarq", "request_"),
    [
        ("invocation-counter-error", "D80106", "D80106"),
        ("deciphering-error", "D80105", "D80105"),
        ("rejection", "61", "D80105"),
        ("silent", None, None),
    ],
)
def test_a_replay_is_answered_in_each_manner(manner: Any, aarq: str | None, request_: str | None) -> None:
    client = Client(Behaviour(replay_answer=manner)).associated()

    def begins(replies: list[bytes], expected: str | None) -> bool:
        return [reply.hex().upper().startswith(expected or "") for reply in replies] == ([] if expected is None else [True])

    assert begins(client.try_to_send(client.sealed(0xC8, get(VOLTAGE), counter=1)), request_)
    assert begins(client.try_to_send(client.aarq(client.sealed(0x21, initiate(), counter=1))), aarq)


@pytest.mark.parametrize(
    ("request_", "diagnostic"),
    [
        (lambda client: client.aarq(initiate()), 13),
        (lambda client: client.aarq(initiate(), context=1), 2),
        (lambda client: client.aarq(context=4), 2),
        (lambda client: client.aarq(title=b""), 3),
        (lambda client: client.aarq(title=b"SHORT"), 3),
        (lambda client: client.aarq(title=b"SOMEBODY"), 3),
        (lambda client: client.aarq(client.sealed(0x21, initiate(), key=bytes(16))), 13),
        (lambda client: client.aarq(client.sealed(0x21, b"\x01")), 1),
        (lambda client: client.aarq(b""), 13),
    ],
)
def test_an_association_without_the_protection_asked_for_is_rejected(request_: Any, diagnostic: int) -> None:
    client = Client(access={"client_system_title": CLIENT_TITLE})
    aare = client.send(request_(client))
    assert bytes.fromhex("A203020101A305A1030201") + bytes((diagnostic,)) in aare
    assert client.send(get(VOLTAGE)).hex().upper() == REFUSED
    assert client.counters.refused == 1


def test_the_public_client_cannot_cipher_and_reads_the_counter() -> None:
    client = Client(initial_client_counter=70_000)
    assert bytes.fromhex("A305A103020102") in client.send(client.aarq(), client=16)
    plain = Client(initial_client_counter=70_000)
    assert plain.send(plain.aarq(initiate(), context=1, title=b""), client=16)[:1] == b"\x61"
    for instance in (0, 1):
        name = COUNTER_OBJECT[:4] + bytes((instance, 255))
        reply = plain.send(get(name, class_id=1), client=16)
        assert axdr.decode(reply, 4)[0] == axdr.double_long_unsigned(70_000)


HIGH_SHA256 = bytes.fromhex("8A0207808B0760857405080206AC0A8008") + b"CHALLENG"


def high(access: Any = None, challenge: bytes = HIGH_SHA256) -> Client:
    client = Client(access={"authentication": "high-sha256", "secret": b"geheim", "security_policy": "none", **(access or {})})
    assert bytes.fromhex("A305A10302010E") in client.send(client.aarq(initiate(), context=1, mechanism=challenge))
    return client


def reply_to_hls(answer: bytes, name: str = "0000280000FF", method: int = 1) -> bytes:
    return bytes.fromhex("C301C1000F" + name) + bytes((method, 1, 9, len(answer))) + answer


@pytest.mark.parametrize(
    "request_",
    [
        get(VOLTAGE),
        bytes.fromhex("C101C100030100200700FF0200120000"),
        reply_to_hls(bytes(32), method=2),
        reply_to_hls(b"", "0000280001FF"),
        b"\xc3",
    ],
)
def test_before_the_client_is_authenticated_nothing_is_answered(request_: bytes) -> None:
    client = high()
    assert client.send(request_).hex().upper() == REFUSED
    assert client.counters.associations == 0


def test_a_wrong_answer_ends_the_association() -> None:
    client = high()
    assert client.send(reply_to_hls(bytes(32))).hex().upper() == "C701C10300"
    assert client.counters.refusals == {"authentication": 1}
    assert client.send(get(VOLTAGE)).hex().upper() == REFUSED
    assert client.send(reply_to_hls(bytes(32))).hex().upper() == REFUSED


@pytest.mark.parametrize("challenge", [b"", b"seven bt", bytes(65)])
def test_a_challenge_has_a_reasonable_length(challenge: bytes) -> None:
    client = Client(access={"authentication": "high-md5", "secret": b"geheim", "security_policy": "none"})
    mechanism = bytes.fromhex("8A0207808B0760857405080203") + field(0xAC, field(0x80, challenge))
    aare = client.send(client.aarq(initiate(), context=1, mechanism=mechanism))
    assert (bytes.fromhex("A203020100") in aare) == (8 <= len(challenge) <= 64)


def gmac_client(**config: Any) -> tuple[Client, bytes]:
    """A client after pass 2 with ciphering (whose last counter is 1), and the meter's challenge."""
    client = Client(access={"authentication": "high-gmac"}, **config)
    aare = client.send(client.aarq(mechanism=bytes.fromhex("8A0207808B0760857405080205AC0A8008") + b"CHALLENG"))
    assert bytes.fromhex("A305A10302010EA40A0408") + SERVER_TITLE in aare
    start = aare.index(bytes.fromhex("AA128010")) + 4
    return client, aare[start : start + 16]


def gmac(title: bytes, counter: int, challenge: bytes) -> bytes:
    number = struct.pack(">I", counter)
    tag = AESGCM(ENCRYPTION_KEY).encrypt(title + number, b"", b"\x10" + AUTHENTICATION_KEY + challenge)[:12]
    return b"\x10" + number + tag


@pytest.mark.parametrize(("inner", "outer"), [(2, 3), (2, 2), (9, 3)])
def test_gmac_proves_both_sides_and_its_counter_counts(inner: int, outer: int) -> None:
    client, challenge = gmac_client(initial_server_counter=100)
    request = client.sealed(0xCB, reply_to_hls(gmac(CLIENT_TITLE, inner, challenge)), counter=outer)
    plain, _ = opened(client.send(request))
    assert plain == bytes.fromhex("C701C10001000911") + gmac(SERVER_TITLE, 102, b"CHALLENG")
    assert client.ask(get(VOLTAGE), counter=max(inner, outer)).startswith(REPLAYED)
    assert client.send(client.sealed(0xC8, get(VOLTAGE), counter=max(inner, outer) + 1))[0] == 0xCC


@pytest.mark.parametrize("inner", [0, 1])
def test_a_gmac_under_an_old_counter_is_refused(inner: int) -> None:
    client, challenge = gmac_client()
    reply = client.send(client.sealed(0xCB, reply_to_hls(gmac(CLIENT_TITLE, inner, challenge)), counter=5))
    assert opened(reply)[0] == bytes.fromhex("C701C10300")
    assert client.counters.refusals == {"replayed": 1}


def test_pass_3_must_be_ciphered_too() -> None:
    client, challenge = gmac_client()
    assert client.send(reply_to_hls(gmac(CLIENT_TITLE, 2, challenge))).hex().upper() == REFUSED
    assert client.counters.refusals == {"plaintext": 1}


def test_ciphered_answers_fit_the_clients_pdu_size() -> None:
    client = Client().associated(max_pdu_size=100)
    reply = client.send(client.sealed(0xC8, get(bytes((0, 0, 40, 0, 0, 255)), class_id=15)))
    assert 80 < len(reply) <= 100
    assert opened(reply)[0][:3] == bytes.fromhex("C402C1")


def test_the_file_of_the_counters_is_read_and_written(tmp_path: Path) -> None:
    file = tmp_path / "counters.json"
    counters = InvocationCounters(5, 9, [1, 2], file)
    counters.accept(1, 70)
    assert [counters.take(), counters.take()] == [6, 7]
    again = InvocationCounters(0, None, [1, 2], file)
    assert (again.server, again.last(1), again.last(2)) == (7, 70, 9)
    for content in ("{}", "", "[]", '{"server": -1, "clients": {}}', '{"server": 1, "clients": {"1": 4294967296}}'):
        file.write_text(content)
        with pytest.raises(ValueError, match="does not hold invocation counters; remove it"):
            InvocationCounters(0, None, [1], file)
    with pytest.raises(OSError):
        InvocationCounters(0, None, [1], tmp_path / "missing" / "counters.json")


def truth_and_forgery(client: Client) -> tuple[bytes, bytes]:
    plain, _ = opened(client.send(client.sealed(0xC8, get(VOLTAGE))))
    return plain, forged(plain)


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_carries_the_truth_and_all_are_counted(name: str) -> None:
    behaviour = Behaviour()
    client = Client(behaviour).associated()
    honest, forgery = truth_and_forgery(client)
    setattr(behaviour, name, 1.0)
    last = client.device.invocation_counters.server
    for number in range(1, 101):
        reply = client.send(client.sealed(0xC8, get(VOLTAGE)))
        assert client.counters.attacks == {name: number}
        if name == "plaintext_reply":
            assert reply == forgery
            continue
        control, counter, content = reply[2], int.from_bytes(reply[3:7], "big"), reply[7:]
        fresh = client.device.invocation_counters.server
        assert (counter == fresh) == (name not in ("replayed_reply", "old_counter"))
        assert (control == 0x30) == (name not in ("flipped_control", "weaker_protection"))
        right = AESGCM(ENCRYPTION_KEY).encrypt(SERVER_TITLE + reply[3:7], honest, b"\x30" + AUTHENTICATION_KEY)[:-4]
        if name.startswith("flipped"):
            assert sum((a ^ b).bit_count() for a, b in zip(content + bytes((control,)), right + b"\x30", strict=True)) == 1
        else:
            assert content != right
    behaviour.reset()
    assert opened(client.send(client.sealed(0xC8, get(VOLTAGE))))[1] == last + 101


def test_a_reply_that_says_something_else_is_replayed_bit_by_bit() -> None:
    behaviour = Behaviour()
    client = Client(behaviour).associated()
    earlier = client.send(client.sealed(0xC8, get(FREQUENCY)))
    behaviour.replayed_reply = 1.0
    assert client.send(client.sealed(0xC8, get(VOLTAGE))) == earlier
    again = client.send(client.sealed(0xC8, get(FREQUENCY)))
    assert opened(again)[0] == forged(opened(earlier)[0])
    assert again[3:7] == earlier[3:7]


def test_a_general_reply_under_a_foreign_title_names_it() -> None:
    client = Client(Behaviour(foreign_title=1.0)).associated()
    reply = client.send(client.sealed(0xDB, get(VOLTAGE), title=CLIENT_TITLE))
    title = reply[2:10]
    assert sum((a ^ b).bit_count() for a, b in zip(title, SERVER_TITLE, strict=True)) == 1
    _, start = axdr.decode_length(reply, 10)
    plain = forged(bytes.fromhex("C401C100") + axdr.encode(axdr.long_unsigned(0)))
    right = AESGCM(ENCRYPTION_KEY).encrypt(title + reply[start + 1 : start + 5], plain, b"\x30" + AUTHENTICATION_KEY)[:-4]
    assert reply[start + 5 :] == right


def test_under_a_dedicated_key_the_counters_of_attacks_are_its_own() -> None:
    behaviour = Behaviour(old_counter=1.0)
    client = Client(behaviour, initial_server_counter=5000).associated(DEDICATED_KEY)
    honest, _ = opened(client.send(client.sealed(0xD0, get(VOLTAGE), key=DEDICATED_KEY)), DEDICATED_KEY)
    assert not client.counters.attacks  # nothing is older than the first reply under a key
    replies = [client.send(client.sealed(0xD0, get(VOLTAGE), key=DEDICATED_KEY)) for _ in range(20)]
    opened_replies = [opened(reply, DEDICATED_KEY) for reply in replies]
    assert all(counter <= number for number, (_, counter) in enumerate(opened_replies, start=1))
    assert {plain for plain, _ in opened_replies} == {forged(honest)}


def test_attacks_are_the_same_for_the_same_seed_and_only_on_ciphered_gets() -> None:
    def sent() -> tuple[Counter[str], list[bytes]]:
        client = Client(Behaviour(**dict.fromkeys(ATTACKS, 0.1))).associated()
        replies = [client.send(client.sealed(0xC8, get(VOLTAGE))) for _ in range(200)]
        return client.counters.attacks, replies

    assert sent() == sent()
    assert set(sent()[0]) == set(ATTACKS)
    plain = Client(Behaviour(**dict.fromkeys(ATTACKS, 1.0)))
    plain.send(plain.aarq(initiate(), context=1, title=b""), client=16)
    assert plain.send(get(VOLTAGE), client=16)[0] == 0xC4
    assert not plain.counters.attacks


def test_forged_values_keep_type_and_length() -> None:
    long, text = axdr.encode(axdr.long_unsigned(23_000)), axdr.encode(axdr.octet_string(b"12345678"))
    head = bytes.fromhex("C401C100")
    assert forged(head + long) == head + bytes((0x12, FORGED_BYTE, FORGED_BYTE))
    assert forged(bytes.fromhex("C403C1030001040100")[:4] + b"\x00" + long + b"\x01\x04\x00" + text) == (
        bytes.fromhex("C403C103") + b"\x00" + bytes((0x12, FORGED_BYTE, FORGED_BYTE)) + b"\x01\x04\x00\x09\x08" + bytes((FORGED_BYTE,)) * 8
    )
    assert forged(bytes.fromhex("C401C10104")) == bytes.fromhex("C401C10104")


@given(st.binary(max_size=40), st.sampled_from([0xC0, 0xC8, 0xD0, 0xDB, 0xDC, 0xCB, 0x60, 0x62]))
def test_any_apdu_on_a_ciphered_association_has_an_answer(rest: bytes, tag: int) -> None:
    client = Client().associated(DEDICATED_KEY)
    assert len(client.try_to_send(bytes((tag,)) + rest)) == 1


@given(st.binary(max_size=60))
def test_any_plaintext_under_the_right_key_has_an_answer(plain: bytes) -> None:
    client = Client().associated()
    assert len(client.try_to_send(client.sealed(0xDB, plain))) == 1
