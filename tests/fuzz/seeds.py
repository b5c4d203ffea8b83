"""Honest bytes to start from: a fuzzer that begins with them reaches deeper than one that begins with nothing."""

from __future__ import annotations

from connectors.dlms.hdlc.frame import Address, Frame, FrameType
from connectors.dlms.wrapper import wrap
from tests.fuzz.push_targets import HONEST, ciphered_push
from tests.fuzz.targets import AARE, GATEWAY, UA, ciphered, ciphered_value
from tests.unit import push_telegrams as telegrams
from tests.unit.push_setup import wrapped

_CLIENT, _METER = Address(16), Address(1, 17, 4)

_APDUS = [
    AARE,
    bytes.fromhex("6117a109060760857405080101a203020101a305a10302010d"),  # AARE: authentication failure
    bytes.fromhex("6303800100"),  # RLRE
    bytes.fromhex("d80201"),  # exception-response
    bytes.fromhex("0e010603"),  # confirmed-service-error
    bytes.fromhex("c401c1000600001234"),  # GET-response-normal: double-long-unsigned
    bytes.fromhex("c401c10103"),  # GET-response-normal: read-write-denied
    bytes.fromhex("c403c104000600001234000202 0ffe161e 0103 000907d20c04030a060b".replace(" ", "")),  # GET-response-with-list
    bytes.fromhex("c402c10000000001 0005 0102020212".replace(" ", "")),  # GET-response-with-datablock
]

_READ_APDUS = [
    AARE,
    bytes.fromhex("0c01000102020410880012000311000906010001 0800ff02042bc012000811000906000001 0000ff".replace(" ", "")),  # object list
    bytes.fromhex("0c01000600001234"),  # READ-response: double-long-unsigned
    bytes.fromhex("0c0400060000123401030009060102030405060005ffffffff"),  # READ-response to several
    bytes.fromhex("0c010200000105 0100060000".replace(" ", "")),  # the first block of a READ-response
    bytes.fromhex("0c0102010002021234"),  # the last one
    bytes.fromhex("0e050502"),  # confirmed-service-error
]

_VALUES = [
    bytes.fromhex(text)
    for text in (
        "00",
        "0600001234",
        "0ffe",
        "161e",
        "02020ffe161e",  # scaler and unit
        "090c07d20c04030a060bff007800",  # a date-time
        "0a0548656c6c6f",
        "0c0548656c6c6f",
        "0408a5",
        "0d12",
        "233f9d70a4",
        "243ff3ae147ae147ae",
        "14fffffffffffffff6",
        "1907d20c04030a060bff007800",
        "1a07d20c0403",
        "1b0a060bff",
        "01020202090c07d20c04030a060bff007800060000000102020900060000000a",  # two rows of a profile
        "130203120600100007000000010008000000020009000000ff",  # compact-array
        "0101010101010100",
    )
]

_FRAMES = [
    Frame(FrameType.I, _CLIENT, _METER, b"\xe6\xe7\x00" + apdu, ns=number % 8, nr=1, final=True).encode()
    for number, apdu in enumerate(_APDUS)
]

_CIPHERED = [ciphered(ciphered_value(number), 2 + number, general=number % 2 == 1) for number in range(16)]
_WINDOW = Frame(FrameType.UA, _CLIENT, _METER, bytes.fromhex("8180140502008006020080070400000007080400000001")).encode()
_GATEWAY_FRAMES = [
    _WINDOW,
    *(
        Frame(FrameType.I, _CLIENT, _METER, b"\xe6\xe7\x00" + GATEWAY + apdu, ns=number % 8, nr=1 + (number > 0), final=True).encode()
        for number, apdu in enumerate(_APDUS)
    ),
    b"".join(
        Frame(FrameType.I, _CLIENT, _METER, part, ns=number, nr=2, final=number == 3, segmented=number < 3).encode()
        for number, part in enumerate((b"\xe6\xe7\x00", GATEWAY, _APDUS[5], b""), start=1)
    ),
]

_BLOCKS = [bytes.fromhex("e040000100000a") + HONEST[:10], bytes([0xE0, 0xC0, 0, 2, 0, 0, len(HONEST) - 10]) + HONEST[10:]]
_EVENT = bytes.fromhex("c2010c07ea05040111133b0000000000010000600b00ff021118")

SEEDS: dict[str, list[bytes]] = {
    "frame-scanner": [UA, b"".join(_FRAMES), UA[:20] + UA, *_FRAMES],
    "wrapper-scanner": [wrap(1, 16, apdu) for apdu in _APDUS] + [b"".join(wrap(1, 16, apdu) for apdu in _APDUS)],
    "reply": _APDUS,
    "value": _VALUES,
    "hdlc-conversation": [bytes([progress]) + data for progress in (0, 1, 3, 7, 15) for data in (UA, *_FRAMES)],
    "wrapper-conversation": [bytes([progress]) + wrap(1, 16, apdu) for progress in (0, 1, 3, 7, 15) for apdu in _APDUS],
    "ciphered-apdu": _CIPHERED,
    "ciphered-conversation": [bytes([progress]) + wrap(1, 16, apdu) for progress in (0, 1) for apdu in (*_CIPHERED, *_APDUS)],
    "push-hdlc": [telegrams.KAMSTRUP, telegrams.AIDON, telegrams.KAIFA_LIST_2, telegrams.LANDIS_GYR_E450, telegrams.ISKRAEMECO_AM550],
    "push-wrapper": [wrapped(apdu) for apdu in (HONEST, ciphered_push(1), *_BLOCKS, _EVENT)],
    "push-m-bus": [telegrams.EVN, telegrams.EVN[256:] + telegrams.EVN],
    "push-ciphered": [ciphered_push(1), ciphered_push(2), HONEST, _EVENT],
    "short-names-conversation": [bytes([progress]) + wrap(1, 16, apdu) for progress in (1, 3, 7) for apdu in _READ_APDUS]
    + [bytes([7]) + b"".join(wrap(1, 16, apdu) for apdu in _READ_APDUS)],
    "windowed-gateway-conversation": [bytes([progress]) + data for progress in (0, 1, 3, 7, 15) for data in _GATEWAY_FRAMES],
    "server-limits": [b'{"maxPayloadSize":65536,"maxInflightMessages":100,"rateLimits":{"messages":"200:1"}}'],
}
"""Target name -> inputs."""
