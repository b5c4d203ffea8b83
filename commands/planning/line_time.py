"""How long a cycle takes on the wire, and how much of a line's time its meters need.

Two estimates stand beside each other, because only the meter knows which is right. The quick one is what the protocol allows: the
bytes at the line's baud rate and the shortest turnaround. The slow one is a meter that takes `SLOW_METER` for every answer, as an
installation of three-phase meters behind serial converters did. `probe` measures the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.dlms.plan import plan_reads
from model.settings.link_address import SerialParameters
from model.settings.meter import MeterSettings
from model.settings.pipeline import PipelineSettings

TURNAROUND = 0.03
"""Seconds from the end of a request to the begin of its answer, the least that RS-485 meters in the field kept to."""

SLOW_METER = 0.7
"""Seconds for one answer of a slow meter: a GET took 0.5 to 0.9 s in the field."""

ROUND_TRIP = {"meter": 0.02, "converter": 0.02, "modem": 1.0}
"""Seconds there and back over the network, by `via`: assumed, for a local network and for a mobile one."""

VIRTUAL = 0.002
"""Seconds for an answer of a virtual meter."""

CONVERTER = SerialParameters()
"""What is assumed behind a converter whose serial side this configuration does not know: 9600 8N1."""

CAPTURE_PERIOD = 900.0
"""Seconds between two rows of a load profile, assumed where `every` does not say."""

PROFILE_ROW = 40
"""Bytes of a row: a timestamp and five values."""

_GET_REQUEST, _GET_RESPONSE = 13, 9
"""Bytes of a GET-request-normal, and of its answer with a value of four bytes."""
_LIST_REQUEST, _LIST_RESPONSE, _LIST_ITEM, _LIST_RESULT = 5, 4, 10, 6
_RANGE_REQUEST = 64
_FRAME, _LLC, _WRAPPER = 10, 3, 8
"""Bytes around an APDU: flags, format, client address, control and both check sequences; LLC; the wrapper's header."""
_SMALLEST_PDU = 128


@dataclass(frozen=True, slots=True)
class CycleTime:
    """One cycle of one meter.

    :arg exchanges: requests per cycle, once scalers are known.
    :arg singles: requests per cycle where the meter takes no GET-with-list.
    :arg quick: seconds that the protocol allows, with lists where the settings do.
    :arg slow: seconds with a slow meter that takes no lists.
    :arg interval: seconds between the begins of two cycles.
    """

    meter: str
    exchanges: int
    singles: int
    quick: float
    slow: float
    interval: float


@dataclass(frozen=True, slots=True)
class LineTime:
    """All cycles of one line, or of one meter with a link of its own.

    :arg name: the line's address, or the meter's id.
    :arg baud: bits per second of its serial side; None for a network all the way.
    :arg assumed: whether the baud rate is assumed.
    """

    name: str
    cycles: tuple[CycleTime, ...]
    baud: int | None
    assumed: bool

    @property
    def quick_share(self) -> float:
        """The part of its time that the line needs at least; above 1 its meters cannot keep their intervals."""
        return sum(cycle.quick / cycle.interval for cycle in self.cycles)

    @property
    def slow_share(self) -> float:
        """The same with slow meters."""
        return sum(cycle.slow / cycle.interval for cycle in self.cycles)

    @property
    def quick(self) -> float:
        """Seconds to read each of its meters once."""
        return sum(cycle.quick for cycle in self.cycles)

    @property
    def slow(self) -> float:
        """The same with slow meters."""
        return sum(cycle.slow for cycle in self.cycles)


def line_times(pipeline: PipelineSettings) -> list[LineTime]:
    """Every line, and every meter with a link of its own; those that only call in are left out."""
    shared = pipeline.shared_lines()
    groups: dict[str, list[MeterSettings]] = {}
    for meter in pipeline.meters:
        if meter.is_polled:
            groups.setdefault(shared.get(meter.id, f"\0{meter.id}"), []).append(meter)
    return [_line(pipeline, name, meters) for name, meters in groups.items()]


def _line(pipeline: PipelineSettings, name: str, meters: Sequence[MeterSettings]) -> LineTime:
    serial, assumed = _serial(meters[0])
    cycles = tuple(cycle_time(pipeline, meter) for meter in meters)
    return LineTime(meters[0].id if name.startswith("\0") else name, cycles, serial.baud if serial else None, assumed)


