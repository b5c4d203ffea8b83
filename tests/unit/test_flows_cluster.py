"""Which process of a cluster this is, and which lines are its own."""

from __future__ import annotations

import pytest

from flows.cluster import is_kept_elsewhere, place_in_cluster
from model.cluster import Place
from model.errors import ConfigurationError

TWO = "127.0.0.1:2101;127.0.0.1:2102"


@pytest.mark.parametrize(
    ("arguments", "environment", "place"),
    [
        (["flows.main"], {}, Place()),
        (["flows.main", "-w", "2"], {}, Place()),
        (["flows.main", "-i", "1", "-a", TWO], {}, Place(1, 2)),
        (["flows.main", "-i0", f"-a{TWO}"], {}, Place(0, 2)),
        (["--process-id=1", f"--addresses={TWO}", "flows.main"], {}, Place(1, 2)),
        (["--process", "1", "--addr", TWO, "flows.main"], {}, Place(1, 2)),
        (["flows.main"], {"BYTEWAX_PROCESS_ID": "1", "BYTEWAX_ADDRESSES": TWO}, Place(1, 2)),
        (["flows.main", "-i", "0"], {"BYTEWAX_PROCESS_ID": "1", "BYTEWAX_ADDRESSES": TWO}, Place(0, 2)),
        (["flows.main"], {"BYTEWAX_POD_NAME": "meters-1", "BYTEWAX_STATEFULSET_NAME": "meters", "BYTEWAX_ADDRESSES": TWO}, Place(1, 2)),
        (["-r", "store", "-s", "10", "-b", "0", "flows.main"], {}, Place()),
        (["-m", "pytest", "-q"], {}, Place()),
    ],
)
def test_the_place_is_what_bytewax_itself_understands(arguments, environment, place):
    found = place_in_cluster(arguments, environment)
    assert (found.index, found.count) == (place.index, place.count)
    assert found.addresses == (tuple(TWO.split(";")) if place.count > 1 else ())
    assert not found.spans_hosts and found.keeps


def test_addresses_may_stand_in_a_file(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("one:1\n\ntwo:1\nthree:1\n")
    found = place_in_cluster(["flows.main", "-i", "2", "-r", "store"], {"BYTEWAX_HOSTFILE_PATH": str(hosts)})
    assert found == Place(2, 3, ("one:1", "two:1", "three:1"))


@pytest.mark.parametrize("number", ["2", "7"])
def test_a_process_beyond_the_addresses_would_leave_lines_unread(number):
    with pytest.raises(ConfigurationError, match="does not fit 2 addresses"):
        place_in_cluster(["flows.main", "-i", number, "-a", TWO], {})


def test_every_line_is_owned_by_exactly_one_process_and_none_has_two_more_than_another():
    lines = {f"meter-{number}": f"serial:///dev/ttyUSB{number % 5}" for number in range(20)}
    for count in (1, 2, 3, 7):
        places = [Place(index, count) for index in range(count)]
        read = [lines.keys() - place.elsewhere(lines) for place in places]
        assert sorted(meter for meters in read for meter in meters) == sorted(lines)
        for meters in read:
            assert len(meters) % 4 == 0  # whole lines
        assert max(map(len, read)) - min(map(len, read)) <= 4


THREE = ("north:2101", "north:2102", "south:2101")


def test_over_several_hosts_one_process_keeps_what_there_is_once():
    places = [Place(index, 3, THREE) for index in range(3)]
    assert [place.keeps for place in places] == [True, False, False]
    assert [place.elsewhere_by_number for place in places] == [
        {2: "south:2101"},
        {2: "south:2101"},
        {0: "north:2101", 1: "north:2102"},
    ]
    assert all(place.keeps for place in (Place(), Place(1, 2), Place(1, 2, tuple(TWO.split(";")))))


def test_over_several_hosts_nothing_moves_but_what_a_lost_process_had():
    names = {f"m{number}" for number in range(300)}

    def owners(addresses):
        places = [Place(index, len(addresses), addresses) for index in range(len(addresses))]
        return {name: [place.addresses[place.index] for place in places if place.owns(name, names)] for name in names}

    whole = owners(THREE)
    assert {len(found) for found in whole.values()} == {1}
    assert all(60 < sum(found == [address] for found in whole.values()) < 140 for address in THREE)
    rest = owners((THREE[2], THREE[0]))  # the order says who keeps the outbox, not who reads which meter
    assert {name for name in names if rest[name] != whole[name]} == {name for name in names if whole[name] == [THREE[1]]}
    assert owners(THREE)["m1"] == whole["m1"]


@pytest.mark.parametrize("unreachable", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"])
def test_an_address_that_no_other_host_reaches_is_refused(unreachable):
    with pytest.raises(ConfigurationError, match="an address that no other host reaches"):
        place_in_cluster(["-i", "0", "-a", f"{unreachable}:2101;192.0.2.7:2101", "-r", "store"], {})


def test_a_process_is_started_on_its_own_host_only():
    with pytest.raises(ConfigurationError, match=r"process 1 belongs on 192\.0\.2\.7, which is no address of this host"):
        place_in_cluster(["-i", "1", "-a", "192.0.2.6:2101;192.0.2.7:2101", "-r", "store"], {})


def test_over_several_hosts_a_recovery_store_is_needed():
    with pytest.raises(ConfigurationError, match="needs a recovery store"):
        place_in_cluster(["-i", "1", "-a", "one.invalid:2101;two.invalid:2101"], {})


@pytest.mark.parametrize(
    ("number", "addresses", "elsewhere"),
    [
        ("0", "a:1;b:1", False),
        ("1", "a:1;b:1", True),
        ("1", "a:1;a:2;b:1", False),
        ("2", "a:1;b:1", False),
        ("1", TWO, False),
        ("0", "", False),
    ],
)
def test_the_environment_tells_whether_the_store_is_on_another_host(number, addresses, elsewhere):
    assert is_kept_elsewhere({"BYTEWAX_PROCESS_ID": number, "BYTEWAX_ADDRESSES": addresses}) is elsewhere
    assert not is_kept_elsewhere({})
