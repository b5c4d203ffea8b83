"""Hosts in network namespaces, joined by a bridge: each with an address, a name, locks and a folder of its own, and a cable to pull.

A host is what `ip netns exec` and `unshare` make of a process: its abstract sockets, /run/lock and temporary files are its own,
the disk is a folder. Needs root. Everything that is made here has names with the pid of the test, and goes at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from tests.contract.pipeline_process import ROOT, TOKEN

NETWORK = "10.77.0"
WORLD = f"{NETWORK}.1"
"""Address of everybody who is not a host of the pipeline: meters and server."""
PORT = 2101


def why_not() -> str | None:
    """Why no hosts can be made here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in ("ip", "unshare", "mount") if shutil.which(tool) is None]
    if missing:
        return f"network namespaces need {', '.join(missing)}"
    name = f"try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode:
        return f"network namespaces cannot be made here: {tried.stderr.strip()}"
    _ip("netns", "del", name)
    return None


class Host:
    """One of them.

    :arg name: its host name. :arg number: of its address.
    :arg folder: its disk; the working directory of everything that runs on it.
    """

    def __init__(self, world: str, name: str, number: int, folder: Path) -> None:
        self.name, self.folder, self.address = name, folder, f"{NETWORK}.{number}"
        self.member = f"{self.address}:{PORT}"
        self.log = folder / "log"
        self._world, self._space, self._cable = world, f"{name}-{os.getpid()}", f"to{number}"
        self._flow: subprocess.Popen[bytes] | None = None

    def build(self) -> None:
        """Make the namespace and plug it in."""
        (self.folder / "tmp").mkdir(parents=True)
        _ip("netns", "add", self._space)
        _ip("link", "add", "eth0", "netns", self._space, "type", "veth", "peer", "name", self._cable, "netns", self._world)
        _ip("-n", self._world, "link", "set", self._cable, "master", "bridge", "up")
        _ip("-n", self._space, "link", "set", "lo", "up")
        _ip("-n", self._space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self._space, "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Kill what runs there and take it apart."""
        self.crash()
        _ip("netns", "del", self._space)

    def cut(self) -> None:
        """Pull the cable: nobody on either side is told."""
        _ip("-n", self._world, "link", "set", self._cable, "down")

    def mend(self) -> None:
        """Plug it in again."""
        _ip("-n", self._world, "link", "set", self._cable, "up")

    def crash(self) -> None:
        """Kill everything that runs on the host, at once; the disk stays."""
        pids = subprocess.run(["ip", "netns", "pids", self._space], capture_output=True, text=True, check=False).stdout.split()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if self._flow is not None:
            self._flow.wait()
            self._flow = None

    def start(self, *arguments: str) -> None:
        """`bytewax.run flows.main`, with a recovery store and these arguments."""
        command = [sys.executable, "-m", "bytewax.run", "flows.main", *arguments, "-r", "state/recovery", "-s", "2", "-b", "0"]
        with self.log.open("ab") as log:
            self._flow = subprocess.Popen(self._inside(command), cwd=self.folder, stdout=subprocess.DEVNULL, stderr=log)

    def ended(self) -> int | None:
        """The exit code of the flow; None while it runs."""
        assert self._flow is not None
        return self._flow.poll()

    def stop(self) -> None:
        """Ask the flow to end; those of a cluster end together, so this does not wait."""
        assert self._flow is not None
        self._flow.terminate()

    def stopped(self, deadline: float = 30.0) -> int:
        """The exit code, when it has ended."""
        assert self._flow is not None
        return self._flow.wait(deadline)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`python -m commands` there."""
        command = self._inside([sys.executable, "-m", "commands", *arguments])
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120)

    def _inside(self, command: list[str]) -> list[str]:
        settings = [f"TMPDIR={self.folder / 'tmp'}", f"PYTHONPATH={ROOT}", f"TB_TOKEN={TOKEN}", "PIPELINE=pipeline.yaml"]
        begin = f'hostname {self.name}; mount -t tmpfs none /run/lock 2>/dev/null; exec env "$@"'
        enter = ["ip", "netns", "exec", self._space, "unshare", "--uts", "--mount", "sh", "-c", begin, "host"]
        return [*enter, *settings, *command]


class Hosts:
    """The world and the hosts in it; a context manager.

    :arg names: of the hosts. :arg folder: for their disks.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        self._world = f"world-{os.getpid()}"
        self.hosts = [Host(self._world, name, 10 + number, folder / name) for number, name in enumerate(names)]
        self.in_world = ["ip", "netns", "exec", self._world]
        self._stack = ExitStack()

    def __enter__(self) -> Hosts:
        try:
            _ip("netns", "add", self._world)
            self._stack.callback(_ip, "netns", "del", self._world)
            _ip("-n", self._world, "link", "set", "lo", "up")
            _ip("-n", self._world, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self._world, "addr", "add", f"{WORLD}/24", "dev", "bridge")
            _ip("-n", self._world, "link", "set", "bridge", "up")
            for host in self.hosts:
                self._stack.callback(host.remove)
                host.build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
