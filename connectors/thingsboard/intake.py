"""Takes batches from the dataflow's worker into the outbox; what the outbox cannot take now waits in memory.

It cannot while the disk is full, read-only or failing, and while the outbox is full and its policy is to block. Memory is
bounded too (`memory_readings`). When it is full, the same policy decides:
- `drop-oldest` and `drop-newest` drop what has waited longest or what comes; counted, alarmed, and told to `receipts-in` as
  soon as the disk takes it.
- `block` lets `put` wait. Then the worker stands still, and with it every node on it; the meters are read on, and up to 1,000
  cycles of each wait in their schedules, after which they are not read any more. The alert was raised when the outbox became
  full, while the flow still ran; the log repeats it every minute. It ends when there is room, when a stop is requested (what
  waits is written beyond the bounds then), and at the latest after `block_at_most`: from then on what comes is dropped as
  by `drop-newest` until there is room again, so that a flow never stands still for ever.

What waits in memory is lost if the process is killed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

import structlog

from connectors.thingsboard.bounds import Policy, load_of
from connectors.thingsboard.outbox import Device, Outbox, OutboxFull
from connectors.thingsboard.outbox_rows import Losses
from connectors.thingsboard.outbox_trouble import OutboxTrouble
from connectors.thingsboard.payload import Record
from model.errors import StorageError
from model.progress import PROGRESS

RETRY = 2.0
"""Seconds between two attempts to write after the disk refused."""

SLICE = 0.1
"""Seconds between two looks for room while the worker waits."""

REMIND = 60.0
"""Seconds between two log lines while the worker waits."""

CHUNK = 1_000
"""Records per transaction when much has waited."""

REASON = "memory was full while the outbox took nothing"

log = structlog.get_logger()


class Intake:
    """The way into the outbox. Used by one thread.

    :arg trouble: told what is wrong.
    :arg most_readings: the most that wait in memory; a record without readings counts as one.
    :arg policy: what gives way when memory is full.
    :arg block_at_most: seconds that `put` may wait in a row.
    :arg stopping: whether the process is to end.
    :arg clock: monotonic seconds. :arg sleep: waits so many seconds.
    """

    def __init__(
        self,
        trouble: OutboxTrouble,
        most_readings: int,
        policy: Policy,
        block_at_most: float,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._trouble = trouble
        self._most, self._policy, self._block_at_most = most_readings, policy, block_at_most
        self._stopping, self._clock, self._sleep = stopping, clock, sleep
        self._outbox: Outbox | None = None
        self._waiting: deque[Record] = deque()
        self._devices: dict[str, Device] = {}
        self._readings = 0
        self._losses = Losses(REASON)
        self._retry_at = 0.0
        self._gave_up = False

    def open(self, outbox: Outbox) -> None:
        """There is an outbox now; until then everything waits."""
        self._outbox = outbox

    @property
    def waiting(self) -> int:
        """How many readings wait in memory."""
        return self._readings

    def put(self, records: Iterable[Record], devices: Iterable[Device] = ()) -> None:
        """Keep records: on the disk when this returns, or in memory where the outbox cannot take them. Never raises."""
        for device in devices:
            known = self._devices.get(device.name)
            self._devices[device.name] = known if known is not None and device.tags is None and known.type == device.type else device
        for record in records:
            self._waiting.append(record)
            self._readings += _weight(record)
        self._flush()
        if self._readings > self._most and self._policy == "block" and not self._gave_up:
            self._wait_for_room()
        self._drop_what_memory_cannot_hold()

    def close(self) -> None:
        """Write what waits, whatever the bounds say; logged when the disk refuses. Never raises."""
        try:
            if self._outbox is not None and (self._waiting or self._devices):
                self._outbox.append_beyond_bounds(list(self._waiting), self._devices.values())
                self._waiting.clear()
                self._readings = 0
            self._note_losses()
        except StorageError as error:
            log.error("readings that waited in memory are lost: the disk refuses them", error=error.what, remedy=error.remedy)
        lost = self._losses.load.readings
        if self._waiting or lost:
            log.error("the intake of the outbox is closed with readings unwritten", waiting=self._readings, dropped=lost)

    def _flush(self) -> None:
        """Move what waits into the outbox as far as it takes it."""
        if self._outbox is None or self._clock() < self._retry_at:
            return
        moved = 0
        try:
            while self._waiting or self._devices:
                chunk = list(islice(self._waiting, CHUNK))
                self._outbox.append(chunk, self._devices.values())
                self._devices = {}
                for record in chunk:
                    self._waiting.popleft()
                    self._readings -= _weight(record)
                moved += len(chunk)
            self._note_losses()
        except OutboxFull:
            stored = self._outbox.load.readings
            self._trouble.blocked(f"{stored} readings wait on the disk; what comes waits in memory, then the flow stands still")
            return
        except StorageError as error:
            self._refused(error)
            return
        self._gave_up = False
        self._trouble.unblocked()
        self._trouble.disk_is_back(f"the outbox is written again, {moved} records at once")

    def _refused(self, error: StorageError) -> None:
        self._retry_at = self._clock() + RETRY
        self._trouble.disk(f"{error.what}; readings wait in memory", error.remedy)

    def _wait_for_room(self) -> None:
        begun = reminded = self._clock()
        patience = f"{self._block_at_most:g} s"
        log.error("memory is full: the flow stands still until the outbox has room", waiting=self._readings, patience=patience)
        while self._readings > self._most and not self._stopping():
            self._sleep(SLICE)
            PROGRESS.holds()
            now = self._clock()
            self._flush()
            if now - begun >= self._block_at_most:
                self._gave_up = self._readings > self._most
                break
            if now - reminded >= REMIND:
                reminded = now
                log.error("the flow stands still: the outbox has no room", waiting=self._readings, seconds=round(now - begun))
        log.info("the flow goes on", waiting=self._readings, seconds=round(self._clock() - begun, 1))

    def _drop_what_memory_cannot_hold(self) -> None:
        if self._readings <= self._most or (self._policy == "block" and not self._gave_up):
            return  # with `block` only a stop comes here with more than fits: `close` writes it
        losses = Losses(REASON)
        take: Callable[[], Record] = self._waiting.popleft if self._policy == "drop-oldest" else self._waiting.pop
        while self._readings > self._most:
            record = take()
            self._readings -= _weight(record)
            losses.add(record, load_of([record]).size)
        self._losses.merge(losses)
        self._trouble.dropped(losses)

    def _note_losses(self) -> None:
        """Leave a trace of what was dropped, now that the disk takes it."""
        if self._losses.load.records and self._outbox is not None:
            self._outbox.note(self._losses)
            self._losses = Losses(REASON)


def _weight(record: Record) -> int:
    return max(1, record.readings)
