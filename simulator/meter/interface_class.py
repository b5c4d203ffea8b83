"""COSEM interface classes (IEC 62056-6-2) as immutable descriptions that all meters of a profile share.

What differs between meters comes in with `Reading`, so an object costs memory once, not once per meter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, ClassVar

from simulator.meter.acse import LOGICAL_NAMES, LOGICAL_NAMES_CIPHERED, Conformance, Mechanism
from simulator.meter.axdr import (
    NULL,
    TypedValue,
    array,
    bit_string,
    boolean,
    double_long_unsigned,
    enum,
    integer,
    long,
    long_unsigned,
    octet_string,
    structure,
    unsigned,
)
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.date_time import clock_status, deviation_minutes, encode_date_time, local_time, zone
from simulator.meter.load_curve import LoadCurve
from simulator.meter.xdlms import AccessError, AccessResult, Selection

if TYPE_CHECKING:
    from simulator.meter.logical_device import LogicalDevice


@dataclass(frozen=True, slots=True)
class AssociationContext:
    """What the client of an open association was granted; sizes in bytes, as negotiated.

    :arg ciphered: whether the application context is the one with ciphering.
    :arg client_title: the client's system title, empty where it named none.
    """

    client: int
    mechanism: Mechanism
    conformance: Conformance
    max_pdu_size: int
    ciphered: bool = False
    client_title: bytes = b""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of a device: `at` Unix seconds, before the error of the meter's clock; no association for `truth`."""

    device: LogicalDevice
    at: float
    association: AssociationContext | None = None

    @property
    def config(self) -> MeterConfig:
        """The meter's configuration."""
        return self.device.config

    @property
    def behaviour(self) -> Behaviour:
        """What the meter does wrong."""
        return self.device.behaviour

    @property
    def load(self) -> LoadCurve:
        """The meter's load."""
        return self.device.load

    @property
    def zone(self) -> tzinfo:
        """The zone of the meter's local time."""
        return zone(self.config.time_zone)

    def local(self, at: float) -> datetime:
        """A time as the meter's clock shows it."""
        return local_time(at + self.behaviour.clock_error(at), self.zone)

    def date_time(self, at: float) -> TypedValue:
        """A time as the meter's clock shows it, as an octet-string."""
        sign = 0 if self.behaviour.no_deviation else -1 if self.behaviour.inverted_deviation else 1
        return octet_string(encode_date_time(self.local(at), sign))


SECURITY_SETUP = bytes((0, 0, 43, 0, 0, 255))
"""Logical name of the security setup of meters that have one."""

Value = Callable[[Reading], TypedValue]


@dataclass(frozen=True)
class InterfaceObject(ABC):
    """An instance of an interface class: attribute 1 is its logical name, the others depend on the class."""

    logical_name: bytes

    class_id: ClassVar[int] = 0
    version: ClassVar[int] = 0
    attribute_count: ClassVar[int] = 1
    method_count: ClassVar[int] = 0
    selectors: ClassVar[tuple[int, ...]] = ()

    def attribute(self, index: int, reading: Reading, selection: Selection | None = None) -> TypedValue:
        """The value of an attribute.

        :raises AccessError: when there is no such attribute, or it cannot be selected from in that way.
        """
        if not 1 <= index <= self.attribute_count:
            raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
        if selection is not None and not (index == 2 and selection.selector in self.selectors):
            raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
        if index == 1:
            return octet_string(self.logical_name)
        return self._attribute(index, reading, selection)

    @abstractmethod
    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        """The value of an attribute from 2 on."""


@dataclass(frozen=True)
class DataObject(InterfaceObject):
    """Data, class 1."""

    value: Value

    class_id = 1
    attribute_count = 2

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        return self.value(reading)


@dataclass(frozen=True)
class Quantity:
    """How a physical quantity is represented: its integer type, power of ten and unit code.

    `measure` gives it in the unit itself, at Unix seconds.
    """

    measure: Callable[[LoadCurve, float], float]
    integer: Callable[[int], TypedValue]
    scaler: int
    unit: int

    def at(self, load: LoadCurve, at: float) -> TypedValue:
        """The raw value at a time, rounded down so that energy never runs ahead."""
        return self.raw(self.measure(load, at))

    def raw(self, value: float) -> TypedValue:
        """A value in the unit itself as raw integer."""
        return self.integer(int(value / 10**self.scaler) if self.scaler > 0 else int(value * 10**-self.scaler))

    @property
    def scaler_unit(self) -> TypedValue:
        """The attribute scaler_unit."""
        return structure(integer(self.scaler), enum(self.unit))


@dataclass(frozen=True)
class Register(InterfaceObject):
    """Register, class 3."""

    quantity: Quantity

    class_id = 3
    attribute_count = 3
    method_count = 1

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        return self.quantity.at(reading.load, reading.at) if index == 2 else self.quantity.scaler_unit


