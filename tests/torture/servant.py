"""A process beside the pipeline: started, told what to do, killed, started again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Servant:
    """`python -m module arguments`, which prints one line of JSON as soon as it serves.

    :arg prefix: a command that runs it, such as one that enters a network namespace first.
    """

    def __init__(self, module: str, *arguments: str, prefix: Sequence[str] = ()) -> None:
        self._command = [*prefix, sys.executable, "-m", module, *arguments]
        self._process: subprocess.Popen[str] | None = None
        self.generation = 0

    def start(self) -> Any:
        """Start; what it printed."""
        self.generation += 1
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def tell(self, **what: Any) -> None:
        """Say something to it."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()
        self._process = None
