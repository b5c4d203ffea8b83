"""Whether this host's clock is kept by a time service: what systemd-timedated says, else the kernel itself (adjtimex(2))."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass

from commands.host.tools import run_tool

_UNSYNCHRONISED = 0x0040
"""STA_UNSYNC."""

_LONG = ctypes.c_long


class _Timex(ctypes.Structure):
    """struct timex, as far as it is read; the rest is room that the kernel writes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", _LONG),
        ("freq", _LONG),
        ("maxerror", _LONG),
        ("esterror", _LONG),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


@dataclass(frozen=True, slots=True)
class ClockState:
    """What is known.

    :arg synchronised: whether a time service keeps the clock; None where this host does not tell.
    :arg said_by: who said so.
    """

    synchronised: bool | None
    said_by: str


def clock_state() -> ClockState:
    """What this host says about its clock."""
    told = run_tool("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if told is not None and told.strip() in ("yes", "no"):
        return ClockState(told.strip() == "yes", "timedatectl")
    return _kernel()


def _kernel() -> ClockState:
    state = _Timex()
    try:
        answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state))
    except (OSError, AttributeError):
        return ClockState(None, "this system has no adjtimex")
    if answer < 0:
        return ClockState(None, f"adjtimex: {os.strerror(ctypes.get_errno())}")
    return ClockState(not state.status & _UNSYNCHRONISED, "the kernel")
