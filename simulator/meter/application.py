"""The server's application layer for one connection: the association and the xDLMS services over it."""

from __future__ import annotations

from simulator.meter import acse, short_names, xdlms
from simulator.meter.acse import Conformance, Diagnostic, Mechanism, Responder
from simulator.meter.attack import Attacker
from simulator.meter.axdr import DataError, encode, octet_string
from simulator.meter.ciphered_apdu import Form
from simulator.meter.counters import Counters
from simulator.meter.establishment import Rejection, Session, complete, establish, initiate_response
from simulator.meter.interface_class import AssociationContext
from simulator.meter.logical_device import LogicalDevice
from simulator.meter.secure_channel import Received, Refusal
from simulator.meter.xdlms import (
    AccessError,
    AccessResult,
    AttributeDescriptor,
    BlockTransfer,
    GetNext,
    GetNormal,
    GetResult,
    GetWithList,
    Selection,
    ServiceError,
    StateError,
)

_OFFERED = (
    Conformance.PRIORITY_MANAGEMENT
    | Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.GET
    | Conformance.SET
    | Conformance.SELECTIVE_ACCESS
    | Conformance.ACTION
)
_OFFERED_SHORT = Conformance.READ | Conformance.BLOCK_TRANSFER_WITH_GET | Conformance.MULTIPLE_REFERENCES | Conformance.PARAMETERIZED_ACCESS
_SELECTIVE = Conformance.SELECTIVE_ACCESS | Conformance.PARAMETERIZED_ACCESS
_REPLY_TO_HLS = (15, bytes((0, 0, 40, 0, 0, 255)), 1)
_GETS = frozenset(bytes((tag,)) for tag in (xdlms.GET_REQUEST, short_names.READ_REQUEST, 0xC8, 0xD0, 0xDB, 0xDC))


