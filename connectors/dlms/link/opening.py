"""Opens the link that an address names."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from connectors.dlms.link.contract import Link
from connectors.dlms.link.mode_e import SIGN_ON, sign_on
from connectors.dlms.link.rfc2217 import Rfc2217Link
from connectors.dlms.link.serial_port import SerialPortLink
from connectors.dlms.link.tcp import TcpLink
from connectors.dlms.link.udp import UdpLink
from model.errors import MeterError
from model.messages import ErrorKind
from model.settings.link import LinkSettings
from model.settings.link_address import LinkAddress, parse_link


async def open_link(address: str, settings: LinkSettings) -> Link:
    """Open the link at `address`, with the handshake it wants, and throw away what a converter delivers late.

    :arg address: that of the settings, or what a virtual meter's was resolved to.
    :arg settings: deadlines and the address to connect from.
    :raises MeterError: when it cannot be opened, or not within `connect_timeout`.
    """
    try:
        return await asyncio.wait_for(_settled(parse_link(address), settings), settings.connect_timeout + (settings.settle_time or 0.0))
    except asyncio.TimeoutError:
        raise MeterError(
            ErrorKind.CONNECT,
            f"{address} did not accept a connection within {settings.connect_timeout:g} s",
            "check address, firewall and whether the converter is powered; a modem needs via: modem",
        ) from None


async def _settled(address: LinkAddress, settings: LinkSettings) -> Link:
    link = await _opened(address, settings.source_address)
    try:
        if settings.settle_time is not None:
            await _discard(link, settings.settle_time)
    except BaseException:
        await link.close()
        raise
    return link


async def _opened(address: LinkAddress, source_address: str | None) -> Link:
    if address.scheme == "tcp":
        return await TcpLink.open(address.host, address.port, source_address)
    if address.scheme == "udp":
        return await UdpLink.open(address.host, address.port, source_address)
    parameters = address.serial if address.mode_e is None else replace(SIGN_ON, rs485=address.serial.rs485)
    link: SerialPortLink | Rfc2217Link
    if address.scheme == "serial":
        link = SerialPortLink.open(address.device, parameters)
    elif address.scheme == "rfc2217":
        link = await Rfc2217Link.open(address.host, address.port, parameters, source_address)
    else:
        raise MeterError(ErrorKind.CONNECT, f"{address.line} is not a link that can be opened", "a virtual meter has to be started first")
    if address.mode_e is not None:
        try:
            await sign_on(link, address.mode_e, address.line)
        except BaseException:
            await link.close()
            raise
    return link


async def _discard(link: Link, seconds: float) -> None:
    """Read and forget for `seconds`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        try:
            await link.read(left)
        except asyncio.TimeoutError:
            return
