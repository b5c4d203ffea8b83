"""Finds out which process of a Bytewax cluster this is: Bytewax tells a source nothing about the process it runs in."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from flows.engine_options import engine_options
from model.cluster import KEEPER, Place, host_of
from model.errors import ConfigurationError, Problem

ALL_INTERFACES = frozenset({"", "0.0.0.0", "::", "*"})


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
    place = Place(number, count, tuple(address.strip() for address in addresses.split(";")) if addresses else ())
    if place.spans_hosts:
        _check_hosts(place, given.recovery is not None)
    return place


def _check_hosts(place: Place, with_store: bool) -> None:
    """What must hold where the processes run on several hosts.

    :raises ConfigurationError: when it does not.
    """
    problems = []
    hosts = [host_of(address) for address in place.addresses]
    for host in sorted({host for host in hosts if _is_nowhere(host)}):
        what = f"the cluster runs on several hosts, and {host or 'an empty host'} is an address that no other host reaches"
        problems.append(Problem("command line", None, what, "give each process an address (-a) by which the others reach its host"))
    if not problems and not _is_of_this_host(hosts[place.index]):
        what = f"process {place.index} belongs on {hosts[place.index]}, which is no address of this host ({socket.gethostname()})"
        remedy = "start it there, or with the number of this host (-i): each address has one process, and two of one number are refused"
        problems.append(Problem("command line", None, what, remedy))
    if not with_store:
        what = "a cluster over several hosts needs a recovery store: it tells how far the meters were read, whichever host reads them"
        remedy = "-r DIR -s 10 -b 60, with `python -m commands recovery` where process 0 runs, `recovery --elsewhere` on the other hosts"
        problems.append(Problem("command line", None, what, remedy))
    if problems:
        raise ConfigurationError(problems)


def is_kept_elsewhere(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment says that this host has no part of the one recovery store: process 0 runs on another one.

    Never raises: what does not fit together is told when the flow starts.
    """
    given = engine_options((), environment)
    addresses = tuple((given.addresses or "").split(";"))
    if given.number is None or not 0 <= given.number < len(addresses):
        return False
    place = Place(given.number, len(addresses), addresses)
    return KEEPER in place.elsewhere_by_number


def _is_nowhere(host: str) -> bool:
    if host in ALL_INTERFACES or host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _is_of_this_host(host: str) -> bool:
    """Whether a port could be opened at that address; a name that is not known now is left to the engine, which tries on."""
    try:
        candidates = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return True
    for family, kind, protocol, _, address in candidates:
        try:
            with socket.socket(family, kind, protocol) as tried:
                tried.bind(address)
            return True
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                return True
    return False
