"""The entry point: `python -m bytewax.run flows.main` runs what pipeline.yaml says; PIPELINE=FILE selects another file.

`python -m bytewax.visualize flows.main` shows the same graph and starts nothing. A configuration with mistakes ends
with all of them on stderr and exit code 2, a recovery store that cannot be used with one event in the log and exit code 1.
"""

from __future__ import annotations

import structlog

from connectors.thingsboard.forgotten import forgotten_outboxes
from connectors.thingsboard.left_behind import tell_what_was_left
from flows.build import build
from flows.clock import watch_clock
from flows.cluster import place_in_cluster
from flows.counting import Tally
from flows.embedded import Embedded, check_virtual_meter
from flows.logs import configure_logs
from flows.peers import Peers, watch_peers
from flows.process import end_while_waiting, explain_fatal_errors, give_up, keep_web_server_off, pipeline_file, refuse, stop_on_signals
from flows.recovery_store import store_in_use
from flows.registry import installed_node_types
from flows.status import Told, tell_status
from flows.supervision import tell_systemd
from model.errors import ConfigurationError, StorageError
from model.loading.load import load
from model.progress import PROGRESS
from model.session_record import SessionRecords
from model.stop import Stop

LOOKING_BACK = 1.0
"""Seconds that counting what nobody delivers may take."""

log = structlog.get_logger(__name__)
stop = Stop()
tally, sessions = Tally(), SessionRecords()

try:
    loaded = load(pipeline_file(), installed_node_types(), check_meter=check_virtual_meter)
    configure_logs(loaded.settings.log, loaded.secrets)
    embedded = Embedded(loaded.settings)
    place = place_in_cluster()
    flow = build(
        loaded, stop, embedded.resolve_meter, embedded.resolve_thingsboard, place, store_in_use(place), tally=tally, sessions=sessions
    )
except ConfigurationError as error:
    refuse(error)
except StorageError as error:
    give_up(error)

for warning in loaded.warnings:
    log.warning(warning.what, file=warning.file, line=warning.line, remedy=warning.remedy)
tell_what_was_left(loaded.settings.state_dir, place)
for left in forgotten_outboxes(loaded.settings.state_dir, loaded.settings.thingsboard.session_names, LOOKING_BACK) if place.keeps else ():
    log.error(left.what, remedy=left.remedy)
keep_web_server_off()
explain_fatal_errors(place.spans_hosts)
stop_on_signals(stop)
peers = Peers(place)
end_while_waiting(stop, place, peers.unconnected)
watch_peers(peers, stop, place)
watch_clock(stop, place)
told = Told(loaded.file, place, tally.status, sessions, PROGRESS, lambda: () if stop.attended else peers.unconnected())
tell_status(loaded.settings.state_dir, told, stop)
tell_systemd(stop, PROGRESS, told.status)
