"""One MQTT session with ThingsBoard: connects, keeps at it, and knows why it ended. Runs on a thread of its own.

Guarantee: at least once. A record leaves the outbox only when ThingsBoard acknowledged it with a success code; what was on
its way when a connection ended is sent again on the next one. Nothing is published while offline.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time

import structlog

from connectors.thingsboard import rhythm
from connectors.thingsboard.connection import Address, Connection
from connectors.thingsboard.conversation import Conversation, Known, Stopping
from connectors.thingsboard.dispatch import Dispatch
from connectors.thingsboard.ending import CONNECTION_LOST, SHUTTING_DOWN, TCP_REFUSED, UNEXPECTED, Ending, not_opened, said
from connectors.thingsboard.farewell import Farewell
from connectors.thingsboard.limits import Pacer
from connectors.thingsboard.outbox import Outbox
from connectors.thingsboard.reconnect import Reconnect, stable
from connectors.thingsboard.session_names import subject_of
from connectors.thingsboard.trouble import Incident, Trouble
from connectors.thingsboard.wake import Wake
from model.errors import StorageError
from model.messages import Alert
from model.session_record import SessionRecord
from model.settings.thingsboard import SINGLE, ThingsBoardSettings
from model.timestamps import utc_now

STOP_MARGIN = 0.2
"""Seconds that a stop waits for the thread beyond what it may spend on delivering."""

STORAGE_PAUSE, MOST_STORAGE_PAUSE = 1.0, 60.0
"""Seconds before the outbox is tried again after it could not be used; doubles up to the longest."""

FIGHT = {"5": 3, "3.1.1": 2}
"""So many closures without a reason are a fight over the session; on MQTT 5 the server should have said so."""

log = structlog.get_logger()


class Session:
    """Owns the MQTT client; `start` it once, `stop` it once.

    :arg settings: the `thingsboard` section, of this session alone.
    :arg address: the server.
    :arg client_id: of this installation.
    :arg outbox: what to send; read and emptied by the session's thread.
    :arg context: for TLS; None for plain TCP.
    :arg standing: the alert that an earlier run left standing, if any.
    :arg record: told what becomes of the session, for those who report on the process.
    :arg name: of the session.
    """

    def __init__(
        self,
        settings: ThingsBoardSettings,
        address: Address,
        client_id: str,
        outbox: Outbox,
        context: ssl.SSLContext | None = None,
        standing: Alert | None = None,
        record: SessionRecord | None = None,
        name: str = SINGLE,
    ) -> None:
        self._settings, self._address, self._client_id = settings, address, client_id
        self._outbox, self._context = outbox, context
        self._pacer = Pacer(time.monotonic)
        self._dispatch = Dispatch(outbox, settings.api, self._pacer, settings.outbox.backlog)
        self._reconnect = Reconnect(settings.reconnect_min, settings.reconnect_max)
        who = f"client {client_id}, pid {os.getpid()} on host {socket.gethostname()}"
        self._name = name
        if name != SINGLE:
            who = f"session {name}, {who}"
        quiet = stable(settings.reconnect_max) + settings.reconnect_max
        self._trouble = Trouble(outbox.tell, quiet, utc_now, time.monotonic, who, standing, subject_of(name))
        self._record = record or SessionRecord(name)
        self._record.begin(f"{'mqtts' if address.tls else 'mqtt'}://{address}", client_id, settings.protocol)
        self._known = Known()
        self._rhythm = rhythm.Rhythm(FIGHT[settings.protocol])
        self._was: Ending | None = None
        self._stopping = Stopping()
        self._stop = threading.Event()
        self._wake = Wake()
        self._conversing = False
        self._storage_failures = 0
        self._thread = threading.Thread(target=self._run, name=f"{subject_of(name)}-session", daemon=True)

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def notify(self) -> None:
        """Tell the session that the outbox has something new."""
        self._wake.set()

    def stop(self, drain: float) -> bool:
        """Deliver what is possible within `drain` seconds, say goodbye, end the thread; without a connection, just end it.

        Takes at most `drain` + `STOP_MARGIN` seconds. Returns whether the thread ended; while it does not (it may hang in a
        name look-up or an attempt to connect) the outbox must stay open.
        """
        deadline = self._stopping.deadline = time.monotonic() + drain
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_MARGIN)
            if self._thread.is_alive() and self._conversing:
                self._thread.join(max(0.0, deadline + STOP_MARGIN - time.monotonic()))
        if self._thread.is_alive():
            return False
        self._wake.close()
        return True

    def _run(self) -> None:
        if self._name != SINGLE:
            structlog.contextvars.bind_contextvars(session=self._name)
        while not self._stop.is_set():
            try:
                pause = self._connect_once()
            except StorageError as error:  # nothing can be acknowledged in the outbox: better not to send it
                self._outbox.trouble.disk(f"{error.what}; nothing is delivered meanwhile", error.remedy)
                self._record.enter("backing-off")
                pause = min(STORAGE_PAUSE * 2.0**self._storage_failures, MOST_STORAGE_PAUSE)
                self._storage_failures = min(self._storage_failures + 1, 10)
            except Exception as error:  # a defect must not end the session silently
                log.exception("the session failed unexpectedly and connects again")
                pause = self._after(UNEXPECTED, Incident(type(error).__name__))
            self._stop.wait(pause)
        self._record.enter("closed")

    def _connect_once(self) -> float:
        """One connection, from the attempt to its end; returns the seconds to wait before the next."""
        self._record.enter("connecting")
        self._outbox.probe()
        self._outbox.trouble.disk_is_back("the outbox can be written again")
        connection = Connection(self._settings, self._address, self._client_id, self._context)
        try:
            connection.open()
        except OSError as error:
            connection.close()
            self._rhythm.broken()
            return self._after(self._away(not_opened(error)), Incident(f"{self._address}: {error}"))
        self._conversing = True
        try:
            farewell = self._converse(connection)
        finally:
            self._conversing = False
        self._storage_failures = 0
        cause = self._explained(farewell)
        if cause is None:
            return 0.0
        lifetime = None if farewell.closure is None else farewell.lifetime
        incident = Incident(f"server {self._address}", said(farewell.code, self._settings.protocol), lifetime)
        return self._after(cause, incident, farewell.code)

    def _converse(self, connection: Connection) -> Farewell:
        conversation = Conversation(
            connection,
            self._settings,
            self._outbox,
            self._dispatch,
            self._pacer,
            self._known,
            self._stopping,
            self._wake,
            self._trouble,
            self._record,
            time.monotonic,
            utc_now,
            rhythm.LISTEN if self._rhythm.listening else 0.0,
            self._rhythm.proven,
        )
        return conversation.run()

    def _explained(self, farewell: Farewell) -> Ending | None:
        """The cause; a closed socket says nothing, so it is inferred from the latest closures."""
        if farewell.ending is not CONNECTION_LOST or farewell.stated or farewell.closure is None:
            self._rhythm.broken()
            return farewell.ending
        return self._rhythm.closed(farewell.closure)

    def _away(self, ending: Ending) -> Ending:
        """A port that nothing listens on any more, right after the server closed a connection, belongs to a server that restarts."""
        restarting = ending is TCP_REFUSED and self._was in (CONNECTION_LOST, SHUTTING_DOWN)
        return SHUTTING_DOWN if restarting else ending

    def _after(self, ending: Ending, incident: Incident, code: int | None = None) -> float:
        self._was = ending
        if self._stop.is_set():
            return 0.0
        self._record.ended(ending.name, code, "; ".join(filter(None, (incident.where, incident.said))), incident.lifetime)
        self._record.enter("backing-off")
        self._trouble.happened(ending, incident)
        pause = self._reconnect.after(ending, incident.lifetime or 0.0)
        if self._rhythm.listening and not ending.contested:
            pause = min(pause, rhythm.SOON)
        log.debug("connecting again", seconds=round(pause, 2), cause=ending.name)
        return pause
