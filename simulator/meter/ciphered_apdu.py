"""The wire form of ciphered APDUs (IEC 62056-5-3): glo-, ded-, general-glo- and general-ded-ciphering."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from simulator.meter.axdr import DataError, decode_length, encode_length

_HEAD_SIZE = 5
_GLOBAL_OFFSET, _DEDICATED_OFFSET, _INITIATE_OFFSET = 8, 16, 0x20
_INITIATE_TAGS = (0x01, 0x08)
_SERVICE_TAGS = (0xC0, 0xC1, 0xC3, 0xC4, 0xC5, 0xC7)


class Form(Enum):
    """How an APDU travels; an answer takes the form of its request."""

    PLAIN = "plain"
    GLOBAL = "glo"
    DEDICATED = "ded"
    GENERAL_GLOBAL = "general-glo"
    GENERAL_DEDICATED = "general-ded"

    @property
    def is_general(self) -> bool:
        """Whether the APDU names the system title of its sender and may hold any service."""
        return self in _GENERAL_TAGS

    @property
    def is_dedicated(self) -> bool:
        """Whether the key is the one from the initiate request."""
        return self in (Form.DEDICATED, Form.GENERAL_DEDICATED)


_GENERAL_TAGS = {Form.GENERAL_GLOBAL: 0xDB, Form.GENERAL_DEDICATED: 0xDC}
_FORMS = {
    **{tag + _INITIATE_OFFSET: (Form.GLOBAL, tag) for tag in _INITIATE_TAGS},
    **{tag + _GLOBAL_OFFSET: (Form.GLOBAL, tag) for tag in _SERVICE_TAGS},
    **{tag + _DEDICATED_OFFSET: (Form.DEDICATED, tag) for tag in _SERVICE_TAGS},
}

OVERHEAD = 30
"""Most bytes that ciphering adds to an APDU."""


@dataclass(frozen=True, slots=True)
class CipheredApdu:
    """A ciphered APDU.

    :arg service: tag of the plain APDU inside, as the outer tag says it; None for the general forms.
    :arg title: system title of the sender; only the general forms have it, and there it may be empty.
    :arg control: security control byte.
    :arg counter: invocation counter.
    :arg content: plaintext or ciphertext, and the tag where there is one.
    """

    form: Form
    service: int | None
    title: bytes
    control: int
    counter: int
    content: bytes

    def encode(self) -> bytes:
        """The bytes of the APDU."""
        body = bytes((self.control,)) + self.counter.to_bytes(4, "big") + self.content
        if self.form.is_general:
            head = bytes((_GENERAL_TAGS[self.form], len(self.title))) + self.title
        else:
            head = bytes((_outer_tag(self.form, self.service),))
        return head + encode_length(len(body)) + body


def form_of(apdu: bytes) -> Form:
    """How an APDU travels, by its first byte."""
    for form, tag in _GENERAL_TAGS.items():
        if apdu[:1] == bytes((tag,)):
            return form
    return _FORMS.get(apdu[0], (Form.PLAIN, None))[0] if apdu else Form.PLAIN


def has_form(service: int, form: Form) -> bool:
    """Whether a plain APDU with the tag `service` can travel in a form; an exception-response cannot as glo or ded."""
    return form.is_general or (form, service) in _FORMS.values()


def parse_ciphered(apdu: bytes) -> CipheredApdu:
    """The parts of a ciphered APDU.

    :raises DataError: when the bytes are not one, end too soon or go on too long.
    """
    form = form_of(apdu)
    if form is Form.PLAIN:
        raise DataError("not a ciphered APDU")
    title, offset = b"", 1
    if form.is_general:
        length, offset = decode_length(apdu, 1)
        title, offset = apdu[offset : offset + length], offset + length
    length, offset = decode_length(apdu, offset)
    body = apdu[offset:]
    if len(body) != length or length < _HEAD_SIZE:
        raise DataError(f"{length} ciphered bytes are announced but {len(body)} are there")
    service = None if form.is_general else _FORMS[apdu[0]][1]
    return CipheredApdu(form, service, title, body[0], int.from_bytes(body[1:_HEAD_SIZE], "big"), body[_HEAD_SIZE:])


def _outer_tag(form: Form, service: int | None) -> int:
    return next(tag for tag, inner in _FORMS.items() if inner == (form, service))
