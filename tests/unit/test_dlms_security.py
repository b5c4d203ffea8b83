"""Whole secured conversations with a scripted meter, and every way in which someone on the line can lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.conversation import Conversation
from connectors.dlms.events import (
    Answered,
    Associated,
    Attribute,
    AttributeResult,
    Discarded,
    Dropped,
    Event,
    Refused,
    Released,
    ServiceRefused,
    Transmit,
    Violated,
)
from connectors.dlms.security.association import Security
from connectors.dlms.security.protection import Policy, protect, read_header
from connectors.dlms.states import State
from connectors.dlms.wrapper import wrap
from model.messages import Violation
from model.settings.meter import MeterSettings
from tests.unit.secured_meter import CLIENT_TITLE, SERVER_TITLE, Counter, SecuredMeter, secured

ENERGY = Attribute(3, bytes([1, 0, 1, 8, 0, 255]), 2)
RIGHT = Answered((AttributeResult(ENERGY, 5),))
UA = bytes.fromhex("7EA023210002002373F6C58180140502008006020080070400000001080400000001CE6A7E")
MECHANISMS = ("none", "low", "high", "high-md5", "high-sha1", "high-sha256", "high-gmac")
POLICIES = ("none", "authentication", "encryption", "authenticated-encryption")


class Pair:
    """A client and a meter joined in memory, with the wrapper; `counter` survives a new association."""

    def __init__(self, settings: MeterSettings) -> None:
        self.counter = Counter()
        self.client = Conversation(settings, Security(settings, self.counter))
        self.meter = SecuredMeter(settings)
        self.sent: list[bytes] = []

    def answers(self, data: bytes) -> bytes:
        """What the honest meter sends back for `data`."""
        self.sent.append(data)
        return self.meter.answer(data[8:])

    def receive(self, apdu: bytes) -> list[Event]:
        return self.client.receive(wrap(1, 16, apdu))

    def associate(self) -> Event:
        """Run passes 1 to 4 and return what came of them."""
        (event,) = self.receive(self.answers(self.client.open()))
        while isinstance(event, Transmit):
            (event,) = self.receive(self.answers(event.data))
        return event

    def read(self) -> list[Event]:
        return self.receive(self.answers(self.client.get([ENERGY])))


def pair(authentication: str = "high-gmac", policy: str = "authenticated-encryption", suite: int = 0, **more: Any) -> Pair:
    joined = Pair(secured(authentication, policy, suite, **more))
    assert isinstance(joined.associate(), Associated)
    assert joined.client.state is State.ASSOCIATED
    return joined


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("authentication", MECHANISMS)
def test_read_and_release(authentication: str, policy: str, suite: int) -> None:
    if (authentication, policy) in (("none", "none"), ("low", "none")) or (policy == "none" and suite):
        return
    joined = pair(authentication, policy, suite if policy != "none" else 0)
    assert joined.read() == joined.read() == [RIGHT]
    assert joined.receive(b"\x63\x03\x80\x01\x00" if joined.client.release() else b"") == [Released()]


@pytest.mark.parametrize("policy", ["encryption", "authenticated-encryption"])
@pytest.mark.parametrize("ciphering", ["service-specific", "general"])
@pytest.mark.parametrize("dedicated", [True, False])
def test_dedicated_keys_and_general_ciphering(policy: str, ciphering: str, dedicated: bool) -> None:
    joined = pair("high-gmac", policy, ciphering=ciphering, dedicated_key=dedicated)
    assert joined.read() == joined.read() == [RIGHT]
    tags = {("service-specific", True): 0xD0, ("service-specific", False): 0xC8, ("general", True): 0xDC, ("general", False): 0xDB}
    assert joined.sent[-1][8] == tags[ciphering, dedicated]


@pytest.mark.parametrize(("dedicated", "tag"), [(False, 0x25), (True, 0x45)])
def test_short_names_are_read_under_ciphering(dedicated: bool, tag: int) -> None:
    joined = pair("low", referencing="short", dedicated_key=dedicated)
    assert joined.sent[0][8:].startswith(b"\x60") and bytes.fromhex("60857405080104") in joined.sent[0]
    named = Attribute(3, ENERGY.logical_name, 2, 0x1000)
    (event,) = joined.receive(joined.answers(joined.client.get([named])))
    assert joined.sent[-1][8] == tag
    assert event == Answered((AttributeResult(named, 5),))
    joined.client.get([named])
    (event,) = joined.receive(b"\x0c\x01\x00\x11\x05")
    assert isinstance(event, Violated) and event.violation is Violation.PLAINTEXT


def test_each_association_has_a_dedicated_key_and_a_challenge_of_its_own() -> None:
    joined = pair(dedicated_key=True)
    first = joined.meter.dedicated, joined.meter.client
    assert isinstance(joined.associate(), Associated)
    assert joined.meter.dedicated != first[0] and joined.meter.client != first[1]
    assert joined.read() == [RIGHT]


def test_no_counter_is_ever_used_twice() -> None:
    joined = pair()
    for _ in range(5):
        joined.read()
        joined.associate()
    headers = [read_header(data[8:]).counter for data in joined.sent if data[8] != 0x60]
    assert len(headers) == len(set(headers)) and headers == sorted(headers)


def replayed(joined: Pair, honest: bytes) -> bytes:
    joined.receive(honest)
    joined.client.get([ENERGY])
    return honest


def flip(position: int) -> Callable[[Pair, bytes], bytes]:
    def attack(_joined: Pair, honest: bytes) -> bytes:
        flipped = bytearray(honest)
        flipped[position] ^= 0x10
        return bytes(flipped)

    return attack


def weaker(policy: Policy) -> Callable[[Pair, bytes], bytes]:
    def attack(joined: Pair, honest: bytes) -> bytes:
        assert joined.meter.keys is not None
        plain = b"\xc4\x01" + bytes([0xC0 | joined.client._invoke_id]) + b"\x00\x11\x05"
        return protect(plain, joined.meter.keys, policy, SERVER_TITLE, 1000)

    return attack


def plaintext(joined: Pair, _honest: bytes) -> bytes:
    return b"\xc4\x01" + bytes([0xC0 | joined.client._invoke_id]) + b"\x00\x11\x05"


def from_a_stranger(joined: Pair, _honest: bytes) -> bytes:
    assert joined.meter.keys is not None
    return protect(plaintext(joined, b""), joined.meter.keys, joined.meter.policy, b"STRANGER", 1000, general=True)


def by_a_stranger_who_hides(joined: Pair, _honest: bytes) -> bytes:
    assert joined.meter.keys is not None
    return protect(plaintext(joined, b""), joined.meter.keys, joined.meter.policy, b"STRANGER", 1000)


def mirrored(joined: Pair, _honest: bytes) -> bytes:
    """Our own request sent back to us."""
    return joined.sent[-1][8:]


ATTACKS = {
    "flipped tag": (flip(-1), Violation.WRONG_TAG),
    "flipped ciphertext": (flip(8), Violation.WRONG_TAG),
    "raised counter": (flip(4), Violation.WRONG_TAG),
    "replay": (replayed, Violation.OLD_COUNTER),
    "plaintext": (plaintext, Violation.PLAINTEXT),
    "authenticated only": (weaker(Policy.AUTHENTICATION), Violation.WEAKER_PROTECTION),
    "encrypted only": (weaker(Policy.ENCRYPTION), Violation.WEAKER_PROTECTION),
    "stranger": (from_a_stranger, Violation.FOREIGN_TITLE),
    "hidden stranger": (by_a_stranger_who_hides, Violation.WRONG_TAG),
    "mirror": (mirrored, Violation.WRONG_TAG),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_no_value_and_ends_the_association_and_the_next_honest_reply_is_read(name: str) -> None:
    attack, violation = ATTACKS[name]
    joined = pair()
    forged = attack(joined, joined.answers(joined.client.get([ENERGY])))
    (event,) = joined.receive(forged)
    assert isinstance(event, Violated)
    assert (event.violation, event.stands) == (violation, False)
    assert joined.client.state is State.CONNECTED
    assert isinstance(joined.associate(), Associated)
    assert joined.read() == [RIGHT]


@given(data=st.data())
def test_no_change_of_any_bits_is_believed(data: st.DataObject) -> None:
    joined = pair()
    forged = bytearray(joined.answers(joined.client.get([ENERGY])))
    for bit in data.draw(st.sets(st.integers(0, 8 * len(forged) - 1), min_size=1, max_size=20)):
        forged[bit // 8] ^= 1 << bit % 8
    events = joined.receive(bytes(forged))
    assert not [event for event in events if isinstance(event, Answered)]
    assert [type(event) for event in events] in ([Violated], [Discarded], [ServiceRefused], [Dropped])
    # What the standard lets be plain is no violation, and no value either.
    assert isinstance(events[0], Violated) or forged[0] in (0x0E, 0x0F, 0x18, 0x61, 0x63, 0xC2, 0xD8)


@given(apdu=st.binary(min_size=1, max_size=100))
def test_no_bytes_at_all_are_believed(apdu: bytes) -> None:
    joined = pair()
    joined.client.get([ENERGY])
    assert not [event for event in joined.receive(apdu) if isinstance(event, Answered)]


def test_a_recording_of_the_whole_association_before_is_not_believed() -> None:
    """Without a challenge only the counter tells: it must be remembered from one association to the next."""
    joined = pair("low")
    settings = secured("low", "authenticated-encryption")
    recording = [joined.answers(joined.client.open())]
    joined.receive(recording[0])
    again = Conversation(settings, Security(settings, joined.counter))
    again.open()
    (event,) = again.receive(wrap(1, 16, recording[0]))
    assert isinstance(event, Violated) and event.violation is Violation.OLD_COUNTER


def test_a_counter_that_nobody_authenticates_locks_nobody_out_for_good() -> None:
    joined = pair("low", "encryption")
    joined.meter.counter = 0xFFFFFFF0
    assert joined.read() == [RIGHT]
    joined.meter.counter = 100
    assert isinstance(joined.associate(), Associated)
    assert joined.read() == [RIGHT]


def test_a_meter_whose_counter_restarts_is_read_where_the_settings_say_so() -> None:
    joined = pair(server_counter_restarts=True)
    joined.meter.counter = 0
    assert isinstance(joined.associate(), Associated)
    assert joined.read() == [RIGHT]
    strict = pair()
    strict.meter.counter = 0
    event = strict.associate()
    assert isinstance(event, Violated) and event.violation is Violation.OLD_COUNTER


@pytest.mark.parametrize("mechanism", [name for name in MECHANISMS if name.startswith("high")])
def test_a_meter_that_cannot_prove_itself_is_refused(mechanism: str) -> None:
    for policy in ("none", "authenticated-encryption"):
        joined = Pair(secured(mechanism, policy))
        joined.meter.spoil_proof = lambda proof: proof[:-1] + bytes([proof[-1] ^ 1])
        event = joined.associate()
        assert isinstance(event, Violated) and event.violation is Violation.UNPROVEN
        assert joined.counter.server_title == b""
        joined.meter.spoil_proof = lambda proof: b""
        assert isinstance(joined.associate(), Violated)


@pytest.mark.parametrize(
    "challenge", [lambda client: client.challenge, lambda client: b"", lambda client: b"1234567"], ids=["ours", "none", "short"]
)
@pytest.mark.parametrize("policy", ["none", "authenticated-encryption"])
def test_a_meter_with_a_dishonest_challenge_is_refused(challenge: Callable[[Any], bytes], policy: str) -> None:
    joined = Pair(secured("high-md5", policy))
    joined.meter.challenge = challenge
    event = joined.associate()
    assert isinstance(event, Violated) and event.violation is Violation.UNPROVEN


def test_the_title_that_was_proven_is_the_one_from_then_on() -> None:
    joined = pair()
    assert joined.counter.server_title == SERVER_TITLE
    joined.meter.title = b"OTHERONE"
    event = joined.associate()
    assert isinstance(event, Violated) and event.violation is Violation.FOREIGN_TITLE
    assert joined.counter.server_title == SERVER_TITLE


@pytest.mark.parametrize("title", [CLIENT_TITLE, b"OTHERONE"])
def test_a_title_that_is_ours_or_not_the_configured_one_is_refused(title: bytes) -> None:
    joined = Pair(secured("high-gmac", "authenticated-encryption", server_system_title=SERVER_TITLE.hex()))
    joined.meter.title = title
    event = joined.associate()
    assert isinstance(event, Violated) and event.violation is Violation.FOREIGN_TITLE


def test_a_meter_without_a_title_needs_one_in_the_settings() -> None:
    for title in (None, SERVER_TITLE.hex()):
        joined = Pair(secured("high-gmac", "authenticated-encryption", server_system_title=title))
        joined.meter.states_title = False
        event = joined.associate()
        assert isinstance(event, Violated if title is None else Associated)


def test_an_association_in_plain_where_a_ciphered_one_was_asked_for_is_a_downgrade() -> None:
    joined = Pair(secured("low", "authenticated-encryption"))
    joined.client.open()
    plain = bytes.fromhex("6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040000121404c80007")
    (event,) = joined.receive(plain)
    assert isinstance(event, Violated)


@pytest.mark.parametrize(
    ("exception", "expected"),
    [
        ("d80102", ServiceRefused),
        ("0e010502", ServiceRefused),
        ("d80206000003e8", Dropped),
        ("d80105", Dropped),
    ],
)
def test_a_plain_error_is_an_error_and_no_violation(exception: str, expected: type[Event]) -> None:
    joined = pair()
    joined.client.get([ENERGY])
    (event,) = joined.receive(bytes.fromhex(exception))
    assert isinstance(event, expected)
    assert not isinstance(event, Dropped) or event.counter


@pytest.mark.parametrize("exception", ["d80106000003e8", "d80105"])
def test_a_refused_counter_is_told_apart_from_other_refusals(exception: str) -> None:
    joined = Pair(secured("high-gmac", "authenticated-encryption"))
    joined.client.open()
    (event,) = joined.receive(bytes.fromhex(exception))
    assert isinstance(event, Refused) and event.counter


def test_a_protected_error_is_understood() -> None:
    joined = pair()
    joined.client.get([ENERGY])
    assert isinstance(joined.receive(joined.meter.protected(bytes.fromhex("0e010502")))[0], ServiceRefused)


def test_a_plain_notification_between_requests_disturbs_nobody() -> None:
    joined = pair()
    answer = joined.answers(joined.client.get([ENERGY]))
    assert isinstance(joined.receive(bytes.fromhex("0f0000000100110500"))[0], Discarded)
    assert joined.receive(answer) == [RIGHT]


def test_an_aare_in_the_middle_of_an_association_changes_nothing() -> None:
    joined = pair()
    answer = joined.answers(joined.client.get([ENERGY]))
    again = joined.meter.answer(joined.client._security.associate(0x1214, 1024))  # type: ignore[union-attr]
    refused = bytes.fromhex("6117a109060760857405080101a203020101a305a10302010d")
    assert [type(event) for apdu in (again, refused) for event in joined.receive(apdu)] == [Discarded, Discarded]
    assert joined.receive(answer) == [RIGHT]


def test_a_copy_of_an_answer_is_counted_but_ends_nothing_while_nothing_is_awaited() -> None:
    joined = pair()
    answer = joined.answers(joined.client.get([ENERGY]))
    assert joined.receive(answer) == [RIGHT]
    (event,) = joined.receive(answer)
    assert isinstance(event, Violated) and (event.violation, event.stands) == (Violation.OLD_COUNTER, True)
    assert joined.read() == [RIGHT]


def test_with_the_wrapper_a_repetition_is_protected_anew() -> None:
    joined = pair()
    first = joined.client.get([ENERGY])
    second = joined.client.resend()
    assert read_header(second[8:]).counter == read_header(first[8:]).counter + 1
    joined.answers(first)
    assert joined.receive(joined.answers(second)) == [RIGHT]


def test_with_hdlc_a_repetition_is_the_same_bytes() -> None:
    settings = secured("high-gmac", "authenticated-encryption", framing="hdlc", server_address_size=4)
    client = Conversation(settings, Security(settings, Counter()))
    client.open()
    (event,) = client.receive(UA)
    assert isinstance(event, Transmit)
    assert client.resend() == client.resend() == event.data


@pytest.mark.parametrize("more", [{}, {"ciphering": "general"}, {"ciphering": "general", "dedicated_key": True}])
def test_a_list_fits_the_meters_pdu_size_with_its_protection(more: dict[str, Any]) -> None:
    joined = pair(**more)
    count = joined.client.fits([ENERGY] * 255, 255)
    assert 1224 - 40 < len(joined.client.get([ENERGY] * count)) - 8 <= 1224


def test_a_protected_release_carries_the_initiate_request() -> None:
    joined = pair(protected_release=True)
    apdu = joined.client.release()[8:]
    assert apdu[0] == 0x62 and b"\xbe" in apdu
    assert joined.receive(b"\x63\x03\x80\x01\x00") == [Released()]


def test_settings_with_security_need_something_that_protects() -> None:
    with pytest.raises(ValueError, match="keys and counters"):
        Conversation(secured("high-gmac", "authenticated-encryption"))


@pytest.mark.parametrize("dedicated", [True, False])
def test_the_trace_shows_header_and_contents_but_no_secret(dedicated: bool) -> None:
    joined = Pair(secured("high-gmac", "authenticated-encryption", dedicated_key=dedicated))
    lines = []

    def traced(data: bytes, sent: bool) -> bytes:
        lines.append(joined.client.trace(data, sent))
        return data

    (event,) = joined.client.receive(traced(wrap(1, 16, joined.answers(traced(joined.client.open(), True))), False))
    assert isinstance(event, Transmit)
    joined.client.receive(traced(wrap(1, 16, joined.answers(traced(event.data, True))), False))
    joined.client.receive(traced(wrap(1, 16, joined.answers(traced(joined.client.get([ENERGY]), True))), False))
    text = "\n".join(lines)
    assert "GET-request-normal" in text and "1.0.1.8.0.255 class 3 attribute 2" in text and ": GET-response-normal" in text
    assert "security control 30, counter" in text
    assert joined.meter.keys is not None
    secret = [joined.meter.keys.encryption, joined.meter.keys.authentication]
    secret += [] if joined.meter.dedicated is None else [joined.meter.dedicated.encryption]
    for key in secret:
        assert key.hex() not in text.lower()
