"""Puts what was measured into docs/performance.md, between its marks; the text around them is written by people."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"


def put(section: str, lines: Sequence[str], document: Path = DOCUMENT) -> None:
    """Replace what stands between the marks of `section`.

    :raises ValueError: when the document has no such marks.
    """
    text = document.read_text(encoding="utf-8")
    begin, end = f"<!-- measured: {section} -->\n", f"<!-- end: {section} -->"
    if begin not in text or end not in text:
        raise ValueError(f"{document.name} has no place for {section}: it needs the lines {begin.strip()} and {end}")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    document.write_text("\n".join([before + begin.rstrip("\n"), *lines, end]) + after, encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


def circumstances() -> str:
    """When and on what, in a line."""
    moment = datetime.now(timezone.utc).date().isoformat()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"Measured {moment} on {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, load average {load}."
