"""How a pushing meter frames its APDUs: wrapper, HDLC UI frames, M-Bus long frames, and blocks of general-block-transfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from simulator.meter.axdr import encode_length
from simulator.meter.hdlc_frame import POLL_FINAL, Frame, encode_address, encode_frame

_LLC = bytes.fromhex("E6E700")
_UI = 0x03
_PUSH_CLIENT = 102
_GENERAL_BLOCK, _LAST, _STREAMING = 0xE0, 0x80, 0x40
_M_BUS_START, _M_BUS_STOP, _SEND_USER_DATA, _BROADCAST, _FINAL_SEGMENT = 0x68, 0x16, 0x53, 0xFF, 0x10
_M_BUS_LONGEST = 250 - 5
"""Bytes of an APDU in one M-Bus frame of 250: C, A, CI and two SAPs take the rest."""


def blocks(apdu: bytes, size: int) -> list[bytes]:
    """`apdu` as general-block-transfer with `size` bytes in each block."""
    parts = [apdu[start : start + size] for start in range(0, len(apdu), size)]
    return [
        bytes([_GENERAL_BLOCK, _LAST | _STREAMING if number == len(parts) else _STREAMING])
        + number.to_bytes(2, "big")
        + bytes(2)
        + encode_length(len(part))
        + part
        for number, part in enumerate(parts, start=1)
    ]


def wrapper(apdu: bytes, logical: int) -> bytes:
    """One message from a logical device to the push client."""
    return bytes([0, 1]) + logical.to_bytes(2, "big") + _PUSH_CLIENT.to_bytes(2, "big") + len(apdu).to_bytes(2, "big") + apdu


def hdlc(apdu: bytes, logical: int, physical: int = 0, segment: int = 1000) -> bytes:
    """UI frames with `segment` bytes of information in each."""
    information = _LLC + apdu
    parts = [information[start : start + segment] for start in range(0, len(information), segment)]
    client, server = encode_address(_PUSH_CLIENT), encode_address(logical, physical)
    return b"".join(
        encode_frame(Frame(client, server, _UI | (POLL_FINAL if number == len(parts) else 0), part, segmented=number < len(parts)))
        for number, part in enumerate(parts, start=1)
    )


def m_bus(apdu: bytes, logical: int) -> bytes:
    """Long frames, as many as needed: CI counts them and marks the last."""
    parts = [apdu[start : start + _M_BUS_LONGEST] for start in range(0, len(apdu), _M_BUS_LONGEST)]
    frames = b""
    for number, part in enumerate(parts):
        segment = number & 0x0F | (_FINAL_SEGMENT if number == len(parts) - 1 else 0)
        content = bytes([_SEND_USER_DATA, _BROADCAST, segment, logical, _PUSH_CLIENT]) + part
        head = bytes([_M_BUS_START, len(content), len(content), _M_BUS_START])
        frames += head + content + bytes([sum(content) & 0xFF, _M_BUS_STOP])
    return frames


FRAMINGS: Mapping[str, Callable[[bytes, int], bytes]] = MappingProxyType({"wrapper": wrapper, "hdlc": hdlc, "mbus": m_bus})
"""By name: APDU and logical device -> bytes on the line."""

SHORT_SEGMENTS: Callable[[bytes, int], bytes] = partial(hdlc, segment=60)
"""HDLC as meters with small frames send it."""
