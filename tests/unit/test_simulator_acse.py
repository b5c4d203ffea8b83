from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.meter import acse
from simulator.meter.acse import Conformance, Diagnostic, InitiateError, Mechanism, Responder
from simulator.meter.axdr import DataError

# Example APDUs of the DLMS UA Green Book: lowest-level and low-level security, logical names.
AARQ_NONE = bytes.fromhex("601DA109060760857405080101BE10040E01000000065F1F0400007E1F04B0")
AARQ_LOW = bytes.fromhex("6036A1090607608574050801018A0207808B0760857405080201AC0A80083132333435363738BE10040E01000000065F1F0400007E1F04B0")
# The same in the ciphered application context: system title and a challenge for HLS (mechanism 5), dedicated key inside.
AARQ_CIPHERED = bytes.fromhex(
    "6066A109060760857405080103A60A04084D4D4D0000BC614E8A0207808B0760857405080205AC0A80084B35366956616759BE340432"
    "21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE6FDB8E356855"
)
AARE_HIGH = bytes.fromhex(
    "6142A109060760857405080101A203020100A305A10302010E88020780890760857405080205AA0A8008503677524A323146BE10040E0800065F1F040000501F01F40007"
)
AARE = bytes.fromhex("6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F040000501F01F40007")


def test_the_lowest_level_request() -> None:
    request = acse.parse_aarq(AARQ_NONE)
    assert (request.mechanism, request.authentication_value, request.logical_names, request.ciphered) == (0, b"", True, False)
    initiate = acse.parse_initiate(request.user_information)
    assert (initiate.dlms_version, initiate.conformance, initiate.max_pdu_size) == (6, Conformance(0x007E1F), 1200)


def test_the_low_level_request_and_its_secret() -> None:
    request = acse.parse_aarq(AARQ_LOW)
    assert (request.mechanism, request.authentication_value) == (1, b"12345678")
    assert "12345678" not in repr(request)


def test_the_response_that_accepts() -> None:
    assert acse.build_aare_accepted(acse.build_initiate_response(Conformance(0x00501F), 500)) == AARE


def test_the_ciphered_request_names_title_and_challenge() -> None:
    request = acse.parse_aarq(AARQ_CIPHERED)
    assert (request.ciphered, request.logical_names, request.mechanism) == (True, True, Mechanism.HIGH_GMAC)
    assert (request.calling_title, request.authentication_value) == (bytes.fromhex("4D4D4D0000BC614E"), b"K56iVagY")
    assert request.user_information[:6] == bytes.fromhex("213030012345")


def test_the_dedicated_key_is_in_the_initiate_request_and_in_no_repr() -> None:
    initiate = acse.parse_initiate(bytes.fromhex("01011000112233445566778899AABBCCDDEEFF0000065F1F0400007E1F04B0"))
    assert initiate.dedicated_key == bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    assert (initiate.conformance, initiate.max_pdu_size) == (Conformance(0x007E1F), 1200)
    assert "3D" not in repr(initiate).upper() and "DEDICATED" not in repr(initiate).upper()


def test_the_response_that_asks_for_the_answer_to_a_challenge() -> None:
    responder = Responder(mechanism=Mechanism.HIGH_GMAC, challenge=b"P6wRJ21F")
    assert acse.build_aare_accepted(acse.build_initiate_response(Conformance(0x00501F), 500), responder) == AARE_HIGH


def test_the_response_names_context_and_title_before_the_authentication() -> None:
    title = bytes.fromhex("4D4D4D0000BC614E")
    responder = Responder(acse.LOGICAL_NAMES_CIPHERED, title, Mechanism.HIGH_GMAC, b"P6wRJ21F")
    aare = acse.build_aare_accepted(b"\x28\x00", responder)
    assert bytes.fromhex("A109060760857405080103") in aare
    assert bytes.fromhex("A305A10302010E A40A0408") + title + bytes.fromhex("88020780") in aare


def test_a_rejection_names_its_diagnostic() -> None:
    rejection = acse.build_aare_rejected(Diagnostic.AUTHENTICATION_FAILURE, acse.build_initiate_response(Conformance(0x00501F), 500))
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
    assert acse.initiate_problem(acse.parse_initiate(bytes.fromhex(initiate.replace(" ", "")))) is problem


@given(st.integers(0, len(AARQ_LOW) - 1), st.binary(max_size=3))
def test_a_damaged_request_is_a_data_error_and_nothing_else(position: int, patch: bytes) -> None:
    for damaged in (AARQ_LOW[:position], AARQ_LOW[:position] + patch + AARQ_LOW[position + len(patch) :]):
        try:
            acse.parse_initiate(acse.parse_aarq(damaged).user_information)
        except DataError:
            continue
