"""What a virtual meter is: identity, addresses, clients, limits, memory. What it does wrong is `behaviour`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from simulator.meter.client_access import ClientAccess
from simulator.meter.date_time import zone
from simulator.meter.hdlc_frame import encode_address
from simulator.meter.protection import TITLE_SIZE

PUBLIC_CLIENT = 16
ORIGIN = datetime(2024, 1, 1, tzinfo=timezone.utc).timestamp()
"""When all virtual meters were put in place, Unix seconds: the start of their energy and of their load profile."""
HIGHEST_INITIAL_COUNTER = 0xF0000000


@dataclass(frozen=True)
class MeterConfig:
    """One virtual meter.

    :arg id: unique among the meters of a process.
    :arg profile: which objects it has, a name from `profiles`.
    :arg framing: hdlc or wrapper.
    :arg server_logical: logical device: upper HDLC address, or the wrapper's port.
    :arg server_physical: lower HDLC address, 0 for none.
    :arg server_address_size: the only size of HDLC server address that is answered; None answers any.
    :arg referencing: logical names, or short names.
    :arg association: negotiated, or pre-established: every client is served without AARQ.
    :arg gateway_address: the meter is behind a gateway and has this address there; None for no gateway.
    :arg gateway_network: its network behind the gateway.
    :arg clients: client SAPs that are answered and what is asked of each.
    :arg system_title: eight bytes; derived from the serial number where it is empty.
    :arg initial_client_counter: last invocation counter accepted from each client before the meter starts; None for none.
    :arg initial_server_counter: last invocation counter the meter has used before it starts; None for ten per second since
        `ORIGIN`, which rises over restarts without a file too, unless one takes less than a tenth of a second.
    :arg counter_file: where the invocation counters are kept over restarts.
    :arg seed: of the load curve and of all chance; derived from the id where it is None.
    :arg mean_power: average load, W, 1 to 20000; derived from the seed where it is None.
    :arg capture_period: seconds between rows of the load profile, 15 to 86400.
    :arg profile_entries: rows the load profile keeps.
    :arg time_zone: IANA name of the clock's local time.
    :arg max_pdu_size: longest APDU received, and sent even if the client could take more, bytes.
    :arg announced_pdu_size: what the AARE says of `max_pdu_size` instead of the truth, 0 for unlimited.
    :arg hdlc_information_size: longest HDLC information field offered, bytes.
    :arg hdlc_window: HDLC frames sent before an acknowledgement, where the client receives as many.
    :arg inactivity_timeout: seconds without a request after which association and link are dropped silently.
    :arg exchanges_kept: how many of the last exchanges `Counters` remembers.
    :raises ValueError: when a field is out of range; the message says which.
    """

    id: str
    profile: str = "three-phase"
    framing: Literal["hdlc", "wrapper"] = "hdlc"
    server_logical: int = 1
    server_physical: int = 0
    server_address_size: int | None = None
    referencing: Literal["logical", "short"] = "logical"
    association: Literal["negotiated", "pre-established"] = "negotiated"
    gateway_address: bytes | None = None
    gateway_network: int = 0
    clients: Mapping[int, ClientAccess] = field(default_factory=lambda: MappingProxyType({PUBLIC_CLIENT: ClientAccess()}))
    system_title: bytes = b""
    initial_client_counter: int | None = None
    initial_server_counter: int | None = None
    counter_file: Path | None = None
    seed: int | None = None
    mean_power: float | None = None
    capture_period: int = 900
    profile_entries: int = 35 * 96
    time_zone: str = "UTC"
    max_pdu_size: int = 1024
    announced_pdu_size: int | None = None
    hdlc_information_size: int = 128
    hdlc_window: int = 1
    inactivity_timeout: float = 120.0
    exchanges_kept: int = 1000

    def __post_init__(self) -> None:
        if self.framing not in ("hdlc", "wrapper"):
            raise ValueError(f"framing {self.framing!r} is not known; write hdlc or wrapper")
        if self.framing == "hdlc":
            encode_address(self.server_logical, self.server_physical, self.server_address_size)
        ranges = (
            ("mean_power", 1, 20_000),
            ("capture_period", 15, 86400),
            ("profile_entries", 1, 1_000_000),
            ("max_pdu_size", 64, 65535),
            ("announced_pdu_size", 0, 65535),
            ("hdlc_information_size", 32, 2030),
            ("hdlc_window", 1, 7),
            ("gateway_network", 0, 255),
            ("inactivity_timeout", 0.001, 1e9),
            ("exchanges_kept", 0, 1_000_000),
            ("initial_client_counter", 0, 0xFFFFFFFF),
            ("initial_server_counter", 0, HIGHEST_INITIAL_COUNTER),
        )
        for name, low, high in ranges:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} {value} is out of range; {low} to {high} is possible")
        if len(self.system_title) not in (0, TITLE_SIZE):
            raise ValueError(f"system_title has {len(self.system_title)} bytes; a system title has {TITLE_SIZE}")
        if self.gateway_address is not None and not 1 <= len(self.gateway_address) <= 127:
            raise ValueError(f"gateway_address has {len(self.gateway_address)} bytes; 1 to 127 are possible")
        zone(self.time_zone)

    @property
    def short_names(self) -> bool:
        """Whether the meter is read by short names."""
        return self.referencing == "short"

    @property
    def told_pdu_size(self) -> int:
        """What the AARE says the meter receives, bytes."""
        return self.max_pdu_size if self.announced_pdu_size is None else self.announced_pdu_size

    @property
    def chance_seed(self) -> int:
        """The seed, or what stands for it: a number derived from the id, the same after each restart."""
        return zlib.crc32(self.id.encode()) if self.seed is None else self.seed

    @property
    def serial_number(self) -> str:
        """Eight digits; the last four are the physical address where there is one."""
        return f"{self.chance_seed % 10000:04d}{(self.server_physical or self.chance_seed // 10000) % 10000:04d}"

    @property
    def logical_device_name(self) -> str:
        """Three letters of the maker and the serial number, unique worldwide as IEC 62056-6-2 wants it (here: among seeds)."""
        return f"SIM{self.serial_number:>013}"

    @property
    def server_title(self) -> bytes:
        """The system title: as configured, else three letters of the maker and the serial number."""
        return self.system_title or b"SIM" + int(self.serial_number).to_bytes(TITLE_SIZE - 3, "big")

    @property
    def ciphered_clients(self) -> tuple[int, ...]:
        """Clients with keys; the first, the one with the lowest SAP, is the management client."""
        return tuple(sorted(sap for sap, access in self.clients.items() if access.ciphered))
