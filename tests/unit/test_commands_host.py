"""What a host says of its sockets, processes and services, from files and programs that are made up."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from commands.checkup.area import Area, Site
from commands.checkup.services import look_at_services
from commands.host.clock import clock_state
from commands.host.holders import holder_of_connection
from commands.host.processes import Place, describe, family_of, holders_of, state_of
from commands.host.sockets import Connection, connections, connections_to, owners_of
from commands.host.tools import run_tool
from commands.host.units import installed_units
from model.finding import Degree, Finding, Verdict, verdict_of, worst_first
from model.status import StatusFiles
from model.timestamps import utc_now

_TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:9C40 0100007F:075B 01 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0000000000000000 20 4 30 10 -1
   1: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0000000000000000 100 0 0 10 0
   torn line
"""
_TABLE_6 = """  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF00000100007F:9C41 0000000000000000FFFF00000100007F:075B 01 0:0 0:0 0 0 0 4244 1 0 20 4 30 10 -1
   1: 00000000000000000000000001000000:9C41 00000000000000000000000001000000:0FDB 01 0:0 0:0 0 0 0 4245 1 0 20 4 30 10 -1
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(_TABLE)
    (tmp_path / "net" / "tcp6").write_text(_TABLE_6)
    process(tmp_path, 10, "systemd", 1)
    process(tmp_path, 4711, "rival (one)", 10, sockets=(4242, 4245), environment="A=1\0TB_TOKEN=s3cret-token\0")
    process(tmp_path, 4712, "mosquitto_pub", 4711, arguments="mosquitto_pub\0-u\0s3cret-token\0")
    return tmp_path


def process(
    proc: Path, pid: int, name: str, parent: int, sockets: tuple[int, ...] = (), environment: str = "", arguments: str = "x"
) -> None:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "comm").write_text(f"{name}\n")
    (folder / "stat").write_text(f"{pid} ({name}) T {parent} 1 1 0")
    (folder / "environ").write_text(environment)
    (folder / "cmdline").write_text(arguments)
    for number, inode in enumerate(sockets):
        (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")


def test_connections_of_both_families(proc: Path) -> None:
    assert connections(proc) == [
        Connection("127.0.0.1", 1883, 4242),
        Connection("127.0.0.1", 1883, 4244),
        Connection("::1", 4059, 4245),
    ]
    assert [found.inode for found in connections_to({"::ffff:127.0.0.1"}, 1883, proc)] == [4242, 4244]
    assert owners_of([4242, 4244, 4245], proc).pids == {4242: (4711,), 4245: (4711,)}
    assert connections(proc / "nothing") == []


def test_who_holds_a_secret(proc: Path) -> None:
    assert holders_of("s3cret-token", proc=proc).found == {4711: Place.ENVIRONMENT, 4712: Place.ARGUMENTS}
    assert holders_of("s3", proc=proc).found == {}  # so short a text is found by chance
    assert family_of(4712, proc) == {4712, 4711, 10}
    assert describe(4711, proc) == f"pid 4711 (rival (one), user {os.getuid()})"
    assert "SIGSTOP" in state_of(4711, proc)
    assert state_of(9, proc) == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_counted(proc: Path) -> None:
    (proc / "4711" / "environ").chmod(0)
    (proc / "4711" / "fd").chmod(0)
    assert holders_of("s3cret-token", proc=proc).unseen == 1
    assert owners_of([4242], proc).unseen == 1


def test_a_connection_of_this_process_is_nobody_elses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert holder_of_connection(["127.0.0.1"], port) is None
        with socket.create_connection(("127.0.0.1", port)):
            assert holder_of_connection(["127.0.0.1"], port) is None


def tool(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(("said", "synchronised"), [("yes", True), ("no", False)])
def test_the_clock_is_as_timedatectl_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, synchronised: bool) -> None:
    tool(tmp_path, "timedatectl", f"echo {said}", monkeypatch)
    assert clock_state().synchronised is synchronised


def test_without_timedatectl_the_kernel_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, "timedatectl", "echo 'System has not been booted with systemd' >&2; exit 1", monkeypatch)
    assert clock_state().said_by.startswith(("the kernel", "adjtimex", "this system"))
    assert run_tool("timedatectl") is None
    assert run_tool("no-such-tool") is None


_SYSTEMCTL = """
case "$1" in
list-unit-files) printf '%s\\n' 'dlms-thingsboard.service enabled' 'dlms-thingsboard@.service static' \
  'dlms-thingsboard-health.service static' 'dlms-thingsboard-dashboard.service enabled' ;;
list-units) printf '%s\\n' 'dlms-thingsboard@1.service loaded failed failed x' ;;
show) cat <<'END'
Id=dlms-thingsboard.service
ActiveState=activating
SubState=auto-restart
Result=exit-code
UnitFileState=enabled
NRestarts=7
Type=notify

Id=dlms-thingsboard-health.service
ActiveState=failed
SubState=failed
Result=exit-code
UnitFileState=static
Type=oneshot

Id=dlms-thingsboard-dashboard.service
ActiveState=inactive
SubState=dead
Result=success
UnitFileState=enabled
NRestarts=0
Type=exec
END
;;
esac
"""


def test_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, "systemctl", _SYSTEMCTL, monkeypatch)
    units = installed_units()
    assert units is not None
    assert [unit.name for unit in units] == [
        "dlms-thingsboard.service",
        "dlms-thingsboard-health.service",
        "dlms-thingsboard-dashboard.service",
    ]
    area = Area("services")
    look_at_services(area, Site(tmp_path / "pipeline.yaml", tmp_path, None, (), StatusFiles(), utc_now()))
    assert [(found.severity, found.subject) for found in area.findings] == [
        (Degree.CRITICAL, "dlms-thingsboard.service"),
        (Degree.MINOR, "dlms-thingsboard-dashboard.service"),
    ]
    assert "has failed (exit-code)" in area.findings[0].what
    assert "enabled but not active" in area.findings[1].what


def test_without_systemd_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path, "systemctl", "echo 'Failed to connect to bus' >&2; exit 1", monkeypatch)
    area = Area("services")
    look_at_services(area, Site(tmp_path / "pipeline.yaml", tmp_path, None, (), StatusFiles(), utc_now()))
    assert (area.findings, len(area.unseen)) == ([], 1)


def test_the_verdict_is_that_of_the_worst() -> None:
    minor, critical = Finding(Degree.MINOR, "a", "b", "c"), Finding(Degree.CRITICAL, "d", "e", "f")
    assert [verdict_of(found) for found in ([], [minor], [minor, critical])] == [Verdict.HEALTHY, Verdict.MINOR, Verdict.CRITICAL]
    assert worst_first([minor, critical]) == [critical, minor]
    assert minor.as_json() == {"severity": "minor", "subject": "a", "what": "b", "remedy": "c"}
