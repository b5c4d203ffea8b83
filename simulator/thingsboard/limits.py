"""The limits of a ThingsBoard server, and the limiters that count against them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.thingsboard.accounts import Account
from simulator.thingsboard.rate_limit import UNLIMITED, Limiter, RateLimits


@dataclass(frozen=True)
class Limits:
    """What the server allows; the defaults are those of a fresh installation, which has no rate limits.

    :arg device: of each device that connects with its own token and is no gateway.
    :arg gateway: of everything a gateway sends for other devices, together.
    :arg gateway_device: of what a gateway sends as the device it is itself.
    :arg payload_size: the longest packet body in bytes.
    :arg inflight: messages queued per session, as reported to the client.
    :arg idle: seconds after which a silent session is closed.
    :arg stated: whether a client that asks is told the rate limits; those of the tenant as a whole are never told.
    :arg devices: the most devices a tenant may have; None for unlimited.
    """

    device: RateLimits = UNLIMITED
    gateway: RateLimits = UNLIMITED
    gateway_device: RateLimits = UNLIMITED
    payload_size: int = 65_536
    inflight: int = 100
    idle: float = 600.0
    devices: int | None = None
    stated: bool = True

    def session_limits(self, account: Account) -> dict[str, Any]:
        """The answer to getSessionLimits (ThingsBoard's SessionLimits and GatewaySessionLimits)."""
        answer: dict[str, Any] = {"maxPayloadSize": self.payload_size, "maxInflightMessages": self.inflight}
        if not self.stated:
            return answer
        if account.gateway:
            return {**answer, "rateLimits": self.gateway_device.as_json(), "gatewayRateLimits": self.gateway.as_json()}
        return {**answer, "rateLimits": self.device.as_json()}


class Limiters:
    """One limiter per sender, created when it first sends."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        self._own: dict[str, Limiter] = {}
        self._gateways: dict[str, Limiter] = {}

    def own(self, account: Account) -> Limiter:
        """For what a device or gateway sends as itself, CONNECT included."""
        limits = self.limits.gateway_device if account.gateway else self.limits.device
        return self._own.setdefault(account.name, Limiter(limits, self._clock))

    def gateway(self, account: Account) -> Limiter:
        """For what a gateway sends for its devices."""
        return self._gateways.setdefault(account.name, Limiter(self.limits.gateway, self._clock))
