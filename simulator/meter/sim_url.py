"""sim:// urls: `connect: sim://three-phase?seed=7&latency=0.05` as a virtual meter that fits the meter's settings."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from model.settings.meter import MeterSettings
from simulator.meter.behaviour import Behaviour
from simulator.meter.client_access import ClientAccess, client_access
from simulator.meter.config import PUBLIC_CLIENT, MeterConfig
from simulator.meter.options import octets, parse_options


class SimulatedMeter(NamedTuple):
    """What a sim:// url describes."""

    config: MeterConfig
    behaviour: Behaviour


def parse_sim_url(url: str, settings: MeterSettings) -> SimulatedMeter:
    """The virtual meter of a url such as sim://microstar?seed=7&latency=0.5&denied=1-1:14.7.0.

    The name is a meter profile. Addresses, framing, client, authentication and password are those of `settings`; the
    public client (16, no password) is served besides. The query sets fields of `Behaviour` and some of `MeterConfig`,
    or starts from a named behaviour (`behaviour=noisy`).

    :raises ValueError: when a name, key or value is not possible; the message lists what is.
    """
    parts = urlsplit(url)
    if parts.scheme != "sim" or parts.path not in ("", "/"):
        raise ValueError(f"{url!r} is not a virtual meter; write sim://three-phase, or sim://three-phase?seed=7")
    try:
        options = parse_options(parts.netloc, dict(parse_qsl(parts.query, keep_blank_values=True)))
        return SimulatedMeter(MeterConfig(**{**_fitting(settings), **options.config}), Behaviour(**options.behaviour))
    except ValueError as problem:
        raise ValueError(f"{url!r}: {problem}") from None


def _fitting(settings: MeterSettings) -> dict[str, Any]:
    """Fields of `MeterConfig` that make a meter answer to the settings of its client."""
    clients = {PUBLIC_CLIENT: ClientAccess(), settings.client_sap: _access(settings)}
    return {
        "id": settings.id,
        "framing": settings.framing,
        "server_logical": settings.server_logical,
        "server_physical": settings.server_physical,
        "server_address_size": settings.server_address_size,
        "referencing": settings.referencing,
        "association": settings.association,
        "gateway_address": None if settings.gateway_address is None else octets(settings.gateway_address, "a gateway_address"),
        "gateway_network": settings.gateway_network,
        "clients": clients,
    }


def _access(settings: MeterSettings) -> ClientAccess:
    secret = settings.password or settings.hls_secret
    return client_access(
        settings.authentication,
        b"" if secret is None else password_bytes(secret.get_secret_value()),
        settings.security_suite,
        settings.security_policy,
        settings.block_cipher_key_bytes(),
        settings.authentication_key_bytes(),
        bytes.fromhex(settings.client_system_title or ""),
    )


def password_bytes(text: str) -> bytes:
    """A password as settings write it: text, or hex:0102 for bytes.

    :raises ValueError: when hex: is not followed by pairs of hexadecimal digits.
    """
    return octets(text, "a password")
