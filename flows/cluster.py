"""Finds out which process of a Bytewax cluster this is.

Bytewax tells a source nothing about the process it runs in, and reads number and addresses itself: from -i and -a, from
their environment variables, or from what its Helm chart sets. This reads the same, in the same order (bytewax.run 0.21).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from model.cluster import Place
from model.errors import ConfigurationError, Problem

_OTHERS = (("-w", "--workers-per-process"), ("-r", "--recovery-directory"), ("-s", "--snapshot-interval"), ("-b", "--backup-interval"))
"""The other options of bytewax.run, so that their values are not taken for something else."""


def place_in_cluster(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> Place:
    """The place of this process; the only one where it was not started as part of a cluster.

    :arg arguments: of the command line; those of this process where it is None.
    :raises ConfigurationError: when number and addresses do not fit together, so that a line would be read twice or never.
    """
    number, addresses = _given(sys.argv[1:] if arguments is None else arguments, environment)
    if number is None:
        return Place()
    count = len(addresses.split(";")) if addresses else 0
    if not 0 <= number < count:
        what = f"process number {number} does not fit {count} addresses"
        raise ConfigurationError(
            [Problem("command line", None, what, "give every process the same -a, and -i from 0 to one less than there are")]
        )
    return Place(number, count)


def _given(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int | None, str | None]:
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("-i", "--process-id", type=int, default=_number(environment))
    parser.add_argument("-a", "--addresses", default=environment.get("BYTEWAX_ADDRESSES"))
    for option in _OTHERS:
        parser.add_argument(*option)
    try:
        known, _ = parser.parse_known_args(list(arguments))
    except (argparse.ArgumentError, SystemExit):
        return None, None  # Bytewax itself says what is wrong with the command line
    addresses = known.addresses
    hosts = environment.get("BYTEWAX_HOSTFILE_PATH")
    if known.process_id is not None and addresses is None and hosts is not None:
        addresses = ";".join(line.strip() for line in Path(hosts).read_text(encoding="utf-8").splitlines() if line.strip())
    return known.process_id, addresses


def _number(environment: Mapping[str, str]) -> int | None:
    if "BYTEWAX_PROCESS_ID" in environment:
        text = environment["BYTEWAX_PROCESS_ID"]
    elif "BYTEWAX_POD_NAME" in environment and "BYTEWAX_STATEFULSET_NAME" in environment:
        text = environment["BYTEWAX_POD_NAME"].replace(environment["BYTEWAX_STATEFULSET_NAME"] + "-", "")
    else:
        return None
    return int(text) if text.isdigit() else None
