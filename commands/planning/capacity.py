"""What a fleet needs besides time on its lines: processors, memory, disk, and messages to ThingsBoard.

Costs were measured with this version on one core of a small machine (see `MEASURED`); another machine
has other ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from commands.planning.line_time import CAPTURE_PERIOD
from model.assignment import Assignment
from model.loading.load import Loaded
from model.settings.pipeline import PipelineSettings

MEASURED = "100 to 1,100 meters with 10 values every 1 to 60 s (HDLC), the whole default flow with archive and recovery, one process"

CPU_IDLE = 0.04
"""Cores that a process takes whatever it does. Measured: what is left of 5.5 % with 100 meters."""
CPU_PER_CYCLE = 0.0006
CPU_PER_VALUE = 0.00012
"""Seconds of one core for a cycle of one exchange, and for each value up to ThingsBoard's acknowledgement and the archive. A cycle of
ten values was measured (1.8 ms); how that divides is assumed."""
CPU_PER_EXCHANGE = 0.00005
"""Seconds of one core for each further exchange. Measured: ten GETs instead of one with a list cost 0.43 ms more."""
CPU_CIPHERING = 0.0001
"""Seconds of one core for the ciphering of one exchange. Measured: ten ciphered GETs cost 0.84 ms more than plain ones."""

MANY = 100.0
"""Cycles per second above which each further one costs half: more of them go through the nodes together. Measured: 0.9 ms per cycle of
ten values at 200, 500 and 1,000 a second."""

MEMORY_BASE = 80_000_000
"""Bytes of a process without meters. Measured."""
MEMORY_PER_METER = 60_000
"""Bytes for each meter with its association, plans, windows and states. Measured."""

ARCHIVE_PER_READING = 70
"""Bytes of an archived value: 60 measured with keys of one letter, 10 for keys of the usual length."""
ARCHIVE_PER_CYCLE = 150
"""Bytes of an archived cycle with its receipt. Measured."""

OUTBOX_PER_CYCLE = 700
"""Bytes that a cycle of 20 values takes in the outbox. Measured."""

BUSY = 0.6
"""The part of a core that is used at most; the rest is for catching up after an outage."""

EXAMPLE_LIMIT = 10.0
"""Messages per second in the long run of the limit 20:1,600:60, which ThingsBoard's own examples give a gateway. After installation
there is no limit; the running pipeline asks the server for its own and keeps to it."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the fleet needs; rates per second, sizes in bytes."""

    meters: int
    cycles: float
    exchanges: float
    readings: float
    profile_readings: float
    cores: float
    processes: int
    memory_per_process: int
    archive_per_day: int
    outbox_per_day: int
    messages: float
    messages_of_busiest_session: float
    connections: int


def capacity(loaded: Loaded, exchanges_per_cycle: dict[str, int]) -> Capacity:
    """What the meters of `loaded` need.

    :arg exchanges_per_cycle: by meter id; those that are never polled are left out.
    """
    settings = loaded.settings
    cycles = exchanges = readings = cpu = 0.0
    assignment, shares = Assignment(settings.thingsboard), dict.fromkeys(settings.thingsboard.session_names, 0.0)
    for meter in settings.meters:
        if meter.id not in exchanges_per_cycle:
            continue
        rate, asked, keys = 1 / settings.interval(meter), exchanges_per_cycle[meter.id], len(settings.reads(meter))
        shares[assignment.of(meter.id) or assignment.first] += rate
        cycles, exchanges, readings = cycles + rate, exchanges + rate * asked, readings + rate * keys
        cost = CPU_PER_CYCLE + CPU_PER_EXCHANGE * max(0, asked - 1) + CPU_PER_VALUE * keys
        cpu += rate * (cost + (CPU_CIPHERING * asked if meter.is_ciphered else 0.0))
    if cycles > MANY:
        cpu *= (MANY + (cycles - MANY) / 2) / cycles
    profile = _profile_rate(settings)
    cpu += profile * CPU_PER_VALUE
    processes = max(1, math.ceil(cpu / (BUSY - CPU_IDLE)))
    archived = any(node.type.name == "archive-out" for node in loaded.nodes)
    per_day = 86400 * ((readings + profile) * ARCHIVE_PER_READING + cycles * ARCHIVE_PER_CYCLE)
    return Capacity(
        meters=len(settings.meters),
        cycles=cycles,
        exchanges=exchanges,
        readings=readings,
        profile_readings=profile,
        cores=cpu + processes * CPU_IDLE,
        processes=processes,
        memory_per_process=MEMORY_BASE + MEMORY_PER_METER * math.ceil(len(settings.meters) / processes),
        archive_per_day=round(per_day) if archived else 0,
        outbox_per_day=round(86400 * cycles * OUTBOX_PER_CYCLE),
        messages=cycles + profile / 10,
        messages_of_busiest_session=(cycles + profile / 10) * (max(shares.values()) / cycles if cycles else 1.0),
        connections=_connections(settings, set(exchanges_per_cycle)),
    )


def _profile_rate(settings: PipelineSettings) -> float:
    """Values per second from load profiles, five columns and a quarter of an hour assumed."""
    return sum(
        5 / (profile.every or CAPTURE_PERIOD)
        for meter in settings.meters
        if meter.is_polled
        for profile in settings.profiles(meter).values()
    )


def _connections(settings: PipelineSettings, polled: set[str]) -> int:
    lines = settings.shared_lines()
    return len({lines.get(meter, f"\0{meter}") for meter in polled})
