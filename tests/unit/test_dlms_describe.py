from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.dlms.apdu.describe import describe


@pytest.mark.parametrize(
    ("apdu", "words"),
    [
        ("c001c3 0003 0100200700ff 02 00", "GET-request-normal #3 1.0.32.7.0.255 class 3 attribute 2"),
        (
            "c003c4 02 0003 0100200700ff 02 00 0008 0000010000ff 02 00",
            "#4 1.0.32.7.0.255 class 3 attribute 2, 0.0.1.0.0.255 class 8 attribute 2",
        ),
        ("c002c1 00000002", "#1 after block 2"),
        ("c401c3 00 12 59e4", "GET-response-normal #3 23012"),
        ("c401c3 01 04", "GET-response-normal #3 object-undefined"),
        ("c403c4 02 00 12 59e4 01 03", "#4 23012, read-write-denied"),
        ("c402c1 01 00000002 00 03 010203", "#1 block 2 (last): 3 bytes"),
        ("c401c3 00 12 59", "GET-response-normal #3"),
        ("05 02 02 fa08 02 6208", "READ-request FA08, 6208"),
        ("05 01 05 0007", "READ-request after block 7"),
        ("0c 03 00 12 59e4 01 03 00 00", "READ-response 23012, read-write-denied, None"),
        ("0c 01 02 01 0002 03 010203", "READ-response block 2 (last): 3 bytes"),
        ("0c 01 00", "READ-response"),
        ("e6 05 02 0102 c001c3 0003 0100200700ff 02 00", "network 5 device 0102: GET-request-normal #3 1.0.32.7.0.255 class 3 attribute 2"),
        ("e7 05 02 01", "gateway-response"),
    ],
)
def test_requests_and_results_are_put_into_words(apdu: str, words: str) -> None:
    assert describe(bytes.fromhex(apdu)).endswith(words)


@given(st.binary(max_size=60))
def test_anything_can_be_described(apdu: bytes) -> None:
    assert "\n" not in describe(apdu)
    describe(b"\xc4" + apdu)
    describe(b"\xc0" + apdu)
    describe(b"\x05" + apdu)
    describe(b"\x0c" + apdu)
    describe(b"\xe6\x00\x00" + apdu)