@dataclass(frozen=True)
class ExtendedRegister(InterfaceObject):
    """Extended Register, class 4: the highest average power of a quarter of an hour since midnight, with its time."""

    quantity: Quantity
    period: int = 900

    class_id = 4
    attribute_count = 5
    method_count = 1

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        if index == 3:
            return self.quantity.scaler_unit
        if index == 4:
            return NULL
        midnight = reading.local(reading.at).replace(hour=0, minute=0, second=0, microsecond=0).timestamp() - reading.behaviour.clock_error(
            reading.at
        )
        starts = range(int(midnight), int(reading.at) - self.period + 1, self.period)
        power, end = max(((reading.load.average_power(s, s + self.period), s + self.period) for s in starts), default=(0.0, midnight))
        return self.quantity.raw(power) if index == 2 else reading.date_time(end)


@dataclass(frozen=True)
class DemandRegister(InterfaceObject):
    """Demand Register, class 5: average power over the running quarter of an hour and over the one before."""

    quantity: Quantity
    period: int = 900

    class_id = 5
    attribute_count = 9
    method_count = 2

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        start = reading.at // self.period * self.period
        if index == 2:
            running = reading.at - start
            return self.quantity.raw(reading.load.average_power(start, reading.at) * running / self.period if running > 0 else 0.0)
        if index == 3:
            return self.quantity.raw(reading.load.average_power(start - self.period, start))
        if index == 4:
            return self.quantity.scaler_unit
        if index == 5:
            return NULL
        if index in (6, 7):
            return reading.date_time(start)
        return double_long_unsigned(self.period) if index == 8 else long_unsigned(1)


@dataclass(frozen=True)
class Clock(InterfaceObject):
    """Clock, class 8."""

    class_id = 8
    attribute_count = 9
    method_count = 6

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        local = reading.local(reading.at)
        standard = deviation_minutes(local) + (60 if local.dst() else 0)
        if index == 2:
            return reading.date_time(reading.at)
        if index == 3:
            return long(standard)
        if index == 4:
            return unsigned(clock_status(local))
        if index in (5, 6):
            month = 3 if index == 5 else 10
            hour = 2 if index == 5 else 3
            return octet_string(bytes((0xFF, 0xFF, month, 0xFE, 7, hour, 0, 0, 0, 0x80, 0, 0)))
        if index == 7:
            return integer(60)
        return boolean(reading.config.time_zone != "UTC") if index == 8 else enum(1)


@dataclass(frozen=True)
class SapAssignment(InterfaceObject):
    """SAP Assignment, class 17: the logical devices of the physical device, one here."""

    class_id = 17
    attribute_count = 2
    method_count = 1

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        name = octet_string(reading.config.logical_device_name.encode())
        return array([structure(long_unsigned(reading.config.server_logical), name)])


@dataclass(frozen=True)
class AssociationLn(InterfaceObject):
    """Association LN, class 15: the object list and what was negotiated."""

    class_id = 15
    version = 1
    attribute_count = 9
    method_count = 4

    def _attribute(self, index: int, reading: Reading, selection: Selection | None) -> TypedValue:
        if index == 2:
            return array([_object_list_element(item, reading.behaviour.denied) for item in reading.device.objects])
        association = reading.association
        if association is None or index == 7:
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        if index == 3:
            return structure(integer(association.client), long_unsigned(reading.config.server_logical))
        if index == 4:
            return octet_string(LOGICAL_NAMES_CIPHERED if association.ciphered else LOGICAL_NAMES)
        if index == 5:
            size = long_unsigned(association.max_pdu_size)
            conformance = bit_string(f"{int(association.conformance):024b}")
            return structure(conformance, size, size, unsigned(6), integer(0), octet_string(b""))
        if index == 6:
            return octet_string(bytes.fromhex("608574050802") + bytes((association.mechanism,)))
        return enum(2) if index == 8 else octet_string(SECURITY_SETUP if reading.config.ciphered_clients else bytes(6))


_READ_ONLY = 1
_REPLY_TO_HLS = (15, 1)


def _object_list_element(item: InterfaceObject, denied: frozenset[bytes]) -> TypedValue:
    def access(index: int) -> TypedValue:
        mode = 0 if index > 1 and item.logical_name in denied else _READ_ONLY
        selectors = array([integer(selector) for selector in item.selectors]) if index == 2 and item.selectors else NULL
        return structure(integer(index), enum(mode), selectors)

    methods = array(
        [structure(integer(index), enum(int((item.class_id, index) == _REPLY_TO_HLS))) for index in range(1, item.method_count + 1)]
    )
    attributes = array([access(index) for index in range(1, item.attribute_count + 1)])
    return structure(long_unsigned(item.class_id), unsigned(item.version), octet_string(item.logical_name), structure(attributes, methods))
