"""The codes of IEC 62056-5-3 and of ACSE (ISO/IEC 8650-1) in words, with what to do about them."""

from __future__ import annotations

from connectors.dlms.security.tags import GENERAL_BY_TAG, PROTECTED_BY, KeySet

ACCESS_RESULTS = {
    0: "success",
    1: "hardware-fault",
    2: "temporary-failure",
    3: "read-write-denied",
    4: "object-undefined",
    9: "object-class-inconsistent",
    11: "object-unavailable",
    12: "type-unmatched",
    13: "scope-of-access-violated",
    14: "data-block-unavailable",
    15: "long-get-aborted",
    16: "no-long-get-in-progress",
    17: "long-set-aborted",
    18: "no-long-set-in-progress",
    19: "data-block-number-invalid",
    250: "other-reason",
}
"""Data-Access-Result."""

ASSOCIATION_RESULTS = {0: "accepted", 1: "rejected-permanent", 2: "rejected-transient"}
"""Association-result."""

NO_REASON = 1
AUTHENTICATION_MECHANISM = (11, 12)
AUTHENTICATION_FAILED, AUTHENTICATION_REQUIRED = 13, 14
USER_DIAGNOSTICS = {
    0: "no reason",
    NO_REASON: "no-reason-given",
    2: "application-context-name-not-supported",
    3: "calling-AP-title-not-recognized",
    4: "calling-AP-invocation-identifier-not-recognized",
    5: "calling-AE-qualifier-not-recognized",
    6: "calling-AE-invocation-identifier-not-recognized",
    7: "called-AP-title-not-recognized",
    8: "called-AP-invocation-identifier-not-recognized",
    9: "called-AE-qualifier-not-recognized",
    10: "called-AE-invocation-identifier-not-recognized",
    11: "authentication-mechanism-name-not-recognised",
    12: "authentication-mechanism-name-required",
    AUTHENTICATION_FAILED: "authentication-failure",
    AUTHENTICATION_REQUIRED: "authentication-required",
}
"""Associate-source-diagnostic, acse-service-user."""

PROVIDER_DIAGNOSTICS = {0: "no reason", NO_REASON: "no-reason-given", 2: "no-common-acse-version"}
"""Associate-source-diagnostic, acse-service-provider."""

_CHECK_MECHANISM = "the meter wants another authentication for this client: check authentication and client_sap"
_CHECK_CLIENT = "check client_sap: the meter does not know this client, or not without ciphering"
_CHECK_SERVER = "check server_logical: the meter has no such logical device"
USER_REMEDIES = {
    2: "the meter does not speak this way to this client: check security_policy, client_sap (16 is the public client) and referencing",
    3: "check client_system_title, which the meter expects to be another one; then client_sap",
    4: _CHECK_CLIENT,
    5: _CHECK_CLIENT,
    6: _CHECK_CLIENT,
    7: _CHECK_SERVER,
    8: _CHECK_SERVER,
    9: _CHECK_SERVER,
    10: _CHECK_SERVER,
    11: _CHECK_MECHANISM,
    12: _CHECK_MECHANISM,
    AUTHENTICATION_FAILED: "check password, hls_secret or keys, and client_sap: each client of a meter has its own",
    AUTHENTICATION_REQUIRED: "the meter wants high-level authentication from this client: check authentication and client_sap",
}
OTHER_REMEDY = "check client_sap, authentication and password; wait 15 s: the meter may still hold an earlier association"

STATE_ERRORS = {1: "service-not-allowed", 2: "service-unknown"}
NOT_ALLOWED = 1
SERVICE_ERRORS = {
    1: "operation-not-possible",
    2: "service-not-supported",
    3: "other-reason",
    4: "pdu-too-long",
    5: "deciphering-error",
    6: "invocation-counter-error",
}
NOT_SUPPORTED, TOO_LONG = 2, 4
CIPHERING_ERRORS = (5, 6)
"""ExceptionResponse."""

CONFIRMED_SERVICES = {1: "initiateError", 5: "read", 6: "write"}
CONFIRMED_ERRORS = {
    0: ("application-reference", ("other", "time-elapsed", "application-unreachable", "application-reference-invalid")),
    1: ("hardware-resource", ("other", "memory-unavailable", "processor-resource-unavailable", "mass-storage-unavailable")),
    2: ("vde-state-error", ("other", "no-dlms-context", "loading-data-set", "status-nochange", "status-inoperable")),
    3: ("service", ("other", "pdu-size", "service-unsupported")),
    4: ("definition", ("other", "object-undefined", "object-class-inconsistent", "object-attribute-inconsistent")),
    5: ("access", ("other", "scope-of-access-violated", "object-access-violated", "hardware-fault", "object-unavailable")),
    6: (
        "initiate",
        ("other", "dlms-version-too-low", "incompatible-conformance", "pdu-size-too-short", "refused-by-the-VDE-handler"),
    ),
}
"""ConfirmedServiceError: the kinds of ServiceError and their values."""

MAY_BE_PLAIN = tuple(bytes([tag]) for tag in (0x0E, 0x0F, 0x18, 0x61, 0x63, 0xC2, 0xD8))
"""What a meter may send without protection on a ciphered association: errors, AARE, RLRE, and notifications."""

TAGS = {
    0x01: "initiate-request",
    0x05: "READ-request",
    0x08: "initiate-response",
    0x0C: "READ-response",
    0x0E: "confirmed-service-error",
    0x0F: "data-notification",
    0x60: "AARQ",
    0x61: "AARE",
    0x62: "RLRQ",
    0x63: "RLRE",
    0xC0: "GET-request",
    0xC2: "event-notification",
    0xC3: "ACTION-request",
    0xC4: "GET-response",
    0xC7: "ACTION-response",
    0xD8: "exception-response",
    0xE6: "gateway-request",
    0xE7: "gateway-response",
}
_GET_REQUESTS = {1: "normal", 2: "next", 3: "with-list"}
_GET_RESPONSES = {1: "normal", 2: "with-datablock", 3: "with-list"}


def access_result(code: int) -> str:
    """The name of a Data-Access-Result."""
    return ACCESS_RESULTS.get(code, f"data-access-result {code}")


def confirmed_service_error(service: int, kind: int, value: int) -> str:
    """A ConfirmedServiceError in words."""
    name, values = CONFIRMED_ERRORS.get(kind, (f"error {kind}", ()))
    what = values[value] if value < len(values) else str(value)
    return f"confirmed-service-error {CONFIRMED_SERVICES.get(service, service)}: {name} {what}"


def apdu_name(apdu: bytes) -> str:
    """What kind of APDU `apdu` is, for a log line."""
    if not apdu:
        return "empty"
    name = _tag_name(apdu[0])
    if apdu[0] in (0xC0, 0xC4) and len(apdu) > 2:
        choice = (_GET_REQUESTS if apdu[0] == 0xC0 else _GET_RESPONSES).get(apdu[1], str(apdu[1]))
        return f"{name}-{choice} #{apdu[2] & 0x0F}"
    return name


def _tag_name(tag: int) -> str:
    if tag in GENERAL_BY_TAG:
        return {KeySet.GLOBAL: "general-glo-ciphering", KeySet.DEDICATED: "general-ded-ciphering"}[GENERAL_BY_TAG[tag]]
    if tag in PROTECTED_BY:
        keys, inner = PROTECTED_BY[tag]
        return f"{_PREFIXES[keys]}-{TAGS.get(inner, f'APDU {inner:02x}')}"
    return TAGS.get(tag, f"APDU {tag:02x}")


_PREFIXES = {KeySet.GLOBAL: "glo", KeySet.DEDICATED: "ded"}
