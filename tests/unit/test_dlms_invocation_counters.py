"""Invocation counters: no number twice, whatever dies and whoever else uses the file; and what happens when a meter refuses one."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connectors.dlms.counter_recovery import HIGHEST_BELIEVED, CounterRecovery
from connectors.dlms.invocation_counters import CHUNK, FEW, CounterId, InvocationCounter, InvocationCounters
from connectors.dlms.security.protection import HIGHEST_COUNTER
from connectors.dlms.session import Session
from model.errors import MeterError, StorageError
from model.messages import ErrorKind
from tests.unit.secured_meter import secured

METER = secured("high-gmac", "authenticated-encryption")
IDENTITY = CounterId.of(METER)


@pytest.fixture
def store(tmp_path: Path) -> InvocationCounters:
    return InvocationCounters(tmp_path / "state" / "counters.sqlite")


def test_numbers_rise_by_one_and_go_on_after_a_restart(store: InvocationCounters) -> None:
    counter = store.of(METER)
    numbers = [counter.next() for _ in range(CHUNK + 10)]
    assert numbers == list(range(1, CHUNK + 11))
    assert store.of(METER).next() == 2 * CHUNK + 1


def test_each_meter_client_and_key_counts_for_itself(store: InvocationCounters) -> None:
    others = [METER.model_copy(update=change) for change in ({"id": "other"}, {"client_sap": 2})]
    others.append(secured("high-gmac", "authenticated-encryption", block_cipher_key="ff" * 16))
    store.of(METER).next()
    assert [store.of(other).next() for other in others] == [1, 1, 1]


def test_the_key_is_nowhere_in_the_file(store: InvocationCounters, tmp_path: Path) -> None:
    store.of(METER).next()
    content = (tmp_path / "state" / "counters.sqlite").read_bytes()
    key = METER.block_cipher_key_bytes()
    assert key not in content and key.hex().encode() not in content.lower()


def test_what_is_known_of_the_meter_survives_and_does_not_go_back(store: InvocationCounters) -> None:
    counter = store.of(METER)
    counter.load()
    assert counter.is_first_contact
    counter.prepare()
    counter.server_title, counter.server_counter = b"METERONE", 70
    counter.note_server()
    store.note_server(IDENTITY, b"METERONE", 60)
    again = store.of(METER)
    again.load()
    assert (again.is_first_contact, again.server_title, again.server_counter) == (False, b"METERONE", 70)
    store.note_server(IDENTITY, b"METERTWO", 3)
    assert store.read(IDENTITY) == (CHUNK + 1, b"METERTWO", 3)


def test_threads_share_the_file(store: InvocationCounters) -> None:
    with ThreadPoolExecutor(8) as pool:
        ranges = list(pool.map(lambda _: store.reserve(IDENTITY, 0), range(40)))
    numbers = [number for numbers in ranges for number in numbers]
    assert len(numbers) == len(set(numbers)) == 40 * CHUNK


_CHILD = """
import sys
from pathlib import Path
from connectors.dlms.invocation_counters import InvocationCounters
from tests.unit.secured_meter import secured
counter = InvocationCounters(Path(sys.argv[1])).of(secured("high-gmac", "authenticated-encryption"))
while True:
    print(counter.next(), flush=True)
