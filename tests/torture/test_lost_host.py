"""A cluster over two hosts loses one after the other; docs/cluster.md is followed, and every interval of the meters arrives.

Behind --long: some minutes. Needs root, for network namespaces.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import write_configuration
from tests.torture.campaign import CYCLE_TIMEOUT, campaign_pipeline
from tests.torture.hosts import WORLD, Host, Hosts, why_not
from tests.torture.meter_process import CAPTURE_PERIOD, described
from tests.torture.servant import Servant
from tests.torture.truth import CAPTURED, Truth, overwritten, stored

METERS = 6
SOON, NOTICED, SETTLED = 90.0, 90.0, 180.0
"""Deadlines in seconds: until something new is stored, until a host that is cut off is missed, until everything is stored."""


class Story:
    """Two hosts, the meters, the server, and what is owed."""

    def __init__(self, folder: Path, hosts: Hosts) -> None:
        self.north, self.south = hosts.hosts
        self.file = folder / "server.sqlite"
        self.server = Servant("tests.torture.server_process", str(self.file), WORLD, prefix=hosts.in_world)
        self._meters = Servant("tests.torture.meter_process", str(METERS), WORLD, prefix=hosts.in_world)
        self._truth = Truth(METERS, longest_poll=CYCLE_TIMEOUT)
        self._first: dict[str, int] = {}

    def open(self) -> None:
        """Start meters and server, and write the same pipeline.yaml on both hosts."""
        url = f"mqtt://{WORLD}:{self.server.start()}"
        meters = [described(number, port, WORLD) for number, port in enumerate(self._meters.start())]
        self.described = url, meters
        for host in (self.north, self.south):
            write_configuration(host.folder, campaign_pipeline(url, meters, 900.0))

    def close(self) -> None:
        self.server.kill()
        self._meters.kill()

    def begin(self) -> None:
        """Wait until an interval of each meter is stored; these are the first that are owed."""
        wait_for(lambda: len(self._oldest()) == METERS, "an interval of each meter", SOON)
        self._first = self._oldest()

    def something_new(self) -> None:
        """Wait until an interval of each meter is stored that ended after this moment."""
        now = time.time() * 1000
        wait_for(lambda: all(ts > now for ts in self._newest().values()), "a new interval of each meter", SOON)

    def settle(self) -> str:
        """Wait until everything is stored; what is wrong with it, empty where nothing is."""
        last = int(time.time() // CAPTURE_PERIOD * CAPTURE_PERIOD * 1000)
        owed = set(self._truth.owed(self._first, last))
        wait_for(lambda: owed <= stored(self.file).keys(), "everything that is owed", SETTLED)
        verdict = self._truth.judge(stored(self.file), self._first, last)
        verdict.changed += overwritten(self.file)
        assert verdict.polled > 0
        return "" if verdict.is_good else str(verdict)

    def _oldest(self) -> dict[str, int]:
        return self._of_each(min)

    def _newest(self) -> dict[str, int]:
        return self._of_each(max)

    def _of_each(self, choose: type) -> dict[str, int]:
        found: dict[str, int] = {}
        for device, key, ts in stored(self.file):
            if key in CAPTURED:
                found[device] = choose(ts, found.get(device, ts))
        return found


@pytest.fixture
def story(tmp_path: Path, long: bool) -> Iterator[Story]:
    if not long:
        pytest.skip("only with --long")
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with Hosts(tmp_path, "north", "south") as hosts:
        told = Story(tmp_path, hosts)
        try:
            told.open()
            yield told
        finally:
            told.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_interval_arrives_though_one_host_after_the_other_is_lost(story: Story) -> None:
    north, south = story.north, story.south
    begin_as_a_cluster(story)
    a_cut_ends_both_and_mends(story)
    back_up_to(north, south)
    lose_a_reader(story)
    lose_the_keeper(story)
    the_old_keeper_comes_back(story)
    assert story.settle() == ""
    north.stop()
    south.stop()
    assert [north.stopped(), south.stopped()] == [0, 0]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hosts_with_different_files_read_nothing_and_say_why(story: Story) -> None:
    north, south = story.north, story.south
    ready(story)
    url, meters = story.described
    write_configuration(south.folder, campaign_pipeline(url, meters[:-1], 900.0))
    start(north, south)
    wait_for(lambda: (north.ended(), south.ended()) == (1, 1), "both to end", NOTICED)
    assert f"process 1 on {south.member} has another pipeline.yaml than process 0" in north.log.read_text()

    other = campaign_pipeline(url, meters, 900.0)
    other["nodes"] = [node for node in other["nodes"] if node["id"] != "archive"]
    write_configuration(south.folder, other)
    start(north, south)
    wait_for(lambda: None not in (north.ended(), south.ended()), "both to end", NOTICED)
    assert 0 not in (north.ended(), south.ended()), (north.log.read_text()[-3000:], south.log.read_text()[-3000:])


def ready(story: Story) -> None:
    """The recovery store on the keeper, and the empty folder on the other host."""
    assert story.north.command("recovery").returncode == 0
    assert story.south.command("recovery", "--elsewhere").returncode == 0


def begin_as_a_cluster(story: Story) -> None:
    north, south = story.north, story.south
    ready(story)
    start(north, south)
    story.begin()
    assert finding(south, "session owner") == "" and north.member in facts(south, "session owner")
    assert critical(north) == critical(south) == []
    assert read_by(north) & read_by(south) == set() and read_by(north) | read_by(south) == {f"m{number}" for number in range(METERS)}


def a_cut_ends_both_and_mends(story: Story) -> None:
    """Neither side of a cut goes on by itself: nobody could know of the other's session."""
    north, south = story.north, story.south
    south.cut()
    wait_for(lambda: (north.ended(), south.ended()) == (1, 1), "both hosts to notice", NOTICED)
    assert "its host is cut off" in north.log.read_text() and "its host is cut off" in south.log.read_text()
    south.mend()
    start(north, south)  # as systemd does
    story.something_new()


