"""The APDUs that a pushing meter sends, IEC 62056-5-3: DataNotification in the styles of real meters, EventNotification."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from model.obis import parse_logical_name
from simulator.meter.axdr import (
    TypedValue,
    array,
    double_long_unsigned,
    encode,
    encode_length,
    enum,
    integer,
    long_unsigned,
    octet_string,
    structure,
    visible_string,
)
from simulator.meter.interface_class import InterfaceObject
from simulator.meter.logical_device import LogicalDevice
from simulator.meter.xdlms import AttributeDescriptor

_DATA_NOTIFICATION, _EVENT_NOTIFICATION, _COMPACT_ARRAY = 0x0F, 0xC2, 0x13
_CLOCK = parse_logical_name("0-0:1.0.0")
_PUSH_SETUP, _PUSH_SETUP_CLASS = parse_logical_name("0-0:25.9.0"), 40
_SERIAL_NUMBER = parse_logical_name("0-0:96.1.0")
_SCALED = (3, 4)
"""Classes whose attribute 3 is scaler_unit."""

Objects = Sequence[bytes]
"""Logical names, in the order of the notification."""


def data_notification(number: int, body: bytes, date_time: bytes = b"") -> bytes:
    """A DataNotification.

    :arg number: long-invoke-id, 0 to 2**24 - 1.
    :arg body: one encoded value.
    :arg date_time: 12 bytes, or none.
    """
    return bytes([_DATA_NOTIFICATION]) + (number & 0xFFFFFF).to_bytes(4, "big") + encode_length(len(date_time)) + date_time + body


def event_notification(class_id: int, logical_name: bytes, index: int, value: TypedValue, date_time: bytes = b"") -> bytes:
    """An EventNotificationRequest of one attribute."""
    time = bytes([1]) + encode_length(len(date_time)) + date_time if date_time else bytes([0])
    descriptor = class_id.to_bytes(2, "big") + logical_name + bytes([index])
    return bytes([_EVENT_NOTIFICATION]) + time + descriptor + encode(value)


def meter_time(device: LogicalDevice, at: float) -> bytes:
    """What the meter's clock shows, 12 bytes."""
    value = device.read(AttributeDescriptor(8, _CLOCK, 2, None), at).value
    assert isinstance(value, bytes)
    return value


def _object(device: LogicalDevice, logical_name: bytes) -> InterfaceObject:
    return next(item for item in device.objects if item.logical_name == logical_name)


def _value(device: LogicalDevice, logical_name: bytes, at: float, index: int = 2) -> TypedValue:
    item = _object(device, logical_name)
    return device.read(AttributeDescriptor(item.class_id, logical_name, index, None), at)


def _entry(device: LogicalDevice, name: bytes, at: float) -> tuple[TypedValue, ...]:
    entry = (octet_string(name), _value(device, name, at))
    return (*entry, _value(device, name, at, 3)) if _object(device, name).class_id in _SCALED else entry


def listed(device: LogicalDevice, objects: Objects, at: float) -> bytes:
    """An array of structures {OBIS, value, {scaler, unit}}."""
    return encode(array([structure(*_entry(device, name, at)) for name in objects]))


def flat(device: LogicalDevice, objects: Objects, at: float) -> bytes:
    """One structure: a name, then OBIS, value, {scaler, unit}, OBIS, value, ..."""
    return encode(structure(visible_string("SIM_V0001"), *(part for name in objects for part in _entry(device, name, at))))


def positional(device: LogicalDevice, objects: Objects, at: float) -> bytes:
    """A structure of the serial number and the bare values: only a pattern says what they are."""
    return encode(structure(_value(device, _SERIAL_NUMBER, at), *(_value(device, name, at) for name in objects)))


def push_list(device: LogicalDevice, objects: Objects, at: float) -> bytes:
    """The push object list, with itself as the first object, then one value per object."""
    classes = {name: _object(device, name).class_id for name in objects}
    names = [(_PUSH_SETUP_CLASS, _PUSH_SETUP, 2)]
    for name, class_id in classes.items():
        names += [(class_id, name, 2), (class_id, name, 3)] if class_id in _SCALED else [(class_id, name, 2)]
    definitions = array(
        [structure(long_unsigned(class_id), octet_string(name), integer(index), long_unsigned(0)) for class_id, name, index in names]
    )
    return encode(structure(definitions, *(_value(device, name, at, index) for _, name, index in names[1:])))


def compact(device: LogicalDevice, objects: Objects, at: float) -> bytes:
    """A compact array of {OBIS, double-long-unsigned, {scaler, unit}}, of registers only."""
    description = bytes.fromhex("02 03 09 06 02 02 0F 16")  # structure of octet-string, double-long-unsigned, structure
    contents = bytearray()
    for name in (name for name in objects if _object(device, name).class_id in _SCALED):
        scaler, unit = _value(device, name, at, 3).value
        raw = encode(double_long_unsigned(_value(device, name, at).value))[1:]
        contents += encode(octet_string(name))[1:] + raw + encode(integer(scaler.value))[1:] + encode(enum(unit.value))[1:]
    return bytes([_COMPACT_ARRAY]) + description + encode_length(len(contents)) + bytes(contents)


STYLES: Mapping[str, Callable[[LogicalDevice, Objects, float], bytes]] = MappingProxyType(
    {"list": listed, "flat": flat, "positional": positional, "push-list": push_list, "compact": compact}
)
"""How a body may look, by name."""
