"""How an association comes about: judges an AARQ and, for high-level authentication, the client's answer in pass 3."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from simulator.meter import acse
from simulator.meter.acse import AssociationRequest, Conformance, Diagnostic, InitiateError, InitiateRequest, Mechanism, Responder
from simulator.meter.authentication import CHALLENGE_SIZES, NEEDS_TITLES, Challenges, gmac_counter, new_challenge
from simulator.meter.axdr import DataError
from simulator.meter.ciphered_apdu import OVERHEAD, Form
from simulator.meter.config import MeterConfig
from simulator.meter.interface_class import AssociationContext
from simulator.meter.logical_device import LogicalDevice
from simulator.meter.protection import TITLE_SIZE
from simulator.meter.secure_channel import Reason, Received, Refusal, SecureChannel

_SMALLEST_CIPHERED_PDU = 64


@dataclass(slots=True)
class Session:
    """An association and what it takes to serve it.

    :arg channel: its protection, None in the plain application context.
    :arg challenges: of a high-level authentication that is not complete yet; until it is, nothing else is served.
    :arg counter_before: last invocation counter accepted when it was opened; that of a GMAC in it must be above.
    """

    context: AssociationContext
    channel: SecureChannel | None = None
    challenges: Challenges | None = None
    counter_before: int = -1

    @property
    def room(self) -> int:
        """Longest plain APDU that the client can receive once it is ciphered, bytes."""
        return self.context.max_pdu_size - (OVERHEAD if self.channel else 0)


class Rejection(Exception):
    """An association is refused; `aare` says so to the client, `reason` is why its protection was not believed."""

    def __init__(self, aare: bytes, reason: Reason | None = None) -> None:
        super().__init__("the association is refused")
        self.aare = aare
        self.reason = reason


def initiate_response(config: MeterConfig, conformance: Conformance) -> bytes:
    """What the meter says of itself in an AARE that is not ciphered: what it grants, and what it tells of its PDU size."""
    return acse.build_initiate_response(conformance, config.told_pdu_size, config.short_names)


def establish(device: LogicalDevice, client: int, request: AssociationRequest, offered: Conformance) -> tuple[Session, bytes]:
    """The session for an AARQ, and the AARE that opens it.

    :arg offered: services of the meter in the plain application context.
    :raises Rejection: when the client asks for something else than it is granted.
    :raises Refusal: when its ciphered initiate request is replayed.
    """
    config = device.config
    access = config.clients[client]
    responder = Responder(_context(config, request.ciphered and access.ciphered))

    def reject(diagnostic: Diagnostic, reason: Reason | None = None) -> Rejection:
        return Rejection(acse.build_aare_rejected(diagnostic, initiate_response(config, offered), responder), reason)

    if (diagnostic := _problem(device, client, request)) is not None:
        raise reject(diagnostic)
    channel = None
    if request.ciphered:
        channel = SecureChannel(client, access, request.calling_title, config.server_title, device.invocation_counters)
        offered |= Conformance.GENERAL_PROTECTION
    try:
        received, initiate = _open_initiate(request, channel)
    except DataError:
        raise reject(Diagnostic.NO_REASON_GIVEN) from None
    except Refusal as refusal:
        if refusal.reason == "replayed":
            raise
        raise reject(Diagnostic.AUTHENTICATION_FAILURE, refusal.reason) from None
    if (error := _initiate_problem(initiate, channel, config.short_names)) is not None:
        raise Rejection(acse.build_aare_initiate_error(error, responder))
    session = _begin(device, client, request, initiate, offered & initiate.conformance, channel)
    response = initiate_response(config, session.context.conformance)
    title = config.server_title if request.calling_title else b""
    challenge = session.challenges.from_server if session.challenges else b""
    accepting = Responder(responder.context, title, access.mechanism, challenge)
    return session, acse.build_aare_accepted(channel.seal(response, received) if channel else response, accepting)


def complete(session: Session, device: LogicalDevice, answer: bytes) -> bytes:
    """Pass 3 and 4: the meter's answer to the client's challenge, after which the session is open.

    :raises Refusal: when the client's answer is wrong.
    """
    challenges = session.challenges
    if challenges is None or not challenges.is_answered_by(answer):
        raise Refusal("authentication")
    gmac = session.context.mechanism == Mechanism.HIGH_GMAC
    if gmac:
        _accept_gmac_counter(session, device, gmac_counter(answer))
    session.challenges = None
    proof = challenges.answer(device.invocation_counters.take() if gmac else 0)
    return bytes((proof[0] ^ 1,)) + proof[1:] if device.behaviour.wrong_proof else proof


def _accept_gmac_counter(session: Session, device: LogicalDevice, counter: int) -> None:
    """Not compared with the APDU around it: clients take the counter of the GMAC before that of the APDU, or use one for both."""
    if counter <= session.counter_before:
        raise Refusal("replayed", session.counter_before + 1)
    device.invocation_counters.accept(session.context.client, counter)


def _problem(device: LogicalDevice, client: int, request: AssociationRequest) -> Diagnostic | None:
    """Why an AARQ is refused whatever its user information says."""
    access = device.config.clients[client]
    if device.behaviour.refuse_association:
        return Diagnostic.NO_REASON_GIVEN
    if not (request.short_names if device.config.short_names else request.logical_names):
        return Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED
    if (request.ciphered and not access.ciphered) or (access.policy and not request.ciphered):
        return Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED
    if request.mechanism != access.mechanism:
        return Diagnostic.AUTHENTICATION_REQUIRED if request.mechanism == Mechanism.NONE else Diagnostic.MECHANISM_NAME_NOT_RECOGNISED
    if access.mechanism == Mechanism.LOW and not secrets.compare_digest(request.authentication_value, access.password):
        return Diagnostic.AUTHENTICATION_FAILURE
    if access.mechanism.is_high and len(request.authentication_value) not in CHALLENGE_SIZES:
        return Diagnostic.AUTHENTICATION_FAILURE
    title_needed = request.ciphered or access.mechanism in NEEDS_TITLES
    if title_needed and (len(request.calling_title) != TITLE_SIZE or access.system_title not in (b"", request.calling_title)):
        return Diagnostic.CALLING_AP_TITLE_NOT_RECOGNISED
    return None


def _context(config: MeterConfig, ciphered: bool) -> bytes:
    if config.short_names:
        return acse.SHORT_NAMES
    return acse.LOGICAL_NAMES_CIPHERED if ciphered else acse.LOGICAL_NAMES


def _initiate_problem(initiate: InitiateRequest, channel: SecureChannel | None, short_names: bool) -> InitiateError | None:
    smallest = _SMALLEST_CIPHERED_PDU if channel else acse.SMALLEST_PDU
    return acse.initiate_problem(initiate, smallest, Conformance.READ if short_names else Conformance.GET)


def _open_initiate(request: AssociationRequest, channel: SecureChannel | None) -> tuple[Received, InitiateRequest]:
    received = channel.open(request.user_information) if channel else Received(request.user_information, Form.PLAIN)
    initiate = acse.parse_initiate(received.apdu)
    if channel and initiate.dedicated_key:
        channel.use_dedicated_key(initiate.dedicated_key)
    return received, initiate


def _begin(
    device: LogicalDevice,
    client: int,
    request: AssociationRequest,
    initiate: InitiateRequest,
    granted: Conformance,
    channel: SecureChannel | None,
) -> Session:
    """The session as it is after pass 2: with the meter's challenge where the client has sent one (pass 1)."""
    config, last = device.config, device.invocation_counters.last(client)
    access = config.clients[client]
    longest = min(config.max_pdu_size, initiate.max_pdu_size or config.max_pdu_size)
    context = AssociationContext(client, access.mechanism, granted, longest, channel is not None, request.calling_title)
    session = Session(context, channel, counter_before=-1 if last is None else last)
    if access.mechanism.is_high:
        own, title = config.server_title, request.calling_title
        session.challenges = Challenges(access, request.authentication_value, new_challenge(), title, own)
    return session
