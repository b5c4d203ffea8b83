"""What happens to readings that the outbox cannot take: they wait in memory, and the policy decides when that is full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.thingsboard.bounds import UNBOUNDED, Bounds, Policy
from connectors.thingsboard.bulletin import Bulletin
from connectors.thingsboard.intake import RETRY, Intake
from connectors.thingsboard.journal import Journal
from connectors.thingsboard.outbox import Device, Outbox
from connectors.thingsboard.outbox_trouble import OutboxTrouble
from connectors.thingsboard.payload import Kind
from connectors.thingsboard.records import tags_record
from tests.unit.test_thingsboard_bounds import Clock, record
from tests.unit.test_thingsboard_outbox_damage import FullDisk


class Desk:
    """An intake before an outbox whose disk can be filled; `sleep` runs what the test wants to happen meanwhile."""

    def __init__(self, folder: Path, policy: Policy = "drop-oldest", most: int = 20, bounds: Bounds = UNBOUNDED) -> None:
        self.clock = Clock()
        self.bulletin = Bulletin()
        self.trouble = OutboxTrouble(self.bulletin.post, self.clock)
        self.path = folder / "outbox.sqlite"
        self.outbox = Outbox(self.path, clock=self.clock, bounds=bounds, trouble=self.trouble)
        self.journal = Journal(self.path, None)
        self.stopping = False
        self.slept = 0
        self.meanwhile = lambda: None
        self.intake = Intake(self.trouble, most, policy, 600.0, lambda: self.stopping, self.clock, self.sleep)
        self.intake.open(self.outbox)
        self.ts = 0

    def sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        self.slept += 1
        self.meanwhile()

    def put(self, count: int, origin: str = "poll") -> None:
        self.intake.put([record("m1", self.ts + number + 1, origin) for number in range(count)])
        self.ts += count

    def stored(self) -> list[int]:
        return [entry.record.ts for entry in self.outbox.pending(0, 10_000)]

    def deliver(self, count: int) -> None:
        self.outbox.done([([entry.id for entry in self.outbox.pending(0, count)], None)])

    def close(self) -> None:
        self.journal.close()
        self.outbox.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def desk(folder: Path) -> Iterator[Desk]:
    desk = Desk(folder)
    yield desk
    desk.close()


def full(desk: Desk) -> FullDisk:
    """A disk on which not even one more record fits."""
    desk.put(1)
    disk = FullDisk(desk.outbox)
    while not desk.intake.waiting:
        desk.put(1)
    return disk


def test_readings_wait_in_memory_while_the_disk_is_full_and_go_on_in_order(desk: Desk) -> None:
    disk = full(desk)
    desk.put(5)
    stored = desk.stored()
    assert desk.intake.waiting == desk.ts - len(stored)
    disk.gets_room()
    desk.put(1)  # too early for another attempt
    assert desk.stored() == stored
    desk.clock.now += RETRY
    desk.put(1)
    assert desk.stored() == list(range(1, desk.ts + 1))
    assert desk.intake.waiting == 0
    raised, cleared = desk.bulletin.take()
    assert (raised.kind, raised.raised, cleared.kind, cleared.raised) == ("outbox-disk", True, "outbox-disk", False)
    assert "free space" in raised.remedy
    assert "readings wait in memory" in raised.evidence


@pytest.mark.parametrize(("policy", "kept"), [("drop-oldest", "newest"), ("drop-newest", "oldest")])
def test_memory_that_is_full_drops_by_the_policy_and_tells_when_the_disk_is_back(folder: Path, policy: Policy, kept: str) -> None:
    desk = Desk(folder, policy)
    try:
        disk = full(desk)
        stored = desk.ts - 1
        for _ in range(6):
            desk.put(9, "profile")
        assert desk.intake.waiting == 20
        assert [alert.kind for alert in desk.bulletin.take()] == ["outbox-disk", "outbox-full"]
        disk.gets_room()
        desk.clock.now += RETRY
        desk.put(0)
        everything = list(range(1, desk.ts + 1))
        expected = [*everything[:stored], *(everything[-20:] if kept == "newest" else everything[stored : stored + 20])]
        assert desk.stored() == expected
        (dropped,) = desk.journal.look().dropped
        assert dropped.readings == len(everything) - len(expected)
        polled = 1 if kept == "newest" else 0  # the one that did not fit on the disk first
        assert len(dropped.intervals) == dropped.readings - polled
    finally:
        desk.close()


def test_block_waits_for_room_and_drops_nothing(folder: Path) -> None:
    desk = Desk(folder, "block", bounds=Bounds(readings=10, policy="block"))
    try:
        desk.put(10)
        desk.put(20)
        assert desk.slept == 0  # memory holds them
        (raised,) = desk.bulletin.take()
        assert (raised.kind, raised.raised) == ("outbox-full", True)
        desk.meanwhile = lambda: desk.deliver(5) if desk.slept == 50 else None
        desk.put(5)
        assert desk.slept == 50
        desk.meanwhile = lambda: desk.deliver(10)
        while desk.outbox.depth or desk.intake.waiting:
            desk.deliver(10)
            desk.put(0)
        assert desk.journal.look().dropped == []
        assert desk.outbox.newest == 35
    finally:
        desk.close()


def test_block_ends_with_a_stop_and_writes_what_waits_beyond_the_bounds(folder: Path) -> None:
    desk = Desk(folder, "block", bounds=Bounds(readings=10, policy="block"))
    try:

        def stop() -> None:
            desk.stopping = True

        desk.put(10)
        desk.meanwhile = stop
        desk.put(30)
        assert desk.slept == 1
        desk.intake.close()
        assert desk.stored() == list(range(1, 41))
    finally:
        desk.close()


def test_block_gives_up_after_a_while_and_blocks_again_when_there_was_room(folder: Path) -> None:
    desk = Desk(folder, "block", bounds=Bounds(readings=10, policy="block"))
    try:
        desk.put(10)
        desk.put(25)
        assert desk.slept == pytest.approx(6_000, abs=2)
        assert desk.intake.waiting == 20
        desk.put(5)
        assert desk.slept == pytest.approx(6_000, abs=2)  # what comes is dropped at once
        for _ in range(4):
            desk.deliver(10)
            desk.put(0)
        assert desk.intake.waiting == 0
        assert sum(message.readings for message in desk.journal.look().dropped) == 10
        slept = desk.slept
        desk.put(10)
        desk.put(25)
        assert desk.slept > slept
    finally:
        desk.close()


def test_without_an_outbox_everything_waits(folder: Path) -> None:
    clock, bulletin = Clock(), Bulletin()
    intake = Intake(OutboxTrouble(bulletin.post, clock), 10, "drop-oldest", 1.0, lambda: False, clock)
    tags = tags_record("M1", "m1", {"site": "n"}, 1)
    intake.put([record("m1", 1)], [Device("M1", "three-phase", tags)])
    intake.put([record("m1", 2)], [Device("M1", "three-phase")])
    assert intake.waiting == 2
    outbox = Outbox(folder / "outbox.sqlite")
    intake.open(outbox)
    intake.put([])
    assert [(entry.record.kind, entry.record.ts) for entry in outbox.pending(0, 10)] == [
        (Kind.ATTRIBUTES, 1),
        (Kind.TELEMETRY, 1),
        (Kind.TELEMETRY, 2),
    ]
    assert outbox.device_type("M1") == "three-phase"
    outbox.close()


def test_closing_on_a_disk_that_still_refuses_says_how_much_is_lost(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    disk = full(desk)
    desk.put(7)
    desk.intake.close()
    assert "lost" in capsys.readouterr().out
    disk.gets_room()
