from __future__ import annotations

import socket
import ssl

import pytest
from paho.mqtt._packet import convert_connack_rc_to_reason_code
from paho.mqtt.enums import ConnackCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from connectors.thingsboard import ending
from connectors.thingsboard.ending import (
    CONNACK,
    DISCONNECT,
    PUBACK,
    Ending,
    connection_refused,
    disconnected,
    message_refused,
    not_opened,
    said,
)

ALL = [value for value in vars(ending).values() if isinstance(value, Ending)]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x86, "refused-credentials"),
        (0x87, "refused-credentials"),
        (0x84, "protocol-unsupported"),
        (0x85, "client-id-refused"),
        (0x88, "server-unavailable"),
        (0x9F, "rate-limited"),
        (0x97, "quota-exceeded"),
        (0xB0, "server-unavailable"),
    ],
)
def test_connack(code: int, name: str) -> None:
    assert connection_refused(code).name == name


@pytest.mark.parametrize(
    ("return_code", "name"),
    [
        (1, "protocol-unsupported"),
        (2, "client-id-refused"),
        (3, "server-unavailable"),
        (4, "refused-credentials"),
        (5, "refused-credentials"),
    ],
)
def test_connack_of_3_1_1_as_paho_hands_it_over(return_code: int, name: str) -> None:
    assert connection_refused(convert_connack_rc_to_reason_code(ConnackCode(return_code)).value).name == name


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0x00, "closed-by-server"),
        (0x8E, "taken-over"),
        (0x98, "credentials-changed"),
        (0x8B, "server-restart"),
        (0x8D, "idle"),
        (0x93, "rate-limited"),
        (0x96, "rate-limited"),
        (0x97, "quota-exceeded"),
        (0x99, "malformed-message"),
        (0x81, "malformed-message"),
        (0x95, "packet-too-large"),
        (0x83, "server-error"),
        (0xA0, "maximum-connect-time"),
    ],
)
def test_disconnect(code: int, name: str) -> None:
    assert disconnected(code).name == name


@pytest.mark.parametrize(
    ("code", "name"),
    [(0x97, "quota-exceeded"), (0x99, "malformed-message"), (0x90, "not-allowed"), (0x80, "server-error"), (0x83, "server-error")],
)
def test_puback(code: int, name: str) -> None:
    assert message_refused(code).name == name


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ConnectionRefusedError(111, "refused"), "refused"),
        (socket.gaierror(-2, "unknown"), "name-not-found"),
        (TimeoutError("timed out"), "unreachable"),
        (OSError(113, "no route"), "unreachable"),
        (ssl.SSLCertVerificationError(1, "self-signed"), "certificate-untrusted"),
        (ssl.SSLError(1, "wrong version number"), "tls"),
    ],
)
def test_not_opened(error: OSError, name: str) -> None:
    assert not_opened(error).name == name


def test_a_code_is_quoted_as_the_server_said_it() -> None:
    assert said(0x8E, "5") == "reason code 0x8e"
    assert said(convert_connack_rc_to_reason_code(ConnackCode.CONNACK_REFUSED_NOT_AUTHORIZED).value, "3.1.1") == "return code 5"
    assert said(None, "5") == ""


def test_a_lost_socket_is_never_called_not_authorized() -> None:
    assert "authorized" not in ending.CONNECTION_LOST.explanation + ending.CONNECTION_LOST.remedy
    assert not ending.CONNECTION_LOST.contested


def test_every_cause_says_what_happened_and_what_to_do() -> None:
    assert len({value.name for value in ALL}) == len(ALL)
    assert all(value.explanation and value.remedy for value in ALL)


@pytest.mark.parametrize(
    ("table", "packet"), [(CONNACK, PacketTypes.CONNACK), (DISCONNECT, PacketTypes.DISCONNECT), (PUBACK, PacketTypes.PUBACK)]
)
def test_every_code_in_the_tables_exists_in_mqtt_5(table: dict[int, Ending], packet: int) -> None:
    for code in table:
        assert ReasonCode(packet, identifier=code).value == code


def test_a_rate_limit_and_a_quota_have_one_code_and_are_told_apart_by_what_follows() -> None:
    limited = ending.Exhaustion()
    assert limited.refused(1.0, 1.1) is ending.LIMIT_REACHED
    assert limited.refused(1.0, 1.2) is ending.LIMIT_REACHED  # was sent before the first refusal
    limited.passed()
    assert limited.refused(3.0, 3.1) is ending.RATE_LIMITED
    assert limited.refused(5.0, 5.1) is ending.QUOTA
    assert limited.refused(5_000.0, 5_000.1) is ending.LIMIT_REACHED
