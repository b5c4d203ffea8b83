"""The virtual meter's short names and gateway, against the gurux_dlms client, which shares no code with it.

That client cannot take a READ-response in blocks (it calls a method that does not exist); blocks are tested with ours only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from gurux_dlms import GXDLMSException
from gurux_dlms.enums import ObjectType
from gurux_dlms.GXDLMSGateway import GXDLMSGateway
from gurux_dlms.objects import GXDLMSData, GXDLMSRegister

from model.obis import format_logical_name
from simulator.meter.background import BackgroundMeters
from simulator.meter.config import MeterConfig
from tests.contract.gurux_peer import GuruxPeer

FRAMINGS = ("hdlc", "wrapper")


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def start(meters: BackgroundMeters, framing: Any, **config: Any) -> str:
    return meters.start(MeterConfig("m", framing=framing, **config))


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_object_list_is_complete_and_every_attribute_of_it_is_where_it_says(meters: BackgroundMeters, framing: str) -> None:
    address = start(meters, framing, referencing="short", seed=3)
    meter = meters.meter("m")
    with GuruxPeer(address, framing, short_names=True) as peer:
        peer.associate()
        found = peer.client.parseObjects(peer.get([peer.client.getObjectsRequest()]).data, True)
        assert {o.logicalName for o in found} == {format_logical_name(o.logical_name) for o in meter.device.objects}
        for item in found:
            if item.objectType == ObjectType.REGISTER:
                assert peer.get(peer.client.read(item, 3)).value == meter.truth(_bytes(item.logicalName), 3)
            if item.objectType in (ObjectType.REGISTER, ObjectType.DATA, ObjectType.CLOCK):
                assert bytes(peer.get(peer.client.read(item, 1)).value) == _bytes(item.logicalName)
        peer.release()


@pytest.mark.parametrize("framing", FRAMINGS)
def test_what_cannot_be_read_has_an_access_result(meters: BackgroundMeters, framing: str) -> None:
    address = start(meters, framing, referencing="short")
    with GuruxPeer(address, framing, short_names=True) as peer:
        peer.associate()
        for name, code in ((0xFA10, 3), (0x7F01, 4), (0x0008, 4)):
            with pytest.raises(GXDLMSException) as caught:
                peer.get(peer.client.read(GXDLMSData("0.0.42.0.0.255", name), 1))
            assert caught.value.errorCode == code


@pytest.mark.parametrize("framing", FRAMINGS)
def test_logical_names_through_a_gateway(meters: BackgroundMeters, framing: str) -> None:
    address = start(meters, framing, gateway_address=b"1234", gateway_network=5)
    with GuruxPeer(address, framing) as peer:
        gateway = GXDLMSGateway()
        gateway.networkId, gateway.physicalDeviceAddress = 5, b"1234"
        peer.client.gateway = gateway
        peer.associate()
        assert peer.get(peer.client.read(GXDLMSRegister("1.0.32.7.0.255"), 3)).value == [-2, 35]


def _bytes(logical_name: str) -> bytes:
    return bytes(int(part) for part in logical_name.split("."))
