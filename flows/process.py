"""What the process around the dataflow must do: find its file, end on signals, say why it cannot go on."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, MutableMapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

import structlog
from bytewax.recovery import InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError

from flows.recovery_store import ANEW_REMEDY
from model.cluster import Place
from model.errors import ConfigurationError, PipelineError, StorageError
from model.stop import Stop

PIPELINE_VARIABLE = "PIPELINE"
DEFAULT_FILE = Path("pipeline.yaml")
EXIT_FATAL = 1
EXIT_CONFIGURATION = 2
WAITING = 10.0
"""Seconds after which a process says that it waits for the others of its cluster."""

_WEB_SERVER_VARIABLE = "BYTEWAX_DATAFLOW_API_ENABLED"

_RECOVERY_ERRORS = (InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError)
"""Those that only Bytewax can tell, because it compares the partitions of all processes; all else is checked before."""

_OTHERS_GONE = ("Send thread panic", "Receive thread panic")
"""What Bytewax says when the connection to another process of the cluster broke."""

log = structlog.get_logger(__name__)


def pipeline_file() -> Path:
    """The file that the variable PIPELINE names; else pipeline.yaml here, or the one that comes with the project."""
    named = os.environ.get(PIPELINE_VARIABLE)
    if named:
        return Path(named)
    shipped = Path(__file__).resolve().parents[1] / DEFAULT_FILE
    return shipped if shipped.exists() and not DEFAULT_FILE.exists() else DEFAULT_FILE


def refuse(error: ConfigurationError) -> NoReturn:
    """End the process with exit code 2 and the problems on stderr."""
    sys.stderr.write(f"{error}\n")
    raise SystemExit(EXIT_CONFIGURATION)


def give_up(error: PipelineError) -> NoReturn:
    """End the process with exit code 1 and the reason in the log."""
    log.critical("the pipeline cannot go on", error=error.what, remedy=error.remedy)
    raise SystemExit(EXIT_FATAL)


def end_at_once(error: PipelineError) -> NoReturn:
    """End the process with exit code 1 and the reason in the log, from any thread and as a kill would: nothing is closed."""
    log.critical("the pipeline cannot go on", error=error.what, remedy=error.remedy)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_FATAL)


def stop_on_signals(stop: Stop) -> None:
    """SIGTERM and SIGINT ask the flow to finish in order; a second SIGINT interrupts it at once, without a last snapshot."""

    def request(number: int, _frame: FrameType | None) -> None:
        stop.request()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, request)
    signal.signal(signal.SIGINT, request)


def end_while_waiting(stop: Stop, place: Place, unconnected: Callable[[], tuple[str, ...]] = tuple) -> None:
    """SIGTERM and SIGINT end the process at once while nothing runs in it yet.

    A process of a cluster waits for the others first, in the engine, where no Python code sees a signal; so a thread does. The
    other processes may never come, because one of them was killed as they started.

    :arg unconnected: the addresses of those that are not there yet.
    """
    told, tells = socket.socketpair()
    tells.setblocking(False)
    signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told, tells, stop, place, unconnected), name="signals", daemon=True).start()


def _watch(told: socket.socket, _tells: socket.socket, stop: Stop, place: Place, unconnected: Callable[[], tuple[str, ...]]) -> None:
    told.settimeout(WAITING if place.count > 1 else None)
    while True:
        try:
            number = told.recv(1)[0]
        except TimeoutError:
            told.settimeout(None)
            if not stop.attended:
                remedy = "start the others (-i, with the same -a), or start all of them anew"
                missing = ", ".join(unconnected())
                if place.spans_hosts:
                    remedy += "; where a host is lost, take it out of the cluster: docs/cluster.md"
                said = "this process waits for the others of its cluster"
                log.warning(said, process=place.index, of=place.count, missing=missing or None, remedy=remedy)
            continue
        if number in (signal.SIGTERM, signal.SIGINT) and not stop.attended:
            log.info("stopped before the flow began")
            os._exit(0)


def keep_web_server_off(environment: MutableMapping[str, str] = os.environ) -> None:
    """Bytewax serves the flow's structure on 0.0.0.0:3030, without authentication, when this variable is set to
    anything, even 0. It looks when the flow starts, which is after this."""
    if environment.pop(_WEB_SERVER_VARIABLE, None) is not None:
        log.warning(
            "bytewax's web server stays off: it would listen on all interfaces without authentication", ignored=_WEB_SERVER_VARIABLE
        )


def explain_fatal_errors(over_hosts: bool = False) -> None:
    """A PipelineError that ends the flow is logged as one event instead of a traceback; the exit code stays 1.

    Bytewax hands it to the main thread as the cause of its own error, whichever worker it came from.

    :arg over_hosts: whether the processes of the cluster run on several hosts.
    """

    def explain(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        ours = _pipeline_error(error) or _engine_error(error, over_hosts)
        if ours is None:
            sys.__excepthook__(kind, error, traceback)
        else:
            log.critical("the pipeline cannot go on", error=ours.what, remedy=ours.remedy)

    sys.excepthook = explain


def _engine_error(error: BaseException, over_hosts: bool) -> PipelineError | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _RECOVERY_ERRORS):
            return StorageError(f"the recovery store cannot be used: {cause}", ANEW_REMEDY)
        if any(sign in str(cause) for sign in _OTHERS_GONE):
            remedy = "look into its log for the reason; start all processes again, together: none can come back alone"
            if over_hosts:
                what = "another process of the cluster has ended, or its host is cut off"
                remedy += "; they wait for each other. Where it happens at each start, compare pipeline.yaml of all hosts"
                return PipelineError(what, f"{remedy}. A host that is lost has to be taken out: docs/cluster.md")
            return PipelineError("another process of the cluster has ended", remedy)
        cause = cause.__cause__ or cause.__context__
    return None


def _pipeline_error(error: BaseException) -> PipelineError | None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, PipelineError):
        cause = cause.__cause__ or cause.__context__
    return cause
