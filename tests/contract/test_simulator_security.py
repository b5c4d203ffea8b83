"""The virtual meter's security against a client that shares no code with it: gurux_dlms, over TCP."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gurux_dlms import GXDLMSException
from gurux_dlms.GXDLMSExceptionResponse import GXDLMSExceptionResponse
from gurux_dlms.objects import GXDLMSAssociationLogicalName, GXDLMSData, GXDLMSProfileGeneric, GXDLMSRegister, GXDLMSSecuritySetup

from simulator.meter.background import BackgroundMeters
from simulator.meter.behaviour import ATTACKS, Behaviour
from simulator.meter.client_access import ClientAccess, client_access
from simulator.meter.config import MeterConfig
from tests.contract.gurux_peer import GuruxPeer
from tests.contract.gurux_secure_peer import GuruxSecurePeer, cipher_of_the_library

__all__ = ["cipher_of_the_library"]
pytestmark = pytest.mark.usefixtures("cipher_of_the_library")
FRAMINGS = ("hdlc", "wrapper")
HIGH = ("high", "high-md5", "high-sha1", "high-sha256", "high-gmac")
VOLTAGE = "1.0.32.7.0.255"
KEYS = {0: (bytes(range(16)), bytes(range(0xD0, 0xE0))), 2: (bytes(range(32)), bytes(range(0xC0, 0xE0)))}
KEYS[1] = KEYS[0]
NOT_SEEN_BY_A_CLIENT_THAT_CHECKS_NOTHING = ("flipped_tag", "flipped_control")
CLIENT_TITLE, SERVER_TITLE = b"CLIENT01", b"SERVER01"
DEDICATED_KEY = bytes(range(50, 66))


@pytest.fixture
def meters() -> Iterator[BackgroundMeters]:
    with BackgroundMeters() as background, contextlib.redirect_stdout(io.StringIO()):  # the peer prints what it applies
        yield background


def words(authentication: str = "high-gmac", policy: str = "authenticated-encryption", suite: int = 0) -> dict[str, Any]:
    return {
        "authentication": authentication,
        "secret": b"" if authentication in ("none", "high-gmac") else b"sixteen bytes ok",
        "security_suite": suite,
        "security_policy": policy,
        "block_cipher_key": KEYS[suite][0],
        "authentication_key": KEYS[suite][1],
        "client_system_title": CLIENT_TITLE,
    }


def start(meters: BackgroundMeters, access: dict[str, Any], framing: Any = "hdlc", **settings: Any) -> str:
    clients = {16: ClientAccess(), 1: client_access(**access)}
    behaviour = settings.pop("behaviour", None)
    return meters.start(MeterConfig("meter", framing=framing, seed=7, clients=clients, system_title=SERVER_TITLE, **settings), behaviour)


def assert_reads_the_truth(meters: BackgroundMeters, peer: GuruxPeer) -> None:
    register = GXDLMSRegister(VOLTAGE)
    raw = peer.read(register, 2)
    assert raw == meters.meter("meter").truth(VOLTAGE, 2, meters.counters("meter").exchanges[-1].time)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("policy", ["none", "authenticated-encryption"])
@pytest.mark.parametrize("authentication", ["none", "low", *HIGH])
def test_each_mechanism_with_and_without_ciphering(meters: BackgroundMeters, framing: str, policy: str, authentication: str) -> None:
    access = words(authentication, policy)
    with GuruxSecurePeer(start(meters, access, framing), framing, **access) as peer:
        peer.associate()
        assert_reads_the_truth(meters, peer)
        peer.release()
    assert (meters.counters("meter").associations, meters.counters("meter").refused) == (1, 0)


@pytest.mark.parametrize("form", ["glo", "ded", "general-glo", "general-ded"])
@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("policy", ["authentication", "encryption", "authenticated-encryption"])
def test_each_suite_policy_and_form(meters: BackgroundMeters, form: str, suite: int, policy: str) -> None:
    access = words("high-gmac", policy, suite)
    dedicated = DEDICATED_KEY.ljust(len(access["block_cipher_key"]), b"d") if form.endswith("ded") else b""
    with GuruxSecurePeer(start(meters, access), **access, dedicated_key=dedicated, general=form.startswith("general")) as peer:
        peer.client.useProtectedRelease = True
        peer.associate()
        assert_reads_the_truth(meters, peer)
        peer.release()
    assert meters.counters("meter").releases == 1


@pytest.mark.parametrize("framing", FRAMINGS)
def test_blocks_and_segments_are_ciphered_one_by_one(meters: BackgroundMeters, framing: str) -> None:
    access = words()
    with GuruxSecurePeer(start(meters, access, framing, max_pdu_size=300), framing, **access) as peer:
        peer.associate()
        association = GXDLMSAssociationLogicalName("0.0.40.0.0.255")
        peer.read(association, 2)
        assert len(association.objectList) == len(meters.meter("meter").device.objects)
        profile = GXDLMSProfileGeneric("1.0.99.1.0.255")
        peer.read(profile, 3)
        peer.get(peer.client.readRowsByEntry(profile, 1, 100))
    assert meters.counters("meter").requests["get-next"] > 5


def test_the_security_objects_say_what_is_asked(meters: BackgroundMeters) -> None:
    access = words()
    with GuruxSecurePeer(start(meters, access), **access) as peer:
        peer.associate()
        setup = GXDLMSSecuritySetup("0.0.43.0.0.255")
        for index in (2, 3, 4, 5):
            peer.read(setup, index)
        assert (int(setup.securityPolicy), int(setup.securitySuite)) == (0x6C, 0)
        assert (bytes(setup.clientSystemTitle), bytes(setup.serverSystemTitle)) == (CLIENT_TITLE, SERVER_TITLE)
        association = GXDLMSAssociationLogicalName("0.0.40.0.0.255")
        peer.read(association, 9)
        assert association.securitySetupReference == "0.0.43.0.0.255"


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_replayed_association_is_refused_and_the_public_client_reads_the_counter(meters: BackgroundMeters, framing: str) -> None:
    access = words()
    address = start(meters, access, framing, initial_client_counter=70_000)
    with GuruxSecurePeer(address, framing, **access, counter=70_000) as peer, pytest.raises(GXDLMSExceptionResponse, match="counter"):
        peer.associate()
    assert meters.counters("meter").refusals == {"replayed": 1}
    with GuruxPeer(address, framing) as public:
        public.associate()
        assert public.read(GXDLMSData("0.0.43.1.0.255"), 2) == 70_000
    with GuruxSecurePeer(address, framing, **access, counter=70_001) as peer:
        peer.associate()
        assert_reads_the_truth(meters, peer)


def test_counters_survive_a_restart(meters: BackgroundMeters, tmp_path: Path) -> None:
    access, file = words(), tmp_path / "counters.json"
    for counter in (1, 1000):
        address = start(meters, access, counter_file=file)
        with GuruxSecurePeer(address, **access, counter=counter) as peer:
            peer.associate()
            assert_reads_the_truth(meters, peer)
        server = meters.meter("meter").device.invocation_counters.server
        meters.stop("meter")
    assert server > 6
    address = start(meters, access, counter_file=file)
    with GuruxSecurePeer(address, **access, counter=1000) as peer, pytest.raises(GXDLMSExceptionResponse, match="counter"):
        peer.associate()


@pytest.mark.parametrize("authentication", HIGH)
def test_a_client_that_does_not_know_the_secret_is_refused(meters: BackgroundMeters, authentication: str) -> None:
    access = words(authentication, "none")
    wrong = {**access, "secret": access["secret"] and b"sixteen bytes no", "authentication_key": bytes(16)}
    with GuruxSecurePeer(start(meters, access), **wrong) as peer, pytest.raises(GXDLMSException):
        peer.associate()
    counters = meters.counters("meter")
    assert (counters.refusals, counters.associations) == ({"authentication": 1}, 0)


@pytest.mark.parametrize("authentication", HIGH)
def test_a_meter_that_does_not_know_the_secret_is_noticed_by_the_client(meters: BackgroundMeters, authentication: str) -> None:
    access = words(authentication)
    address = start(meters, access, behaviour=Behaviour(wrong_proof=True))
    with GuruxSecurePeer(address, **access) as peer, pytest.raises(Exception, match="do not match"):
        peer.associate()


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_reach_the_client_and_are_counted(meters: BackgroundMeters, name: str) -> None:
    access = words()
    with GuruxSecurePeer(start(meters, access), **access) as peer:
        peer.associate()
        assert_reads_the_truth(meters, peer)
        setattr(meters.behaviour("meter"), name, 1.0)
        believed = None
        with contextlib.suppress(Exception):  # whatever an unsuspecting client makes of it
            believed = peer.read(GXDLMSRegister(VOLTAGE), 2)
        truth = meters.meter("meter").truth(VOLTAGE, 2, meters.counters("meter").exchanges[-1].time)
        assert (believed == truth) == (name in NOT_SEEN_BY_A_CLIENT_THAT_CHECKS_NOTHING)
    assert meters.counters("meter").attacks == {name: 1}
