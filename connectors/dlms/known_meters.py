"""Which meters a `dlms-in` node has ever had, kept in a file beside the other state.

Bytewax panics when a resumed flow no longer lists a partition of its recovery store. A meter that was taken out of
pipeline.yaml therefore stays listed, as a parked partition that ends at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

import structlog

from connectors.disk import is_disk_trouble
from connectors.dlms.state_file import read_state, write_state
from model.errors import StorageError

MARK = "dlms-in meters, version 1"

log = structlog.get_logger(__name__)
_remembering = threading.Lock()  # every worker of a process asks for the partitions, all at the same moment


def remember(file: Path, meters: Iterable[str]) -> frozenset[str]:
    """Add `meters` to those in `file` and return all of them, the ones removed from the configuration included.

    Of several processes that write at once, all of the same pipeline, any may be the last. A disk that is full or read-only
    is no reason not to read meters: it is said, and the next start remembers them.

    :raises StorageError: when the file cannot be read or written.
    """
    try:
        with _remembering:
            known = frozenset(read_state(file, MARK) or ())
            every = known | frozenset(meters)
            if every != known:
                _write_if_there_is_room(file, every)
        return every
    except (OSError, ValueError) as error:
        raise StorageError(
            f"the list of known meters {file} cannot be used: {error}",
            "make state_dir writable; a damaged list may be deleted unless meters were removed since the recovery store was made",
        ) from error


def _write_if_there_is_room(file: Path, meters: frozenset[str]) -> None:
    try:
        write_state(file, MARK, sorted(meters))
    except OSError as error:
        if not is_disk_trouble(error):
            raise
        log.error(
            "the new meters cannot be remembered for the recovery store",
            file=str(file),
            error=error.strerror,
            remedy="free space on the disk or make it writable, and start again before you take a meter out of the configuration",
        )
