"""A pipeline, its meters and its server, each in processes of their own, and a seeded series of everything that can befall them.

A campaign begins undisturbed, until an interval of each meter is stored. Then rounds follow, each with one kill -9 and,
by chance, trouble of the network, the server or the meters that lasts into the next rounds. Then all trouble ends, and
everything that the meters hold has to arrive.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import NODES, PipelineProcess, pipeline
from tests.torture.meter_process import CAPTURE_PERIOD, described
from tests.torture.network import Network, Relay
from tests.torture.servant import Servant
from tests.torture.truth import CAPTURED, POLLED, PROFILE, Truth, Verdict, number_stored, overwritten, stored

INTERVAL = 2.0
CYCLE_TIMEOUT = 30.0
START, SETTLE, DEATH = 90.0, 240.0, 5.0
"""Deadlines in seconds: until the first intervals are stored, until all are, until a cluster ends of which one process was killed."""
REFUSALS = (0x80, 0x83, 0x87, 0x90, 0x91, 0x97)
"""Reason codes of PUBACK that refuse a message without calling it malformed."""

_PATIENCE = {"backoff_min": "500ms", "backoff_max": "3s", "exchange_timeout": "2s", "connect_timeout": "3s", "cycle_timeout": CYCLE_TIMEOUT}


class Campaign:
    """See above.

    :arg folder: for everything that the processes leave behind.
    :arg meters: how many.
    :arg seed: of what happens.
    :arg recovery: with a recovery store.
    :arg processes: of the pipeline.
    :arg workers: of each of them.
    :arg horizon: seconds of the meters' memory that are read at the start.
    """

    def __init__(
        self, folder: Path, meters: int, seed: int, recovery: bool, processes: int = 1, workers: int = 1, horizon: float = 900.0
    ) -> None:
        self._count, self._horizon = meters, horizon
        self._chance = random.Random(seed)
        self._log = folder / "campaign.log"
        self.happened: Counter[str] = Counter()
        self._file = folder / "server.sqlite"
        self._server = Servant("tests.torture.server_process", str(self._file))
        self._meters = Servant("tests.torture.meter_process", str(meters))
        self._network = Network()
        self._truth = Truth(meters, longest_poll=CYCLE_TIMEOUT)
        self._ends: list[tuple[float, Callable[[], None]]] = []
        self._first: dict[str, int] = {}
        self._arguments = ("-w", str(workers)) if workers > 1 else ()
        if recovery:
            (folder / "recovery").mkdir()
            subprocess.run([sys.executable, "-m", "bytewax.recovery", str(folder / "recovery"), str(processes * workers)], check=True)
            self._arguments += ("-r", "recovery", "-s", "1", "-b", "0")
        self._folder, self._processes = folder, processes
        self._stack = ExitStack()

    def __enter__(self) -> Campaign:
        self._stack.enter_context(self._network)
        self._to_server = self._network.relay()
        self._to_meters = [self._network.relay() for _ in range(self._count)]
        self._stack.callback(self._server.kill)
        self._stack.callback(self._meters.kill)
        self._start_server()
        self._start_meters()
        self.pipeline = self._stack.enter_context(
            PipelineProcess(self._folder, self._configuration(), *self._arguments, processes=self._processes)
        )
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def begin(self) -> None:
        """Wait until an interval of each meter is stored; these are the first that are owed."""
        wait_for(lambda: len(self._begun()) == self._count, "an interval of each meter", START)
        self._first = self._begun()

    def round(self) -> None:
        """Trouble by chance, a random moment, one kill, and a new start."""
        self._end_troubles(time.monotonic())
        for trouble in (self._trouble_on_the_network, self._trouble_with_the_server, self._trouble_with_meters):
            if self._chance.random() < 0.3:
                trouble()
        time.sleep(self._chance.choice((self._chance.uniform(0.0, 2.0), self._chance.uniform(1.0, 8.0))))  # a random moment
        self._assert_alive()
        self._chance.choices((self._kill_pipeline, self._kill_one_process, self._kill_server, self._kill_meters), (6, 2, 2, 1))[0]()

    def settle(self) -> Verdict:
        """End all trouble, wait until everything is stored, stop, judge."""
        self._end_troubles(float("inf"))
        last = int(time.time() // CAPTURE_PERIOD * CAPTURE_PERIOD * 1000)
        owed = set(self._truth.owed(self._first, last))
        self._note(f"settling; owed up to {last}")
        end = time.monotonic() + SETTLE
        while time.monotonic() < end and not (number_stored(self._file) >= len(owed) and owed <= stored(self._file).keys()):
            self._assert_alive()
            time.sleep(0.5)
        codes = self.pipeline.stop()
        assert codes == [0] * self._processes, f"exit codes {codes}"
        verdict = self._truth.judge(stored(self._file), self._first, last)
        verdict.changed += overwritten(self._file)
        self._note(str(verdict))
        return verdict

    def _configuration(self) -> dict[str, Any]:
        meters = [described(number, relay.port) for number, relay in enumerate(self._to_meters)]
        return campaign_pipeline(f"mqtt://127.0.0.1:{self._to_server.port}", meters, self._horizon)

    def _begun(self) -> dict[str, int]:
        """The first interval of each meter of which one is stored."""
        first: dict[str, int] = {}
        for device, key, ts in stored(self._file):
            if key in CAPTURED:
                first[device] = min(ts, first.get(device, ts))
        return first

    def _start_server(self) -> None:
        self._to_server.target = self._server.start()

    def _start_meters(self) -> None:
        for relay, port in zip(self._to_meters, self._meters.start(), strict=True):
            relay.target = port

    def _kill_pipeline(self) -> None:
        self._happens("kill the pipeline")
        self.pipeline.kill()
        self.pipeline.start()

    def _kill_one_process(self) -> None:
        """The others of a cluster end by themselves then, and the supervisor starts all anew."""
        self._happens("kill one process of the pipeline")
        victim = self._chance.choice(self.pipeline.processes)
        victim.kill()
        for process in self.pipeline.processes:
            try:
                process.wait(DEATH)
            except subprocess.TimeoutExpired:
                self._note(f"a process outlives another of its cluster by more than {DEATH} s")
                self.happened["outlived"] += 1
        self.pipeline.kill()
        self.pipeline.start()

    def _kill_server(self) -> None:
        self._happens("kill the server")
        self._server.kill()
        time.sleep(self._chance.uniform(0.0, 3.0))  # how long it stays away
        self._start_server()

    def _kill_meters(self) -> None:
        self._happens("kill the meters")
        self._meters.kill()
        time.sleep(self._chance.uniform(0.0, 3.0))  # how long they stay away
        self._start_meters()

    def _trouble_on_the_network(self) -> None:
        relays = self._chance.choice(([self._to_server], self._to_meters, self._chance.sample(self._to_meters, max(1, self._count // 3))))
        what: tuple[str, Callable[[Relay], None]] = self._chance.choice(
            (
                ("cut both ways", lambda relay: relay.cut("server", "client")),
                ("requests lost", lambda relay: relay.cut("server")),
                ("replies lost", lambda relay: relay.cut("client")),
                ("held up", lambda relay: relay.hold()),
                ("slow", lambda relay: relay.slow_down(0.3)),
                ("reset", lambda relay: relay.reset()),
            )
        )
        self._happens(f"network to the {'server' if relays == [self._to_server] else 'meters'}: {what[0]}")
        for relay in relays:
            self._network.call(what[1], relay)

        def end() -> None:
            for relay in relays:
                self._network.call(relay.mend)

        self._until_later(end)

    def _trouble_with_the_server(self) -> None:
        name, what, after = self._chance.choice(
            (
                ("stopped", {"listen": False}, {"listen": True}),
                ("half open", {"stop_reading": True}, {"stop_reading": False}),
                ("acknowledgements withheld", {"withhold_acks": self._chance.choice((1, 5, -1))}, {"withhold_acks": 0}),
                ("acknowledgements late", {"ack_delay": 0.5}, {"ack_delay": 0.0}),
                ("closes", {"drop_after": self._chance.randint(1, 5)}, {"drop_after": 0}),
                ("never answers CONNECT", {"silent_connect": True}, {"silent_connect": False}),
                ("refuses CONNECT", {"refuse_connect": self._chance.choice((0x88, 0x97, 0x9F))}, {"refuse_connect": None}),
                *(
                    (f"refuses with 0x{code:02x}", {"ack_reason": code, "ack_times": self._chance.randint(1, 5)}, {"ack_reason": None})
                    for code in REFUSALS
                ),
            )
        )
        self._happens(f"server: {name}")
        self._server.tell(**what)
        generation = self._server.generation

        def end() -> None:
            if self._server.generation == generation:  # a new one knows nothing of it
                self._server.tell(**after)

        self._until_later(end)

    def _trouble_with_meters(self) -> None:
        ills: dict[str, dict[str, Any]] = {
            "noisy": {"junk": 0.2, "half": 0.05, "wrong_check": 0.05, "lost": 0.05, "duplicated": 0.05, "late": 0.05},
            "silent": {"silent": True},
            "hanging up": {"hang_up_every": 3},
            "dropping": {"drop_every": 3},
        }
        numbers = self._chance.sample(range(self._count), max(1, self._count // 3))
        name = self._chance.choice(("reboot", *ills))
        self._happens(f"meters: {name}")
        for number in numbers:
            if name == "reboot":
                self._meters.tell(meter=number, reboot=self._chance.uniform(0.1, 5.0))
            else:
                self._meters.tell(meter=number, behaviour=ills[name])
        if name != "reboot":
            generation = self._meters.generation
            health = {field: type(value)(0) for field, value in ills[name].items()}

            def end() -> None:
                if self._meters.generation == generation:
                    for number in numbers:
                        self._meters.tell(meter=number, behaviour=health)

            self._until_later(end)

    def _until_later(self, end: Callable[[], None]) -> None:
        self._ends.append((time.monotonic() + self._chance.uniform(1.0, 15.0), end))

    def _end_troubles(self, now: float) -> None:
        over = [end for until, end in self._ends if until <= now]
        self._ends = [(until, end) for until, end in self._ends if until > now]
        for end in over:
            end()

    def _assert_alive(self) -> None:
        for process in self.pipeline.processes:
            assert process.poll() is None, (
                f"the pipeline ended by itself with {process.returncode}: {self.pipeline.log.read_text()[-3000:]}"
            )

    def _happens(self, what: str) -> None:
        self.happened[what] += 1
        self._note(what)

    def _note(self, what: str) -> None:
        with self._log.open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {what}\n")


def campaign_pipeline(url: str, meters: list[dict[str, Any]], horizon: float) -> dict[str, Any]:
    """pipeline.yaml of a campaign.

    :arg horizon: seconds of the meters' memory that are read at the start.
    """
    waits = {"ack_timeout": "3s", "reconnect_min": "200ms", "reconnect_max": "2s"}
    described_ = pipeline(url, [{**meter, **_PATIENCE} for meter in meters], INTERVAL, **waits)
    keys = {obis: key for key, (obis, _) in CAPTURED.items()}
    described_["templates"]["five"] = {
        "interval": INTERVAL,
        "read": {key: obis for key, (obis, _) in POLLED.items()},
        "profiles": {"load": {"obis": PROFILE, "keys": keys, "horizon": horizon, "chunk": "5m"}},
    }
    described_["nodes"] = [
        {**node, "inputs": [*node["inputs"], "meters.gaps"]} if node["id"] in ("health", "archive") else node for node in NODES
    ] + [{"id": "recall", "type": "profile-recall", "inputs": ["receipts.dropped"]}]
    return described_
