"""Everything that takes bytes from outside, each as one function of bytes: a target fails by raising what nobody declared.

The same targets run briefly in the test suite (`test_fuzz.py`) and for as long as one likes under a coverage-guided
fuzzer (`python -m tests.fuzz`, see `__main__.py`). A target gets the bytes that a meter or the network would have sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from connectors.dlms import cosem
from connectors.dlms.apdu import describe, replies
from connectors.dlms.axdr import CosemError
from connectors.dlms.conversation import Conversation
from connectors.dlms.events import Answered, Attribute, Discarded, Transmit
from connectors.dlms.hdlc.frame import Address, Frame, FrameType
from connectors.dlms.hdlc.scanner import FrameScanner
from connectors.dlms.scanner import Scanner
from connectors.dlms.security.association import Security
from connectors.dlms.security.protection import Keys, NotAuthentic, Policy, Suite, protect, unprotect
from connectors.dlms.states import State
from connectors.dlms.wrapper import WrapperScanner, wrap
from connectors.thingsboard.limits import parse_limits
from model.settings.meter import MeterSettings
from tests.fuzz.push_targets import push_ciphered, push_hdlc, push_m_bus, push_wrapper

Target = Callable[[bytes], None]

ASKED = (
    Attribute(3, bytes([1, 0, 1, 8, 0, 255]), 2),
    Attribute(8, bytes([0, 0, 1, 0, 0, 255]), 2),
    Attribute(1, bytes([0, 0, 42, 0, 0, 255]), 2),
    Attribute(7, bytes([1, 0, 99, 1, 0, 255]), 2),
)
"""A register, the clock, a text and a load profile: what they answer is rendered by different rules."""

UA = bytes.fromhex("7EA023210002002373F6C58180140502008006020080070400000001080400000001CE6A7E")
AARE = bytes.fromhex("6129a109060760857405080101a203020100a305a103020100be10040e0800065f1f040000121404c80007")

KEYS = Keys(Suite.SUITE_0, bytes(range(16)), bytes(range(100, 116)))
SERVER_TITLE = b"SERVER01"
SECRET_VALUE = 4711
"""What an honest ciphered meter answers: nothing else may ever come out of one."""
CIPHERED = MeterSettings(
    id="m",
    connect="tcp://h:1",
    framing="wrapper",
    template="t",
    authentication="low",
    password="12345678",
    security_policy="authenticated-encryption",
    block_cipher_key=KEYS.encryption.hex(),
    authentication_key=KEYS.authentication.hex(),
    client_system_title="434C49454E543031",
    server_system_title=SERVER_TITLE.hex(),
)


def ciphered(apdu: bytes, counter: int, general: bool = False) -> bytes:
    """`apdu` as the honest ciphered meter sends it."""
    return protect(apdu, KEYS, Policy.AUTHENTICATED_ENCRYPTION, SERVER_TITLE, counter, general=general)


def ciphered_value(invoke_id: int) -> bytes:
    """The honest GET-response of the ciphered meter."""
    return bytes([0xC4, 1, 0xC0 | invoke_id, 0, 0x06]) + SECRET_VALUE.to_bytes(4, "big")


GATEWAY = bytes.fromhex("e7000131")
"""The prefix of a reply that a gateway hands on from the device "1"."""


def frame_scanner(data: bytes) -> None:
    """HDLC frames in a stream; however the bytes are cut, the same comes of them."""
    whole, cut = _scan(FrameScanner, data)
    assert whole == cut


def wrapper_scanner(data: bytes) -> None:
    """Wrapper messages in a stream. How they are cut may matter: a lost end is noticed when the next message is there."""
    _scan(lambda: WrapperScanner(1, 16), data)


def reply(data: bytes) -> None:
    """An APDU from a meter, parsed and told in words."""
    describe.describe(data)
    try:
        replies.parse(data)
    except CosemError:
        return


def value(data: bytes) -> None:
    """A COSEM value, decoded and rendered as each kind of attribute."""
    try:
        decoded = cosem.decode(data)
    except CosemError:
        return
    for attribute in ASKED:
        try:
            cosem.render(decoded, attribute)
        except CosemError:
            continue
    for use in (cosem.scaler_unit, cosem.clock_time):
        try:
            use(decoded)  # type: ignore[operator]
        except CosemError:
            continue


def hdlc_conversation(data: bytes) -> None:
    """What a meter says on an HDLC link, from any state on."""
    _converse(MeterSettings(id="m", connect="tcp://h:1", server_physical=17, server_address_size=4, template="t"), data)


def wrapper_conversation(data: bytes) -> None:
    """What a meter says through the wrapper, from any state on."""
    _converse(MeterSettings(id="m", connect="tcp://h:1", framing="wrapper", template="t"), data)


def ciphered_apdu(data: bytes) -> None:
    """A protected APDU: what comes out is what the holder of the keys put in."""
    try:
        opened = unprotect(data, KEYS, Policy.AUTHENTICATED_ENCRYPTION, SERVER_TITLE, None)
    except NotAuthentic:
        return
    assert opened.apdu in {ciphered_value(invoke_id) for invoke_id in range(16)}


def ciphered_conversation(data: bytes) -> None:
    """What anybody says in the name of a ciphered meter; only its own value ever comes out."""
    conversation = Conversation(CIPHERED, Security(CIPHERED, _Counter()))
    conversation.open()
    if data[:1] and data[0] & 1:
        response = ciphered(bytes.fromhex("0800065f1f040000121404c80007"), 1)
        body = bytes.fromhex("a109060760857405080103a203020100a305a103020100") + bytes([0xBE, len(response) + 2, 4, len(response)])
        _answer(conversation, wrap(1, 16, bytes([0x61, len(body) + len(response)]) + body + response))
        assert conversation.state is State.ASSOCIATED
        conversation.get(ASKED[:1])
    for event in conversation.receive(data[1:]):
        assert not isinstance(event, Answered) or event.results[0].data == SECRET_VALUE
    conversation.trace(data[1:], sent=False)
    conversation.disconnect()


class _Counter:
    """An invocation counter in memory."""

    server_title = b""
    server_counter: int | None = None
    last = 0

    def next(self) -> int:
        """The next number."""
        self.last += 1
        return self.last


def short_names_conversation(data: bytes) -> None:
    """What a meter says that is read by short names: object list, blocks, results."""
    _converse(MeterSettings(id="m", connect="tcp://h:1", framing="wrapper", referencing="short", template="t"), data)


def windowed_gateway_conversation(data: bytes) -> None:
    """What a gateway says on an HDLC link on which it may send several frames at a time."""
    meter = MeterSettings(
        id="m", connect="tcp://h:1", server_physical=17, server_address_size=4, hdlc_window=7, gateway_address="1", template="t"
    )
    _converse(meter, data)


def server_limits(data: bytes) -> None:
    """The server's answer to getSessionLimits."""
    parse_limits(data)


