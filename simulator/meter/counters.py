"""What a virtual meter has seen, for tests and statistics."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from model.obis import format_logical_name
from simulator.meter.xdlms import AttributeDescriptor


class Exchange(NamedTuple):
    """One request that reached the application layer: when (Unix seconds), from which client SAP, which service, and
    the attributes asked for as (class, logical name, index)."""

    time: float
    client: int
    service: str
    attributes: tuple[tuple[int, bytes, int], ...] = ()


class Counters:
    """Everything counts from the start of the meter.

    `connections` TCP connections accepted, `rejected` those closed or left hanging because one client was there,
    `links` HDLC links opened, `associations` opened, `refused` AARQs answered with a rejection or failed in pass 3,
    `releases` RLRQs, `disconnects` DISCs, `dropped` associations and links ended by the meter, `requests` by service name,
    `refusals` requests not believed by reason (plaintext, weaker, undecipherable, replayed, authentication), `attacks`
    sent by field of `Behaviour`, `exchanges` the last ones. A service is one of: snrm, disc, rr, segment, repeated,
    disconnected-mode (link layer); aarq, rlrq, get-normal, get-next, get-with-list, read, read-next, set, action, unknown
    (application layer; what is not believed is unknown). From another thread than the meter's, copy `exchanges` with
    list() before going through them.

    :arg exchanges_kept: length of `exchanges`.
    """

    def __init__(self, exchanges_kept: int) -> None:
        self.connections = 0
        self.rejected = 0
        self.links = 0
        self.associations = 0
        self.refused = 0
        self.releases = 0
        self.disconnects = 0
        self.dropped = 0
        self.requests: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.attacks: Counter[str] = Counter()
        self.exchanges: deque[Exchange] = deque(maxlen=exchanges_kept)

    def record(self, time: float, client: int, service: str, attributes: Sequence[AttributeDescriptor] = ()) -> None:
        """Count a request to the application layer and remember it."""
        self.requests[service] += 1
        self.exchanges.append(Exchange(time, client, service, tuple((a.class_id, a.logical_name, a.index) for a in attributes)))

    @property
    def gets(self) -> int:
        """GET and READ requests of any kind, next-block included."""
        return sum(self.requests[service] for service in ("get-normal", "get-next", "get-with-list", "read", "read-next"))

    def as_dict(self) -> dict[str, Any]:
        """The counters as plain data for JSON, with the exchanges' attributes as "class/logical name/index"."""
        counts: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        for name in ("requests", "refusals", "attacks"):
            counts[name] = dict(getattr(self, name))
        counts["exchanges"] = [
            {
                "time": exchange.time,
                "client": exchange.client,
                "service": exchange.service,
                "attributes": [f"{class_id}/{format_logical_name(name)}/{index}" for class_id, name, index in exchange.attributes],
            }
            for exchange in list(self.exchanges)
        ]
        return counts
