"""Looks up host names without holding up anything: each in a daemon thread of its own, the last answer kept.

asyncio resolves names in a small pool of threads that the end of the process waits for. Ten meters behind a name server
that does not answer would keep all others, and the stop, waiting.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import Future

FRESH = 60.0
"""Seconds for which an answer is used without asking again."""

PATIENCE = 2.0
"""Seconds to wait for a new answer where there is an old one."""

_answers: dict[str, tuple[float, list[str]]] = {}
_running: dict[str, Future[list[str]]] = {}
_lock = threading.Lock()


async def lookup(host: str) -> list[str]:
    """The IP addresses of `host`, in the order in which they should be tried; the caller sets the deadline.

    An old answer is used where the name server gives none.

    :raises OSError: when the name is not known (socket.gaierror) and never was.
    """
    if _is_address(host):
        return [host]
    asked, addresses = _answers.get(host, (0.0, []))
    if addresses and time.monotonic() - asked < FRESH:
        return addresses
    answer = asyncio.shield(asyncio.wrap_future(_ask(host)))
    if not addresses:
        return await answer
    try:
        return await asyncio.wait_for(answer, PATIENCE)
    except (OSError, asyncio.TimeoutError):
        return addresses


def _is_address(host: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return True
    return False


def _ask(host: str) -> Future[list[str]]:
    """The look-up that is under way for `host`, or a new one."""
    with _lock:
        future = _running.get(host)
        if future is None:
            future = _running[host] = Future()
            threading.Thread(target=_resolve, args=(host, future), name=f"lookup-{host}", daemon=True).start()
        return future


def _resolve(host: str, future: Future[list[str]]) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        _answers[host] = (time.monotonic(), addresses)
        answer: list[str] | OSError = addresses
    except OSError as error:
        answer = error
    with _lock:
        del _running[host]
    if isinstance(answer, OSError):
        future.set_exception(answer)
    else:
        future.set_result(answer)
