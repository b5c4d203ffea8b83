"""Virtual meters for synchronous code: they run in a daemon thread with its own asyncio loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

from simulator.meter.behaviour import Behaviour
from simulator.meter.config import MeterConfig
from simulator.meter.converter_port import ConverterPort
from simulator.meter.counters import Counters
from simulator.meter.installation import Installation
from simulator.meter.line_timing import LineTiming
from simulator.meter.shared_line import SharedLine
from simulator.meter.sign_on import SignOnConfig
from simulator.meter.virtual_meter import VirtualMeter

_T = TypeVar("_T")
_START_TIMEOUT = 30.0


class BackgroundMeters:
    """Starts and stops meters from any thread; the thread begins with the first meter and ends with `close`.

    Counters and behaviours are shared with the running meter: reading and assigning their fields is safe.
    """

    def __init__(self) -> None:
        self._installation = Installation()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> BackgroundMeters:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(
        self,
        config: MeterConfig,
        behaviour: Behaviour | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        transport: Literal["tcp", "udp"] = "tcp",
    ) -> str:
        """Start a meter on the loopback interface and return its address, "tcp://127.0.0.1:port".

        Where a meter with that id runs already its address is returned and nothing changes.

        :raises ValueError: when the profile is not known.
        :raises OSError: when the port is taken.
        """
        with self._lock:
            return str(self._run(self._installation.start(config, behaviour, host, port, transport)))

    def start_line(
        self,
        meters: Sequence[tuple[MeterConfig, Behaviour]],
        timing: LineTiming | None = None,
        sign_on: SignOnConfig | None = None,
        link: Path | None = None,
    ) -> str:
        """Start meters on one line behind a pseudo terminal and return its address, see `Installation.start_line`."""
        with self._lock:
            return self._run(self._installation.start_line(meters, timing, sign_on, link))

    def start_converter(self, meters: Sequence[tuple[MeterConfig, Behaviour]], timing: LineTiming | None = None) -> str:
        """Start meters on one line behind a converter and return its address, "tcp://127.0.0.1:port"."""
        with self._lock:
            return self._run(self._installation.start_converter(meters, timing))

    def stop_line(self, address: str) -> None:
        """Stop a line with its meters.

        :raises KeyError: when there is none at that address.
        """
        with self._lock:
            self._run(self._installation.stop_line(address))

    def line(self, address: str) -> SharedLine:
        """The running line at an address, for its `record`.

        :raises KeyError: when there is none.
        """
        return self._installation.lines[address]

    def converter(self, address: str) -> ConverterPort:
        """The running converter at an address, for its counts.

        :raises KeyError: when there is none.
        """
        return self._installation.converter(address)

    def stop(self, id_: str) -> None:
        """Stop one meter, as if it lost its supply.

        :raises KeyError: when there is none of that id.
        """
        with self._lock:
            self._run(self._installation.stop([id_]))

    def meter(self, id_: str) -> VirtualMeter:
        """The running meter of an id, for its `truth`.

        :raises KeyError: when there is none.
        """
        return self._installation.meters[id_]

    def behaviour(self, id_: str) -> Behaviour:
        """What a meter does wrong; assign its fields to change it.

        :raises KeyError: when there is no meter of that id.
        """
        return self.meter(id_).behaviour

    def counters(self, id_: str) -> Counters:
        """What a meter has seen.

        :raises KeyError: when there is no meter of that id.
        """
        return self.meter(id_).counters

    def close(self) -> None:
        """Stop all meters and the thread; may be called again, and `start` begins anew."""
        with self._lock:
            if self._loop is None or self._thread is None:
                return
            self._run(self._installation.stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            self._loop = self._thread = None

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="virtual-meters", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_START_TIMEOUT)
