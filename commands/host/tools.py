"""Asks a program of this host for something, briefly."""

from __future__ import annotations

import shutil
import subprocess

PATIENCE = 5.0
"""Seconds that a program may take to answer."""


def run_tool(name: str, *arguments: str) -> str | None:
    """What it prints; None where it is missing, fails or does not answer."""
    program = shutil.which(name)
    if program is None:
        return None
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
