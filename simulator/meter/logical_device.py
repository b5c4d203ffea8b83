"""The logical device of a virtual meter: its objects, its load, and the truth about any attribute at any time."""

from __future__ import annotations

import random
import time
from datetime import datetime
from functools import cached_property
from typing import Any

from model.obis import parse_logical_name
from simulator.meter.axdr import TypedValue, plain
from simulator.meter.behaviour import Behaviour
from simulator.meter.config import HIGHEST_INITIAL_COUNTER, ORIGIN, MeterConfig
from simulator.meter.interface_class import AssociationContext, InterfaceObject, Reading
from simulator.meter.invocation_counters import InvocationCounters
from simulator.meter.load_curve import LoadCurve, fraction
from simulator.meter.profiles import find_profile, profile_objects
from simulator.meter.security_objects import security_objects
from simulator.meter.short_names import with_association_sn
from simulator.meter.xdlms import AccessError, AccessResult, AttributeDescriptor

_MEAN_POWER_CHANNEL = 99
_REPLIES_PER_SECOND = 10
"""More than a meter sends on average, so that the counter it begins with is above all it used before a restart."""


class LogicalDevice:
    """Reads attributes; it knows no connection and no frame.

    :raises ValueError: when the profile is not known, or the file of the invocation counters cannot be used.
    """

    def __init__(self, config: MeterConfig, behaviour: Behaviour) -> None:
        profile = find_profile(config.profile)
        self.config = config
        self.behaviour = behaviour
        objects = (*profile_objects(config.profile), *security_objects(config))
        self.objects = with_association_sn(objects) if config.short_names else objects
        server_counter = _counter_of_now() if config.initial_server_counter is None else config.initial_server_counter
        self.invocation_counters = InvocationCounters(
            server_counter, config.initial_client_counter, config.ciphered_clients, config.counter_file
        )
        seed = config.chance_seed
        mean_power = config.mean_power
        if mean_power is None:
            mean_power = profile.mean_power * (1.0 + 2.0 * fraction(seed, _MEAN_POWER_CHANNEL)) / 3.0
        self.load = LoadCurve(seed, ORIGIN, mean_power, profile.phases)

    @cached_property
    def attack_chance(self) -> random.Random:
        """Decides which replies are attacked; seeded, and made only for a meter that is associated with ciphering."""
        return random.Random(self.config.chance_seed)

    def read(self, attribute: AttributeDescriptor, at: float, association: AssociationContext | None = None) -> TypedValue:
        """An attribute at a time (Unix seconds).

        :raises AccessError: when it cannot be read, with what the client is told.
        """
        item = self._find(attribute.logical_name)
        if item.class_id != attribute.class_id:
            raise AccessError(AccessResult.OBJECT_CLASS_INCONSISTENT)
        if attribute.index > 1 and attribute.logical_name in self.behaviour.denied:
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        return item.attribute(attribute.index, Reading(self, at, association), attribute.selection)

    def truth(self, obis: str | bytes, attribute: int = 2, at: datetime | float | None = None) -> Any:
        """What the meter holds: raw integers, bytes, text and lists, as a perfect client would decode them.

        :arg obis: as text or six bytes.
        :arg at: Unix seconds or an aware time; now where it is None.
        :raises AccessError: when there is no such object or attribute.
        """
        name = parse_logical_name(obis) if isinstance(obis, str) else obis
        if at is None:
            at = datetime.now().timestamp()
        seconds = at.timestamp() if isinstance(at, datetime) else at
        return plain(self._find(name).attribute(attribute, Reading(self, seconds)))

    def _find(self, logical_name: bytes) -> InterfaceObject:
        for item in self.objects:
            if item.logical_name == logical_name:
                return item
        raise AccessError(AccessResult.OBJECT_UNDEFINED)


def _counter_of_now() -> int:
    return min(int((time.time() - ORIGIN) * _REPLIES_PER_SECOND), HIGHEST_INITIAL_COUNTER)
