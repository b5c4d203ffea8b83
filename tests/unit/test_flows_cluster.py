"""Which process of a cluster this is, and which lines are its own."""

from __future__ import annotations

import pytest

from flows.cluster import place_in_cluster
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
    assert place_in_cluster(arguments, environment) == place


def test_addresses_may_stand_in_a_file(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("one:1\n\ntwo:1\nthree:1\n")
    assert place_in_cluster(["flows.main", "-i", "2"], {"BYTEWAX_HOSTFILE_PATH": str(hosts)}) == Place(2, 3)


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
