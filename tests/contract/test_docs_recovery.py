"""Every command in docs/recovery.md, in the order in which it stands there, in a folder with a pipeline.yaml."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.recovery_store import check_store
from tests.contract.mosquitto import wait_for
from tests.contract.pipeline_process import ROOT, TOKEN

TEXT = (ROOT / "docs" / "recovery.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    (\S.*)$", TEXT, re.MULTILINE)
PIPELINE = """\
thingsboard: {url: embedded, token: t}
templates: {t: {interval: 0.5, read: {energy: 1-0:1.8.0}}}
meters: [{id: m, connect: "sim://three-phase", template: t}]
nodes:
  - {id: meters, type: dlms-in}
  - {id: mapped, type: map, inputs: [meters]}
  - {id: out, type: thingsboard-out, inputs: [mapped]}
log: {format: json}
"""


@pytest.mark.timeout(120)
def test_every_command_works(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TB_TOKEN": TOKEN,
    }
    environment.pop("PIPELINE", None)
    assert len(COMMANDS) >= 8
    for command in COMMANDS:
        if "bytewax.run" in command:
            run_for_a_moment(command, tmp_path, environment)
        else:
            done = subprocess.run(["sh", "-ec", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stderr)
    for store in ("state/recovery", "state/recovery.before", "backups/monday", "elsewhere/recovery"):
        check_store(tmp_path / store)
    assert len(list(tmp_path.glob("state/recovery.aside-*"))) == 1


def run_for_a_moment(command: str, folder: Path, environment: dict[str, str]) -> None:
    log = folder / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(["sh", "-ec", f"exec {command}"], cwd=folder, env=environment, stdout=stream, stderr=stream)
        try:
            wait_for(lambda: "association opened" in log.read_text(), "a meter", 45)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
