"""The `limits` section: what all meters of one process together may do to the network."""

from __future__ import annotations

from pydantic import Field

from model.settings.base import Settings


class LimitsSettings(Settings):
    """Limits of the whole fleet, per process; the defaults are those of a large open head-end."""

    connections: int = Field(default=1000, ge=1, le=100_000, description="Most connections that are open at the same time.")
    new_connections_per_second: float = Field(default=30.0, gt=0, le=10_000, description="Most connections that are opened per second.")
