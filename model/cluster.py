"""Which process of a cluster this is: what several meters share must be in the hands of one of them.

The processes of a cluster may run on several hosts. Then each host has a disk of its own, so everything that lives in a file
has its place: the outbox with the session, the archive and the recovery store are with process 0, the *keeper*, and a meter
stays with its process, whatever other meters come and go. On one host the engine may place them as it likes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

KEEPER = 0
"""Number of the process that keeps outbox, session, archive and recovery store, where processes run on several hosts."""


@dataclass(frozen=True, slots=True)
class Place:
    """Number `index` (from 0) of `count` processes that run one dataflow.

    :arg addresses: host:port of each, in the order of their numbers; empty where the process is alone.
    """

    index: int = 0
    count: int = 1
    addresses: tuple[str, ...] = ()

    @property
    def spans_hosts(self) -> bool:
        """Whether the processes run on more than one host, as far as their addresses tell."""
        return len({host_of(address) for address in self.addresses}) > 1

    @property
    def keeps(self) -> bool:
        """Whether what there is once in the whole cluster may be in this process."""
        return self.index == KEEPER or not self.spans_hosts

    @property
    def elsewhere_by_number(self) -> dict[int, str]:
        """The processes on other hosts: number -> address."""
        here = host_of(self.addresses[self.index]) if self.addresses else ""
        return {number: address for number, address in enumerate(self.addresses) if host_of(address) != here}

    def owns(self, name: str, names: Iterable[str]) -> bool:
        """Whether this process is the one for `name`, one of `names`, which are dealt out evenly.

        Every process comes to the same result, and comes to it again after each restart, as long as names and count stay. Over
        several hosts it depends on `name` and the addresses alone, so that nothing moves when others come or go, and only what
        a lost process had moves when its address is taken out (rendezvous hashing).
        """
        if self.spans_hosts:
            return self.addresses[self.index] == max(self.addresses, key=lambda address: _weight(address, name))
        return sorted(set(names)).index(name) % self.count == self.index

    def keeps_one(self, name: str, names: Iterable[str]) -> bool:
        """Whether this process has `name`, one of several things that live in files: over several hosts the keeper has all of them,
        on one host they are dealt out as `owns` says."""
        return self.keeps if self.spans_hosts else self.owns(name, names)

    def elsewhere(self, lines: Mapping[str, str]) -> frozenset[str]:
        """The members of lines that another process owns.

        :arg lines: member -> line.
        """
        return frozenset(member for member, line in lines.items() if not self.owns(line, lines.values()))


def host_of(address: str) -> str:
    """The host in host:port, without the brackets of IPv6."""
    return address.rpartition(":")[0].strip("[]").lower()


def _weight(address: str, name: str) -> bytes:
    return hashlib.sha256(f"{address}\n{name}".encode()).digest()
