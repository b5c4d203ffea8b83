"""What Bytewax was told on its command line and in its environment, for those who must know before it begins.

Bytewax reads number, addresses and recovery directory itself: from -i, -a and -r, from their environment variables, or from what
its Helm chart sets. This reads the same, in the same order (bytewax.run 0.21).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_OTHERS = (("-w", "--workers-per-process"), ("-s", "--snapshot-interval"), ("-b", "--backup-interval"))
"""The other options of bytewax.run, so that their values are not taken for something else."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The number of this process and the addresses of all, and the folder of the recovery store; None for what was not given."""

    number: int | None = None
    addresses: str | None = None
    recovery: Path | None = None


def engine_options(arguments: Sequence[str], environment: Mapping[str, str]) -> EngineOptions:
    """The options among `arguments`, which do not begin with the program; nothing where Bytewax itself will refuse them."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-i", "--process-id", type=int, default=_number(environment))
    parser.add_argument("-a", "--addresses", default=environment.get("BYTEWAX_ADDRESSES"))
    parser.add_argument("-r", "--recovery-directory", default=environment.get("BYTEWAX_RECOVERY_DIRECTORY"))
    for option in _OTHERS:
        parser.add_argument(*option)
    try:
        known, _ = parser.parse_known_args(list(arguments))
    except (argparse.ArgumentError, SystemExit):
        return EngineOptions()  # Bytewax itself says what is wrong with the command line
    addresses = known.addresses
    hosts = environment.get("BYTEWAX_HOSTFILE_PATH")
    if known.process_id is not None and addresses is None and hosts is not None:
        addresses = ";".join(line.strip() for line in Path(hosts).read_text(encoding="utf-8").splitlines() if line.strip())
    recovery = None if known.recovery_directory is None else Path(known.recovery_directory)
    return EngineOptions(known.process_id, addresses, recovery)


def _number(environment: Mapping[str, str]) -> int | None:
    if "BYTEWAX_PROCESS_ID" in environment:
        text = environment["BYTEWAX_PROCESS_ID"]
    elif "BYTEWAX_POD_NAME" in environment and "BYTEWAX_STATEFULSET_NAME" in environment:
        text = environment["BYTEWAX_POD_NAME"].replace(environment["BYTEWAX_STATEFULSET_NAME"] + "-", "")
    else:
        return None
    return int(text) if text.isdigit() else None
