"""One conversation with one meter: which state it is in, what may happen there, and what the meter's bytes mean.

Theory of operation. Nothing here reads, writes or waits. The caller sends the bytes that `open`, `get`, `release`,
`disconnect` and `resend` return, and the data of every `Transmit` event; it feeds what arrives to `receive` and acts on the
events that come back. Time belongs to the caller too: when an answer stays away, `resend` gives the same bytes once more,
never a rebuilt request, so that a meter that answered already recognises the repetition.

The states and all ways between them are in `states`. What a meter sends outside of that table is `Discarded`.

A reply counts only when it is an answer to the last request. With HDLC: from the right address, with the sequence numbers
that are due. With the wrapper: from the right ports. Every GET-response: with the invoke-id of the request. Through a
gateway: with the prefix of our device. A READ-response carries no invoke-id, hence `may_repeat`.

On a ciphered association it counts only when it is authentic, too (`security.protection` says what that is); else it is
`Violated`, and the association over. The standard lets a few messages be plain: exception-response,
confirmed-service-error, an AARE that refuses, RLRE, and notifications, which nobody asked for. None of them is ever a value.

A pre-established association has neither AARQ nor RLRQ: it is there as soon as the link is.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

from connectors.dlms import framing
from connectors.dlms.apdu import get, names, read, replies, short_names
from connectors.dlms.apdu.action import ActionNormal, reply_to_hls_authentication
from connectors.dlms.apdu.requests import CONFORMANCE, CONFORMANCE_SHORT, RequestBuilder, list_capacity
from connectors.dlms.axdr import CosemError
from connectors.dlms.events import (
    Answered,
    Associated,
    Attribute,
    AttributeResult,
    Discarded,
    Disconnected,
    Dropped,
    Event,
    Refused,
    Released,
    ServiceRefused,
    Transmit,
    Violated,
)
from connectors.dlms.gateway import GatewayFraming
from connectors.dlms.secret_hex import masked_hex
from connectors.dlms.security.association import Security
from connectors.dlms.security.protection import MOST_ADDED, NotAuthentic
from connectors.dlms.states import OPEN_STATES, SECURED, TRANSITIONS, WAITING, Did, LocalProtocolError, State
from model.messages import ErrorKind, Violation
from model.settings.meter import MeterSettings

_AARE = b"\x61"


class Conversation:
    """The client's side of a conversation with `meter`.

    :arg security: what protects it; needed where the settings ask for ciphering or a high mechanism.
    :raises ValueError: when its addresses or its password cannot be put into messages, or `security` is missing.
    """

    def __init__(self, meter: MeterSettings, security: Security | None = None) -> None:
        if security is None and (meter.is_ciphered or meter.is_high):
            raise ValueError(f"meter {meter.id} needs the keys and counters of its security settings")
        self._security = security
        self._max_pdu_size = meter.max_pdu_size
        # A meter tells a repetition from a replay by HDLC's sequence numbers; the wrapper has none.
        self._repeats = meter.framing == "hdlc" or security is None
        self._build: Callable[[], bytes] = bytes
        self._password = meter.password_bytes()
        self._short_names = short_names.ShortNames() if meter.referencing == "short" else None
        self._requests = RequestBuilder(self._password, meter.max_pdu_size, meter.referencing == "short")
        self._conformance = CONFORMANCE if self._short_names is None else CONFORMANCE_SHORT
        self._framing = _framing(meter)
        self._presumed = meter.association == "pre-established"
        self._state = State.IDLE
        self._invoke_id = secrets.randbelow(16)
        self._get: get.Get | read.Read | None = None
        self._answered_dm = False
        self._limits = Associated(meter.with_list, block_transfer=True, max_pdu_size=meter.max_pdu_size, information_size=0)

    @property
    def state(self) -> State:
        """Where the conversation stands."""
        return self._state

    @property
    def limits(self) -> Associated:
        """What the association allows: as negotiated, or as the settings say where it is pre-established."""
        return self._limits

    @property
    def may_repeat(self) -> bool:
        """Whether `resend` is safe: an answer to the repetition cannot be taken for the answer to a later request."""
        return self._state is not State.READING or self.tells_answers_apart

    @property
    def tells_answers_apart(self) -> bool:
        """Whether an answer shows which request it is for: by its invoke-id, or by the number of its frame."""
        return self._short_names is None or self._framing.numbers_replies

    @property
    def listing(self) -> bool:
        """Whether the meter's object list is what is awaited, and not yet the attributes asked for."""
        return self._state is State.READING and isinstance(self._get, read.Read) and self._get.listing

    def open(self) -> bytes:
        """Begin anew on a fresh link: SNRM, or with the wrapper AARQ. Whatever was left unread is forgotten.

        Nothing with the wrapper where the association is pre-established: then it is open at once.
        """
        self._get = None
        if self._short_names is not None:
            self._short_names.reopened()
        self._answered_dm = False
        if self._security is not None:
            self._security.begin()
        # A random step forward of less than half the range: no late answer to the requests before has the first ones' id.
        self._invoke_id = (self._invoke_id + secrets.randbelow(8)) & 0x0F
        snrm = self._framing.connect()
        if snrm:
            self._move(Did.SEND_SNRM)
            return snrm
        if self._presumed:
            self._move(Did.PRESUME)
            return b""
        self._move(Did.SEND_AARQ)
        return self._send(self._association_request)

    def get(self, attributes: Sequence[Attribute]) -> bytes:
        """Ask for one attribute with GET-normal, for several with GET-with-list; with READ where names are short.

        :raises LocalProtocolError: when not associated, or with no or more than 255 attributes, or when `without_asking`
            has the answer.
        """
        if not 1 <= len(attributes) <= 255:
            raise LocalProtocolError(f"{len(attributes)} attributes in one request; 1 to 255 are possible")
        if self.without_asking(attributes) is not None:
            raise LocalProtocolError("the meter is known to have none of these attributes")
        self._move(Did.SEND_GET)
        if self._short_names is not None:
            self._get = reading = read.Read(attributes, self._short_names)
            return self._send(lambda: self._protected(reading.request))
        self._invoke_id = (self._invoke_id + 1) & 0x0F
        self._get = get.Get(attributes, self._invoke_id)
        request = self._requests.get(attributes, self._invoke_id)
        return self._send(lambda: self._protected(request))

    def without_asking(self, attributes: Sequence[Attribute]) -> tuple[AttributeResult, ...] | None:
        """The results for `attributes` where the meter has a short name for none of them; None when it has to be asked."""
        return None if self._short_names is None else read.without_asking(attributes, self._short_names)

    def forget(self) -> None:
        """Another meter may have taken the place of this one: what is remembered of its objects is read anew."""
        if self._short_names is not None:
            self._short_names.forget()

    def fits(self, attributes: Sequence[Attribute], limit: int) -> int:
        """How many of `attributes`, from the front and at most `limit`, one request holds; at least 1."""
        capacity = list_capacity if self._short_names is None else short_names.capacity
        size = self._limits.max_pdu_size
        if size and self._security is not None and self._security.is_ciphered:
            size = max(1, size - MOST_ADDED)
        return max(1, min(len(attributes), limit, capacity(size)))

    def resend(self) -> bytes:
        """The bytes that went out last once more: the request, or in the middle of an answer what asked for its next part.

        One exception: with the wrapper a ciphered request is protected anew, since a counter seen twice is a replay.

        :raises LocalProtocolError: when no answer is awaited.
        """
        if self._state not in WAITING:
            raise LocalProtocolError(f"nothing to send again while {self._state.value}")
        return self._framing.resend() if self._repeats else self._framing.send(self._build())

    def release(self) -> bytes:
        """RLRQ, the polite end of the association. Nothing where it is pre-established: it never ends.

        :raises LocalProtocolError: when there is none.
        """
        if self._presumed:
            return b""
        self._move(Did.SEND_RLRQ)
        return self._send(self._release_request)

    def disconnect(self) -> bytes:
        """DISC, the end of the data link. Nothing with the wrapper or where no link is: then it is closed at once."""
        data = self._framing.disconnect() if self._state in (*OPEN_STATES, State.DISCONNECTING) else b""
        self._move(Did.SEND_DISC if data else Did.HANG_UP)
        return data

    def receive(self, data: bytes) -> list[Event]:
        """What the bytes from the meter mean; never raises, whatever they are."""
        events: list[Event] = []
        for item in self._framing.receive(data):
            if isinstance(item, framing.Received):
                events += self._apdu(item.apdu)
            elif isinstance(item, framing.LinkUp):
                events += self._link_up()
            elif isinstance(item, framing.LinkDown):
                events += self._met(Did.LINK_DOWN, Disconnected())
            elif isinstance(item, framing.LinkBroken):
                events += self._link_broken(item)
            else:
                events.append(item)
        return events

    def trace(self, data: bytes, sent: bool) -> str:
        """`data` in hex and in words, in one line; bytes that may belong to the password are shown as `**`."""
        # A password that was cut into several frames is found in none of them: hide all they carry.
        whole = sent and bool(self._password) and self._state is State.ASSOCIATING and self._framing.is_part(data)
        security = self._security
        words = self._framing.describe(data, None if security is None else lambda apdu: security.peek(apdu, sent))
        return f"{'->' if sent else '<-'} {masked_hex(data, self._password, whole)} | {words}"

    def _send(self, build: Callable[[], bytes]) -> bytes:
        """The bytes that carry the APDU of `build`, which is remembered for a repetition."""
        self._build = build
        return self._framing.send(build())

    def _association_request(self) -> bytes:
        if self._security is None:
            return self._requests.associate()
        return self._security.associate(self._conformance, self._max_pdu_size, self._short_names is not None)

    def _release_request(self) -> bytes:
        return self._requests.release() if self._security is None else self._security.release(self._conformance, self._max_pdu_size)

    def _protected(self, apdu: bytes) -> bytes:
        return apdu if self._security is None else self._security.protect(apdu)

    def _move(self, did: Did) -> None:
        state = TRANSITIONS.get((self._state, did))
        if state is None:
            raise LocalProtocolError(f"cannot {did.value} while {self._state.value}")
        self._state = state

    def _met(self, did: Did, event: Event) -> list[Event]:
        """What the meter did moves the conversation on and is reported, where the table has a place for it."""
        state = TRANSITIONS.get((self._state, did))
        if state is None:
            return [Discarded(0, f"{did.value} while {self._state.value}")]
        self._state = state
        return [event]

    def _link_up(self) -> list[Event]:
        if (self._state, Did.UA) not in TRANSITIONS:
            return [Discarded(0, f"UA while {self._state.value}")]
        if self._presumed:
            self._limits = replace(self._limits, information_size=self._framing.information_size)
            return self._met(Did.PRESUME, self._limits)
        return self._met(Did.UA, Transmit(self._send(self._association_request)))

    def _link_broken(self, broken: framing.LinkBroken) -> list[Event]:
        if self._state is State.CONNECTING:
            if broken.disconnected and not self._answered_dm:
                # A converter may deliver the answer to the DISC of an earlier connection: ask once more.
                self._answered_dm = True
                return [Transmit(self._framing.resend())]
            return self._met(Did.END, Refused(broken.detail, _LINK_REMEDY))
        return self._met(Did.END, Dropped(f"{broken.detail}, {LISTING}" if self.listing else broken.detail))

    def _apdu(self, apdu: bytes) -> list[Event]:
        if self._security is not None and apdu[:1] == _AARE and self._state is not State.ASSOCIATING:
            return self._not_ours(apdu, "was not asked for")  # it must not touch what is known of the meter
        try:
            apdu = self._revealed(apdu)
            reply = replies.parse(apdu) if self._security is None else replies.parse(apdu, self._security.reveal_initiate)
        except NotAuthentic as refusal:
            return self._violated(refusal)
        except CosemError as error:
            return self._unreadable(apdu, error)
        return self._reply(apdu, reply)

    def _revealed(self, apdu: bytes) -> bytes:
        if self._security is None or not self._security.is_ciphered or self._state not in SECURED or apdu[:1] in names.MAY_BE_PLAIN:
            return apdu
        return self._security.reveal(apdu)

    def _violated(self, refusal: NotAuthentic) -> list[Event]:
        if self._state not in WAITING:
            return [Violated(refusal.violation, refusal.detail, stands=True)]
        return self._met(Did.VIOLATE, Violated(refusal.violation, refusal.detail, stands=False))

    def _reply(self, apdu: bytes, reply: replies.Reply) -> list[Event]:
        if isinstance(reply, (replies.GetNormal, replies.GetList, replies.GetBlock)):
            return self._get_response(apdu, reply)
        if isinstance(reply, replies.ReadResponse):
            return self._read_response(apdu, reply)
        if isinstance(reply, replies.AssociationAccepted):
            return self._accepted(apdu, reply)
        if isinstance(reply, ActionNormal):
            return self._proof(apdu, reply)
        if isinstance(reply, replies.AssociationRefused):
            if self._state is State.ASSOCIATING:
                return self._met(Did.REFUSE, Refused(reply.detail, reply.remedy))
            return self._met(Did.END, Dropped(reply.detail))
        if isinstance(reply, replies.ServiceError):
            return self._service_error(reply)
        if isinstance(reply, replies.Released) and self._state is State.RELEASING:
            return self._met(Did.RELEASE, Released())
        return self._not_ours(apdu, "was not asked for")

    def _accepted(self, apdu: bytes, reply: replies.AssociationAccepted) -> list[Event]:
        if self._state is not State.ASSOCIATING:
            return self._not_ours(apdu, "was not asked for")
        self._limits = Associated(reply.with_list, reply.block_transfer, reply.max_pdu_size, self._framing.information_size)
        if self._security is not None and self._security.is_high:
            return self._challenged(self._security, reply)
        if reply.authentication_due:
            return self._met(Did.REFUSE, Refused(_WANTS_MORE, names.USER_REMEDIES[names.AUTHENTICATION_REQUIRED]))
        if self._security is not None:
            self._security.proven()
        return self._met(Did.ACCEPT, self._limits)

    def _challenged(self, security: Security, reply: replies.AssociationAccepted) -> list[Event]:
        """Pass 2 of high authentication has come: answer the challenge."""
        if not reply.challenge:
            return self._violated(NotAuthentic(Violation.UNPROVEN, "the meter accepts without a challenge: it will not prove who it is"))
        invoke_id = self._invoke_id
        try:
            request = self._send(lambda: security.protect(reply_to_hls_authentication(security.prove(reply.challenge), invoke_id)))
        except NotAuthentic as refusal:
            return self._violated(refusal)
        return self._met(Did.CHALLENGE, Transmit(request))

    def _proof(self, apdu: bytes, reply: ActionNormal) -> list[Event]:
        """Pass 4: the meter says whether it believes us, and why we should believe it."""
        if self._state is not State.PROVING or self._security is None or reply.invoke_id != self._invoke_id:
            return self._not_ours(apdu, "was not asked for")
        if reply.result != 0:
            detail = f"the meter does not accept our proof: {names.access_result(reply.result)}"
            return self._met(Did.REFUSE, Refused(detail, names.USER_REMEDIES[names.AUTHENTICATION_FAILED]))
        try:
            self._security.verify(reply.returned or b"")
        except NotAuthentic as refusal:
            return self._violated(refusal)
        self._security.proven()
        return self._met(Did.PROVE, self._limits)

    def _get_response(self, apdu: bytes, reply: replies.GetReply) -> list[Event]:
        if self._state is not State.READING or not isinstance(self._get, get.Get):
            return self._not_ours(apdu, "was not asked for")
        step = self._get.receive(reply)
        if isinstance(step, get.Stale):
            return self._not_ours(apdu, step.reason)
        if isinstance(step, get.NextBlock):
            request = self._requests.next_block(step.number, self._get.invoke_id)
            return self._met(Did.PART, Transmit(self._send(lambda: self._protected(request))))
        return self._met(Did.ANSWER if isinstance(step, Answered) else Did.REFUSE_SERVICE, step)

    def _read_response(self, apdu: bytes, reply: replies.ReadResponse) -> list[Event]:
        if self._state is not State.READING or not isinstance(self._get, read.Read):
            return self._not_ours(apdu, "was not asked for")
        step = self._get.receive(reply)
        return self._not_ours(apdu, step.reason) if isinstance(step, get.Stale) else self._step(step)

    def _step(self, step: read.Ask | Answered | ServiceRefused) -> list[Event]:
        if isinstance(step, read.Ask):
            return self._met(Did.PART, Transmit(self._send(lambda: self._protected(step.apdu))))
        return self._met(Did.ANSWER if isinstance(step, Answered) else Did.REFUSE_SERVICE, step)

    def _service_error(self, error: replies.ServiceError) -> list[Event]:
        counter = error.counter and self._security is not None
        if self._state in (State.ASSOCIATING, State.PROVING):
            return self._met(Did.REFUSE, Refused(error.detail, names.OTHER_REMEDY, counter))
        if self._state is State.READING and counter:
            return self._met(Did.END, Dropped(error.detail, counter))
        if self._state is State.RELEASING:  # a meter that knows no RLRQ has nothing left to release
            return self._met(Did.RELEASE, Released())
        if self._state is State.READING and error.no_association and self._get is not None and not self._get.is_list:
            return self._met(Did.END, Dropped(error.detail))
        return self._service_refused(ServiceRefused(error.detail))

    def _unreadable(self, apdu: bytes, error: CosemError) -> list[Event]:
        detail = f"{names.apdu_name(apdu)} cannot be read: {error}"
        if self._state in (State.ASSOCIATING, State.PROVING):
            return self._met(Did.REFUSE, Refused(detail, _UNREADABLE_REMEDY))
        if self._state is State.READING:
            return self._service_refused(ServiceRefused(detail, ErrorKind.DECODE))
        return self._not_ours(apdu, "cannot be read")

    def _service_refused(self, refusal: ServiceRefused) -> list[Event]:
        """With short names a refusal may concern the object list only, and what has a name is still asked for."""
        if self._state is State.READING and isinstance(self._get, read.Read):
            return self._step(self._get.refused(refusal))
        return self._met(Did.REFUSE_SERVICE, refusal)

    def _not_ours(self, apdu: bytes, reason: str) -> list[Event]:
        if self._state in WAITING:
            self._framing.reject()
        return [Discarded(len(apdu), f"{names.apdu_name(apdu)} {reason}")]


def _framing(meter: MeterSettings) -> framing.Framing:
    link, device = framing.choose(meter), meter.gateway_octets()
    return link if device is None else GatewayFraming(link, meter.gateway_network, device)


LISTING = "upon the request for its object list, which a base_name in the template makes unnecessary"
"""Where in a READ a meter failed, for people."""

_LINK_REMEDY = (
    "another client may be connected, or server_physical is wrong (often the last four digits of the serial number); "
    "a meter may hold a dead connection for minutes"
)
_WANTS_MORE = "the meter refused the association: accepted, authentication-required"
_UNREADABLE_REMEDY = "check that the meter speaks DLMS, and that framing and referencing are right"