class Application:
    """Answers APDUs; one association at a time, none after `drop`."""

    def __init__(self, device: LogicalDevice, counters: Counters) -> None:
        self._device = device
        self._counters = counters
        self._transfer: BlockTransfer | None = None
        self._read_transfer: short_names.ReadTransfer | None = None
        self._session: Session | None = None
        self._attacker: Attacker | None = None

    @property
    def has_association(self) -> bool:
        """Whether a client is associated, or about to be once it has authenticated itself."""
        return self._session is not None

    def drop(self) -> None:
        """End the association, without a word to the client."""
        self._session = None
        self._attacker = None
        self._transfer = None
        self._read_transfer = None

    def answer(self, client: int, apdu: bytes, now: float) -> bytes | None:
        """The answer to an APDU that arrived at `now` (Unix seconds), None where the meter says nothing."""
        tag = apdu[0] if apdu else None
        if tag == acse.AARQ:
            self._counters.record(now, client, "aarq")
            return self._associate(client, apdu)
        if tag == acse.RLRQ:
            self._counters.record(now, client, "rlrq")
            return self._release(apdu)
        if self._device.config.association == "pre-established" and (self._session is None or self._session.context.client != client):
            self._session = Session(AssociationContext(client, Mechanism.NONE, self._conformance(), self._device.config.max_pdu_size))
        if self._session is None or self._session.context.client != client:
            self._counters.record(now, client, "unknown")
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
        if len(apdu) > self._device.config.max_pdu_size:
            self._counters.record(now, client, "unknown")
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.PDU_TOO_LONG)
        try:
            return self._answer_protected(self._session, apdu, now)
        except Refusal as refusal:
            self._counters.record(now, client, "unknown")
            return self._refuse(refusal)
        except DataError:
            self._counters.record(now, client, "unknown")
            return xdlms.build_exception(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)

    def _answer_protected(self, session: Session, apdu: bytes, now: float) -> bytes | None:
        """Open, serve, seal: an error after opening is answered in the form of the request too."""
        received = session.channel.open(apdu) if session.channel else Received(apdu, Form.PLAIN)
        try:
            answer = self._serve(session, received, now)
        except DataError:
            self._counters.record(now, session.context.client, "unknown")
            answer = xdlms.build_exception(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)
        if answer is None or session.channel is None:
            return answer
        sealed = session.channel.seal(answer, received)
        return self._attacker.apply(answer, sealed, self._device.behaviour) if self._attacker else sealed

    def _associate(self, client: int, apdu: bytes) -> bytes | None:
        self.drop()
        try:
            request = acse.parse_aarq(apdu)
            session, aare = establish(self._device, client, request, self._conformance())
        except DataError:
            self._counters.refused += 1
            return acse.build_aare_rejected(Diagnostic.NO_REASON_GIVEN, initiate_response(self._device.config, self._conformance()))
        except Rejection as rejection:
            self._counters.refused += 1
            if rejection.reason is not None:
                self._counters.refusals[rejection.reason] += 1
            return rejection.aare
        except Refusal as refusal:
            self._counters.refused += 1
            return self._refuse(refusal, association=True)
        self._session = session
        if session.channel is not None:
            self._attacker = Attacker(session.channel, self._device.attack_chance, self._counters.attacks)
        if session.challenges is None:
            self._counters.associations += 1
        return aare

    def _release(self, apdu: bytes) -> bytes | None:
        channel, response = self._session.channel if self._session else None, b""
        try:
            information = acse.parse_rlrq(apdu)
            if channel is not None and information:
                longest = self._device.config.max_pdu_size
                response = channel.seal(acse.build_initiate_response(self._conformance(), longest), channel.open(information))
        except DataError:
            response = b""
        except Refusal as refusal:
            return self._refuse(refusal)
        self._counters.releases += 1
        self.drop()
        return acse.build_rlre(response)

    def _refuse(self, refusal: Refusal, association: bool = False) -> bytes | None:
        """What is said about a request that is not believed: never more than an exception-response."""
        self._counters.refusals[refusal.reason] += 1
        manner = self._device.behaviour.replay_answer
        if refusal.reason != "replayed":
            undecipherable = refusal.reason == "undecipherable"
            error = ServiceError.DECIPHERING_ERROR if undecipherable else ServiceError.OPERATION_NOT_POSSIBLE
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, error)
        if manner == "silent":
            return None
        if manner == "invocation-counter-error":
            return xdlms.build_counter_exception(min(refusal.expected, 0xFFFFFFFF))
        if manner == "rejection" and association:
            response = acse.build_initiate_response(_OFFERED, self._device.config.max_pdu_size)
            return acse.build_aare_rejected(Diagnostic.NO_REASON_GIVEN, response, Responder(acse.LOGICAL_NAMES_CIPHERED))
        return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.DECIPHERING_ERROR)

    def _conformance(self) -> Conformance:
        offered = _OFFERED_SHORT if self._device.config.short_names else _OFFERED
        return offered & ~Conformance.MULTIPLE_REFERENCES if self._device.behaviour.with_list == "refused" else offered

    def _serve(self, session: Session, received: Received, now: float) -> bytes | None:
        apdu, client = received.apdu, session.context.client
        service = apdu[0] if apdu else None
        if session.challenges is not None:
            return self._authenticate(session, received, now)
        if self._device.config.short_names:
            return self._serve_short_names(session.context, apdu, now)
        if service == xdlms.GET_REQUEST:
            return self._get(session, apdu, now)
        if service == xdlms.SET_REQUEST:
            answer = xdlms.build_set_refused(apdu)
            self._counters.record(now, client, "set")
            return answer
        if service == xdlms.ACTION_REQUEST:
            answer = xdlms.build_action_refused(apdu)
            self._counters.record(now, client, "action")
            return answer
        self._counters.record(now, client, "unknown")
        return xdlms.build_exception(StateError.SERVICE_UNKNOWN, ServiceError.SERVICE_NOT_SUPPORTED)

    def _authenticate(self, session: Session, received: Received, now: float) -> bytes | None:
        """Pass 3: reply_to_HLS_authentication of the current association, the only thing a client may ask for before it."""
        try:
            action = xdlms.parse_action(received.apdu)
        except DataError:
            action = None
        if action is None or (action.class_id, action.logical_name, action.method) != _REPLY_TO_HLS or action.parameters is None:
            self._counters.record(now, session.context.client, "unknown")
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
        self._counters.record(now, session.context.client, "action")
        answer = action.parameters.value
        try:
            proof = complete(session, self._device, answer if isinstance(answer, bytes) else b"")
        except Refusal as refusal:
            self._counters.refusals[refusal.reason] += 1
            self._counters.refused += 1
            self.drop()
            return xdlms.build_action_refused(received.apdu)
        self._counters.associations += 1
        return xdlms.build_action(action.invoke, octet_string(proof))

    def _get(self, session: Session, apdu: bytes, now: float) -> bytes | None:
        request = xdlms.parse_get(apdu)
        if isinstance(request, GetNext):
            self._counters.record(now, session.context.client, "get-next")
            return self._next_block(request)
        self._transfer = None
        if isinstance(request, GetNormal):
            self._counters.record(now, session.context.client, "get-normal", (request.attribute,))
            return self._get_normal(session, request, now)
        self._counters.record(now, session.context.client, "get-with-list", request.attributes)
        return self._get_with_list(session, request, now)

    def _get_normal(self, session: Session, request: GetNormal, now: float) -> bytes | None:
        result = self._read(session.context, request.attribute, now)
        answer = xdlms.build_get_normal(request.invoke, result)
        if len(answer) <= session.room or isinstance(result, AccessResult):
            return answer
        if Conformance.BLOCK_TRANSFER_WITH_GET not in session.context.conformance:
            return xdlms.build_get_normal(request.invoke, AccessResult.OTHER_REASON)
        return self._first_block(session, request.invoke, result)

    def _get_with_list(self, session: Session, request: GetWithList, now: float) -> bytes | None:
        manner = self._device.behaviour.with_list
        if manner == "exception" or Conformance.MULTIPLE_REFERENCES not in session.context.conformance:
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.SERVICE_NOT_SUPPORTED)
        if manner == "unanswered":
            return None
        results = [self._read(session.context, attribute, now) for attribute in request.attributes]
        if manner == "wrong":
            results = results[:-1]
        answer = xdlms.build_get_with_list(request.invoke, results)
        if len(answer) <= session.room:
            return answer
        if Conformance.BLOCK_TRANSFER_WITH_GET not in session.context.conformance:
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.PDU_TOO_LONG)
        return self._first_block(session, request.invoke, xdlms.encode_result_list(results))

    def _first_block(self, session: Session, invoke: int, data: bytes) -> bytes | None:
        self._transfer = BlockTransfer(data, session.room)
        return self._transfer.block(invoke, 1)

    def _next_block(self, request: GetNext) -> bytes:
        if self._transfer is None:
            return xdlms.build_get_block_error(request.invoke, request.block, AccessResult.NO_LONG_GET_IN_PROGRESS)
        answer = self._transfer.block(request.invoke, request.block + 1)
        if answer is None or request.block < 1:
            self._transfer = None
            return xdlms.build_get_block_error(request.invoke, request.block, AccessResult.DATA_BLOCK_NUMBER_INVALID)
        return answer

    def _serve_short_names(self, association: AssociationContext, apdu: bytes, now: float) -> bytes | None:
        if apdu[:1] != bytes((short_names.READ_REQUEST,)):
            self._counters.record(now, association.client, "unknown")
            return short_names.build_read_refused(short_names.SERVICE_UNSUPPORTED)
        request = short_names.parse_read(apdu)
        if isinstance(request, short_names.ReadNext):
            self._counters.record(now, association.client, "read-next")
            block = None if self._read_transfer is None else self._read_transfer.block(request.block + 1)
            return block or short_names.build_read_error(AccessResult.DATA_BLOCK_NUMBER_INVALID)
        self._read_transfer = None
        attributes = [self._descriptor(name, selection) for name, selection in zip(request.names, request.selections, strict=True)]
        self._counters.record(now, association.client, "read", [attribute for attribute in attributes if attribute is not None])
        manner = self._device.behaviour.with_list
        if len(attributes) > 1 and (manner == "exception" or Conformance.MULTIPLE_REFERENCES not in association.conformance):
            return short_names.build_read_refused(short_names.SERVICE_UNSUPPORTED)
        if len(attributes) > 1 and manner == "unanswered":
            return None
        results = [
            AccessResult.OBJECT_UNDEFINED if attribute is None else self._read(association, attribute, now) for attribute in attributes
        ]
        if len(attributes) > 1 and manner == "wrong":
            results = results[:-1]
        return self._read_response(association, short_names.encode_results(results))

    def _descriptor(self, name: int, selection: Selection | None) -> AttributeDescriptor | None:
        try:
            item, index = short_names.find_attribute(self._device.objects, name)
        except AccessError:
            return None
        return AttributeDescriptor(item.class_id, item.logical_name, index, selection)

    def _read_response(self, association: AssociationContext, results: bytes) -> bytes | None:
        answer = short_names.build_read_response(results)
        if len(answer) <= association.max_pdu_size:
            return answer
        if Conformance.BLOCK_TRANSFER_WITH_GET not in association.conformance:
            return short_names.build_read_refused(short_names.PDU_SIZE)
        self._read_transfer = short_names.ReadTransfer(results, association.max_pdu_size)
        return self._read_transfer.block(1)

    def _read(self, association: AssociationContext, attribute: AttributeDescriptor, now: float) -> GetResult:
        if attribute.selection is not None and not _SELECTIVE & association.conformance:
            return AccessResult.SCOPE_OF_ACCESS_VIOLATED
        try:
            return encode(self._device.read(attribute, now, association))
        except AccessError as refusal:
            return refusal.result


def is_get(apdu: bytes) -> bool:
    """Whether an APDU is a GET or READ of any kind, ciphered or not; general-ciphering hides the service and counts as one."""
    return apdu[:1] in _GETS
