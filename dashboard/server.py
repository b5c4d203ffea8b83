"""uvicorn around the API: one process, a stop within two seconds also with open streams."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from dashboard.app import Api

GRACE = 1
"""Seconds that requests in progress get at a stop."""


class Server(uvicorn.Server):
    """Ends the streams first: they would be waited for.

    :arg announce: is told the address of the page, once it can be opened.
    """

    def __init__(self, api: Api, host: str, port: int, announce: Callable[[str], None]) -> None:
        self._api = api
        self._announce = announce
        super().__init__(
            uvicorn.Config(
                api.application,
                host=host,
                port=port,
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GRACE,
                timeout_keep_alive=30,
                limit_concurrency=1000,
                h11_max_incomplete_event_size=32_768,
                lifespan="on",
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT."""
        self._api.streams.stop()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        await super().startup(sockets)
        for server in self.servers if self.started else []:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                self._announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