def cycle_time(pipeline: PipelineSettings, meter: MeterSettings) -> CycleTime:
    """One cycle of `meter`, with its part of the load profiles' requests."""
    singles = len(plan_reads(pipeline.reads(meter)).attributes())
    per_list = _per_list(meter)
    lists = math.ceil(singles / per_list) if singles else 0
    interval = pipeline.interval(meter)
    wire = _single(meter) * singles if per_list == 1 else _lists(meter, singles, per_list)
    release = 4 * _exchange(meter, 40, 60) if meter.release_after_cycle else 0.0
    profiles = sum(
        _exchange(meter, _RANGE_REQUEST, PROFILE_ROW * max(1, round((profile.every or CAPTURE_PERIOD) / CAPTURE_PERIOD)))
        * interval
        / (profile.every or CAPTURE_PERIOD)
        for profile in pipeline.profiles(meter).values()
    )
    quick = wire + release + profiles
    if meter.address.scheme == "sim":
        return CycleTime(meter.id, lists, singles, quick, quick, interval)
    slow = singles * (_single(meter) + SLOW_METER - TURNAROUND) + release + profiles * (1 + SLOW_METER / TURNAROUND)
    if meter.release_after_cycle:
        slow += 4 * SLOW_METER
    return CycleTime(meter.id, lists, singles, quick, slow, interval)


def _per_list(meter: MeterSettings) -> int:
    if not meter.with_list:
        return 1
    fitting = (min(meter.max_pdu_size, 1024) - _LIST_REQUEST) // _LIST_ITEM
    return max(1, min(meter.with_list_max, fitting))


def _single(meter: MeterSettings) -> float:
    return _exchange(meter, _GET_REQUEST, _GET_RESPONSE)


def _lists(meter: MeterSettings, count: int, per_list: int) -> float:
    seconds, left = 0.0, count
    while left > 0:
        taken = min(left, per_list)
        if taken == 1:
            seconds += _single(meter)
        else:
            seconds += _exchange(meter, _LIST_REQUEST + _LIST_ITEM * taken, _LIST_RESPONSE + _LIST_RESULT * taken)
        left -= taken
    return seconds


def _exchange(meter: MeterSettings, request: int, reply: int) -> float:
    """Seconds for one request of so many bytes and its answer."""
    serial, _ = _serial(meter)
    if meter.address.scheme == "sim":
        return VIRTUAL
    network = ROUND_TRIP[meter.via] if meter.address.scheme != "serial" else 0.0
    if serial is None:
        return network + TURNAROUND
    if meter.framing == "wrapper":
        return network + TURNAROUND + (request + reply + 2 * _WRAPPER) * serial.bits_per_byte / serial.baud
    size = meter.hdlc_information_size
    address = meter.server_address_size or (
        4 if max(meter.server_logical, meter.server_physical) > 125 else 2 if meter.server_physical else 1
    )
    frame = _FRAME + address
    frames = [math.ceil((length + _LLC) / size) for length in (request, reply)]
    supervisory = sum(frames) - 2
    carried = request + reply + 2 * _LLC + sum(frames) * frame + supervisory * (frame - 2)
    return (network + TURNAROUND) * (1 + supervisory) + carried * serial.bits_per_byte / serial.baud


def _serial(meter: MeterSettings) -> tuple[SerialParameters | None, bool]:
    """The serial side of the meter's link, and whether it is assumed; None where there is none."""
    address = meter.address
    if address.scheme in ("serial", "rfc2217"):
        if address.mode_e is not None:
            return SerialParameters(
                baud=address.mode_e.max_baud or CONVERTER.baud, parity="even", data_bits=7
            ), address.mode_e.max_baud is None
        return address.serial, False
    if address.scheme == "tcp" and meter.framing == "hdlc":
        return CONVERTER, True
    return None, False


def assumptions(lines: Sequence[LineTime]) -> list[str]:
    """What was assumed, in words."""
    said = [
        f"quick: the bytes at the line's baud rate, {TURNAROUND * 1000:.0f} ms from request to answer (measured on RS-485 in the field), "
        "GET-with-list where the settings allow it",
        f"slow: {SLOW_METER:g} s for every answer and one value per request (as measured on meters behind converters; 0.5 to 0.9 s)",
        f"{ROUND_TRIP['meter'] * 1000:.0f} ms network round trip ({ROUND_TRIP['modem']:g} s with via: modem); scalers are read once and "
        "not counted",
    ]
    if any(line.assumed for line in lines):
        said.append(f"behind tcp:// with HDLC a serial side of {CONVERTER} is assumed")
    return said


def warnings(lines: Sequence[LineTime]) -> list[tuple[str, str, str]]:
    """(line, what, remedy) where intervals cannot or may not be kept."""
    found = []
    for line in lines:
        who = f"{len(line.cycles)} meters need" if len(line.cycles) > 1 else "the meter needs"
        if line.quick_share > 1:
            what = f"{who} {line.quick_share:.0%} of the line's time at best: the intervals cannot be kept"
            found.append((line.name, what, f"lengthen the intervals at least {math.ceil(line.quick_share)} times, or use more lines"))
        elif line.slow_share > 1:
            what = f"{who} {line.quick_share:.0%} of the line's time at best, but {line.slow_share:.0%} with slow meters"
            found.append((line.name, what, "measure with `probe`, and lengthen the intervals if the meters are slow"))
    return found
