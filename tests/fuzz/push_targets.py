"""Fuzz targets for what strangers push to us: in each framing, in plain and in the name of a ciphered meter."""

from __future__ import annotations

from connectors.dlms.push.authenticity import Security
from connectors.dlms.push.framing import FramingName
from connectors.dlms.security.protection import Keys, Policy, Suite, protect
from model.messages import Origin
from tests.unit.push_setup import ADDRESS, Bench

KEYS = Keys(Suite.SUITE_0, bytes(range(16)), bytes(range(100, 116)))
TITLE = b"SERVER01"
SECRET_VALUE = 4711
"""What the honest ciphered meter pushes: nothing else may ever come out in its name."""
HONEST = bytes.fromhex("0F000000010001010203090601002007 00FF12 1267 02020FFF1623".replace(" ", ""))
_READ = {"voltage": "1-0:32.7.0", "serial": {"obis": "0-0:96.1.0", "class": 1}, "clock": {"obis": "0-0:1.0.0", "class": 8}}
_PUSH = {"patterns": [["voltage"], ["serial", ["voltage", None]]], "units": {"voltage": {"unit": "V"}}}


def ciphered_push(counter: int) -> bytes:
    """The honest notification, protected."""
    return protect(HONEST, KEYS, Policy.AUTHENTICATED_ENCRYPTION, TITLE, counter, general=True)


def push_hdlc(data: bytes) -> None:
    """What a stranger sends to a listener for HDLC."""
    _push("hdlc", data)


def push_wrapper(data: bytes) -> None:
    """What a stranger sends to a listener for the wrapper."""
    _push("wrapper", data)


def push_m_bus(data: bytes) -> None:
    """What a stranger sends to a listener for M-Bus."""
    _push("mbus", data)


def push_ciphered(data: bytes) -> None:
    """An APDU that claims to come from a ciphered meter; only its own value ever comes out."""
    meters = {"m": {"push_address": ADDRESS}}
    bench = Bench("wrapper", _READ, _PUSH, meters, {"m": Security(KEYS, Policy.AUTHENTICATED_ENCRYPTION, TITLE)})
    size = min(len(data), 0xFFFF).to_bytes(2, "big")
    for cycle in bench.push(b"\x00\x01\x00\x01\x00\x66" + size + data[:0xFFFF]):
        assert all(raw.value == SECRET_VALUE for raw in cycle.values)


def _push(framing: FramingName, data: bytes) -> None:
    bench = Bench(framing, _READ, _PUSH)
    half = len(data) // 2
    for piece in (data[:half], data[half:]):
        for cycle in bench.push(piece):
            assert cycle.origin is Origin.PUSH
            assert cycle.values or cycle.errors
    bench.alerts()
