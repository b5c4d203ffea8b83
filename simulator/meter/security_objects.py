"""The objects that only a meter with ciphered clients has: security setup and invocation counters (IEC 62056-6-2)."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.meter.axdr import TypedValue, array, double_long_unsigned, enum, octet_string
from simulator.meter.client_access import ClientAccess
from simulator.meter.config import MeterConfig
from simulator.meter.interface_class import SECURITY_SETUP, DataObject, InterfaceObject, Reading, Value
from simulator.meter.protection import Protection
from simulator.meter.xdlms import Selection

_POLICY_BITS = {Protection.AUTHENTICATION: 0x04 | 0x20, Protection.ENCRYPTION: 0x08 | 0x40}
"""Of the attribute security_policy, version 1: for requests and for responses."""


def security_objects(config: MeterConfig) -> tuple[InterfaceObject, ...]:
    """The security setup, 0-0:43.1.0 for the management client, and 0-0:43.1.e for every ciphered client with SAP e."""
    clients = config.ciphered_clients
    if not clients:
        return ()
    counters = {0: clients[0], **{sap: sap for sap in clients if sap <= 0xFF}}
    return (
        SecuritySetup(SECURITY_SETUP),
        *(DataObject(bytes((0, 0, 43, 1, instance, 255)), _last_counter(sap)) for instance, sap in counters.items()),
    )


def _last_counter(client: int) -> Value:
    return lambda reading: double_long_unsigned(reading.device.invocation_counters.last(client) or 0)


@dataclass(frozen=True)
class SecuritySetup(InterfaceObject):
    """Security setup, class 64: what is asked of the client that reads it, or of the management client where that is nothing."""

    class_id = 64
    version = 1
    attribute_count = 6
    method_count = 8

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        access, association = _access(reading), reading.association
        if index == 2:
            return enum(sum(bits for protection, bits in _POLICY_BITS.items() if protection & access.policy))
        if index == 3:
            return enum(access.suite)
        if index == 4:
            own = association is not None and reading.config.clients[association.client] is access
            return octet_string(association.client_title if association is not None and own else access.system_title)
        return octet_string(reading.config.server_title) if index == 5 else array([])


def _access(reading: Reading) -> ClientAccess:
    clients, association = reading.config.clients, reading.association
    if association is not None and clients[association.client].ciphered:
        return clients[association.client]
    return clients[reading.config.ciphered_clients[0]]
