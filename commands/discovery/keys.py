"""Names for well-known objects, from their OBIS codes (IEC 62056-6-1): 1-0:1.8.0 is energy_import, 1-0:32.7.0 voltage_l1."""

from __future__ import annotations

from collections.abc import Callable

_ELECTRICITY = 1
_POWERS = {
    1: "power_import",
    2: "power_export",
    3: "reactive_power_import",
    4: "reactive_power_export",
    5: "reactive_power_q1",
    6: "reactive_power_q2",
    7: "reactive_power_q3",
    8: "reactive_power_q4",
    9: "apparent_power_import",
    10: "apparent_power_export",
    15: "power_absolute",
    16: "power_net",
}
"""Group C of electricity for all phases together; 20, 40 or 60 more for one phase (table 6)."""
_OTHERS = {11: "current", 12: "voltage", 13: "power_factor", 14: "frequency"}
_PHASE_DISTANCE = 20
_WITHOUT_PHASE = {91: "current_neutral", 92: "voltage_neutral", 81: "angle"}
_INSTANTANEOUS, _INTEGRAL, _BILLED = 7, 8, 9
_PROCESSING = {2: "cumulative_max", 4: "demand", 5: "demand_last", 6: "demand_max", 24: "average", 27: "average", 29: "interval"}
"""Group D: what was made of the quantity (table 7)."""

_ABSTRACT: dict[tuple[int, int], str] = {
    (1, 0): "clock",
    (1, 1): "unix_time",
    (43, 1): "invocation_counter",
    (42, 0): "logical_device_name",
    (96, 1): "device_id",
    (96, 5): "status",
    (96, 6): "battery",
    (96, 7): "power_failures",
    (96, 8): "operating_time",
    (96, 9): "temperature",
    (96, 10): "status",
    (96, 11): "event",
    (97, 97): "error",
    (97, 98): "alarm",
}
"""Groups C and D of abstract objects (A is 0) and of electricity's general ones."""

_OTHER_MEDIA = {
    (4, 1): "heat_units",
    (5, 1): "cooling_energy",
    (6, 1): "heat_energy",
    (6, 2): "heat_volume",
    (7, 3): "gas_volume",
    (7, 11): "gas_volume",
    (8, 1): "cold_water_volume",
    (9, 1): "hot_water_volume",
}
_PROFILES = {1: "load_profile", 2: "load_profile_2", 98: "event_log", 97: "power_quality_log", 10: "connection_log"}


def key_of(name: bytes) -> str:
    """The key for the object of a logical name; one made of the code itself where it is not well known."""
    known = _electricity(name) if name[0] == _ELECTRICITY else _other(name)
    return known or "obis_" + "_".join(str(group) for group in name[:5])


def profile_key(name: bytes) -> str:
    """The name for a Profile Generic object."""
    if name[2] == 99 and name[3] in _PROFILES:
        return _PROFILES[name[3]] + (f"_{name[4]}" if name[4] else "")
    if name[2] == 98:
        return "billing" + (f"_{name[4]}" if name[4] else "")
    return "profile_" + "_".join(str(group) for group in name[:5])


def unique(wanted: str, name: bytes, taken: Callable[[str], bool]) -> str:
    """`wanted`, or with channel, billing period or the whole code behind it where another object has it already."""
    groups = [f"ch{name[1]}"] if name[1] else []
    if name[5] != 255:
        groups.append(f"billing{name[5]}")
    for candidate in (wanted, "_".join([wanted, *groups]), wanted + "_" + "_".join(str(group) for group in name)):
        if not taken(candidate):
            return candidate
    number = 2
    while taken(f"{wanted}_{number}"):
        number += 1
    return f"{wanted}_{number}"


def _electricity(name: bytes) -> str | None:
    c, d, e = name[2], name[3], name[4]
    if c == 0:
        return "firmware_version" if (d, e) == (2, 0) else "meter_id" if d == 0 else None
    if c >= 96:
        return _other(name)
    quantity, phase = _quantity(c)
    if quantity is None:
        return None
    if d == _INSTANTANEOUS:
        return quantity + phase if e == 0 else None
    if d in (_INTEGRAL, _BILLED):
        quantity = quantity.replace("power", "energy") if "power_factor" not in quantity else quantity
        return quantity + phase + (f"_tariff_{e}" if e else "")
    if d in _PROCESSING:
        return f"{quantity}{phase}_{_PROCESSING[d]}" + (f"_tariff_{e}" if e else "")
    return None


def _quantity(c: int) -> tuple[str | None, str]:
    """The quantity of group C, and the phase it belongs to."""
    if c in _WITHOUT_PHASE:
        return _WITHOUT_PHASE[c], ""
    both = {**_POWERS, **_OTHERS}
    if c in both:
        return both[c], ""
    for phase in (1, 2, 3):
        if c - _PHASE_DISTANCE * phase in both:
            return both[c - _PHASE_DISTANCE * phase], f"_l{phase}"
    return None, ""


def _other(name: bytes) -> str | None:
    a, c, d, e = name[0], name[2], name[3], name[4]
    if a in (0, _ELECTRICITY) and (c, d) in _ABSTRACT:
        if (c, d) == (1, 0) and name[4]:
            return None
        return _ABSTRACT[c, d] + (f"_{e}" if e else "")
    return _OTHER_MEDIA.get((a, c)) if d == 0 or c == 1 else None
