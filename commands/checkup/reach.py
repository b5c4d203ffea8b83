"""Can meters be reached: a TCP connection that is closed at once, few at a time, never to a meter that somebody here is connected to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from commands.host.holders import holder_of_connection, holder_of_port
from connectors.dlms.host_names import lookup
from connectors.dlms.link.serial_port import forbidden_port, missing_port
from connectors.dlms.link.tcp import reason, remedy
from model.errors import MeterError
from model.settings.link_address import LinkAddress, authority

AT_A_TIME = 8
PATIENCE = 3.0
"""Seconds to wait for a connection."""

_SILENT_REMEDY = (
    "check its power, cable, address and routing, and whether a firewall drops the connection: from here all of these look alike"
)


@dataclass(frozen=True, slots=True)
class Reach:
    """What became of one address.

    :arg reached: None where it was not tried.
    """

    line: str
    reached: bool | None
    what: str
    remedy: str = ""


def reach(addresses: Iterable[LinkAddress]) -> list[Reach]:
    """Each address once."""
    once = {address.line: address for address in addresses}
    return asyncio.run(_all(list(once.values())))


async def _all(addresses: list[LinkAddress]) -> list[Reach]:
    room = asyncio.Semaphore(AT_A_TIME)

    async def one(address: LinkAddress) -> Reach:
        async with room:
            return _port(address) if address.is_serial_port else await _network(address)

    return list(await asyncio.gather(*map(one, addresses)))


async def _network(address: LinkAddress) -> Reach:
    name = authority(address.host, address.port)
    if address.scheme == "udp":
        return Reach(address.line, None, f"{name} speaks UDP, which does not tell whether anybody is there")
    try:
        found = await asyncio.wait_for(lookup(address.host), PATIENCE)
    except (OSError, asyncio.TimeoutError):
        remedy_text = "check the spelling in connect, and this machine's name service"
        return Reach(address.line, False, f"the name {address.host} cannot be resolved", remedy_text)
    holder = holder_of_connection(found, address.port)
    if holder is not None:
        return Reach(address.line, None, f"{name} is in use by {holder} and was left alone")
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(found[0], address.port), PATIENCE)
    except asyncio.TimeoutError:
        return Reach(address.line, False, f"{name} does not answer within {PATIENCE:.0f} s", _SILENT_REMEDY)
    except OSError as error:
        return Reach(address.line, False, f"cannot connect to {name}: {reason(error)}", remedy(error))
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return Reach(address.line, True, f"{name} accepts connections")


def _port(address: LinkAddress) -> Reach:
    """A serial port is not opened: that would disturb whoever uses it."""
    device = Path(address.device)
    if not device.exists() and _private_devices():
        return Reach(address.line, None, f"{device}: this process has a /dev of its own (PrivateDevices, a container)")
    if not device.exists():
        return _unusable(address, missing_port(address.device))
    if not os.access(device, os.R_OK | os.W_OK, effective_ids=True):
        return _unusable(address, forbidden_port(address.device))
    owner = holder_of_port(address.device)
    if owner is not None:
        return Reach(address.line, None, f"{device} is in use by {owner} and was left alone")
    return Reach(address.line, True, f"{device} is there and may be opened")


def _unusable(address: LinkAddress, why: MeterError) -> Reach:
    return Reach(address.line, False, why.what, why.remedy)


def _private_devices() -> bool:
    """Whether /dev is not the kernel's own (devtmpfs), so that a device may be there that is not seen."""
    with suppress(OSError):
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()]
        return [fields[2] for fields in mounts if fields[1] == "/dev"][-1:] != ["devtmpfs"]
    return False
