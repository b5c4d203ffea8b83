"""`python -m dashboard` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import ROOT, TOKEN

START = 60.0


class DashboardProcess:
    """The dashboard of the pipeline in `folder`, on a free port that stays the same over `stop` and `start`.

    :arg token: what it asks for; nothing where None.
    """

    def __init__(self, folder: Path, token: str | None = None) -> None:
        self._folder = folder
        self._log = folder / "dashboard.log"
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0
        self.address = ""

    def start(self) -> None:
        """Start and wait until it listens."""
        self._log.unlink(missing_ok=True)
        variables = {"PYTHONPATH": str(ROOT), "TB_TOKEN": TOKEN, **({"DASHBOARD_TOKEN": self._token} if self._token else {})}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dashboard", "pipeline.yaml", "--port", str(self._port)],
                cwd=self._folder,
                env={**os.environ, **variables},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        wait_for(self._listening, "the dashboard's start", START)
        self._port = int(self.address.rpartition(":")[2])

    def stop(self) -> None:
        """SIGTERM; a second call does nothing."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def __enter__(self) -> DashboardProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listening(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        for line in self._log.read_text().splitlines():
            if line.startswith("{") and (event := json.loads(line))["event"] == "dashboard listens":
                self.address = event["address"]
        return bool(self.address)
