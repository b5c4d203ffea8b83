"""AES-GCM and the forms of ciphered APDUs, with the example of the DLMS UA Green Book."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.meter.axdr import DataError
from simulator.meter.ciphered_apdu import CipheredApdu, Form, form_of, has_form, parse_ciphered
from simulator.meter.protection import Keys, ProtectionError, protect, unprotect

KEYS = Keys(bytes(range(16)), bytes(range(0xD0, 0xE0)))
LONG_KEYS = Keys(bytes(range(32)), bytes(range(0xC0, 0xE0)))
TITLE = bytes.fromhex("4D4D4D0000BC614E")
COUNTER = 0x01234567
GET_CLOCK = bytes.fromhex("C0010000080000010000FF0200")
INITIATE = bytes.fromhex("01011000112233445566778899AABBCCDDEEFF0000065F1F0400007E1F04B0")
EXAMPLES = [
    (0x10, GET_CLOCK, "C81E1001234567C0010000080000010000FF020006725D910F9221D263877516"),
    (0x20, GET_CLOCK, "C8122001234567411312FF935A47566827C467BC"),
    (0x30, GET_CLOCK, "C81E3001234567411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B"),
    (
        0x30,
        INITIATE,
        "21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE6FDB8E356855",
    ),
]


@pytest.mark.parametrize(("control", "plaintext", "ciphered"), EXAMPLES)
def test_the_examples_of_the_green_book(control: int, plaintext: bytes, ciphered: str) -> None:
    content = protect(KEYS, TITLE, control, COUNTER, plaintext)
    message = CipheredApdu(Form.GLOBAL, plaintext[0], b"", control, COUNTER, content)
    assert message.encode() == bytes.fromhex(ciphered)
    assert parse_ciphered(bytes.fromhex(ciphered)) == message
    assert unprotect(KEYS, TITLE, control, COUNTER, content) == plaintext


@pytest.mark.parametrize("control", [0x00, 0x10, 0x20, 0x30, 0x12, 0x32])
@pytest.mark.parametrize("keys", [KEYS, LONG_KEYS])
@given(plaintext=st.binary(max_size=200), counter=st.integers(0, 0xFFFFFFFF))
def test_what_is_protected_is_opened_again(control: int, keys: Keys, plaintext: bytes, counter: int) -> None:
    assert unprotect(keys, TITLE, control, counter, protect(keys, TITLE, control, counter, plaintext)) == plaintext


@pytest.mark.parametrize("control", [0x10, 0x30])
@given(bit=st.integers(0, 8 * (len(GET_CLOCK) + 12) - 1))
def test_a_flipped_bit_is_noticed(control: int, bit: int) -> None:
    content = bytearray(protect(KEYS, TITLE, control, COUNTER, GET_CLOCK))
    content[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProtectionError):
        unprotect(KEYS, TITLE, control, COUNTER, bytes(content))


@pytest.mark.parametrize("control", [0x10, 0x30])
def test_other_title_counter_control_or_key_is_noticed(control: int) -> None:
    content = protect(KEYS, TITLE, control, COUNTER, GET_CLOCK)
    others = [
        (KEYS, TITLE[:-1] + b"\x00", control, COUNTER),
        (KEYS, TITLE, control, COUNTER + 1),
        (KEYS, TITLE, control | 1, COUNTER),
        (Keys(KEYS.block_cipher_key, bytes(16)), TITLE, control, COUNTER),
        (Keys(bytes(16), KEYS.authentication_key), TITLE, control, COUNTER),
    ]
    for keys, title, other_control, counter in others:
        with pytest.raises(ProtectionError):
            unprotect(keys, title, other_control, counter, content)
    with pytest.raises(ProtectionError, match="missing"):
        unprotect(KEYS, TITLE, control, COUNTER, content[:11])


@pytest.mark.parametrize(("form", "tag"), [(Form.GLOBAL, 0xCC), (Form.DEDICATED, 0xD4)])
def test_the_tags_of_responses(form: Form, tag: int) -> None:
    assert CipheredApdu(form, 0xC4, b"", 0x30, 1, b"").encode() == bytes((tag, 5, 0x30, 0, 0, 0, 1))
    assert has_form(0xC4, form) and not has_form(0xD8, form)
    assert form_of(bytes((tag,))) is form


@pytest.mark.parametrize(("form", "tag"), [(Form.GENERAL_GLOBAL, 0xDB), (Form.GENERAL_DEDICATED, 0xDC)])
def test_the_general_forms_name_their_sender(form: Form, tag: int) -> None:
    message = CipheredApdu(form, None, TITLE, 0x30, 7, bytes(200))
    assert message.encode() == bytes((tag, 8)) + TITLE + bytes.fromhex("81CD3000000007") + bytes(200)
    assert parse_ciphered(message.encode()) == message
    assert has_form(0xD8, form)


@given(st.sampled_from([0x21, 0x28, 0xC8, 0xD4, 0xDB, 0xDC, 0xC0]), st.binary(max_size=40))
def test_any_bytes_are_a_ciphered_apdu_or_a_data_error(tag: int, rest: bytes) -> None:
    try:
        message = parse_ciphered(bytes((tag,)) + rest)
    except DataError:
        return
    assert parse_ciphered(message.encode()) == message


def test_keys_are_in_no_repr() -> None:
    assert "\\x01\\x02" not in repr(KEYS)
