"""Virtual meters in a process of their own, so that their CPU is not counted as the reader's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def virtual_meters(count: int, *options: str) -> Iterator[list[str]]:
    """The addresses "tcp://127.0.0.1:port" of `count` running meters."""
    command = [sys.executable, "-m", "simulator.meter", "--count", str(count), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield [process.stdout.readline().split()[1] for _ in range(count)]
        finally:
            process.terminate()
