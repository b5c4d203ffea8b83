"""The server's application layer for one connection: the association and the xDLMS services over it."""

from __future__ import annotations

from simulator.meter import acse, xdlms
from simulator.meter.acse import AssociationRequest, Conformance, Diagnostic, Mechanism
from simulator.meter.axdr import DataError, encode
from simulator.meter.counters import Counters
from simulator.meter.interface_class import AssociationContext
from simulator.meter.logical_device import LogicalDevice
from simulator.meter.xdlms import (
    AccessError,
    AccessResult,
    AttributeDescriptor,
    BlockTransfer,
    GetNext,
    GetNormal,
    GetResult,
    GetWithList,
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


class Application:
    """Answers APDUs; one association at a time, none after `drop`.

    Ciphering and high-level authentication will wrap `answer` and extend `_mechanism_problem`.
    """

    def __init__(self, device: LogicalDevice, counters: Counters) -> None:
        self._device = device
        self._counters = counters
        self._transfer: BlockTransfer | None = None
        self.association: AssociationContext | None = None

    def drop(self) -> None:
        """End the association, without a word to the client."""
        self.association = None
        self._transfer = None

    def answer(self, client: int, apdu: bytes, now: float) -> bytes | None:
        """The answer to an APDU that arrived at `now` (Unix seconds), None where the meter says nothing."""
        tag = apdu[0] if apdu else None
        if tag == acse.AARQ:
            self._counters.record(now, client, "aarq")
            return self._associate(client, apdu)
        if tag == acse.RLRQ:
            self._counters.record(now, client, "rlrq")
            self._counters.releases += 1
            self.drop()
            return acse.build_rlre()
        if self.association is None or self.association.client != client:
            self._counters.record(now, client, "unknown")
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
        if len(apdu) > self._device.config.max_pdu_size:
            self._counters.record(now, client, "unknown")
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.PDU_TOO_LONG)
        try:
            return self._serve(self.association, apdu, now)
        except DataError:
            self._counters.record(now, client, "unknown")
            return xdlms.build_exception(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)

    def _associate(self, client: int, apdu: bytes) -> bytes:
        self.drop()
        config = self._device.config
        try:
            request = acse.parse_aarq(apdu)
        except DataError:
            self._counters.refused += 1
            return acse.build_aare_rejected(Diagnostic.NO_REASON_GIVEN, _OFFERED, config.max_pdu_size)
        granted = self._conformance() & request.conformance
        if (diagnostic := self._association_problem(client, request)) is not None:
            self._counters.refused += 1
            return acse.build_aare_rejected(diagnostic, granted, config.max_pdu_size)
        if (error := acse.initiate_problem(request)) is not None:
            self._counters.refused += 1
            return acse.build_aare_initiate_error(error)
        longest = min(config.max_pdu_size, request.max_pdu_size or config.max_pdu_size)
        self.association = AssociationContext(client, Mechanism(request.mechanism), granted, longest)
        self._counters.associations += 1
        return acse.build_aare_accepted(granted, config.max_pdu_size)

    def _conformance(self) -> Conformance:
        return _OFFERED & ~Conformance.MULTIPLE_REFERENCES if self._device.behaviour.with_list == "refused" else _OFFERED

    def _association_problem(self, client: int, request: AssociationRequest) -> Diagnostic | None:
        if self._device.behaviour.refuse_association:
            return Diagnostic.NO_REASON_GIVEN
        if not request.logical_names:
            return Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED
        access = self._device.config.clients[client]
        if request.mechanism != access.mechanism:
            return Diagnostic.AUTHENTICATION_REQUIRED if request.mechanism == Mechanism.NONE else Diagnostic.MECHANISM_NAME_NOT_RECOGNISED
        if access.mechanism == Mechanism.LOW and request.password != access.password:
            return Diagnostic.AUTHENTICATION_FAILURE
        return None

    def _serve(self, association: AssociationContext, apdu: bytes, now: float) -> bytes | None:
        service = apdu[0] if apdu else None
        if service == xdlms.GET_REQUEST:
            return self._get(association, apdu, now)
        if service == xdlms.SET_REQUEST:
            answer = xdlms.build_set_refused(apdu)
            self._counters.record(now, association.client, "set")
            return answer
        if service == xdlms.ACTION_REQUEST:
            answer = xdlms.build_action_refused(apdu)
            self._counters.record(now, association.client, "action")
            return answer
        self._counters.record(now, association.client, "unknown")
        return xdlms.build_exception(StateError.SERVICE_UNKNOWN, ServiceError.SERVICE_NOT_SUPPORTED)

    def _get(self, association: AssociationContext, apdu: bytes, now: float) -> bytes | None:
        request = xdlms.parse_get(apdu)
        if isinstance(request, GetNext):
            self._counters.record(now, association.client, "get-next")
            return self._next_block(request)
        self._transfer = None
        if isinstance(request, GetNormal):
            self._counters.record(now, association.client, "get-normal", (request.attribute,))
            return self._get_normal(association, request, now)
        self._counters.record(now, association.client, "get-with-list", request.attributes)
        return self._get_with_list(association, request, now)

    def _get_normal(self, association: AssociationContext, request: GetNormal, now: float) -> bytes | None:
        result = self._read(association, request.attribute, now)
        answer = xdlms.build_get_normal(request.invoke, result)
        if len(answer) <= association.max_pdu_size or isinstance(result, AccessResult):
            return answer
        if Conformance.BLOCK_TRANSFER_WITH_GET not in association.conformance:
            return xdlms.build_get_normal(request.invoke, AccessResult.OTHER_REASON)
        return self._first_block(association, request.invoke, result)

    def _get_with_list(self, association: AssociationContext, request: GetWithList, now: float) -> bytes | None:
        manner = self._device.behaviour.with_list
        if manner == "exception" or Conformance.MULTIPLE_REFERENCES not in association.conformance:
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.SERVICE_NOT_SUPPORTED)
        if manner == "unanswered":
            return None
        results = [self._read(association, attribute, now) for attribute in request.attributes]
        if manner == "wrong":
            results = results[:-1]
        answer = xdlms.build_get_with_list(request.invoke, results)
        if len(answer) <= association.max_pdu_size:
            return answer
        if Conformance.BLOCK_TRANSFER_WITH_GET not in association.conformance:
            return xdlms.build_exception(StateError.SERVICE_NOT_ALLOWED, ServiceError.PDU_TOO_LONG)
        return self._first_block(association, request.invoke, xdlms.encode_result_list(results))

    def _first_block(self, association: AssociationContext, invoke: int, data: bytes) -> bytes | None:
        self._transfer = BlockTransfer(data, association.max_pdu_size)
        return self._transfer.block(invoke, 1)

    def _next_block(self, request: GetNext) -> bytes:
        if self._transfer is None:
            return xdlms.build_get_block_error(request.invoke, request.block, AccessResult.NO_LONG_GET_IN_PROGRESS)
        answer = self._transfer.block(request.invoke, request.block + 1)
        if answer is None or request.block < 1:
            self._transfer = None
            return xdlms.build_get_block_error(request.invoke, request.block, AccessResult.DATA_BLOCK_NUMBER_INVALID)
        return answer

    def _read(self, association: AssociationContext, attribute: AttributeDescriptor, now: float) -> GetResult:
        if attribute.selection is not None and Conformance.SELECTIVE_ACCESS not in association.conformance:
            return AccessResult.SCOPE_OF_ACCESS_VIOLATED
        try:
            return encode(self._device.read(attribute, now, association))
        except AccessError as refusal:
            return refusal.result


def is_get(apdu: bytes) -> bool:
    """Whether an APDU is a GET of any kind."""
    return apdu[:1] == bytes((xdlms.GET_REQUEST,))
