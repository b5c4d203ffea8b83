"""The protection of one association: opens the client's APDUs, refuses what is weaker or older, seals the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simulator.meter.ciphered_apdu import CipheredApdu, Form, form_of, has_form, parse_ciphered
from simulator.meter.client_access import ClientAccess
from simulator.meter.invocation_counters import InvocationCounters
from simulator.meter.protection import SUITE_MASK, Keys, Protection, ProtectionError, protect, unprotect

Reason = Literal["plaintext", "weaker", "undecipherable", "replayed", "authentication"]


class Refusal(Exception):
    """A request is not believed.

    :arg reason: plaintext or weaker (than the policy), undecipherable (wrong key, title, suite or tag), replayed, or
        authentication (the answer to a challenge is wrong).
    :arg expected: lowest invocation counter that would have been accepted, for a replayed one.
    """

    def __init__(self, reason: Reason, expected: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Received:
    """A plain APDU and how it came.

    :arg control: security control byte, 0 where it was not ciphered.
    :arg counter: invocation counter, None where it was not ciphered with the global key.
    """

    apdu: bytes
    form: Form
    control: int = 0
    counter: int | None = None


class SecureChannel:
    """Lives as long as one association in the ciphered application context.

    :arg client: client SAP.
    :arg title: the client's system title.
    :arg own_title: the meter's.
    """

    def __init__(self, client: int, access: ClientAccess, title: bytes, own_title: bytes, counters: InvocationCounters) -> None:
        self.access = access
        self.own_title = own_title
        self._client = client
        self._title = title
        self._counters = counters
        self._dedicated: Keys | None = None
        self._dedicated_seen = -1
        self._dedicated_used = 0

    def use_dedicated_key(self, key: bytes) -> None:
        """Accept ded-ciphering with a key that the client has sent.

        :raises Refusal: when it does not have the length that the security suite asks for.
        """
        if len(key) != len(self.access.block_cipher_key):
            raise Refusal("undecipherable")
        self._dedicated = Keys(key, self.access.authentication_key)

    def open(self, apdu: bytes) -> Received:
        """The plain APDU inside.

        :raises Refusal: when it must not be believed.
        :raises DataError: when it is no APDU that can be ciphered.
        """
        form = form_of(apdu)
        if form is Form.PLAIN:
            if self.access.policy:
                raise Refusal("plaintext")
            return Received(apdu, form)
        message = parse_ciphered(apdu)
        self._check_head(message)
        try:
            plain = unprotect(self.keys(form), self._title, message.control, message.counter, message.content)
        except ProtectionError:
            raise Refusal("undecipherable") from None
        self._accept(message)
        if message.service is not None and plain[:1] != bytes((message.service,)):
            raise Refusal("undecipherable")
        return Received(plain, form, message.control, None if form.is_dedicated else message.counter)

    def seal(self, apdu: bytes, received: Received) -> bytes:
        """An answer in the form of its request, protected as the policy wants it and not less than the request was.

        An exception-response, for which glo and ded have no tag, stays plain there.
        """
        if received.form is Form.PLAIN or not has_form(apdu[0], received.form):
            return apdu
        control = (received.control | self.access.policy) & Protection.BOTH | self.access.suite
        return self.build(apdu, received.form, control, self.take_counter(received.form))

    def build(self, apdu: bytes, form: Form, control: int, counter: int, title: bytes | None = None) -> bytes:
        """An APDU protected in any way; `title` only where it is not the meter's own."""
        title = self.own_title if title is None else title
        content = protect(self.keys(form), title, control, counter, apdu)
        service = None if form.is_general else apdu[0]
        return CipheredApdu(form, service, title if form.is_general else b"", control, counter, content).encode()

    def keys(self, form: Form) -> Keys:
        """The keys of a form.

        :raises Refusal: when it needs a dedicated key and the client has sent none.
        """
        if not form.is_dedicated:
            return self.access.keys
        if self._dedicated is None:
            raise Refusal("undecipherable")
        return self._dedicated

    def take_counter(self, form: Form) -> int:
        """The next of the meter's counters for the key of a form."""
        if not form.is_dedicated:
            return self._counters.take()
        self._dedicated_used += 1
        return self._dedicated_used

    def _check_head(self, message: CipheredApdu) -> None:
        if message.title not in (b"", self._title) or message.control & SUITE_MASK != self.access.suite:
            raise Refusal("undecipherable")
        if message.control & (Protection.BROADCAST_KEY | Protection.COMPRESSION):
            raise Refusal("undecipherable")
        if message.control & self.access.policy != self.access.policy:
            raise Refusal("weaker")

    def _accept(self, message: CipheredApdu) -> None:
        if message.form.is_dedicated:
            if message.counter <= self._dedicated_seen:
                raise Refusal("replayed", self._dedicated_seen + 1)
            self._dedicated_seen = message.counter
            return
        if not self._counters.is_new(self._client, message.counter):
            raise Refusal("replayed", (self._counters.last(self._client) or 0) + 1)
        self._counters.accept(self._client, message.counter)
