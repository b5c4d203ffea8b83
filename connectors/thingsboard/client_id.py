"""The MQTT client id: unique per installation and session, the same after every restart."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

from model.errors import StorageError
from model.settings.thingsboard import SINGLE

FILE_NAME = "client_id"
DEFAULT_PREFIX = "dlms-tb"
_UNIQUE = re.compile(r"^[0-9a-f]{12}$")


def client_id(state_dir: Path, prefix: str | None = None, session: str = SINGLE) -> str:
    """`prefix` and the random part kept in `state_dir`, which is made at the first call; of several sessions each has another one.

    With the default prefix it has 20 characters; every MQTT 3.1.1 server takes 23 (3.1.3.1).

    :raises StorageError: when the random part can neither be read nor be kept.
    """
    unique = _unique_part(state_dir / FILE_NAME)
    if session != SINGLE:
        unique = hashlib.sha256(f"{unique} {session}".encode()).hexdigest()[: len(unique)]
    return f"{prefix or DEFAULT_PREFIX}-{unique}"


def _unique_part(file: Path) -> str:
    try:
        if file.exists():
            kept = file.read_text(encoding="ascii", errors="replace").strip()
            if _UNIQUE.match(kept):
                return kept
        unique = secrets.token_hex(6)
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        draft.write_text(unique + "\n", encoding="ascii")
        draft.replace(file)
    except OSError as error:
        raise StorageError(
            f"the client id cannot be kept in {file}: {error.strerror or error}", "make state_dir a directory this user can write to"
        ) from error
    return unique