def lose_a_reader(story: Story) -> None:
    """Procedure: take its address out and start the others."""
    north, south = story.north, story.south
    south.crash()
    south.cut()
    wait_for(lambda: north.ended() == 1, "the other host to end", NOTICED)
    north.start("-i", "0", "-a", f"{north.member};{south.member}")
    wait_for(lambda: south.member in finding(north, "flow"), "health to name the missing host", SOON)
    north.stop()
    assert north.stopped() == 0
    north.start("-i", "0", "-a", north.member)
    story.something_new()
    north.stop()
    assert north.stopped() == 0
    south.mend()
    start(north, south)
    story.something_new()


def lose_the_keeper(story: Story) -> None:
    """Procedure: another host becomes process 0, with the copy of the store; what waited in the outbox is read again."""
    north, south = story.north, story.south
    story.server.tell(listen=False)
    before = waiting(north)
    wait_for(lambda: waiting(north) > before + 50, "records that wait", SOON)
    north.crash()
    north.cut()
    wait_for(lambda: south.ended() == 1, "the other host to end", NOTICED)
    shutil.rmtree(south.folder / "state" / "recovery")
    shutil.copytree(south.folder / "from-north", south.folder / "state" / "recovery")
    assert south.command("recovery").returncode == 0
    story.server.tell(listen=True)
    south.start("-i", "0", "-a", south.member)
    story.something_new()
    assert "is not the one that the session used before" in south.log.read_text()


def the_old_keeper_comes_back(story: Story) -> None:
    """Procedure: its outbox goes to the new keeper, its store aside."""
    north, south = story.north, story.south
    north.mend()
    south.stop()
    assert south.stopped() == 0
    north.start("-i", "1", "-a", f"{south.member};{north.member}")
    assert north.stopped() == 1 and "there is a recovery store" in north.log.read_text()
    assert north.command("recovery", "--set-aside", "--elsewhere").returncode == 0
    for file in (north.folder / "state").glob("outbox.sqlite*"):
        if not file.name.endswith("-shm"):
            (south.folder / "taken").mkdir(exist_ok=True)
            shutil.copy(file, south.folder / "taken")
    taken = south.command("take-over", "taken/outbox.sqlite", "--json")
    assert taken.returncode == 0 and json.loads(taken.stdout)["records"] > 50, taken
    start(south, north)
    story.something_new()
    assert "nobody delivers them" in finding(north, "outbox")
    for file in (north.folder / "state").glob("outbox.sqlite*"):
        file.unlink()
    assert critical(north) == []
    assert all(what.startswith("outbox-file") for what in critical(south))  # said for ten minutes


def start(first: Host, second: Host) -> None:
    """Both as one cluster, the first as its process 0."""
    addresses = f"{first.member};{second.member}"
    first.start("-i", "0", "-a", addresses)
    second.start("-i", "1", "-a", addresses)


def back_up_to(keeper: Host, other: Host) -> None:
    """What cron does: the store of the keeper, copied to the other host."""
    assert keeper.command("recovery", "--backup", "copy").returncode == 0
    shutil.copytree(keeper.folder / "copy", other.folder / "from-north")


def waiting(host: Host) -> int:
    text = facts(host, "outbox") + finding(host, "outbox")
    return int(text.partition(" records wait")[0].split()[-1])


def read_by(host: Host) -> set[str]:
    """The meters that were read by this host."""
    events = (json.loads(line) for line in host.log.read_text().splitlines() if line.startswith("{"))
    return {event["meter"] for event in events if event["event"] == "association opened"}


def health(host: Host) -> dict:
    return json.loads(host.command("health", "--json").stdout)


def facts(host: Host, area: str) -> str:
    return "; ".join(fact for found in health(host)["areas"] if found["area"] == area for fact in found["facts"])


def finding(host: Host, subject: str) -> str:
    return "; ".join(found["what"] for found in health(host)["findings"] if found["subject"] == subject)


def critical(host: Host) -> list[str]:
    return [found["what"] for found in health(host)["findings"] if found["severity"] == "critical"]
