"""What the service does when somebody edits the configuration: the scripts of its units, with a systemctl that writes down."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

GOOD = "state_dir: /nowhere\ntemplates: {}\n"


class Service:
    """deploy/configuration_edit.sh with a folder of its own, and a systemctl that writes down what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.configuration, self.calls, self._programs = folder / "etc", folder / "calls", folder / "programs"
        for made in (self.configuration / "secrets", self._programs):
            made.mkdir(parents=True)
        self.file = self.configuration / "pipeline.yaml"
        self.file.write_text(GOOD)
        self.calls.touch()
        self.accepted = folder / "accepted"
        self.environment = {
            **os.environ,
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "CONFIGURATION": str(self.configuration),
            "ACCEPTED": str(self.accepted),
            "MEMORY": str(folder / "memory"),
            "QUIET_SECONDS": "0.2",
            "PATIENCE_SECONDS": "20",
        }
        self.again = folder / "memory/again"
        self.running("dlms-thingsboard.service")

    def running(self, *units: str, others: str = "inactive") -> None:
        """From now on systemctl says that these are active."""
        known = " ".join(f"{unit}) echo active ;;" for unit in units)
        listed = "\\n".join(unit for unit in units if "@" in unit)
        self._program(
            "systemctl",
            f"""case "$1" in
              show) for last; do :; done; case "$last" in {known} *) echo {others} ;; esac ;;
              list-units) printf '{listed}\\n' ;;
              *) echo "$*" >>"{self.calls}" ;;
            esac""",
        )

    def do(self, step: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [str(DEPLOY / "configuration_edit.sh"), step]
        return subprocess.run(command, env={**self.environment, **more}, capture_output=True, text=True, check=False, timeout=30)

    def edited(self) -> subprocess.CompletedProcess[str] | None:
        """What dlms-thingsboard-edit.service does: one line after the other, until one fails. None when it was skipped."""
        if self.do("changed").returncode != 0:
            return None
        checked = subprocess.run(["grep", "-q", "templates", str(self.file)], capture_output=True, text=True, check=False)
        result = self.do("apply") if checked.returncode == 0 else checked
        assert self.do("again").returncode == 0
        return result

    @property
    def restarts(self) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith("restart")]

    def _program(self, name: str, text: str) -> None:
        path = self._programs / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = Service(tmp_path)
    assert made.do("started").returncode == 0
    return made


def test_a_good_edit_restarts_the_flow_once(service: Service) -> None:
    service.file.write_text(GOOD + "# more\n")
    result = service.edited()
    assert result is not None and result.returncode == 0
    assert service.restarts == ["restart dlms-thingsboard.service"]
    service.do("started")
    assert service.edited() is None
    assert len(service.restarts) == 1


def test_a_bad_edit_restarts_nothing_and_its_mending_does(service: Service) -> None:
    service.file.write_text("broken\n")
    result = service.edited()
    assert result is not None and result.returncode != 0
    assert service.restarts == []
    service.file.write_text(GOOD + "# mended\n")
    assert service.edited() is not None
    assert service.restarts == ["restart dlms-thingsboard.service"]


@pytest.mark.parametrize("name", [".pipeline.yaml.swp", "pipeline.yaml~", "4913", "pipeline.yaml.tmp", ".git/index"])
def test_what_editors_leave_for_a_moment_is_no_edit(service: Service, name: str) -> None:
    path = service.configuration / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("anything")
    service.file.touch()
    assert service.edited() is None


@pytest.mark.parametrize("name", ["meters.csv", "secrets/tb-token", "environment"])
def test_every_file_of_the_configuration_counts(service: Service, name: str) -> None:
    (service.configuration / name).write_text("new")
    assert service.edited() is not None
    assert service.restarts == ["restart dlms-thingsboard.service"]


def test_renaming_a_new_file_over_the_old_one_is_an_edit(service: Service) -> None:
    new = service.configuration / "pipeline.yaml.new"
    new.write_text(GOOD + "# more\n")
    new.rename(service.file)
    assert service.edited() is not None
    assert len(service.restarts) == 1


