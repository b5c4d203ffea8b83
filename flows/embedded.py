"""The virtual meters and the ThingsBoard stand-in inside this process, for `sim://` meters and `url: embedded`.

Each starts when it is first dialled, once per process, on the loopback interface, and ends with the process. The
simulator is imported only where pipeline.yaml uses it.
"""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from model.errors import PipelineError
from model.settings.meter import MeterSettings
from model.settings.pipeline import PipelineSettings
from model.settings.thingsboard import EMBEDDED, SINGLE, ThingsBoardSettings

if TYPE_CHECKING:
    from simulator.meter.background import BackgroundMeters
    from simulator.thingsboard.background import BackgroundStandIn

_VIRTUAL = "sim"
_POINTS_KEPT = 10_000
"""Per device: the stand-in shows the latest values and must not grow for as long as it runs."""


def check_virtual_meter(meter: MeterSettings) -> None:
    """Make sure that a `sim://` meter can be started.

    :raises ValueError: when its url names a profile or an option that does not exist; the message lists what does.
    """
    if urlsplit(meter.connect).scheme == _VIRTUAL:
        from simulator.meter.sim_url import parse_sim_url

        parse_sim_url(meter.connect, meter)


class Embedded:
    """Turns what pipeline.yaml says into addresses that can be dialled; both methods may be called from any thread."""

    def __init__(self, settings: PipelineSettings) -> None:
        self._thingsboard = settings.thingsboard
        self._meters = {meter.id: meter for meter in settings.meters}
        self._lock = threading.Lock()
        self._virtual_meters: BackgroundMeters | None = None
        self._stand_in: BackgroundStandIn | None = None
        self._stand_in_address = ""

    def resolve_meter(self, meter_id: str, connect: str) -> str:
        """The address of a meter; a virtual meter is started first.

        :raises PipelineError: when it cannot be started.
        """
        if urlsplit(connect).scheme != _VIRTUAL:
            return connect
        from simulator.meter.sim_url import parse_sim_url

        try:
            virtual = parse_sim_url(connect, self._meters[meter_id])
            return self._running_meters().start(virtual.config, virtual.behaviour)
        except (ValueError, OSError) as error:
            raise PipelineError(
                f"the virtual meter {meter_id} cannot be started: {error}", "correct its connect in pipeline.yaml"
            ) from error

    def resolve_thingsboard(self, url: str) -> str:
        """The address of ThingsBoard; the stand-in is started first for `embedded`.

        :raises PipelineError: when it cannot be started.
        """
        if url != EMBEDDED:
            return url
        with self._lock:
            if self._stand_in is None:
                self._stand_in = _new_stand_in(self._thingsboard)
                atexit.register(self._stand_in.close)
                try:
                    self._stand_in_address = self._stand_in.start()
                except OSError as error:
                    raise PipelineError(
                        f"the ThingsBoard stand-in cannot be started: {error}", "name a real server in thingsboard.url"
                    ) from error
            return self._stand_in_address

    def close(self) -> None:
        """Stop whatever was started; happens by itself when the process ends."""
        with self._lock:
            if self._virtual_meters is not None:
                self._virtual_meters.close()
            if self._stand_in is not None:
                self._stand_in.close()

    def _running_meters(self) -> BackgroundMeters:
        from simulator.meter.background import BackgroundMeters

        with self._lock:
            if self._virtual_meters is None:
                self._virtual_meters = BackgroundMeters()
                atexit.register(self._virtual_meters.close)
            return self._virtual_meters


def _new_stand_in(settings: ThingsBoardSettings) -> BackgroundStandIn:
    """A stand-in that knows the devices whose credentials the settings hold."""
    from simulator.thingsboard.accounts import Account
    from simulator.thingsboard.background import BackgroundStandIn
    from simulator.thingsboard.store import Store

    accounts = []
    for session in settings.session_names:
        alone = settings.of_session(session)
        device = settings.gateway_device if session == SINGLE else f"{settings.gateway_device}-{session}"
        accounts.append(Account(device, alone.username or alone.access_token.get_secret_value(), gateway=settings.api == "gateway"))
    return BackgroundStandIn(accounts, store=Store(most_points=_POINTS_KEPT))