TARGETS: dict[str, Target] = {
    target.__name__.replace("_", "-"): target
    for target in (
        frame_scanner,
        wrapper_scanner,
        reply,
        value,
        hdlc_conversation,
        wrapper_conversation,
        ciphered_apdu,
        ciphered_conversation,
        short_names_conversation,
        windowed_gateway_conversation,
        server_limits,
        push_hdlc,
        push_wrapper,
        push_m_bus,
        push_ciphered,
    )
}


def _scan(scanner: Callable[[], Scanner[Any]], data: bytes) -> tuple[list[object], list[object]]:
    """The messages found in `data` as a whole, and in pieces of seven bytes."""
    pieces = scanner()
    whole = scanner().feed(data)
    cut = [item for start in range(0, len(data), 7) for item in pieces.feed(data[start : start + 7])]
    for found in (whole, cut):
        assert sum(item.count for item in found if isinstance(item, Discarded)) <= len(data)
    return _messages(whole), _messages(cut)


def _messages(found: list[object]) -> list[object]:
    return [item for item in found if not isinstance(item, Discarded)]


def _converse(settings: MeterSettings, data: bytes) -> None:
    """The first byte says how far the conversation has come, the others are what the meter says then, in two pieces."""
    if not data:
        return
    progress, said = data[0], data[1:]
    conversation = Conversation(settings)
    conversation.open()
    if progress & 1:
        if settings.framing == "hdlc":
            _answer(conversation, UA)
        _associate(conversation, settings)
    if progress & 2 and conversation.state is State.ASSOCIATED:
        conversation.get(ASKED if progress & 4 else ASKED[:1])
    half = len(said) // 2
    for piece in (said[:half], said[half:]):
        _answer(conversation, piece)
        conversation.trace(piece, sent=False)
    if progress & 8 and conversation.state is State.ASSOCIATED:
        conversation.release()
        _answer(conversation, said)
    conversation.disconnect()
    _answer(conversation, said)


def _answer(conversation: Conversation, data: bytes) -> None:
    for event in conversation.receive(data):
        assert not isinstance(event, Transmit) or event.data


def _associate(conversation: Conversation, settings: MeterSettings) -> None:
    if settings.framing == "wrapper":
        _answer(conversation, wrap(settings.server_logical, settings.client_sap, AARE))
        return
    information = b"\xe6\xe7\x00" + (b"" if settings.gateway_address is None else GATEWAY) + AARE
    frame = Frame(FrameType.I, Address(settings.client_sap), Address(1, 17, 4), information, ns=0, nr=1, final=True)
    _answer(conversation, frame.encode())
