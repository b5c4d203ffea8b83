"""How a connection to ThingsBoard ended, as its conversation tells the session."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.thingsboard.ending import Ending
from connectors.thingsboard.rhythm import Closure


@dataclass(frozen=True)
class Farewell:
    """How a connection ended: `ending` is None when we ended it; `stated` says whether the server gave the reason, `code` with
    which reason code of MQTT 5; `closure` what was going on at the end, None when the connection was never accepted."""

    ending: Ending | None
    stated: bool
    code: int | None
    closure: Closure | None

    @property
    def lifetime(self) -> float:
        """Seconds from CONNACK to the end, 0.0 without."""
        return 0.0 if self.closure is None else self.closure.lifetime