def test_of_quick_edits_the_last_one_counts_and_restarts_once(service: Service) -> None:
    changing = subprocess.Popen([str(DEPLOY / "configuration_edit.sh"), "changed"], env={**service.environment, "QUIET_SECONDS": "0.5"})
    for number in range(10):
        service.file.write_text(f"{GOOD}# {number}\n")
        time.sleep(0.05)  # an editor at work
    assert changing.wait(timeout=30) == 0
    service.do("apply")
    service.do("again")
    if service.again.exists():  # a slow machine: the editor paused for longer than half a second
        service.edited()
    assert service.restarts == ["restart dlms-thingsboard.service"]


def test_an_edit_while_the_last_one_is_checked_is_checked_again_before_anything_is_restarted(service: Service) -> None:
    service.file.write_text(GOOD + "# one\n")
    assert service.do("changed").returncode == 0
    service.file.write_text("broken\n")
    assert service.do("apply").returncode == 0
    assert service.restarts == []
    service.do("again")
    assert service.again.exists(), "the path unit looks for this file"
    assert service.do("changed").returncode == 0
    assert not service.again.exists()


def test_all_processes_of_a_cluster_are_restarted_together(service: Service) -> None:
    service.running("dlms-thingsboard@0.service", "dlms-thingsboard@1.service")
    service.file.write_text(GOOD + "# more\n")
    service.edited()
    assert service.restarts == ["restart dlms-thingsboard@0.service dlms-thingsboard@1.service"]


def test_a_flow_that_somebody_stopped_stays_stopped(service: Service) -> None:
    service.running()
    service.file.write_text(GOOD + "# more\n")
    result = service.edited()
    assert result is not None and result.returncode == 0
    assert service.restarts == []


def test_a_flow_that_failed_is_started_by_the_edit_that_mends_it(service: Service) -> None:
    service.running(others="failed")
    service.file.write_text(GOOD + "# mended\n")
    service.edited()
    assert service.restarts == ["restart dlms-thingsboard.service"]


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "PIPELINE": "somewhere"}) as sleeping:
        yield sleeping
        sleeping.send_signal(signal.SIGKILL)


def test_what_the_flow_began_with_is_kept_without_secrets(service: Service, process: subprocess.Popen[bytes]) -> None:
    (service.configuration / "secrets/tb-token").write_text("secret")
    (service.configuration / "environment").write_text("PASSWORD=secret")
    (service.configuration / "meters.csv").write_text("id\n")
    service.do("started")
    assert service.do("accept", MAINPID=str(process.pid)).returncode == 0
    assert {path.name for path in service.accepted.rglob("*")} == {"pipeline.yaml", "meters.csv"}
    service.file.write_text("edited after the start")
    service.do("accept", MAINPID=str(process.pid))
    assert (service.accepted / "pipeline.yaml").read_text() == GOOD


def run_flow(folder: Path, verdicts: dict[str, int]) -> tuple[int, str]:
    """deploy/run_flow.sh with a python that finds `verdicts` in the files and says what it would run."""
    answers = " ".join(f"{path}) exit {code} ;;" for path, code in verdicts.items())
    program = folder / "python"
    text = f'#!/bin/sh\nif [ "$2" = commands ]; then echo /store; case "$PIPELINE" in {answers} esac; exit 0; fi\necho "$PIPELINE: $*"\n'
    program.write_text(text)
    program.chmod(0o755)
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "PIPELINE": "edited.yaml", "ACCEPTED": str(folder / "accepted")}
    result = subprocess.run([str(DEPLOY / "run_flow.sh")], env=given, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout


def test_the_flow_starts_with_what_worked_last_where_the_edited_configuration_has_mistakes(tmp_path: Path) -> None:
    command = "-m bytewax.run flows.main -r /store -s 10 -b 60"
    assert run_flow(tmp_path, {}) == (0, f"edited.yaml: {command}\n")
    assert run_flow(tmp_path, {"edited.yaml": 2}) == (2, "")
    accepted = tmp_path / "accepted/pipeline.yaml"
    accepted.parent.mkdir()
    accepted.touch()
    assert run_flow(tmp_path, {"edited.yaml": 2}) == (0, f"{accepted}: {command}\n")
    assert run_flow(tmp_path, {"edited.yaml": 2, str(accepted): 2}) == (2, "")
    assert run_flow(tmp_path, {"edited.yaml": 1}) == (1, ""), "a lost disk is no mistake in the file"
