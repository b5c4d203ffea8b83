"""Small facts that must survive a restart, each kind in a JSON file of its own in the state directory."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

_writing = threading.Lock()  # every worker of a process may write, all at the same moment


def read_state(file: Path, mark: str) -> Any:
    """The content of `file`; None where there is none.

    :arg mark: what and which version it must be.
    :raises OSError: when it cannot be read.
    :raises ValueError: when it is something else.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(document, dict) or document.get("mark") != mark:
        raise ValueError(f"it is not {mark}")
    return document.get("content")


def write_state(file: Path, mark: str, content: Any) -> None:
    """Replace `file`, whole or not at all; the content is on the disk when this returns.

    :raises OSError: when it cannot be written.
    """
    with _writing:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f"{file.name}.{os.getpid()}")
        with partial.open("w", encoding="utf-8") as stream:
            json.dump({"mark": mark, "content": content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
