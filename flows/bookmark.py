"""Where load profiles go on when no recovery store knows: at the newest value that the archive holds. Read-only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import structlog

from connectors.archive.reader import ArchiveReader
from connectors.archive.schema import FILE_NAME
from model.errors import StorageError
from model.node import Bookmark

log = structlog.get_logger(__name__)


def archive_bookmark(state_dir: Path) -> Bookmark:
    """Asks the archive in `state_dir`; without one, or with one that cannot be read, nothing is known.

    Of the keys that the archive knows of the profile the one that lags most counts: what was kept under the others is read
    again, which is harmless. Keys that a `map` node renames are not found, and the profile is read from its horizon.
    """

    def bookmark(meter: str, keys: Sequence[str]) -> datetime | None:
        if not (state_dir / FILE_NAME).exists():
            return None
        try:
            with ArchiveReader(state_dir / FILE_NAME) as archive:
                newest = [archive.newest_of_profile(meter, key) for key in keys]
        except (StorageError, OSError) as error:
            log.info("the archive does not tell how far load profiles were read", cause=str(error))
            return None
        return min((moment for moment in newest if moment is not None), default=None)

    return bookmark
