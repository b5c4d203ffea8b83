"""The virtual meter against an independent peer: the gurux_dlms client classes over a plain socket."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from gurux_dlms import GXDLMSException
from gurux_dlms.objects import (
    GXDLMSAssociationLogicalName,
    GXDLMSClock,
    GXDLMSData,
    GXDLMSDemandRegister,
    GXDLMSExtendedRegister,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)

from model.obis import format_logical_name
from model.settings.meter import MeterSettings
from simulator.meter.background import BackgroundMeters
from simulator.meter.sim_url import parse_sim_url
from tests.contract.gurux_peer import GuruxPeer

VOLTAGE = "1.0.32.7.0.255"
CURRENT = "1.0.31.7.0.255"
FREQUENCY = "1.0.14.7.0.255"
ENERGY = "1.0.1.8.0.255"
FRAMINGS = ("hdlc", "wrapper")
UTC = dt.timezone.utc


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background:
        yield background


def start(meters: BackgroundMeters, query: str = "", profile: str = "three-phase", **settings: object) -> str:
    url = f"sim://{profile}?seed=7&{query}"
    fields = {"id": "meter", "connect": url, "template": "any", **settings}
    return meters.start(*parse_sim_url(url, MeterSettings.model_validate(fields)))


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("password", [None, "secret12"])
def test_registers_are_read_as_the_meter_holds_them(meters: BackgroundMeters, framing: str, password: str | None) -> None:
    low = {"authentication": "low", "password": password, "client_sap": 32} if password else {}
    address = start(meters, framing=framing, **low)
    with GuruxPeer(address, framing, client_sap=32 if password else 16, password=password) as peer:
        peer.associate()
        for obis, scaler, unit in ((VOLTAGE, -2, 35), (CURRENT, -3, 33), (FREQUENCY, -2, 44), (ENERGY, 0, 30)):
            register = GXDLMSRegister(obis)
            raw = peer.read(register, 2)
            read_at = meters.counters("meter").exchanges[-1].time
            assert raw == meters.meter("meter").truth(obis, 2, read_at)
            peer.read(register, 3)
            assert (register.scaler, int(register.unit)) == (10.0**scaler, unit)
        peer.release()
        peer.disconnect()
    counters = meters.counters("meter")
    assert (counters.associations, counters.releases, counters.requests["get-normal"]) == (1, 1, 8)
    assert counters.disconnects == (1 if framing == "hdlc" else 0)


@pytest.mark.parametrize(("logical", "physical", "size"), [(1, 0, 1), (1, 17, 2), (1, 17, 4), (1, 4321, 4)])
def test_server_addresses_of_every_size_are_answered(meters: BackgroundMeters, logical: int, physical: int, size: int) -> None:
    address = start(meters, server_logical=logical, server_physical=physical, server_address_size=size)
    with GuruxPeer(address, logical=logical, physical=physical, address_size=size) as peer:
        peer.associate()
        assert peer.read(GXDLMSRegister(FREQUENCY), 2) in range(4900, 5100)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("settings", [{"logical": 2}, {"client_sap": 99}])
def test_other_addresses_and_unknown_clients_get_no_answer(meters: BackgroundMeters, framing: str, settings: dict[str, int]) -> None:
    with GuruxPeer(start(meters, framing=framing), framing, timeout=0.2, **settings) as peer, pytest.raises(TimeoutError):
        peer.associate()


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("password", [None, "wrong"])
def test_an_association_without_the_password_is_rejected(meters: BackgroundMeters, framing: str, password: str | None) -> None:
    address = start(meters, framing=framing, authentication="low", password="right", client_sap=1)
    with GuruxPeer(address, framing, client_sap=1, password=password) as peer, pytest.raises(GXDLMSException, match=r"(?i)reject"):
        peer.associate()
    assert (meters.counters("meter").associations, meters.counters("meter").refused) == (0, 1)


@pytest.mark.parametrize("framing", FRAMINGS)
def test_the_object_list_names_every_object_with_its_class(meters: BackgroundMeters, framing: str) -> None:
    address = start(meters, framing=framing)
    with GuruxPeer(address, framing) as peer:
        peer.associate()
        association = GXDLMSAssociationLogicalName()
        peer.read(association, 2)
    listed = {(int(item.objectType), item.logicalName) for item in association.objectList}
    assert listed == {(item.class_id, format_logical_name(item.logical_name)) for item in meters.meter("meter").device.objects}
    assert {(15, "0.0.40.0.0.255"), (8, "0.0.1.0.0.255"), (7, "1.0.99.1.0.255"), (3, "1.1.1.8.0.255")} <= listed


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_list_is_reassembled_from_segments(meters: BackgroundMeters, framing: str) -> None:
    # gurux_dlms sends segments but cannot read a list that comes back in several, so the answer has to fit into one.
    address = start(meters, "hdlc_information_size=40", framing=framing)
    names = [VOLTAGE, CURRENT, FREQUENCY, ENERGY]
    with GuruxPeer(address, framing) as peer:
        peer.associate()
        reply = peer.get(peer.client.readList([(GXDLMSRegister(name), 2) for name in names]))
    counters = meters.counters("meter")
    exchange = counters.exchanges[-1]
    assert reply.value == [meters.meter("meter").truth(name, 2, exchange.time) for name in names]
    assert [format_logical_name(name) for _, name, _ in exchange.attributes] == names
    assert counters.requests["get-with-list"] == 1
    assert (counters.requests["segment"] > 0) == (framing == "hdlc")


def test_identity_clock_and_demand_are_rendered_by_the_peer(meters: BackgroundMeters) -> None:
    address = start(meters, "time_zone=Europe/Madrid", server_physical=4321)
    truth = meters.meter("meter").truth
    with GuruxPeer(address, physical=4321, address_size=4) as peer:
        peer.associate()
        assert bytes(peer.get(peer.client.read(GXDLMSData("0.0.42.0.0.255"), 2)).value).startswith(b"SIM")
        assert bytes(peer.get(peer.client.read(GXDLMSData("0.0.96.1.0.255"), 2)).value).endswith(b"4321")
        clock = GXDLMSClock()
        peer.read(clock, 2)
        now = dt.datetime.fromtimestamp(meters.counters("meter").exchanges[-1].time, UTC)
        assert abs(clock.time.value - now) < dt.timedelta(seconds=1)
        demand, extended = GXDLMSDemandRegister("1.0.1.4.0.255"), GXDLMSExtendedRegister("1.0.1.6.0.255")
        for item, attributes in ((demand, range(2, 10)), (extended, range(2, 6))):
            for index in attributes:
                peer.read(item, index)
        exchange = meters.counters("meter").exchanges[-1]
        assert extended.value == truth("1.0.1.6.0.255", 2, exchange.time)
        assert (demand.lastAverageValue, demand.period) == (truth("1.0.1.4.0.255", 3, exchange.time), 900)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("rows", [1, 20, 400])
def test_the_load_profile_by_range_comes_in_segments_and_blocks(meters: BackgroundMeters, framing: str, rows: int) -> None:
    address = start(meters, framing=framing)
    end = dt.datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    begin = end - dt.timedelta(minutes=15 * (rows - 1))
    with GuruxPeer(address, framing) as peer:
        peer.associate()
        profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
        peer.read(profile, 3)
        reply = peer.get(peer.client.readRowsByRange(profile, begin, end))
        peer.client.updateValue(profile, 2, reply.value)
    times = [begin + dt.timedelta(minutes=15 * number) for number in range(rows)]
    truth = meters.meter("meter").truth
    assert [row[0].value for row in profile.buffer] == times
    assert [row[1] for row in profile.buffer] == [truth(ENERGY, 2, at) for at in times]
    assert [row[4] for row in profile.buffer] == [truth(VOLTAGE, 2, at) for at in times]
    assert (meters.counters("meter").requests["get-next"] > 0) == (rows == 400)


def test_the_load_profile_by_entry_counts_from_the_oldest(meters: BackgroundMeters) -> None:
    address = start(meters, "profile_entries=10")
    with GuruxPeer(address) as peer:
        peer.associate()
        profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
        peer.read(profile, 3)
        rows = peer.get(peer.client.readRowsByEntry(profile, 3, 2)).value
        at = meters.counters("meter").exchanges[-1].time
    buffer = meters.meter("meter").truth("1.0.99.1.0.255", 2, at)
    assert len(buffer) == 10
    assert [row[1] for row in rows] == [row[1] for row in buffer[2:4]]


@pytest.mark.parametrize(
    ("item", "index", "name"),
    [
        (GXDLMSRegister("1.0.99.99.0.255"), 2, "undefined"),
        (GXDLMSData(VOLTAGE), 2, "inconsistent"),
        (GXDLMSRegister(VOLTAGE), 9, "scope"),
        (GXDLMSRegister(CURRENT), 2, "denied"),
    ],
)
def test_a_refused_attribute_is_answered_with_its_access_result(meters: BackgroundMeters, item: object, index: int, name: str) -> None:
    address = start(meters, "denied=1-0:31.7.0")
    with GuruxPeer(address) as peer:
        peer.associate()
        with pytest.raises(GXDLMSException, match=rf"(?i){name}"):
            peer.get(peer.client.read(item, index))
        assert peer.read(GXDLMSRegister(VOLTAGE), 2) > 20000


@pytest.mark.parametrize("framing", FRAMINGS)
def test_set_and_action_are_denied_and_reading_goes_on(meters: BackgroundMeters, framing: str) -> None:
    address = start(meters, framing=framing)
    with GuruxPeer(address, framing) as peer:
        peer.associate()
        clock = GXDLMSClock()
        clock.timeZone = 60
        with pytest.raises(GXDLMSException, match=r"(?i)denied"):
            peer.get(peer.client.write(clock, 3))
        with pytest.raises(GXDLMSException, match=r"(?i)denied"):
            peer.get(clock.adjustToMinute(peer.client))
        assert peer.read(GXDLMSRegister(VOLTAGE), 2) > 20000
    requests = meters.counters("meter").requests
    assert (requests["set"], requests["action"], requests["get-normal"]) == (1, 1, 1)


def test_the_microstar_profile_offers_no_list_and_has_the_common_five(meters: BackgroundMeters) -> None:
    address = start(meters, "latency=0&jitter=0&busy_period=0", profile="microstar", client_sap=16, server_physical=1234)
    with GuruxPeer(address, physical=1234, address_size=4) as peer:
        peer.associate()
        assert not peer.offers_lists
        for code in ("32.7.0", "31.7.0", "14.7.0", "1.7.0", "1.8.0"):
            assert peer.read(GXDLMSRegister(f"1.1.{code}.255"), 2) > 0
    assert meters.behaviour("meter").with_list == "refused"
    assert meters.meter("meter").config.inactivity_timeout == 180.0
