"""Finds out which process of a Bytewax cluster this is: Bytewax tells a source nothing about the process it runs in."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from flows.engine_options import engine_options
from model.cluster import Place
from model.errors import ConfigurationError, Problem


def place_in_cluster(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> Place:
    """The place of this process; the only one where it was not started as part of a cluster.

    :arg arguments: of the command line; those of this process where it is None.
    :raises ConfigurationError: when number and addresses do not fit together, so that a line would be read twice or never.
    """
    given = engine_options(sys.argv[1:] if arguments is None else arguments, environment)
    number, addresses = given.number, given.addresses
    if number is None:
        return Place()
    count = len(addresses.split(";")) if addresses else 0
    if not 0 <= number < count:
        what = f"process number {number} does not fit {count} addresses"
        raise ConfigurationError(
            [Problem("command line", None, what, "give every process the same -a, and -i from 0 to one less than there are")]
        )
    return Place(number, count)