"""


def test_no_number_is_used_twice_after_kill_9(tmp_path: Path) -> None:
    used: list[int] = []
    for _ in range(3):
        path = str(tmp_path / "counters.sqlite")
        child = subprocess.Popen([sys.executable, "-c", _CHILD, path], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert child.stdout is not None
        used += [int(child.stdout.readline()) for _ in range(1500)]
        os.kill(child.pid, signal.SIGKILL)
        used += [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        child.wait()
        child.stdout.close()
    assert len(used) == len(set(used)) and used == sorted(used)


def test_the_last_number_is_the_last(store: InvocationCounters) -> None:
    counter = store.of(METER)
    counter.raise_to(HIGHEST_COUNTER)
    assert counter.next() == HIGHEST_COUNTER
    with pytest.raises(MeterError, match="used up") as end:
        counter.next()
    assert end.value.kind is ErrorKind.COUNTER and end.value.needs_a_person


def test_a_file_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "counters.sqlite"
    path.write_text("this is not a database, whatever its name says; " * 20)
    with pytest.raises(StorageError, match="delete it"):
        InvocationCounters(path).of(METER).next()


def test_a_chunk_is_on_disk_before_its_first_number_is_out(store: InvocationCounters, tmp_path: Path) -> None:
    number = store.of(METER).next()
    with sqlite3.connect(tmp_path / "state" / "counters.sqlite") as database:
        (upcoming,) = database.execute("SELECT upcoming FROM counters").fetchone()
    database.close()
    assert upcoming > number


class Meter:
    """Tells `counter` to whoever asks, or raises it."""

    def __init__(self, counter: int | MeterError) -> None:
        self.counter = counter
        self.asked = 0

    async def read(self) -> int:
        self.asked += 1
        if isinstance(self.counter, MeterError):
            raise self.counter
        return self.counter


REFUSED = MeterError(ErrorKind.COUNTER, "invocation-counter-error")
SILENT = MeterError(ErrorKind.ACCESS, "object-undefined")


def recovery(store: InvocationCounters, meter: Meter) -> tuple[InvocationCounter, CounterRecovery]:
    counter = store.of(METER)
    return counter, CounterRecovery("m", counter, meter.read)


def fault_of(store: InvocationCounters, meter: Meter, refusal: MeterError = REFUSED) -> MeterError:
    async def run() -> None:
        await recovering.before_association()
        await recovering.after_refusal(refusal)

    _, recovering = recovery(store, meter)
    with pytest.raises(MeterError) as caught:
        asyncio.run(run())
    return caught.value


@pytest.mark.parametrize(("told", "first"), [(5000, 5001), (0, 1), (SILENT, 1), (1, 2)])
def test_the_first_contact_asks_the_meter(store: InvocationCounters, told: int | MeterError, first: int) -> None:
    meter = Meter(told)
    counter, recovering = recovery(store, meter)
    asyncio.run(recovering.before_association())
    assert (counter.next(), meter.asked) == (first, 1)
    asyncio.run(recovering.before_association())
    again, recovering = recovery(store, meter)
    asyncio.run(recovering.before_association())
    assert again.next() == first + CHUNK and meter.asked == 1


def test_a_meter_that_cannot_be_reached_is_asked_the_next_time(store: InvocationCounters) -> None:
    meter = Meter(MeterError(ErrorKind.CONNECT, "connection refused"))
    counter, recovering = recovery(store, meter)
    with pytest.raises(MeterError):
        asyncio.run(recovering.before_association())
    meter.counter = 5000
    asyncio.run(recovering.before_association())
    assert (counter.next(), meter.asked) == (5001, 2)


def test_a_refusal_takes_over_a_higher_counter_once_and_then_stops(store: InvocationCounters) -> None:
    store.of(METER).next()
    meter = Meter(9000)
    counter, recovering = recovery(store, meter)

    async def run() -> MeterError:
        await recovering.before_association()
        await recovering.after_refusal(REFUSED)
        assert counter.next() == 9001
        for _ in range(5):
            await recovering.before_association()
            with pytest.raises(MeterError) as caught:
                await recovering.after_refusal(REFUSED)
        return caught.value

    fault = asyncio.run(run())
    assert meter.asked == 1
    assert (fault.kind, fault.needs_a_person) == (ErrorKind.COUNTER, True)


def test_after_a_success_the_meter_may_be_asked_again(store: InvocationCounters) -> None:
    store.of(METER).next()
    meter = Meter(9000)
    counter, recovering = recovery(store, meter)

    async def run() -> None:
        await recovering.before_association()
        await recovering.after_refusal(REFUSED)
        recovering.worked()
        meter.counter = 50_000
        await recovering.after_refusal(REFUSED)

    asyncio.run(run())
    assert counter.next() == 50_001


def test_a_counter_that_is_not_higher_changes_nothing_and_blames_the_keys(store: InvocationCounters) -> None:
    store.of(METER).next()
    fault = fault_of(store, Meter(17))
    assert (fault.kind, fault.needs_a_person) == (ErrorKind.REFUSED, True)
    assert "block_cipher_key" in fault.remedy


@pytest.mark.parametrize("told", [HIGHEST_BELIEVED, HIGHEST_COUNTER, 2**40])
def test_an_absurd_counter_is_not_taken_over(store: InvocationCounters, told: int) -> None:
    store.of(METER).next()
    fault = fault_of(store, Meter(told))
    assert (fault.kind, fault.needs_a_person) == (ErrorKind.COUNTER, True)
    assert store.of(METER).next() < 10 * CHUNK


def test_a_meter_that_does_not_tell_its_counter_needs_a_person(store: InvocationCounters) -> None:
    store.of(METER).next()
    fault = fault_of(store, Meter(SILENT))
    assert (fault.kind, fault.needs_a_person) == (ErrorKind.COUNTER, True)
    assert "invocation_counter_object" in fault.remedy


def test_any_other_refusal_asks_once_and_stays_what_it_is(store: InvocationCounters) -> None:
    store.of(METER).next()
    refusal = MeterError(ErrorKind.REFUSED, "no-reason-given")
    meter = Meter(17)
    _, recovering = recovery(store, meter)

    async def run() -> None:
        for _ in range(3):
            await recovering.before_association()
            with pytest.raises(MeterError) as caught:
                await recovering.after_refusal(refusal)
            assert caught.value is refusal

    asyncio.run(run())
    assert meter.asked == 1


def test_a_refusal_on_an_open_association_asks_before_the_next_one(store: InvocationCounters) -> None:
    store.of(METER).next()
    meter = Meter(70_000)
    counter, recovering = recovery(store, meter)

    async def run() -> None:
        await recovering.before_association()
        recovering.refused_later()
        await recovering.before_association()

    asyncio.run(run())
    assert (counter.next(), meter.asked) == (70_001, 1)


def test_refusals_on_open_associations_do_not_go_on_for_ever_either(store: InvocationCounters) -> None:
    store.of(METER).next()
    meter = Meter(70_000)
    _, recovering = recovery(store, meter)

    async def run() -> None:
        recovering.refused_later()
        await recovering.before_association()
        meter.counter = 90_000
        recovering.refused_later()
        with pytest.raises(MeterError) as caught:
            await recovering.before_association()
        assert caught.value.needs_a_person

    asyncio.run(run())
    assert meter.asked == 1


def test_a_session_tries_the_meters_own_counter_once_and_gives_up(store: InvocationCounters) -> None:
    class Refused(Session):
        attempts = reads = 0

        async def _associate(self) -> None:
            self.attempts += 1
            raise MeterError(ErrorKind.COUNTER, "invocation-counter-error")

        async def _read_counter(self) -> int:
            self.reads += 1
            return 9000

    store.of(METER).next()
    session = Refused(METER, lambda _id, connect: connect, store)
    for attempts in (2, 3):  # the second time without asking again
        with pytest.raises(MeterError) as caught:
            asyncio.run(session.associate())
        assert caught.value.needs_a_person and caught.value.kind is ErrorKind.COUNTER
        assert (session.attempts, session.reads) == (attempts, 1)


def test_the_next_chunk_is_reserved_before_the_last_one_ends(store: InvocationCounters) -> None:
    counter = store.of(METER)
    counter.prepare()
    assert not counter.is_due
    for _ in range(CHUNK - FEW + 1):
        counter.next()
    assert counter.is_due
    counter.prepare()
    assert not counter.is_due


def test_a_meter_that_another_host_read_meanwhile_is_asked_and_no_number_comes_twice(tmp_path: Path) -> None:
    north, south = (InvocationCounters(tmp_path / name / "counters.sqlite") for name in ("north", "south"))
    first = north.of(METER)
    used = {first.next() for _ in range(10)}
    moved = south.of(METER)
    assert first.reserved is not None
    moved.was_reserved_elsewhere(first.reserved)
    used |= {first.next() for _ in range(CHUNK)}  # after the snapshot
    moved.load()
    assert moved.is_first_contact  # so the meter is asked, and only a higher number of its own is taken
    moved.prepare()
    there = {moved.next() for _ in range(2 * CHUNK)}
    assert not used & there and max(used) < min(there)
    back = north.of(METER)  # whose file is of the time before
    assert moved.reserved is not None
    back.was_reserved_elsewhere(moved.reserved)
    back.load()
    assert back.is_first_contact and back.next() > max(there)


def test_a_snapshot_of_the_same_host_changes_nothing(store: InvocationCounters) -> None:
    counter = store.of(METER)
    counter.next()
    again = store.of(METER)
    assert counter.reserved is not None
    again.was_reserved_elsewhere(counter.reserved)
    again.load()
    assert not again.is_first_contact and again.next() == CHUNK + 1


def test_only_the_state_of_the_same_key_is_restored(store: InvocationCounters) -> None:
    session = Session(METER, lambda _, url: url, store)
    assert session.counter_state is None
    key = store.of(METER).key
    for state, asked in ((None, False), ({"key": "1:other", "reserved": 9}, False), ([], False), ({"key": key, "reserved": 9}, True)):
        session = Session(METER, lambda _, url: url, store)
        session.restore_counter(state)
        counter = session._counter
        assert counter is not None
        counter.load()
        counter.prepare()
        assert (counter.next() > 9 + CHUNK - 1) is asked
        assert session.counter_state == {"key": key, "reserved": counter.reserved}
        if not asked:
            (store._path).unlink()
