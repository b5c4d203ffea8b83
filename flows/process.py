"""What the process around the dataflow must do: find its file, end on signals, say why it cannot go on."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import MutableMapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

import structlog
from bytewax.recovery import InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError

from model.cluster import Place
from model.errors import ConfigurationError, PipelineError, StorageError
from model.stop import Stop

PIPELINE_VARIABLE = "PIPELINE"
DEFAULT_FILE = Path("pipeline.yaml")
EXIT_CONFIGURATION = 2
WAITING = 10.0
"""Seconds after which a process says that it waits for the others of its cluster."""

_WEB_SERVER_VARIABLE = "BYTEWAX_DATAFLOW_API_ENABLED"

_ANEW = (
    "bring the whole folder back from a backup; or move it away and make a new one (python -m commands recovery): then windows and"
    " bookmarks begin anew, and load profiles are read again from the archive's newest interval on"
)
_RECOVERY_REMEDIES: dict[type[Exception], str] = {
    NoPartitionsError: "make it once, before the first start: python -m commands recovery",
    MissingPartitionsError: _ANEW,
    InconsistentPartitionsError: _ANEW,
}

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


def stop_on_signals(stop: Stop) -> None:
    """SIGTERM and SIGINT ask the flow to finish in order; a second SIGINT interrupts it at once, without a last snapshot."""

    def request(number: int, _frame: FrameType | None) -> None:
        stop.request()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, request)
    signal.signal(signal.SIGINT, request)


def end_while_waiting(stop: Stop, place: Place) -> None:
    """SIGTERM and SIGINT end the process at once while nothing runs in it yet.

    A process of a cluster waits for the others first, in the engine, where no Python code sees a signal; so a thread does. The
    other processes may never come, because one of them was killed as they started.
    """
    told, tells = socket.socketpair()
    tells.setblocking(False)
    signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(told, tells, stop, place), name="signals", daemon=True).start()


def _watch(told: socket.socket, _tells: socket.socket, stop: Stop, place: Place) -> None:
    told.settimeout(WAITING if place.count > 1 else None)
    while True:
        try:
            number = told.recv(1)[0]
        except TimeoutError:
            told.settimeout(None)
            if not stop.attended:
                remedy = "start the others (-i, with the same -a), or start all of them anew"
                log.warning("this process waits for the others of its cluster", process=place.index, of=place.count, remedy=remedy)
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


def explain_fatal_errors() -> None:
    """A PipelineError that ends the flow is logged as one event instead of a traceback; the exit code stays 1.

    Bytewax hands it to the main thread as the cause of its own error, whichever worker it came from.
    """

    def explain(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        ours = _pipeline_error(error) or _recovery_error(error)
        if ours is None:
            sys.__excepthook__(kind, error, traceback)
        else:
            log.critical("the pipeline cannot go on", error=ours.what, remedy=ours.remedy)

    sys.excepthook = explain


def _recovery_error(error: BaseException) -> PipelineError | None:
    cause: BaseException | None = error
    while cause is not None:
        for kind, remedy in _RECOVERY_REMEDIES.items():
            if isinstance(cause, kind):
                return StorageError(f"the recovery store that -r names cannot be used: {cause}", remedy)
        cause = cause.__cause__ or cause.__context__
    return None


def _pipeline_error(error: BaseException) -> PipelineError | None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, PipelineError):
        cause = cause.__cause__ or cause.__context__
    return cause
