"""The kinds of meter there are: which objects each has and how it behaves by nature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial

from model.obis import parse_logical_name
from simulator.meter.axdr import TypedValue, bit_string, double_long_unsigned, long_unsigned, octet_string, visible_string
from simulator.meter.interface_class import (
    AssociationLn,
    Clock,
    DataObject,
    DemandRegister,
    ExtendedRegister,
    InterfaceObject,
    Quantity,
    Reading,
    Register,
    SapAssignment,
)
from simulator.meter.load_curve import LoadCurve
from simulator.meter.profile_generic import EventLog, ProfileGeneric, event_code, profile_status

_WATT, _WATT_HOUR, _AMPERE, _VOLT, _HERTZ, _UNITLESS = 27, 30, 33, 35, 44, 255
_VOLTAGE_CODES = ("32.7.0", "52.7.0", "72.7.0")
_CURRENT_CODES = ("31.7.0", "51.7.0", "71.7.0")

_POWER = Quantity(LoadCurve.power, double_long_unsigned, 0, _WATT)
_IMPORT = Quantity(LoadCurve.energy, double_long_unsigned, 0, _WATT_HOUR)
_EXPORT = Quantity(lambda load, at: load.exported_energy(), double_long_unsigned, 0, _WATT_HOUR)
_FREQUENCY = Quantity(LoadCurve.frequency, long_unsigned, -2, _HERTZ)
_POWER_FACTOR = Quantity(LoadCurve.power_factor, long_unsigned, -3, _UNITLESS)
_CLOCK = Clock(parse_logical_name("0-0:1.0.0"))
_PROFILE_STATUS = DataObject(parse_logical_name("0-0:96.10.1"), profile_status)
_EVENT_CODE = DataObject(parse_logical_name("0-0:96.11.0"), event_code)


@dataclass(frozen=True)
class MeterProfile:
    """One kind of meter.

    :arg phases: 1 or 3.
    :arg mean_power: largest average load, W; each meter has between a third of it and all of it.
    :arg objects: builds its objects.
    :arg config: fields of `MeterConfig` that differ from the defaults.
    :arg behaviour: fields of `Behaviour` that differ from the honest ones.
    """

    phases: int
    mean_power: float
    objects: Callable[[], tuple[InterfaceObject, ...]]
    config: Mapping[str, object] = field(default_factory=dict)
    behaviour: Mapping[str, object] = field(default_factory=dict)


def _voltage(phase: int) -> Quantity:
    return Quantity(lambda load, at: load.voltage(phase, at), long_unsigned, -2, _VOLT)


def _current(phase: int) -> Quantity:
    return Quantity(lambda load, at: load.current(phase, at), double_long_unsigned, -3, _AMPERE)


def _serial_number(reading: Reading) -> TypedValue:
    return octet_string(reading.config.serial_number.encode())


def _logical_device_name(reading: Reading) -> TypedValue:
    return octet_string(reading.config.logical_device_name.encode())


def _common_objects() -> tuple[InterfaceObject, ...]:
    return (
        _CLOCK,
        AssociationLn(parse_logical_name("0-0:40.0.0")),
        SapAssignment(parse_logical_name("0-0:41.0.0")),
        DataObject(parse_logical_name("0-0:42.0.0"), _logical_device_name),
        DataObject(parse_logical_name("0-0:96.1.0"), _serial_number),
    )


def _electrical_registers(channel: int, phases: int) -> tuple[Register, ...]:
    """Voltage and current per phase, frequency, power and imported energy in one channel (OBIS group B)."""
    quantities = {
        **{code: _voltage(phase) for phase, code in enumerate(_VOLTAGE_CODES[:phases], start=1)},
        **{code: _current(phase) for phase, code in enumerate(_CURRENT_CODES[:phases], start=1)},
        "14.7.0": _FREQUENCY,
        "1.7.0": _POWER,
        "1.8.0": _IMPORT,
    }
    return tuple(Register(parse_logical_name(f"1-{channel}:{code}"), quantity) for code, quantity in quantities.items())


def _load_profile(channel: int, registers: tuple[Register, ...]) -> ProfileGeneric:
    captured = [parse_logical_name(f"1-{channel}:{code}") for code in ("1.8.0", "2.8.0", "1.7.0", "32.7.0", "31.7.0")]
    by_name = {register.logical_name: register for register in registers}
    columns = (_CLOCK, *(by_name[name] for name in captured if name in by_name))
    return ProfileGeneric(parse_logical_name(f"1-{channel}:99.1.0"), columns)


def _full_profile(registers: tuple[Register, ...]) -> ProfileGeneric:
    """A second load profile: the status word and seven quantities besides the clock."""
    captured = [parse_logical_name(f"1-0:{code}") for code in ("1.8.0", "2.8.0", "1.7.0", "32.7.0", "31.7.0", "14.7.0", "13.7.0")]
    by_name = {register.logical_name: register for register in registers}
    return ProfileGeneric(parse_logical_name("1-0:99.2.0"), (_CLOCK, _PROFILE_STATUS, *(by_name[name] for name in captured)))


def _standard_objects(phases: int) -> tuple[InterfaceObject, ...]:
    registers = (
        *_electrical_registers(0, phases),
        Register(parse_logical_name("1-0:2.8.0"), _EXPORT),
        Register(parse_logical_name("1-0:13.7.0"), _POWER_FACTOR),
    )
    return (
        *_common_objects(),
        DataObject(parse_logical_name("1-0:0.2.0"), lambda _: visible_string("1.0.0")),
        DataObject(parse_logical_name("0-0:96.7.21"), lambda _: long_unsigned(3)),
        DataObject(parse_logical_name("0-0:96.5.0"), lambda _: bit_string("00000100")),
        *registers,
        ExtendedRegister(parse_logical_name("1-0:1.6.0"), _POWER),
        DemandRegister(parse_logical_name("1-0:1.4.0"), _POWER),
        _load_profile(0, registers),
        _full_profile(registers),
        EventLog(parse_logical_name("0-0:99.98.0"), (_CLOCK, _EVENT_CODE)),
        _PROFILE_STATUS,
        _EVENT_CODE,
    )


def _three_phase_objects() -> tuple[InterfaceObject, ...]:
    return (*_standard_objects(phases=3), *_electrical_registers(1, phases=1))


def _microstar_objects() -> tuple[InterfaceObject, ...]:
    registers = _electrical_registers(1, phases=3)
    return (*_common_objects(), *registers, _load_profile(1, registers))


PROFILES: dict[str, MeterProfile] = {
    "three-phase": MeterProfile(phases=3, mean_power=9000.0, objects=_three_phase_objects),
    "single-phase": MeterProfile(phases=1, mean_power=2400.0, objects=partial(_standard_objects, 1)),
    "microstar": MeterProfile(
        phases=3,
        mean_power=9000.0,
        objects=_microstar_objects,
        config={"inactivity_timeout": 180.0},
        behaviour={
            "latency": 0.7,
            "jitter": 0.1,
            "with_list": "refused",
            "busy_period": 180.0,
            "busy_length": 8.0,
            "busy_until_reconnect": True,
            "stale": True,
        },
    ),
}
"""microstar is a three-phase meter behind a serial converter as seen in the field: slow, without GET-with-list, at times
busy until the client connects again, and followed by old bytes when it does."""


def find_profile(name: str) -> MeterProfile:
    """The profile of that name.

    :raises ValueError: when there is none; the message lists them.
    """
    if name not in PROFILES:
        raise ValueError(f"meter profile {name!r} is not known; possible are {', '.join(PROFILES)}")
    return PROFILES[name]


@lru_cache
def profile_objects(name: str) -> tuple[InterfaceObject, ...]:
    """The objects of a profile, built once for all meters."""
    return find_profile(name).objects()
