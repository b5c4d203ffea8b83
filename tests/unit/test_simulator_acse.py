from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.meter import acse
from simulator.meter.acse import Conformance, Diagnostic, InitiateError
from simulator.meter.axdr import DataError

# Example APDUs of the DLMS UA Green Book: lowest-level and low-level security, logical names.
AARQ_NONE = bytes.fromhex("601DA109060760857405080101BE10040E01000000065F1F0400007E1F04B0")
AARQ_LOW = bytes.fromhex("6036A1090607608574050801018A0207808B0760857405080201AC0A80083132333435363738BE10040E01000000065F1F0400007E1F04B0")
AARE = bytes.fromhex("6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000501F01F40007")


def test_the_lowest_level_request() -> None:
    request = acse.parse_aarq(AARQ_NONE)
    assert (request.mechanism, request.password, request.logical_names) == (0, b"", True)
    assert (request.dlms_version, request.conformance, request.max_pdu_size) == (6, Conformance(0x007E1F), 1200)


def test_the_low_level_request_and_its_secret() -> None:
    request = acse.parse_aarq(AARQ_LOW)
    assert (request.mechanism, request.password) == (1, b"12345678")
    assert "12345678" not in repr(request)


def test_the_response_that_accepts() -> None:
    assert acse.build_aare_accepted(Conformance(0x00501F), 500) == AARE


def test_a_rejection_names_its_diagnostic() -> None:
    rejection = acse.build_aare_rejected(Diagnostic.AUTHENTICATION_FAILURE, Conformance(0x00501F), 500)
    assert bytes.fromhex("A203020101") + bytes.fromhex("A305A10302010D") in rejection


def test_an_unusable_context_is_answered_with_an_initiate_error() -> None:
    assert acse.build_aare_initiate_error(InitiateError.PDU_SIZE_TOO_SHORT).endswith(bytes.fromhex("BE0604040E010603"))


@pytest.mark.parametrize(
    ("initiate", "problem"),
    [
        ("01000000065F1F0400007E1F04B0", None),
        ("01000000065F1F0400007E1F0000", None),
        ("0100000006 5F0400007E1F04B0", None),
        ("0101020A0B010101FF065F1F0400007E1F04B0", None),
        ("01000000055F1F0400007E1F04B0", InitiateError.DLMS_VERSION_TOO_LOW),
        ("01000000065F1F0400007E0F04B0", InitiateError.INCOMPATIBLE_CONFORMANCE),
        ("01000000065F1F0400007E1F000B", InitiateError.PDU_SIZE_TOO_SHORT),
    ],
)
def test_initiate_requests_of_all_shapes(initiate: str, problem: InitiateError | None) -> None:
    content = bytes.fromhex(initiate.replace(" ", ""))
    information = b"\xbe" + bytes((len(content) + 2, 4, len(content))) + content
    body = bytes.fromhex("A109060760857405080101") + information
    assert acse.initiate_problem(acse.parse_aarq(b"\x60" + bytes((len(body),)) + body)) is problem


@given(st.integers(0, len(AARQ_LOW) - 1), st.binary(max_size=3))
def test_a_damaged_request_is_a_data_error_and_nothing_else(position: int, patch: bytes) -> None:
    for damaged in (AARQ_LOW[:position], AARQ_LOW[:position] + patch + AARQ_LOW[position + len(patch) :]):
        try:
            acse.parse_aarq(damaged)
        except DataError:
            continue
